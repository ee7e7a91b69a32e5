"""What is asked of a model that writes: a strategy with its options, as text or as an object.

    prefixes(of=wikipedia, tokens=8, temperature=0.8, drop_perplexity=0.3, documents=200)

Brackets take the options of the strategy, of `Sampling`, of `Screen`, `documents` and `engine`.
"""

import ast
import dataclasses
import re
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from calprune.calibration.encode import END_OF_TEXT
from calprune.calibration.respond import Respond
from calprune.calibration.sampling import Sampling
from calprune.calibration.screen import Screen
from calprune.calibration.strategies import Bos, Prefixes, RandomToken, Writing
from calprune.calibration.vllm_engine import refuse_unequal
from calprune.config import ConfigError, choice, did_you_mean, read

Strategy = Prefixes | Bos | RandomToken | Respond
Engine = Literal["calprune", "vllm"]

STRATEGIES: dict[str, type] = {
    "bos": Bos,
    "prefixes": Prefixes,
    "random_token": RandomToken,
    "respond": Respond,
}
DEFAULT = "bos"
HOW = 'write it like "bos", "prefixes(of=wikipedia, tokens=8)" or "respond(my_prompts.jsonl)"'
_SAMPLING = [f.name for f in dataclasses.fields(Sampling) if f.name != "stop"]
_SCREEN = [f.name for f in dataclasses.fields(Screen)]


@dataclass(frozen=True)
class Asked:
    """A strategy with what was said of its sampling and its screen; what was not said is as the strategy has it."""

    strategy: Strategy
    options: dict[str, Any] = field(default_factory=dict)  # of Sampling
    screen: Screen = field(default_factory=Screen)
    documents: int | None = None  # None: 500; for `respond`, all prompts
    engine: Engine = "calprune"  # what runs the model: `generate`, or `vllm_engine`

    def __post_init__(self) -> None:
        if self.documents is not None and self.documents < 1:
            raise ConfigError(f"documents to write: 1 or more; got {self.documents}")
        sampling = read(Sampling, self.options, "sampling")  # so that a mistake shows before a model is loaded
        if self.engine == "vllm":
            refuse_unequal(sampling)

    def sampling(self, writing: Writing) -> Sampling:
        """How tokens are drawn. `respond` draws as the model's own generation config says, where it says."""
        usual = {k: v for k, v in self.strategy.usual.items() if k in _SAMPLING}
        if isinstance(self.strategy, Respond):
            given = writing.model.model.generation_config
            own = {name: getattr(given, name, None) for name in ("temperature", "top_k", "top_p", "repetition_penalty")}
            usual |= {name: value for name, value in own.items() if value}
        sampling = read(Sampling, usual | self.options, "sampling")
        return dataclasses.replace(sampling, stop=_stops(self.strategy, writing))


def parse_strategy(text: str | None) -> Asked:
    """A strategy as text. Options that are not numbers need no quotes, and the first may go without its name `of`."""
    text = (text or DEFAULT).strip()
    match = re.fullmatch(r"(\w+)\s*(?:\((.*)\))?", text, re.DOTALL)
    if match is None:
        raise ConfigError(f"cannot read strategy {text!r}; {HOW}")
    name, inside = match.groups()
    if name not in STRATEGIES:
        raise ConfigError(f"unknown strategy {name!r}{did_you_mean(name, STRATEGIES)}")
    cls, given = STRATEGIES[name], _options(inside or "", text)
    own = [f.name for f in dataclasses.fields(cls)]
    known = [*own, *_SAMPLING, *_SCREEN, "documents", "engine"]
    if unknown := [option for option in given if option not in known]:
        raise ConfigError(f"strategy {name}: unknown option {unknown[0]!r}{did_you_mean(unknown[0], known)}")
    where = f"strategy {name}"
    strategy = read(cls, {k: v for k, v in given.items() if k in own}, where)
    screen = {k: v for k, v in strategy.usual.items() if k in _SCREEN} | {
        k: v for k, v in given.items() if k in _SCREEN
    }
    options = _temperatures({k: v for k, v in given.items() if k in _SAMPLING})
    engine: Any = choice(given.get("engine", "calprune"), get_args(Engine), f"{where}: engine")
    try:
        return Asked(strategy, options, read(Screen, screen, where), given.get("documents"), engine)
    except TypeError:
        raise ConfigError(f"{where}: documents is a whole number; got {given['documents']!r}") from None


def _options(inside: str, text: str) -> dict[str, Any]:
    parts = re.findall(r"""(?:[^,'"()\[\]]|'[^']*'|"[^"]*"|\([^)]*\)|\[[^\]]*\])+""", inside)
    given: dict[str, Any] = {}
    for i, part in enumerate(parts):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals and i == 0:
            key, value = "of", key
        if not key.isidentifier() or not value or key in given:
            raise ConfigError(f"cannot read {part.strip()!r} in strategy {text!r}; {HOW}")
        try:
            given[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            given[key] = value
    return given


def _temperatures(options: dict[str, Any]) -> dict[str, Any]:
    """temperature=2.0:1.0 is a first and a final one; 2.0:1.0:64 says over how many tokens."""
    if not isinstance(text := options.get("temperature"), str):
        return options
    names = ("temperature", "final_temperature", "cooling_tokens")
    parts = text.split(":")
    try:
        values = [float(part) for part in parts[:2]] + [int(part) for part in parts[2:]]
        return options | dict(zip(names[: len(values)], values, strict=True))
    except ValueError:
        raise ConfigError(f"temperature: write 0.6, or 2.0:1.0 for one that falls; got {text!r}") from None


def _stops(strategy: Strategy, writing: Writing) -> tuple[int, ...]:
    """What ends a document: the model's ends of text and of turns, and its start token."""
    tokenizer, vocabulary = writing.tokenizer, writing.tokenizer.get_vocab()
    ends = writing.model.model.generation_config.eos_token_id
    stops = {tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])}
    stops |= {vocabulary[token] for token in END_OF_TEXT if token in vocabulary}
    if isinstance(strategy, Bos):
        stops.add(strategy.token(tokenizer))
    return tuple(sorted(stops - {None}))
