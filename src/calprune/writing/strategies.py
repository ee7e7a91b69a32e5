"""What is asked of a model that writes: a strategy with its options, as text or as an object, which says what each
document begins with. `usual` are a strategy's own defaults.

    prefixes(of=wikipedia, tokens=8, temperature=0.8, drop_perplexity=0.3, documents=200)

    prefixes(of=wikipedia, tokens=8)    the first tokens of real documents, which the model continues (Ji et al.)
    bos                                 a start token alone (Williams, Chrysostomou, Aletras)
    random_token                        a random token, then up to five greedy ones in the wanted language (Shin et al.)
    respond(my_prompts.jsonl)           prompts through the chat template (RAC)

Brackets take the options of the strategy, of `Sampling`, of `Screen`, `documents` and `engine`.
"""

import dataclasses
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, ClassVar, Literal, Protocol, get_args, runtime_checkable

from calprune.base.calls import Registry, option_types
from calprune.base.values import ConfigError, UserError, choice, read, rng
from calprune.layers.readable import embeddings_count, positions_of
from calprune.text import chat
from calprune.text.document import Given
from calprune.text.encode import END_OF_TEXT, encode_text, find_marks, tokenizer_hash
from calprune.text.filters.language import identifier
from calprune.text.find import find
from calprune.text.formats import Format
from calprune.text.read import read_records
from calprune.text.source import FileSource, Source
from calprune.writing.generate import generate
from calprune.writing.sampling import Sampling
from calprune.writing.screen import Screen
from calprune.writing.vllm import refuse_unequal

_PREFIX_POOL = 5000  # documents of the source whose beginnings are used, as Ji et al. took
_PROMPT_POOL = 100_000  # prompts of a source that are read, at most: a data set of the hub may have millions


_READ: dict[Any, tuple["Prompt", ...]] = {}  # beginnings of the last few sources, in their order

_CHARACTERS = 60  # of text a token is taken to need at most; a document is read again in full where that was too few


@dataclass(frozen=True)
class Prompt:
    """What a document begins with. `lead` tokens at its beginning are marks and not part of the document."""

    tokens: tuple[int, ...]
    lead: int = 0
    after: str = ""  # the id of the real document or prompt that it comes from
    refused: str = ""  # why nothing is to be written after it


@runtime_checkable
class Strategy(Protocol):
    """A frozen dataclass of its options."""

    version: ClassVar[int]  # in the name of what is written; raised when the same options give other texts
    usual: ClassVar[dict[str, Any]]  # options of Sampling and of Screen that are its own defaults

    def prompts(self, given: Given, seed: int) -> list[Prompt]:
        """What documents begin with, in the order in which they are used."""
        ...


@dataclass(frozen=True)
class Prefixes:
    """Ji et al., "Beware of Calibration Data for Pruning LLMs", ICLR 2025, arXiv:2410.17711: the model continues the
    first tokens of real documents. The begin-of-text that a tokenizer adds is not counted among them."""

    tag: ClassVar[str] = "Prefixes"
    version: ClassVar[int] = 1
    usual: ClassVar[dict[str, Any]] = {"drop_perplexity": 0.2}
    of: str
    tokens: int = 8

    def __post_init__(self) -> None:
        if self.tokens < 1:
            raise ConfigError(f"tokens of a prefix: 1 or more; got {self.tokens}")

    def prompts(self, given: Given, seed: int) -> list[Prompt]:
        """Beginnings of up to 5,000 documents, in random order; documents shorter than that are passed over."""
        source = find_texts(self.of)
        split = source.split_for("calibration", given)
        rows = source.rows_read(split, given, seed)
        key = (self, source.identity(given), rows.revision, given.data_root, tokenizer_hash(given.tokenizer))
        if source.made or key not in _READ:  # a study asks for the same beginnings once a draw
            while len(_READ) >= 8:
                _READ.pop(next(iter(_READ)))
            _READ[key] = tuple(self._read(source, split, given, seed))
        found = list(_READ[key])
        rng(seed, f"prefixes/{self.of}").shuffle(found)
        return found

    def _read(self, source: Source, split: str, given: Given, seed: int) -> list[Prompt]:
        format = Format("plain" if "plain" in source.formats else "single")
        documents = source.documents(format, split, given, seed)
        begin = find_marks(given.tokenizer).begin
        lead = () if begin is None else (begin,)
        found = []
        for document in islice(documents, _PREFIX_POOL):
            tokens = document.tokens or self._beginning(given.tokenizer, document.text)
            if len(tokens) >= self.tokens:
                found.append(Prompt((*lead, *tokens[: self.tokens]), len(lead), document.id))
        if not found:
            raise UserError(f"prefixes of {self.of}: it has no document of {self.tokens} tokens; take shorter prefixes")
        return found

    def _beginning(self, tokenizer: Any, text: str) -> list[int]:
        cut = encode_text(tokenizer, text[: _CHARACTERS * self.tokens])
        # the last tokens of a cut text may be other ones than the whole text's
        return cut if len(cut) >= 2 * self.tokens else encode_text(tokenizer, text)


@dataclass(frozen=True)
class Bos:
    """Williams, Chrysostomou, Aletras, "Self-calibration for Language Model Quantization and Pruning", NAACL 2025,
    arXiv:2410.17170: from the begin-of-text alone. They let the temperature fall at the beginning (`Sampling`).

    `start` is the token's text. None: the tokenizer's begin-of-text; where that is a mark of its chat template
    (<|im_start|>), the <|endoftext|> that separated the documents of pre-training.
    """

    tag: ClassVar[str] = "Bos"
    version: ClassVar[int] = 1
    usual: ClassVar[dict[str, Any]] = {}
    start: str | None = None

    def prompts(self, given: Given, seed: int) -> list[Prompt]:
        return [Prompt((self.token(given.tokenizer),), lead=1)]

    def token(self, tokenizer: Any) -> int:
        vocabulary = tokenizer.get_vocab()
        if self.start is not None:
            if self.start not in vocabulary:
                raise UserError(
                    f"bos: the model's vocabulary has no token {self.start!r}; give start= one of its tokens"
                )
            return vocabulary[self.start]
        ends = [token for token in END_OF_TEXT if token in vocabulary]
        if tokenizer.bos_token is None:
            hint = ends[0] if ends else "a token of its vocabulary"
            raise UserError(f"bos: the model's tokenizer has no begin-of-text token; give start={hint!r}")
        if ends and tokenizer.bos_token in str(getattr(tokenizer, "chat_template", None) or ""):
            return vocabulary[ends[0]]
        return tokenizer.bos_token_id


@dataclass(frozen=True)
class RandomToken:
    """LLM-QAT (Liu et al., arXiv:2305.17888) as Shin et al. used it ("Rethinking Pruning Large Language Models",
    EMNLP 2024, arXiv:2406.15524): a random token, up to `opening` greedy ones, kept where their text is in `language`
    (None: any), else tried again, `tries` times."""

    tag: ClassVar[str] = "RandomToken"
    version: ClassVar[int] = 1
    usual: ClassVar[dict[str, Any]] = {}
    opening: int = 5
    language: str | None = "en"
    tries: int = 20

    def __post_init__(self) -> None:
        if self.opening < 1 or self.tries < 1:
            raise ConfigError(f"random_token: opening and tries are 1 or more; got {self.opening} and {self.tries}")

    def prompts(self, given: Given, seed: int) -> list[Prompt]:
        return [Prompt(())]  # each document draws its own, in `open`

    def open(self, streams: Sequence[random.Random], given: Given, sampling: Sampling, batch_size: int) -> list[Prompt]:
        """An accepted opening for each stream, or a refused one."""
        language_of = identifier("random_token", (self.language,)) if self.language else None
        special = set(given.tokenizer.all_special_ids)
        known = embeddings_count(given.model.model)
        ids = sorted(i for i in given.tokenizer.get_vocab().values() if i not in special and i < known)
        begin = find_marks(given.tokenizer).begin
        lead = () if begin is None else (begin,)
        greedy = Sampling(temperature=0.0, repetition_penalty=1.0, max_new_tokens=self.opening, stop=sampling.stop)
        found = [Prompt((), refused=f"no opening in {self.language} within {self.tries} tries")] * len(streams)
        missing = list(range(len(streams)))
        for _ in range(self.tries):
            first = [(*lead, ids[streams[i].randrange(len(ids))]) for i in missing]
            tried = generate(given.model.model, first, [streams[i] for i in missing], greedy, batch_size=batch_size)
            for i, written in zip(missing, tried, strict=True):
                text = given.tokenizer.decode(written.tokens, skip_special_tokens=True)
                if language_of is None or language_of(text) == self.language:
                    found[i] = Prompt(written.tokens, len(lead))
            missing = [i for i in missing if found[i].refused]
            if not missing:
                break
        return found


def find_texts(name: str) -> Source:
    """The source of what the model's texts begin with. Raises ConfigError where that is no text of records."""
    source = find(name)
    if source.made in ("self", "set"):
        raise ConfigError(f"{name}: what a model writes begins with documents of a source or of a file; name one")
    return source


@dataclass(frozen=True)
class Respond:
    """The model's own responses to prompts, after RAC (Lucas et al., "Reasoning-Aware Compression", ICLR 2026).

    `of` is a file of prompts (.jsonl with `prompt`, `messages`, `conversations` or `instruction`; what follows the
    last user turn is left out) or a source. Tokens of responses weigh 1, those of prompts `prompt_weight`.
    `decode_only` counts what passes through the model while it decodes and nothing else (SparseDecoding): neither the
    prompt nor the token that ends the response, which is never fed back.
    """

    tag: ClassVar[str] = "Respond"
    version: ClassVar[int] = 2  # 1 took the prompts in their order, so draws of a study had the same ones
    usual: ClassVar[dict[str, Any]] = {"repetition_penalty": 1.0, "keep_truncated": False}
    of: str
    responses: int = 1
    prompt_weight: float = 0.0
    decode_only: bool = False

    def __post_init__(self) -> None:
        if self.responses < 1:
            raise ConfigError(f"respond: responses to a prompt are 1 or more; got {self.responses}")
        if not 0 <= self.prompt_weight <= 1:
            raise ConfigError(f"respond: prompt_weight must be from 0 to 1; got {self.prompt_weight}")
        if self.decode_only and self.prompt_weight:
            raise ConfigError("respond: decode_only leaves prompts out; give it or prompt_weight, not both")

    def prompts(self, given: Given, seed: int) -> list[Prompt]:
        """Each prompt through the chat template, `responses` times, in random order: fewer than all are a draw."""
        tokenizer, positions = given.tokenizer, positions_of(given.model.model)
        if not getattr(tokenizer, "chat_template", None):
            raise UserError(
                "respond: the model's tokenizer has no chat template; take a chat model or another strategy"
            )
        found = []
        for at, turns, tools in self._turns(given):
            try:
                text = chat.rendered(turns, tokenizer, answer=True, tools=tools)
            except Exception as e:  # templates raise what they like
                raise UserError(f"{at}: the chat template does not take this prompt: {e}") from None
            tokens = tuple(encode_text(tokenizer, text))
            if positions and positions.is_table and len(tokens) >= positions.count:
                raise UserError(f"{at}: the prompt has {len(tokens)} tokens and the model's window is "
                                f"{positions.count}; shorten it or leave it out")  # fmt: skip
            found.append(Prompt(tokens, 0, at))
        if not found:
            raise UserError(f"respond: {self.of} has no prompts")
        rng(seed, f"respond/{self.of}").shuffle(found)
        return [prompt for prompt in found for _ in range(self.responses)]

    def _turns(self, given: Given) -> Iterator[tuple[str, chat.Messages, list[Any]]]:
        source = find_texts(self.of)
        if isinstance(source, FileSource):
            for number, record in read_records(source.path):
                where = f"{source.path}:{number}"
                yield f"{source.path.name}:{number}", _prompt_of(record, where), chat.tools_of(record, where)
            return
        if source.endless:
            raise UserError(f"respond: {self.of} never ends; name a source of prompts, or a file of them")
        format = Format("zero" if "zero" in source.formats else "plain")
        documents = source.documents(format, source.split_for("calibration", given), given)
        for document in islice(documents, _PROMPT_POOL):
            yield document.id, [{"role": "user", "content": document.text.strip()}], []


def _prompt_of(record: dict[str, Any], where: str) -> chat.Messages:
    """The turns up to the last one of the user."""
    kind = chat.kind_of(record)
    if kind is None and isinstance(record.get("text"), str):
        return [{"role": "user", "content": record["text"]}]
    if kind is None:
        raise UserError(f"{where}: no prompt; expected prompt, {', '.join(k for k in chat.SHAPES if k != 'prompt')} or "
                        f"text; its fields: {', '.join(map(str, record))}")  # fmt: skip
    missing = {"prompt": "response", "instruction": "output"}.get(kind)
    turns = chat.messages_of(({missing: ""} if missing else {}) | record, kind, where)
    while turns and turns[-1]["role"] != "user":
        turns.pop()
    if not turns:
        raise UserError(f"{where}: a conversation without a turn of the user")
    return turns


Engine = Literal["calprune", "vllm"]


STRATEGIES = Registry(
    "strategy",
    {
        "bos": Bos,
        "prefixes": Prefixes,
        "random_token": RandomToken,
        "respond": Respond,
    },
    '"bos", "prefixes(of=wikipedia, tokens=8)" or "respond(my_prompts.jsonl)"',
    Strategy,
)


DEFAULT = "bos"


@dataclass(frozen=True)
class WritingPlan:
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

    def sampling(self, given: Given) -> Sampling:
        """How tokens are drawn. `respond` draws as the model's own generation config says, where it says."""
        usual = {k: v for k, v in self.strategy.usual.items() if k in _SAMPLING}
        if isinstance(self.strategy, Respond):
            config = given.model.model.generation_config
            own = {
                name: getattr(config, name, None) for name in ("temperature", "top_k", "top_p", "repetition_penalty")
            }
            usual |= {name: value for name, value in own.items() if value is not None}
            if usual.get("top_k") == 0:  # transformers' way to say all tokens
                usual["top_k"] = None
        sampling = read(Sampling, usual | self.options, "sampling")
        return dataclasses.replace(sampling, stop=_stops(self.strategy, given))


@dataclass(frozen=True)
class _Rest:
    """What is in a strategy's brackets beside its own options, those of Sampling and those of Screen."""

    documents: int | None = None
    engine: Engine = "calprune"


_SCREEN = option_types(Screen)


_SAMPLING = {name: kind for name, kind in option_types(Sampling).items() if name != "stop"}


_BESIDE = {**_SAMPLING, **_SCREEN, **option_types(_Rest), "temperature": float | str}  # 2.0:1.0 is one that falls


def parse_strategy(text: str | None) -> WritingPlan:
    """A strategy as text. The first option may go without its name."""
    strategy, beside = STRATEGIES.make_beside(text or DEFAULT, _BESIDE)
    where = f"strategy {STRATEGIES.name_of(type(strategy))}"
    screen = {k: v for k, v in {**strategy.usual, **beside}.items() if k in _SCREEN}
    options = _temperatures({k: v for k, v in beside.items() if k in _SAMPLING})
    rest = {k: v for k, v in beside.items() if k not in _SCREEN and k not in _SAMPLING}
    choice(rest.get("engine", "calprune"), get_args(Engine), f"{where}: engine")
    try:
        return WritingPlan(strategy, options, read(Screen, screen, where), **vars(read(_Rest, rest, where)))
    except UserError as e:
        raise ConfigError(str(e) if str(e).startswith(where) else f"{where}: {e}") from None


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


def _stops(strategy: Strategy, given: Given) -> tuple[int, ...]:
    """What ends a document: the model's ends of text and of turns, and its start token."""
    tokenizer, vocabulary = given.tokenizer, given.tokenizer.get_vocab()
    ends = given.model.model.generation_config.eos_token_id
    stops = {tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])}
    stops |= {vocabulary[token] for token in END_OF_TEXT if token in vocabulary}
    if isinstance(strategy, Bos):
        stops.add(strategy.token(tokenizer))
    return tuple(sorted(stops - {None}))
