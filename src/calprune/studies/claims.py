"""What a study's papers claim, written into the study's YAML, to be judged by its results. No torch is imported here.

claims:
  - says: The Pile is better calibration data than C4
    paper: 6.9 against 7.1 (table 2)       # the figure there, with its source; none: not verified
    better: {first: {calibration: pile}, than: {calibration: c4}, where: {method: wanda, evaluation: kl(wikitext2)}}

A selection names fields of a result; what it does not name it averages over; `*` stands for any letters, and an
evaluation may be written without its options. Kinds of claims, each a dataclass below, are in KINDS.
"""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from calprune.base.values import identity

Field = Literal["model", "calibration", "method", "pattern", "allocation", "propagate", "token_weights", "permute",
                "num_samples", "evaluation"]  # fmt: skip

FIELDS: tuple[Field, ...] = get_args(Field)

Setting = Mapping[Field, str]  # what a result has in each of these


@dataclass(frozen=True)
class Selection:
    """Results by what they have; a field that is empty takes all."""

    tag: ClassVar[str] = "Selection"

    model: tuple[str, ...] = ()
    calibration: tuple[str, ...] = ()  # the label of the set's recipe
    method: tuple[str, ...] = ()
    pattern: tuple[str, ...] = ()
    allocation: tuple[str, ...] = ()
    propagate: tuple[str, ...] = ()
    token_weights: tuple[str, ...] = ()
    permute: tuple[str, ...] = ()
    num_samples: tuple[str, ...] = ()
    evaluation: tuple[str, ...] = ()

    def takes(self, setting: Setting) -> bool:
        """Whether it is one of these."""
        wanted = ((name, getattr(self, name)) for name in FIELDS)
        return all(any(matches(name, setting[name], one) for one in values) for name, values in wanted if values)

    def but(self, other: "Selection") -> "Selection":
        """The same with what another names in place of its own."""
        return dataclasses.replace(self, **{name: at for name in FIELDS if (at := getattr(other, name))})

    def __str__(self) -> str:
        named = ((name.replace("num_samples", "sequences"), getattr(self, name)) for name in FIELDS)
        return "; ".join(f"{name} {', '.join(values)}" for name, values in named if values) or "all"


def matches(name: Field, value: str, wanted: str) -> bool:
    """Whether a field's value is what is wanted; of "kl(c4, tokens=4096)" "kl(c4)" and "kl(*)" are too."""
    return fits(value, wanted) or (name == "evaluation" and fits(_short(value), wanted))


def fits(text: str, wanted: str) -> bool:
    """Whether it is the wanted text, in which `*` stands for any letters."""
    return re.fullmatch(".*".join(map(re.escape, wanted.split("*"))), text, re.DOTALL) is not None


def _short(evaluation: str) -> str:
    return re.sub(r",?\s*\w+=[^,()]+", "", evaluation).replace("()", "")


Sides = dict[str, Selection]  # by their place in the claim


@dataclass(frozen=True)
class Better:
    """The first's mean is better than that of each of the others, by at least `by` (nats a token, or accuracy)."""

    tag: ClassVar[str] = "Better"

    first: Selection
    than: tuple[Selection, ...]
    by: float = 0.0
    where: Selection = Selection()

    def sides(self) -> Sides:
        others = {f"than.{i}": self.where.but(one) for i, one in enumerate(self.than)}
        return {"first": self.where.but(self.first)} | others


@dataclass(frozen=True)
class Alike:
    """The two means differ by less than `margin`."""

    tag: ClassVar[str] = "Alike"

    first: Selection
    than: Selection
    margin: float
    where: Selection = Selection()

    def sides(self) -> Sides:
        return {"first": self.where.but(self.first), "than": self.where.but(self.than)}


@dataclass(frozen=True)
class Best:
    """The calibration is better than each of the others."""

    tag: ClassVar[str] = "Best"

    calibration: str
    of: tuple[str, ...]
    where: Selection = Selection()

    def sides(self) -> Sides:
        return {one: self.where.but(Selection(calibration=(one,))) for one in (self.calibration, *self.of)}


@dataclass(frozen=True)
class NotBest(Best):
    """One of the others at least is better."""

    tag: ClassVar[str] = "NotBest"


@dataclass(frozen=True)
class Order:
    """Each calibration is better than the next."""

    tag: ClassVar[str] = "Order"

    calibrations: tuple[str, ...]
    where: Selection = Selection()

    def sides(self) -> Sides:
        return {one: self.where.but(Selection(calibration=(one,))) for one in self.calibrations}


@dataclass(frozen=True)
class SourcesDiffer:
    """The means of the calibrations lie apart, by an SD of at least `by`."""

    tag: ClassVar[str] = "SourcesDiffer"

    by: float = 0.0
    where: Selection = Selection()

    def sides(self) -> Sides:
        return {"where": self.where}


@dataclass(frozen=True)
class SourcesAlike:
    """The means of the calibrations lie apart by an SD of less than `margin`."""

    tag: ClassVar[str] = "SourcesAlike"

    margin: float
    where: Selection = Selection()

    def sides(self) -> Sides:
        return {"where": self.where}


@dataclass(frozen=True)
class SourcesDifferMore:
    """The means of the calibrations lie further apart in the first than in the other."""

    tag: ClassVar[str] = "SourcesDifferMore"

    first: Selection
    than: Selection
    measure: Literal["sd", "share"] = "sd"  # in the result's unit, or of the variance between sources and draws (ω²)
    where: Selection = Selection()

    def sides(self) -> Sides:
        return {"first": self.where.but(self.first), "than": self.where.but(self.than)}


@dataclass(frozen=True)
class DrawsDifferMore:
    """Draws of one source lie further apart in the first than in the other."""

    tag: ClassVar[str] = "DrawsDifferMore"

    first: Selection
    than: Selection
    where: Selection = Selection()

    def sides(self) -> Sides:
        return {"first": self.where.but(self.first), "than": self.where.but(self.than)}


@dataclass(frozen=True)
class DrawsDifferLessWithAmount:
    """The SD of a draw falls as the amount of data grows."""

    tag: ClassVar[str] = "DrawsDifferLessWithAmount"

    where: Selection = Selection()

    def sides(self) -> Sides:
        return {"where": self.where}


@dataclass(frozen=True)
class GoesWith:
    """The more alike by a measure of likeness, the better, or the worse."""

    tag: ClassVar[str] = "GoesWith"

    measure: str  # as the page calls it: "Jaccard of 3-grams to fineweb_edu"; `*` for any letters
    sign: Literal["better", "worse"] = "better"
    where: Selection = Selection()

    def sides(self) -> Sides:
        return {"where": self.where}


@dataclass(frozen=True)
class NotMeasured:
    """A claim that this study cannot speak of."""

    tag: ClassVar[str] = "NotMeasured"

    why: str

    def sides(self) -> Sides:
        return {}


Test = (
    Better | Alike | Best | Order | SourcesDiffer | SourcesAlike | SourcesDifferMore | DrawsDifferMore
    | DrawsDifferLessWithAmount | GoesWith | NotMeasured
)  # fmt: skip

KINDS: dict[str, type] = {
    "better": Better,
    "alike": Alike,
    "best": Best,
    "not_best": NotBest,
    "order": Order,
    "sources_differ": SourcesDiffer,
    "sources_alike": SourcesAlike,
    "sources_differ_more": SourcesDifferMore,
    "draws_differ_more": DrawsDifferMore,
    "draws_differ_less_with_amount": DrawsDifferLessWithAmount,
    "goes_with": GoesWith,
    "not_measured": NotMeasured,
}


@dataclass(frozen=True)
class Claim:
    """A sentence of a paper, with what is looked at here to tell whether it holds."""

    says: str
    test: Test
    paper: str = ""  # the figure in the paper; "": not verified

    @property
    def id(self) -> str:
        """Changes with what is judged, not with its words."""
        return identity(self.test)
