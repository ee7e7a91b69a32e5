"""The question of `choose`: which of these sources, in which shares, for which capabilities, at which sizes.

A capability is judged on a text of its own. The text's first half is for searching, its second for the verdict; no
token of it is calibrated on.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

from calprune.base.calls import quoted
from calprune.base.checks import options
from calprune.base.patterns import Removal
from calprune.base.values import ConfigError, UserError, did_you_mean, plain
from calprune.calibration.part import check_part, only_part, source_of
from calprune.calibration.recipe import RecipePart, parse_spec
from calprune.evaluation.metric import NATS_OF_INTEREST
from calprune.layers.blocks import Propagate
from calprune.layers.collect import Counting
from calprune.methods.contract import Method
from calprune.models.load import load_tokenizer
from calprune.pattern import Pattern
from calprune.pruning.default import CALIBRATION
from calprune.pruning.job import Pruning
from calprune.refine import Refinement
from calprune.removal.job import Removing, removing
from calprune.removal.methods.contract import RemovalMethod
from calprune.text.document import Given
from calprune.text.find import is_file
from calprune.text.source import FileSource, RowsRead

TEXTS = {  # what a capability is judged on where the user does not say; none is a pre-training source of the literature
    "general": "wikitext2",
    "commonsense": "hellaswag",
    "mathematics": "gsm8k:icl_cot",
    "code": "mbpp",
    "knowledge": "mmlu",
    "language": "race",
}
HOW = "write it like --for general=1 --for mathematics=2"
HOW_JUDGED = "write it like --judge chat=held_out.jsonl:chat"
FEWEST_DRAWS = 3  # for an interval over draws that holds (benchmarks/intervals.md)


@options
class Capability:
    """Something that the pruned model is to keep, with the text that it is judged on."""

    tag: ClassVar[str] = "Capability"

    name: str
    weight: float  # beside the other capabilities' weights
    text: str  # as `calibration.part.open_source` takes it


@options
class Question:
    """All that decides the answer, beside the bytes of the sources, of the texts and of the model."""

    tag: ClassVar[str] = "Question"

    model: str
    sources: tuple[str, ...]  # one source each, as `calprune calib build` takes it
    capabilities: tuple[Capability, ...]
    method: Method | RemovalMethod
    pattern: Pattern | Removal
    num_samples: int = 128  # sequences of a set
    max_seq_length: int = 2048  # tokens of the longest
    draws: int = 3  # of each source, and of each finalist
    tokens: int = 8192  # of each half of a capability's text, at most
    default: str | None = (
        CALIBRATION  # what the winner is compared with, beside the uniform mixture; None: no such source
    )
    of_interest: float = (
        NATS_OF_INTEREST  # nats a token of divergence: the smallest difference that anyone would act on
    )

    def __post_init__(self) -> None:
        self.job()  # raises where the method is not for the pattern
        if self.method.needs == "nothing":
            raise ConfigError(f"{self.method} reads no calibration data, so there is nothing to choose; name a method "
                              "that does, such as wanda or sparsegpt")  # fmt: skip
        if not getattr(self.method, "prunes", True):
            raise ConfigError(f"{self.method} prunes nothing; name a method that does, such as wanda or sparsegpt")
        if isinstance(self.method, Refinement):
            raise ConfigError(f"{self.method} trains on sequences, and mixtures are searched from sums: choose with "
                              "its start, then prune with it and --calibration DIR/calibration")  # fmt: skip
        if self.draws < FEWEST_DRAWS:
            raise ConfigError(f"--draws: expected {FEWEST_DRAWS} or more, fewer give no interval; got {self.draws}")
        if not 0 < self.of_interest < math.inf:
            raise ConfigError(f"--of-interest: expected nats a token above 0; got {self.of_interest}")
        if self.tokens < 4 * self.window:
            raise ConfigError(f"--tokens: expected four windows of {self.window} tokens or more; got {self.tokens}")
        for name in ("num_samples", "max_seq_length", "draws", "tokens"):
            if getattr(self, name) >= 2**31:
                raise ConfigError(
                    f"--{name.replace('_', '-')}: expected a number below {2**31:,}; got {getattr(self, name):,}"
                )
        for i, source in enumerate(self.sources):
            check_part(part_of(source))
            if source in self.sources[:i]:
                raise ConfigError(f"--sources: {source} is there twice")

    def job(self, propagate: Propagate = "pruned") -> Pruning | Removing:
        """What is done to the model with a set."""
        if isinstance(self.pattern, Removal):
            return removing(cast(RemovalMethod, self.method), self.pattern, propagate=propagate, counting=Counting())
        return Pruning(cast(Method, self.method), self.pattern, propagate=propagate)

    @property
    def method_text(self) -> str:
        """The method as it is written."""
        return self.job().method_text

    @property
    def window(self) -> int:
        """Tokens of a window that is judged."""
        return min(512, self.max_seq_length)

    @property
    def weights(self) -> dict[str, float]:
        """Of the capabilities; they add up to 1."""
        total = sum(one.weight for one in self.capabilities)
        return {one.name: one.weight / total for one in self.capabilities}

    def written(self) -> dict[str, Any]:
        """Plain data that is the same for the same question."""
        return plain(self)


def part_of(source: str) -> RecipePart:
    """The one part that a source is. Raises ConfigError for a mixture: its shares are the answer."""
    parts = parse_spec(source).parts
    if len(parts) != 1 or parts[0].share != 1:
        raise ConfigError(f"--sources: {source!r} is a mixture, and the shares are what choose finds: name each "
                          "source alone")  # fmt: skip
    return parts[0]


def parse_capabilities(weights: str | Mapping[str, float | int], judged: Sequence[str] = ()) -> tuple[Capability, ...]:
    """Capabilities of "general=1 mathematics=2"; `judged`: texts that the user names, "chat=held_out.jsonl:chat".

    Raises ConfigError for one that no text covers, and for a weight that is no number above 0.
    """
    texts, named = dict(TEXTS), dict[str, str]()
    for one in judged:
        name, equals, text = (piece.strip() for piece in one.partition("="))
        if not (name and equals and text):
            raise ConfigError(f"--judge: cannot read {one!r}; {HOW_JUDGED}")
        only_part(text)
        if name in named:
            raise ConfigError(f"--judge: {name} is there twice, as {named[name]} and {text}")
        texts[name] = named[name] = text
    pairs = _pairs(weights) if isinstance(weights, str) else dict(weights)
    if not pairs:
        raise ConfigError(f"--for names no capability; {HOW}")
    for name, weight in pairs.items():
        if name not in texts:
            raise ConfigError(f"--for: no evaluation covers {name!r}{did_you_mean(name, texts)}; or name its text: "
                              f"{HOW_JUDGED}")  # fmt: skip
        if not 0 < weight < float("inf"):
            raise ConfigError(f"--for: the weight of {name} must be a number above 0; got {weight:g}")
    if unused := [name for name in named if name not in pairs]:
        raise ConfigError(f"--judge: {unused[0]} is no capability to be kept: name it by --for {unused[0]} too")
    return tuple(Capability(name, float(weight), texts[name]) for name, weight in pairs.items())


def _pairs(text: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for word in text.replace(",", " ").split():
        name, equals, weight = word.partition("=")
        try:
            value = float(weight) if equals else 1.0
        except ValueError:
            raise ConfigError(f"--for: the weight of {name} must be a number; got {weight!r}; {HOW}") from None
        if name in found:
            raise ConfigError(f"--for: {name} is there twice")
        if not name:
            raise ConfigError(f"--for: cannot read {word!r}; {HOW}")
        found[name] = value
    return found


def check_apart(question: Question, given: Given) -> None:
    """Raise UserError where a source reads the very rows that a capability is judged on, wherever they are."""
    judged = {one.name: rows_of(one.text, "evaluation", given) for one in question.capabilities}
    for source in question.sources:
        begun = source_of(only_part(source)).begins_with  # what the model writes has the beginnings of these
        read = [rows for one in begun or (source,) if (rows := rows_of(one, "calibration", given))]
        for name, other in judged.items():
            if other and any(rows.overlaps(other) for rows in read):
                raise UserError(f"{source} is a source and also what {name} is judged on: leave it out of --sources, "
                                f"or judge on another text (--judge {name}=TEXT)")  # fmt: skip


def rows_of(spec: str, split: str, given: Given) -> RowsRead | None:
    """The rows that a text or a source is read from; None for a built set, for what a model writes, and for a file that
    is not there."""
    source = source_of(only_part(spec))
    if source.made in ("self", "set") or (isinstance(source, FileSource) and not source.path.is_file()):
        return None
    return source.rows_read(split, given)


def default_sources(model: str, prompts: str | None, report: Callable[[str], None]) -> tuple[str, ...]:
    """What to choose among where the user does not say: the model's own text (its responses, where it has a chat
    template and there are prompts), web text, code and mathematics. Those that cannot be reached are left out later."""
    own = "self:prefixes(of=c4)"
    if prompts is not None:
        if is_file(prompts) and not Path(prompts).is_file():
            raise UserError(f"--prompts {prompts}: there is no such file")
        if load_tokenizer(model).chat_template:
            own = f"self:respond({quoted(prompts)}, prompt_weight=0.1)"  # with 0 SparseGPT is ruined (LOG.md)
        else:
            report(f"--prompts {prompts} is not used: {model} has no chat template to respond by; it goes on from the "
                 "openings of documents")  # fmt: skip
    return (own, "c4", "redpajama_github", "gsm8k:icl_cot")
