"""What a study judges models by, as text: perplexity(wikitext2), kl(c4, tokens=16384), boolq(examples=200)."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from calprune.base.values import ConfigError, identity, plain, read
from calprune.evaluation.capabilities import capability_of
from calprune.evaluation.tasks import Task, find_task
from calprune.evaluation.text import check_text, open_text, text_identity
from calprune.text.places import files_hash

HOW = 'write it like "perplexity(wikitext2)", "kl(c4, tokens=16384)" or "boolq(examples=200)"'


@dataclass(frozen=True)
class OnText:
    """Perplexity on held-out text, or KL to the dense model there."""

    metric: Literal["perplexity", "kl"]
    of: str  # a text as `evaluate.text.open_text` takes it
    tokens: int = 8192  # of the text, at most
    length: int = 512  # of a window
    skip: int = 0  # tokens at the text's beginning: they are another evaluation's

    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.length < 2 or self.tokens < self.length:
            raise ConfigError(f"expected tokens >= length >= 2; got tokens={self.tokens}, length={self.length}")

    def __str__(self) -> str:
        sizes = [f"{n}={v}" for n in ("tokens", "length", "skip")
                 if (v := getattr(self, n)) != getattr(OnText, n)]  # fmt: skip
        return f"{self.metric}({', '.join([self.of, *sizes])})"

    @property
    def capability(self) -> str:
        return capability_of(self.of)

    @property
    def text(self) -> tuple[str, int, int, int]:
        """What perplexity and KL can share one pass over."""
        return (self.of, self.tokens, self.length, self.skip)


Evaluation = OnText | Task


def parse_evaluation(text: str) -> Evaluation:
    """The evaluation that a text means. Raises ConfigError for one that there is none of."""
    match = re.fullmatch(r"\s*(perplexity|kl)\s*(?:\((.*)\))?\s*", text, re.DOTALL)
    if match is None:
        return find_task(text)
    of, *options = re.split(r",(?![^()]*\))", match[2] or "")
    if not of.strip():
        raise ConfigError(f"{text!r} names no text; {HOW}")
    given: dict[str, Any] = {}
    for option in options:
        key, equals, value = (piece.strip() for piece in option.partition("="))
        if not equals or not value.isdigit():
            raise ConfigError(f"cannot read {option.strip()!r} in evaluation {text!r}; {HOW}")
        given[key] = int(value)
    check_text(of.strip())
    return read(OnText, {"metric": match[1], "of": of.strip()} | given, f"evaluation {text!r}")


def evaluation_id(evaluation: Evaluation, data_root: Path | None) -> str:
    """The name of its results' files: a hash of what is asked and of the contents of the files that it is asked of."""
    if isinstance(evaluation, OnText):
        return identity({"evaluation": plain(evaluation), "text": text_identity(evaluation.of, data_root)})
    return identity({"evaluation": plain(evaluation), "files": files_hash(evaluation.files(data_root))})


def check_evaluation(evaluation: Evaluation, tokenizer: Any, data_root: Path | None) -> None:
    """Raise UserError where its data are not to be had. What the model itself writes is not looked at."""
    if not isinstance(evaluation, OnText):
        evaluation.files(data_root)
    elif not evaluation.of.startswith("self"):
        next(iter(open_text(evaluation.of, tokenizer, data_root).documents), None)
