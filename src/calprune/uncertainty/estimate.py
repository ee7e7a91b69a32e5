"""A value with its interval, and the spread of a result over draws."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Estimate:
    """A value with its interval, from `n` values (windows, examples, seeds)."""

    value: float
    low: float | None  # None: one value alone says nothing of its spread
    high: float | None
    n: int
    confidence: float = 0.95

    def map(self, increasing: Callable[[float], float]) -> "Estimate":
        """The estimate of an increasing function of the value: the interval goes through it too."""
        low, high = (None if end is None else increasing(end) for end in (self.low, self.high))
        return replace(self, value=increasing(self.value), low=low, high=high)

    def within(self, least: float, most: float) -> "Estimate":
        """The same of a value that cannot lie outside: the interval ends there."""
        low, high = (None if end is None else min(most, max(least, end)) for end in (self.low, self.high))
        return replace(self, low=low, high=high)

    def __str__(self) -> str:
        return f"{self.value:.4g}" + (f" [{self.low:.4g}, {self.high:.4g}]" if self.low is not None else "")


@dataclass(frozen=True)
class Spread:
    """What draws of one cell show: their mean, how far one draw lies from it, and how sure the mean is."""

    n: int
    mean: float
    sd: float | None  # of one draw; None: there is one draw
    interval: Estimate  # of the mean over all draws that could have been


def mean_of(values: Sequence[float], confidence: float = 0.95) -> Estimate | None:
    """The mean of independent values with Student's t interval; None when there are no values.

    The interval is about other draws of the same kind, and holds when values are independent and the mean of `n` of
    them is nearly normal. Windows that were cut from one long document are alike: then it is too narrow.
    """
    from scipy.stats import t

    n = len(values)
    if n == 0:
        return None
    mean = math.fsum(values) / n
    if n == 1:
        return Estimate(mean, None, None, 1, confidence)
    error = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1) / n)
    half = float(t.ppf((1 + confidence) / 2, n - 1)) * error
    return Estimate(mean, mean - half, mean + half, n, confidence)


def over_draws(values: Sequence[float]) -> Spread | None:
    """The mean, SD and 95 % interval (Student's t) of one cell's results, one a draw; None when there are none.

    The interval is about new draws with the same evaluation items. At one draw there is neither SD nor interval.
    """
    interval = mean_of(values)
    if interval is None:
        return None
    n, mean = interval.n, interval.value
    sd = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1)) if n > 1 else None
    return Spread(n, mean, sd, interval)


def exponential(nats: float) -> float:
    """exp; infinity beyond what float64 holds."""
    return math.exp(nats) if nats < 700 else math.inf
