"""Metrics: what the values of an evaluation are, and how they are read, compared and shown.

`METRICS` is the table of calprune's own; an evaluation of the user's own brings its `Metric` with it, and the files of
a study keep what it says. Whoever shows, sorts or averages results reads these fields and knows no metric by name. No
torch is imported here.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from calprune.base.values import ConfigError, read
from calprune.uncertainty.estimate import Estimate, exponential, mean_of


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

    def estimate(self, items: Sequence[float]) -> Estimate:
        """The value of the items, as it is shown, with its interval. Raises ConfigError where there is none."""
        found = mean_of(items)
        if found is None:
            raise ConfigError(f"metric {self.name}: there is no item to take the mean of")
        return found.map(exponential) if self.log else found

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

METRICS: dict[str, Metric] = {one.name: one for one in (PERPLEXITY, KL, ACCURACY, EXACT_MATCH)}


def metric_of(name: str, own: Mapping[str, Any] | None = None) -> Metric:
    """The metric of a result's file: of this name, or as the file describes it. Raises ConfigError for neither."""
    if own is not None:
        return read(Metric, dict(own), f"metric {name}")
    if name not in METRICS:
        raise ConfigError(f"metric {name!r} is none of calprune's ({', '.join(METRICS)}), and is not described")
    return METRICS[name]
