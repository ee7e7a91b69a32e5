"""How a model is set to write: what each document begins with. `usual` are a strategy's own defaults.

    prefixes(of=wikipedia, tokens=8)    the first tokens of real documents, which the model continues (Ji et al.)
    bos                                 a start token alone (Williams, Chrysostomou, Aletras)
    random_token                        a random token, then up to five greedy ones in the wanted language (Shin et al.)
    respond(my_prompts.jsonl)           prompts through the chat template (RAC; in `respond.py`)

Brackets take the options of the strategy, of `Sampling`, of `Filters`, and `documents`.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

from calprune.calibration.encode import END_OF_TEXT, encode_text, find_marks
from calprune.calibration.formats import Format
from calprune.calibration.generate import generate
from calprune.calibration.language import identifier
from calprune.calibration.opened import is_file
from calprune.calibration.sampling import Sampling
from calprune.calibration.sources import file_source, find_source
from calprune.config import ConfigError, UserError, rng

_PREFIX_POOL = 5000  # documents of the source whose beginnings are used, as Ji et al. took
_CHARACTERS = 60  # of text a token is taken to need at most; a document is read again in full where that was too few


@dataclass(frozen=True)
class Prompt:
    """What a document begins with. `lead` tokens at its beginning are marks and not part of the document."""

    tokens: tuple[int, ...]
    lead: int = 0
    after: str = ""  # the id of the real document or prompt that it comes from
    refused: str = ""  # why nothing is to be written after it


@dataclass(frozen=True)
class Writing:
    """Who writes: a loaded `models.Model`, the seed, and where sources are read from."""

    model: Any
    seed: int = 0
    data_root: Path | None = None

    @property
    def tokenizer(self) -> Any:
        return self.model.tokenizer


@dataclass(frozen=True)
class Prefixes:
    """Ji et al., "Beware of Calibration Data for Pruning LLMs", ICLR 2025, arXiv:2410.17711: the model continues the
    first tokens of real documents. The begin-of-text that a tokenizer adds is not counted among them."""

    version: ClassVar[int] = 1
    usual: ClassVar[dict[str, Any]] = {"drop_perplexity": 0.2}
    of: str
    tokens: int = 8

    def __post_init__(self) -> None:
        if self.tokens < 1:
            raise ConfigError(f"tokens of a prefix: 1 or more; got {self.tokens}")

    def prompts(self, writing: Writing) -> list[Prompt]:
        """Beginnings of up to 5,000 documents, in random order; documents shorter than that are passed over."""
        source = find_texts(self.of)
        format = Format("plain" if "plain" in source.formats else "single")
        split = source.calibration_split(data_root=writing.data_root)
        documents = source.documents(
            format, split, data_root=writing.data_root, tokenizer=writing.tokenizer, seed=writing.seed
        )
        begin = find_marks(writing.tokenizer).begin
        lead = () if begin is None else (begin,)
        found = []
        for document in islice(documents, _PREFIX_POOL):
            tokens = document.tokens or self._beginning(writing.tokenizer, document.text)
            if len(tokens) >= self.tokens:
                found.append(Prompt((*lead, *tokens[: self.tokens]), len(lead), document.id))
        if not found:
            raise UserError(f"prefixes of {self.of}: it has no document of {self.tokens} tokens; take shorter prefixes")
        rng(writing.seed, f"prefixes/{self.of}").shuffle(found)
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

    version: ClassVar[int] = 1
    usual: ClassVar[dict[str, Any]] = {}
    start: str | None = None

    def prompts(self, writing: Writing) -> list[Prompt]:
        return [Prompt((self.token(writing.tokenizer),), lead=1)]

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

    version: ClassVar[int] = 1
    usual: ClassVar[dict[str, Any]] = {}
    opening: int = 5
    language: str | None = "en"
    tries: int = 20

    def __post_init__(self) -> None:
        if self.opening < 1 or self.tries < 1:
            raise ConfigError(f"random_token: opening and tries are 1 or more; got {self.opening} and {self.tries}")

    def prompts(self, writing: Writing) -> list[Prompt]:
        return [Prompt(())]  # each document draws its own, in `open`

    def open(
        self, streams: Sequence[random.Random], writing: Writing, sampling: Sampling, batch_size: int
    ) -> list[Prompt]:
        """An accepted opening for each stream, or a refused one."""
        language_of = identifier("random_token", (self.language,)) if self.language else None
        special = set(writing.tokenizer.all_special_ids)
        ids = sorted(i for i in writing.tokenizer.get_vocab().values() if i not in special)
        begin = find_marks(writing.tokenizer).begin
        lead = () if begin is None else (begin,)
        greedy = Sampling(temperature=0.0, repetition_penalty=1.0, max_new_tokens=self.opening, stop=sampling.stop)
        found = [Prompt((), refused=f"no opening in {self.language} within {self.tries} tries")] * len(streams)
        missing = list(range(len(streams)))
        for _ in range(self.tries):
            first = [(*lead, ids[streams[i].randrange(len(ids))]) for i in missing]
            tried = generate(writing.model.model, first, [streams[i] for i in missing], greedy, batch_size=batch_size)
            for i, written in zip(missing, tried, strict=True):
                text = writing.tokenizer.decode(written.tokens, skip_special_tokens=True)
                if language_of is None or language_of(text) == self.language:
                    found[i] = Prompt(written.tokens, len(lead))
            missing = [i for i in missing if found[i].refused]
            if not missing:
                break
        return found


def find_texts(name: str) -> Any:
    """A source of real texts: a file, or a name of the catalogue."""
    return file_source(Path(name)) if is_file(name) else find_source(name)
