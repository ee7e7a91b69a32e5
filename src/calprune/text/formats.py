"""Formats: how a record becomes the text of a document. "icl", "cot(steps=3)", "chat(responses, prompt_weight=0.2)".

    plain     the text as it is
    zero      the prompt alone, without its answer
    single    one prompt with its answer, one document a sequence
    icl       the same, as many pairs as the sequence holds, or `pairs` of them: examples in context
    cot       one prompt with its rationale (chain of thought) and answer
    icl_cot   as icl, with rationales
    chat      the turns of a conversation through the model's chat template

After Bandari et al., "Is C4 Dataset Optimal for Pruning?", EMNLP 2024, arXiv:2410.07461, whose categories these are.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, Protocol

from calprune.base.calls import Registry, written
from calprune.base.values import ConfigError, did_you_mean

Packing = Literal["text", "one", "fill"]

OPTIONS = {
    "chat": ("responses", "prompt_weight"),
    "cot": ("steps", "steps_by_full_stop", "keep_spaces"),
    "icl": ("pairs",),
    "icl_cot": ("pairs", "steps", "steps_by_full_stop", "keep_spaces"),
    "plain": (),
    "single": (),
    "zero": (),
}


@dataclass(frozen=True)
class Format:
    """A format and its options; `str(format)` is the text that `parse_format` reads as it."""

    tag: ClassVar[str] = "Format"
    named_by: ClassVar[str] = "name"

    name: str
    pairs: int | None = None  # icl, icl_cot: this many pairs a sequence; None: until it is full
    steps: int | None = None  # cot, icl_cot: only rationales of this many steps, counted by lines
    steps_by_full_stop: bool = False  # quirk of the paper's code: steps are occurrences of ". "
    keep_spaces: bool = False  # quirk of the paper's code: rationales of ANLI and e-SNLI keep the spaces around them
    responses: bool = False  # chat: tokens of responses weigh 1, the others `prompt_weight`
    prompt_weight: float = 0.0  # chat(responses): 0 leaves prompts out of the statistics, 1 counts them fully

    def __post_init__(self) -> None:
        if self.name not in OPTIONS:
            raise ConfigError(f"unknown format {self.name!r}{did_you_mean(self.name, OPTIONS)}")
        for option in [f.name for f in fields(self)[1:] if getattr(self, f.name) != f.default]:
            if option not in OPTIONS[self.name]:
                fit = ", ".join(OPTIONS[self.name]) or "none"
                raise ConfigError(f"format {self.name} has no option {option!r}; its options: {fit}")
        for option in ("pairs", "steps"):
            if (value := getattr(self, option)) is not None and value < 1:
                raise ConfigError(f"format {self.name}: {option} must be at least 1; got {value}")
        if not 0 <= self.prompt_weight <= 1:
            raise ConfigError(f"format chat: prompt_weight must be from 0 to 1; got {self.prompt_weight}")
        if self.prompt_weight and not self.responses:
            raise ConfigError("format chat: prompt_weight needs responses; write chat(responses, prompt_weight=0.2)")
        if self.steps_by_full_stop and self.steps is None:
            raise ConfigError(f"format {self.name}: steps_by_full_stop needs steps; write {self.name}(steps=3, ...)")

    def __str__(self) -> str:
        given = [(f.name, v) for f in fields(self)[1:] if (v := getattr(self, f.name)) != f.default]
        return written(self.name, [k if k == "responses" else f"{k}={v!r}" for k, v in given])

    @classmethod
    def options_of(cls, name: str) -> tuple[str, ...]:
        """The options of the format of that name."""
        return OPTIONS[name]

    def suits(self, formats: Sequence[str]) -> bool:
        """Whether it is one of these, which are all that a source has."""
        return self.name in formats

    @property
    def packing(self) -> Packing:
        """text: the recipe's layout decides; one: a document a sequence, padded; fill: whole documents until full."""
        if self.name == "plain":
            return "text"
        return "fill" if self.name in ("icl", "icl_cot") else "one"

    @property
    def rationales(self) -> bool:
        """Whether the answer carries its reasoning."""
        return self.name in ("cot", "icl_cot")

    def accepts(self, rationale: str, written: str) -> bool:
        """Whether a rationale has the asked number of steps. A step is a line, as GSM8K writes them.

        The paper's code counted ". " in the rationale `written` with its answer, which is once in most of GSM8K."""
        if self.steps is None:
            return True
        if self.steps_by_full_stop:
            return written.count(". ") == self.steps
        return sum(1 for line in rationale.splitlines() if line.strip()) == self.steps


@dataclass(frozen=True)
class OwnFormat(Format):
    """A user's own format, by the text that it is written as."""

    own: Any = None  # fits RecordFormat

    def __post_init__(self) -> None:
        pass

    def __str__(self) -> str:
        return self.name

    @property
    def packing(self) -> Packing:
        return self.own.packing

    def suits(self, formats: Sequence[str]) -> bool:
        return True


class RecordFormat(Protocol):
    """What a user's own format is: a frozen dataclass of its options."""

    packing: ClassVar[Packing]

    def document(self, record: dict[str, Any]) -> str:
        """The text that a record of a source gives; empty where it gives none."""
        ...


FORMATS = Registry("format", dict.fromkeys(OPTIONS, Format), '"icl", "icl(pairs=5)" or "chat(responses)"', RecordFormat)


def parse_format(text: str) -> Format:
    """The format written as `text`: a name, or a name with options in brackets, of which a bare word means true."""
    made = FORMATS.make(text)
    return made if isinstance(made, Format) else OwnFormat(FORMATS.write(made), own=made)


def refuse(format: Format, source: str, formats: Sequence[str]) -> ConfigError:
    """The error for a format that a source does not have."""
    why = " (it has no rationales)" if format.rationales and "single" in formats else ""
    return ConfigError(f"source {source} has no format {format.name!r}{why}; it has: {', '.join(formats)}")
