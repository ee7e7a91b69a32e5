"""Sparsity patterns as text and as data: which weights of a matrix may be nonzero.

A pattern is written as text and parsed once, at the door:

    "50%"          half of the weights are zero; which compete is the method's choice, as in its paper
    "50%/row"      half of each row is zero: a row's weights compete with each other
    "50%/matrix"   half of the matrix is zero: all its weights compete
    "2:4"          at most 2 of every 4 consecutive inputs are nonzero (n is what is kept, not what is zeroed)

What takes whole units out, so that the model is really smaller, is a `Removal`:

    "blocks:25%"   a quarter of the decoder blocks; "blocks:4": four of them
    "neurons:25%"  of each feed-forward network, the same number in every block
    "heads:25%"    key-value groups with their query heads, the same number in every block
    "experts:25%"  the same number in every block; "experts:16": sixteen of them

No torch is imported here, so that the command line names a mistake at once. The masks are in `calprune.pattern`.
"""

import re
from dataclasses import replace
from typing import ClassVar, Literal, get_args

from calprune.base.checks import options
from calprune.base.values import UserError, did_you_mean

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

UnitKind = Literal["blocks", "neurons", "heads", "experts"]
UNIT_KINDS: tuple[UnitKind, ...] = get_args(UnitKind)


@options
class Removal:
    """Take whole units of one kind out of a model: a share of them, or a number (of blocks: of the model; of the
    others: of each block)."""

    tag: ClassVar[str] = "Removal"

    kind: UnitKind
    share: float | None = None
    count: int | None = None

    def __post_init__(self):
        if (self.share is None) == (self.count is None):
            raise PatternError(f'{self.kind} are removed by a share or by a number: write "{self.kind}:25%" or '
                               f'"{self.kind}:4"')  # fmt: skip
        if self.share is not None and not 0 < self.share < 1:
            raise PatternError(f"the share of {self.kind} must be above 0 and below 1 (0% to 100%), got {self.share:g}")
        if self.count is not None and self.count < 1:
            raise PatternError(f"the number of {self.kind} to remove must be at least 1, got {self.count}")

    def of(self, total: int) -> int:
        """How many of `total` go. A share is rounded for blocks and neurons, and must be whole for heads and experts.

        Raises PatternError where nothing would go, nothing would stay, or the share is no whole number of them.
        """
        wanted = self.count if self.count is not None else (self.share or 0) * total
        gone = round(wanted)
        if self.kind in ("heads", "experts") and abs(wanted - gone) > 1e-6:
            near = [f"{self.kind}:{n}" for n in (int(wanted), int(wanted) + 1) if 0 < n < total]
            raise PatternError(f"{self} of {total} {self.kind} is {wanted:g}, no whole number; write "
                               f"{' or '.join(near)}")  # fmt: skip
        if not 0 < gone < total:
            raise PatternError(f"{self} takes {gone} of {total} {self.kind}; expected at least 1, and 1 that stays")
        return gone

    def __str__(self) -> str:
        return f"{self.kind}:{self.count}" if self.count is not None else f"{self.kind}:{(self.share or 0) * 100:.10g}%"


def parse_removal(text: str) -> Removal | None:
    """Read "blocks:25%" or "experts:16"; None: it is no text of this kind. Raises PatternError for a mistake in one."""
    if not (m := re.fullmatch(r"\s*([a-z]+)\s*:\s*(.*?)\s*", text)):
        if (word := text.strip()) in UNIT_KINDS:
            raise PatternError(f'cannot read pattern {text!r}; write how many {word} go: "{word}:25%" or "{word}:4"')
        return None
    if m[1] not in UNIT_KINDS:
        raise PatternError(f"cannot read pattern {text!r}{did_you_mean(m[1], UNIT_KINDS)}")
    if share := re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", m[2]):
        return Removal(m[1], share=float(share[1]) / 100)  # type: ignore[arg-type]
    if re.fullmatch(r"\d+", m[2]):
        return Removal(m[1], count=int(m[2]))  # type: ignore[arg-type]
    raise PatternError(f'cannot read pattern {text!r}; write it like "{m[1]}:25%" or "{m[1]}:4"')


def parse_any(text: str) -> Pattern | Removal:
    """Read a pattern of zeros or of what is taken out."""
    return parse_removal(text) or _parse_zeros(text, ', "2:4" or "neurons:25%"')


def parse_pattern(text: str) -> Pattern:
    """Read "50%", "50%/row", "50%/matrix" or "2:4". Raises PatternError for a removal, which is of no matrix."""
    if removal := parse_removal(text):
        raise PatternError(f"{removal} takes whole {removal.kind} out, and what is wanted here is a pattern of zeros "
                           'in a matrix: write it like "50%" or "2:4"')  # fmt: skip
    return _parse_zeros(text, ' or "2:4"')


def _parse_zeros(text: str, others: str) -> Pattern:
    """others: what else could have been written, beside shares, as the line for a mistake ends."""
    if m := re.fullmatch(r"(-?\d+(?:\.\d+)?)\s*%(?:/(row|matrix))?", text.strip()):
        return Unstructured(float(m[1]) / 100, m[2])  # type: ignore[arg-type]
    if m := re.fullmatch(r"(\d+):(\d+)", text.strip()):
        return KeepNofM(int(m[1]), int(m[2]))
    how = f'write it like "50%", "50%/row", "50%/matrix"{others}'
    raise PatternError(f"cannot read pattern {text!r}; {_meant(text.strip()) or how}")


def _meant(text: str) -> str:
    """A question where the sign is missing (50, 0.5) or another (2-4)."""
    if (m := re.fullmatch(r"\d*\.?\d+", text)) and 0 < float(text) < 100:
        return f"did you mean '{float(text) * (100 if float(text) < 1 else 1):.10g}%'?"
    if re.fullmatch(r"\d{1,6}", text) and 0 < int(text) // 60 < int(text) % 60:
        n, m_of = divmod(int(text), 60)
        return f'did you mean "{n}:{m_of}"? without quotes YAML reads {n}:{m_of} as {text} (minutes and seconds)'
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
