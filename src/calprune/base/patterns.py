"""Sparsity patterns as text and as data: which weights of a matrix may be nonzero.

A pattern is written as text and parsed once, at the door:

    "50%"          half of the weights are zero; which compete is the method's choice, as in its paper
    "50%/row"      half of each row is zero: a row's weights compete with each other
    "50%/matrix"   half of the matrix is zero: all its weights compete
    "2:4"          at most 2 of every 4 consecutive inputs are nonzero (n is what is kept, not what is zeroed)

No torch is imported here, so that the command line names a mistake at once. The masks are in `calprune.pattern`.
"""

import re
from dataclasses import replace
from typing import ClassVar, Literal

from calprune.base.checks import options
from calprune.base.values import UserError

Within = Literal["row", "matrix"]


class PatternError(UserError):
    """A pattern that cannot be read, or does not fit the matrix it is applied to."""


@options
class Unstructured:
    """Zero the lowest-scored `sparsity` of the weights, rounded to a whole number of them."""

    tag: ClassVar[str] = "Unstructured"

    sparsity: float  # fraction of zeros, 0 <= s < 1
    within: Within | None = None  # which weights compete; None: as the method's paper says

    def __post_init__(self):
        if not 0.0 <= self.sparsity < 1.0:
            raise PatternError(f"sparsity must be at least 0 and below 1 (0% to below 100%), got {self.sparsity:g}")

    def __str__(self) -> str:
        return f"{self.sparsity * 100:.10g}%" + (f"/{self.within}" if self.within else "")


@options
class KeepNofM:
    """At most `keep` nonzero in each run of `of` consecutive inputs: 2:4 is `KeepNofM(2, 4)`."""

    tag: ClassVar[str] = "KeepNofM"

    keep: int
    of: int

    def __post_init__(self):
        if not 0 < self.keep < self.of:
            raise PatternError(f"n:m keeps n of every m weights and needs 0 < n < m, got {self.keep}:{self.of}")

    @property
    def sparsity(self) -> float:
        return 1 - self.keep / self.of

    def __str__(self) -> str:
        return f"{self.keep}:{self.of}"


Pattern = Unstructured | KeepNofM


def parse_pattern(text: str) -> Pattern:
    """Read "50%", "50%/row", "50%/matrix" or "2:4"."""
    if m := re.fullmatch(r"(-?\d+(?:\.\d+)?)\s*%(?:/(row|matrix))?", text.strip()):
        return Unstructured(float(m[1]) / 100, m[2])  # type: ignore[arg-type]
    if m := re.fullmatch(r"(\d+):(\d+)", text.strip()):
        return KeepNofM(int(m[1]), int(m[2]))
    how = 'write it like "50%", "50%/row", "50%/matrix" or "2:4"'
    raise PatternError(f"cannot read pattern {text!r}; {_meant(text.strip()) or how}")


def _meant(text: str) -> str:
    """A question where the sign is missing (50, 0.5) or another (2-4)."""
    if (m := re.fullmatch(r"\d*\.?\d+", text)) and 0 < float(text) < 100:
        return f"did you mean '{float(text) * (100 if float(text) < 1 else 1):.10g}%'?"
    if (m := re.fullmatch(r"(\d+)\s*[-/;,]\s*(\d+)", text)) and 0 < int(m[1]) < int(m[2]):
        return f"did you mean '{m[1]}:{m[2]}'?"
    return ""


def competing(pattern: Pattern, within: Within) -> Pattern:
    """The pattern with what it leaves open decided: `within` is the choice of the method's paper."""
    if isinstance(pattern, Unstructured) and pattern.within is None:
        return replace(pattern, within=within)
    return pattern


def check_width(width: int, pattern: Pattern) -> None:
    """Raise PatternError where a matrix of `width` inputs cannot hold the pattern."""
    if isinstance(pattern, KeepNofM) and width % pattern.of:
        raise PatternError(f"{pattern} needs an input width that is a multiple of {pattern.of}, got {width}")
