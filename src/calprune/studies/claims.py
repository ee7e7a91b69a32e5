"""What a study's papers claim, written into the study's YAML, to be judged by its results. No torch is imported here.

claims:
  - says: The Pile is better calibration data than C4
    paper: 6.9 against 7.1 (table 2)       # the figure there, with its source; none: not verified
    better: {first: {calibration: pile}, than: {calibration: c4}, where: {method: wanda, evaluation: kl(wikitext2)}}

A selection names fields of a result; what it does not name it averages over; `*` stands for any letters, and an
evaluation may be written without its options. Kinds of claims, each a dataclass below, are in KINDS.
"""

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from calprune.base.calls import split
from calprune.base.values import ConfigError, did_you_mean, identity, read, tag_of
from calprune.studies.axes import AXES

FIELDS = (*AXES, "evaluation")  # of a result, by which a claim selects it


@dataclass(frozen=True)
class Where:
    """Results by what they have; a field that is not named takes all."""

    tag: ClassVar[str] = "Selection"

    wanted: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __getitem__(self, name: str) -> tuple[str, ...]:
        return self.wanted.get(name, ())

    def takes(self, setting: Mapping[str, str]) -> bool:
        """Whether a result with these fields is one of these."""
        return all(any(matches(name, setting[name], one) for one in at) for name, at in self.wanted.items() if at)

    def but(self, other: "Where") -> "Where":
        """The same with what another names in place of its own."""
        return Where({**self.wanted, **{name: at for name, at in other.wanted.items() if at}})

    def __str__(self) -> str:
        named = ((name.replace("num_samples", "sequences"), self[name]) for name in FIELDS)
        return "; ".join(f"{name} {', '.join(values)}" for name, values in named if values) or "all"

    def plain(self) -> dict[str, Any]:
        """What it is in a claim's identity."""
        return {"type": self.tag} | {name: list(at) for name, at in self.wanted.items() if at}


def matches(name: str, value: str, wanted: str) -> bool:
    """Whether a field's value is what is wanted; of "kl(c4, tokens=4096)" "kl(c4)" and "kl(*)" are too."""
    return fits(value, wanted) or (name == "evaluation" and fits(_short(value), wanted))


def fits(text: str, wanted: str) -> bool:
    """Whether it is the wanted text, in which `*` stands for any letters."""
    return re.fullmatch(".*".join(map(re.escape, wanted.split("*"))), text, re.DOTALL) is not None


def _short(evaluation: str) -> str:
    name, bracket, rest = evaluation.partition("(")
    kept = [word for word in split(rest.removesuffix(")"), ",") if not re.match(r"\w+\s*=", word)]
    return f"{name}({', '.join(kept)})" if bracket and kept != [""] and kept else name


def _check_margin(margin: float) -> None:
    if not 0 < margin < math.inf:
        raise ConfigError(f"margin: expected a number above 0; got {margin}")


Sides = dict[str, Where]  # by their place in the claim


@dataclass(frozen=True)
class Better:
    """The first's mean is better than that of each of the others, by at least `by` (nats a token, or accuracy)."""

    tag: ClassVar[str] = "Better"

    first: Where
    than: tuple[Where, ...]
    by: float = 0.0
    where: Where = Where()

    def __post_init__(self) -> None:
        if not math.isfinite(self.by):  # below 0: no worse than by so much
            raise ConfigError(f"by: expected a number; got {self.by}")
        if not self.than:
            raise ConfigError("than: expected one selection or more; got none")

    def sides(self) -> Sides:
        others = {f"than.{i}": self.where.but(one) for i, one in enumerate(self.than)}
        return {"first": self.where.but(self.first)} | others


@dataclass(frozen=True)
class Alike:
    """The two means differ by less than `margin`."""

    tag: ClassVar[str] = "Alike"

    first: Where
    than: Where
    margin: float
    where: Where = Where()

    def __post_init__(self) -> None:
        _check_margin(self.margin)

    def sides(self) -> Sides:
        return {"first": self.where.but(self.first), "than": self.where.but(self.than)}


@dataclass(frozen=True)
class Best:
    """The calibration is better than each of the others."""

    tag: ClassVar[str] = "Best"

    calibration: str
    of: tuple[str, ...]
    where: Where = Where()

    def __post_init__(self) -> None:
        if not self.of or self.calibration in self.of:
            raise ConfigError(f"of: expected calibrations, others than {self.calibration}; got {list(self.of)}")

    def sides(self) -> Sides:
        return {one: self.where.but(Where({"calibration": (one,)})) for one in (self.calibration, *self.of)}


@dataclass(frozen=True)
class NotBest(Best):
    """One of the others at least is better."""

    tag: ClassVar[str] = "NotBest"


@dataclass(frozen=True)
class Order:
    """Each calibration is better than the next."""

    tag: ClassVar[str] = "Order"

    calibrations: tuple[str, ...]
    where: Where = Where()

    def __post_init__(self) -> None:
        if len(set(self.calibrations)) < max(2, len(self.calibrations)):
            raise ConfigError(f"calibrations: expected two or more, each once; got {list(self.calibrations)}")

    def sides(self) -> Sides:
        return {one: self.where.but(Where({"calibration": (one,)})) for one in self.calibrations}


@dataclass(frozen=True)
class SourcesDiffer:
    """The means of the calibrations lie apart, by an SD of at least `by`."""

    tag: ClassVar[str] = "SourcesDiffer"

    by: float = 0.0
    where: Where = Where()

    def __post_init__(self) -> None:
        if not 0 <= self.by < math.inf:
            raise ConfigError(f"by: expected a number of 0 or more; got {self.by}")

    def sides(self) -> Sides:
        return {"where": self.where}


@dataclass(frozen=True)
class SourcesAlike:
    """The means of the calibrations lie apart by an SD of less than `margin`."""

    tag: ClassVar[str] = "SourcesAlike"

    margin: float
    where: Where = Where()

    def __post_init__(self) -> None:
        _check_margin(self.margin)

    def sides(self) -> Sides:
        return {"where": self.where}


@dataclass(frozen=True)
class SourcesDifferMore:
    """The means of the calibrations lie further apart in the first than in the other."""

    tag: ClassVar[str] = "SourcesDifferMore"

    first: Where
    than: Where
    measure: Literal["sd", "share"] = "sd"  # in the result's unit, or of the variance between sources and draws (ω²)
    where: Where = Where()

    def sides(self) -> Sides:
        return {"first": self.where.but(self.first), "than": self.where.but(self.than)}


@dataclass(frozen=True)
class DrawsDifferMore:
    """Draws of one source lie further apart in the first than in the other."""

    tag: ClassVar[str] = "DrawsDifferMore"

    first: Where
    than: Where
    where: Where = Where()

    def sides(self) -> Sides:
        return {"first": self.where.but(self.first), "than": self.where.but(self.than)}


@dataclass(frozen=True)
class DrawsDifferLessWithAmount:
    """The SD of a draw falls as the amount of data grows."""

    tag: ClassVar[str] = "DrawsDifferLessWithAmount"

    where: Where = Where()

    def sides(self) -> Sides:
        return {"where": self.where}


@dataclass(frozen=True)
class GoesWith:
    """The more alike by a measure of likeness, the better, or the worse."""

    tag: ClassVar[str] = "GoesWith"

    measure: str  # as the page calls it: "Jaccard of 3-grams to fineweb_edu"; `*` for any letters
    sign: Literal["better", "worse"] = "better"
    where: Where = Where()

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
        given = [(f, getattr(self.test, f.name)) for f in dataclasses.fields(self.test)]
        named = {f.name: _plain(value) for f, value in given if value != f.default}
        return identity({"type": tag_of(type(self.test))} | named)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(map(_plain, value))
    return value.plain() if isinstance(value, Where) else value


EXPECTED = ", ".join(KINDS)


def read_claims(data: Any, where: str) -> tuple[Claim, ...]:
    """The claims of a study's YAML. Raises ConfigError that names the place of a mistake."""
    if not isinstance(data, (list, tuple)):
        raise ConfigError(
            f"{where}: claims: expected a list of mappings with says, paper and one of {', '.join(KINDS)}"
        )
    return tuple(_read_claim(one, f"{where}: claims.{i}") for i, one in enumerate(data))


def _read_claim(data: Any, where: str) -> Claim:
    if not isinstance(data, Mapping):
        raise ConfigError(f"{where}: expected a mapping with says, paper and one of {EXPECTED}; got {data!r}")
    known = ["says", "paper", *KINDS]
    if unknown := [key for key in data if key not in known]:
        raise ConfigError(f"{where}: unknown option {unknown[0]!r}{did_you_mean(str(unknown[0]), known)}")
    kinds = [key for key in data if key in KINDS]
    if len(kinds) != 1 or not data.get("says"):
        raise ConfigError(f"{where}: expected says and one of {EXPECTED}; got {', '.join(map(str, data))}")
    kind, paper = kinds[0], data.get("paper") or ""
    asked = {"why": data[kind]} if kind == "not_measured" else data[kind]
    return Claim(str(data["says"]), _read_test(KINDS[kind], asked, f"{where}: {kind}"), str(paper))


def _read_test(cls: type, data: Any, where: str) -> Test:
    if isinstance(data, Mapping):
        data = dict(data)
        for one in dataclasses.fields(cls):
            if one.name in data and one.type is Where:
                data[one.name] = _where(data[one.name], f"{where}: {one.name}")
            elif one.name in data and one.type == tuple[Where, ...]:
                several = data[one.name] if isinstance(data[one.name], list) else [data[one.name]]
                data[one.name] = [_where(each, f"{where}: {one.name}") for each in several]
    return read(cls, data, where)


def _where(data: Any, where: str) -> dict[str, Any]:
    if not isinstance(data, Mapping):
        raise ConfigError(f"{where}: expected a mapping of {', '.join(FIELDS)}; got {data!r}")
    if unknown := [key for key in data if key not in FIELDS]:
        raise ConfigError(f"{where}: unknown option {unknown[0]!r}{did_you_mean(str(unknown[0]), FIELDS)}")
    if empty := [key for key, at in data.items() if at == [] or at is None]:
        raise ConfigError(f"{where}: {empty[0]}: expected one value or more; leave it out to take all")
    wanted = {key: [str(one) for one in (at if isinstance(at, list) else [at])] for key, at in data.items()}
    return {"wanted": wanted}


def check_claims(claims: Iterable[Claim], settings: Sequence[Mapping[str, str]], where: str) -> None:
    """Raise ConfigError for a claim about what no trial of the study has."""
    for i, claim in enumerate(claims):
        for side, selection in claim.test.sides().items():
            at = f"{where}: claims.{i}: {side}"
            for name, values in selection.wanted.items():
                known = dict.fromkeys(setting[name] for setting in settings)
                for value in values:
                    if not any(matches(name, one, value) for one in known):
                        raise ConfigError(f"{at}: no {name} of this study is {value!r}{did_you_mean(value, known)}; "
                                          "in a changed study change or leave out the claim")  # fmt: skip
            if not any(map(selection.takes, settings)):
                raise ConfigError(f"{at}: this study has no trial that is {selection}")
