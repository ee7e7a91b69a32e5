"""Metrics: what the values of an evaluation are, and how they are read, compared and shown.

`METRICS` is the table of calprune's own; an evaluation of the user's own brings its `Metric` with it, and the files of
a study keep what it says. Whoever shows, sorts or averages results reads these fields and knows no metric by name. No
torch is imported here.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from calprune.base.values import ConfigError, did_you_mean, read
from calprune.uncertainty.estimate import Estimate, exponential, mean_of
from calprune.uncertainty.share import is_shares, share_of

NATS = "nats a token"
NATS_OF_INTEREST = 0.02  # of perplexity 2 %
POINT = 0.01  # of accuracy


@dataclass(frozen=True)
class Metric:
    """One value an item, the mean over items, and what is known of both.

    Raises ConfigError for a retention that the other fields do not allow.
    """

    name: str  # in files and queries: letters, digits and _
    title: str = ""  # of axes and columns; "": the name with spaces
    unit: str = ""  # of differences between models; "": the title
    lower_is_better: bool = False
    log: bool = False  # items are natural logarithms: shown is exp of their mean, and draws are compared by the mean
    item: Literal["window", "item"] = "item"  # what is paired between models
    needs_dense: bool = False  # it compares with the dense model, whose own value says nothing
    retention: Literal["ratio", "above chance"] | None = None  # what is left: dense ÷ pruned, the part above chance
    group: str = ""  # only metrics of one group have a common mean; "": the title
    about: str = ""  # how it is made, in a sentence
    of_interest: float | None = None  # the smallest difference that anyone would act on, in `unit`; None: as usual

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ConfigError(f"metric {self.name!r}: a name has letters, digits and _")
        if (self.retention == "ratio") != (self.log and self.retention is not None):
            raise ConfigError(f"metric {self.name}: retention 'ratio' goes with log, 'above chance' with plain values")
        if self.retention == "above chance" and self.lower_is_better:
            raise ConfigError(f"metric {self.name}: retention 'above chance' goes with metrics that are to be high")
        title = self.title or self.name.replace("_", " ")
        for field, value in (("title", title), ("unit", self.unit or title), ("group", self.group or title)):
            object.__setattr__(self, field, value)
        if self.of_interest is None:
            usual = POINT if self.retention == "above chance" else NATS_OF_INTEREST if self.in_nats else None
            object.__setattr__(self, "of_interest", usual)
        elif not 0 < self.of_interest < math.inf:
            raise ConfigError(f"metric {self.name}: of_interest: expected a number above 0; got {self.of_interest}")

    @property
    def in_nats(self) -> bool:
        """Whether differences are in nats a token."""
        return self.log or self.unit == NATS

    def estimate(self, items: Sequence[float]) -> Estimate:
        """The value of the items, as it is shown, with its interval: of shares Wilson's, which stays in 0 … 1.

        Raises ConfigError where there is none.
        """
        if items and self.counts(items):
            return share_of(items)
        found = mean_of(items)
        if found is None:
            raise ConfigError(f"metric {self.name}: there is no item to take the mean of")
        return found.map(exponential) if self.log else found

    def counts(self, items: Sequence[float]) -> bool:
        """Whether its value is a share of items that are right, each 1 or 0."""
        return self.retention == "above chance" and is_shares(items)

    def value(self, items: Sequence[float]) -> float:
        """The value of the items, as it is shown."""
        mean = math.fsum(items) / len(items)
        return exponential(mean) if self.log else mean

    def compared(self, value: float) -> float:
        """A value on the scale on which draws are compared."""
        return math.log(value) if self.log else value

    def oriented(self, value: float) -> float:
        """The value such that higher is better."""
        return -value if self.lower_is_better else value

    def difference(self, value: float) -> str:
        """A difference in words: "0.02 nats a token (2 % of perplexity)", "1 point"."""
        if self.log:
            return f"{value:.3g} {self.unit} ({100 * math.expm1(min(value, 700)):.2g} % of {self.title})"
        if self.retention == "above chance":
            return f"{100 * value:.3g} point{'' if math.isclose(value, POINT) else 's'}"
        return f"{value:.3g} {self.unit}"


PERPLEXITY = Metric(
    "perplexity", unit="nats a token", lower_is_better=True, log=True, item="window", retention="ratio",
    about="The exponential of the mean nats a token over windows of held-out text; one item is one window.",
)  # fmt: skip
KL = Metric(
    "kl", "KL, nats a token", "nats a token", lower_is_better=True, item="window", needs_dense=True, group="KL",
    about="KL(dense ‖ pruned) of the next-token distributions, nats a token; 0 is the dense model.",
)  # fmt: skip
RIGHT = "One outcome an item, 1 or 0; the dense model answered the same items."
ACCURACY = Metric("accuracy", retention="above chance", group="tasks", about=RIGHT)
EXACT_MATCH = Metric("exact_match", retention="above chance", group="tasks", about=RIGHT)
PASSED = Metric("pass_at_1", "pass@1", retention="above chance", group="tasks", about=RIGHT)

METRICS: dict[str, Metric] = {one.name: one for one in (PERPLEXITY, KL, ACCURACY, EXACT_MATCH, PASSED)}


def metric_of(name: str, own: Mapping[str, Any] | None = None) -> Metric:
    """The metric of a result's file: of this name, or as the file describes it. Raises ConfigError for neither."""
    if own is not None:
        return read(Metric, dict(own), f"metric {name}")
    if name not in METRICS:
        raise ConfigError(f"metric {name!r} is none of calprune's ({', '.join(METRICS)}), and is not described")
    return METRICS[name]


@dataclass(frozen=True)
class Interest:
    """The smallest differences that the user would act on; what is not named is as usual: `Metric.of_interest`."""

    least: Mapping[str, float] = dataclasses.field(default_factory=dict)  # by "nats", "points" or a metric's name

    def of(self, metric: Metric) -> float | None:
        """In the unit in which draws are compared: nats a token of perplexity, 0.01 for a point of accuracy."""
        if metric.name in self.least:
            return self.least[metric.name]
        if metric.retention == "above chance" and "points" in self.least:
            return self.least["points"] * POINT
        if metric.in_nats and "nats" in self.least:
            return self.least["nats"]
        return metric.of_interest

    def but(self, other: "Interest") -> "Interest":
        """With what the other names in place of its own."""
        return Interest({**self.least, **other.least})


USUAL_INTEREST = Interest()
HOW = "write nats=0.02 (of perplexity 2 %), points=1 (of accuracy), or a metric's name and a number in its unit"


def read_interest(given: Any, where: str, own: Iterable[str] = ()) -> Interest:
    """Of a mapping, or of texts like "nats=0.02". `own`: names of metrics beside calprune's own.

    Raises ConfigError for a name of no metric, and for what is no number above 0.
    """
    if isinstance(given, (list, tuple)):
        if bad := [one for one in given if not isinstance(one, str) or "=" not in one]:
            raise ConfigError(f"{where}: cannot read {bad[0]!r}; {HOW}")
        pairs = [(name.strip(), value) for name, _, value in (one.partition("=") for one in given)]
        if twice := [name for i, (name, _) in enumerate(pairs) if name in dict(pairs[:i])]:
            raise ConfigError(f"{where}: {twice[0]} is there twice")
        given = dict(pairs)
    if not isinstance(given, Mapping):
        raise ConfigError(f"{where}: cannot read {given!r}; {HOW}")
    known, found = ("nats", "points", *METRICS, *own), {}
    for name, value in given.items():
        if name not in known:
            raise ConfigError(f"{where}: no metric is called {name!r}{did_you_mean(str(name), known)}; {HOW}")
        try:
            found[name] = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError):
            found[name] = math.nan
        if not 0 < found[name] < math.inf:
            raise ConfigError(f"{where}: {name}: expected a number above 0; got {value!r}")
    return Interest(found)
