"""Intervals of shares, such as accuracies, and of their differences: they never leave 0 … 1, or -1 … 1.

One model: Wilson's score interval. Where draws differ too the share is one of a clustered sample: Wilson's interval
with the effective number of items p (1 - p) / error² and Student's t for z (Korn and Graubard, Survey Methodology 24,
1998; Franco, Little, Louis, Slud, Journal of Survey Statistics and Methodology 7, 2019). At 0 and at 1 no error is
seen, for none of the draws erred: there it is Wilson's of the items alone, as if draws were one. A difference is of the
two intervals and of how the two move together (Newcombe's method 10 for pairs, Statistics in Medicine 17, 1998; as
MOVER: Zou and Donner, Statistics in Medicine 27, 2008).
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.special import ndtri, stdtrit

from calprune.uncertainty.crossed import Variance, Weighed, variance_of
from calprune.uncertainty.estimate import Estimate, Spread, over_draws

FEW = 5  # right or wrong items: with fewer of either a mean is not nearly normal
LEAST_P, STEPS = 1e-9, 40  # of the search for a p value


def is_shares(values: Sequence[float] | np.ndarray) -> bool:
    """Whether every outcome is right or wrong, 1 or 0."""
    return bool(np.isin(np.asarray(values, dtype=float), (0.0, 1.0)).all())


def share_of(items: Sequence[float], confidence: float = 0.95) -> Estimate:
    """The share of ones among items of 1 and 0, at least one, with Wilson's interval (JASA 22, 1927)."""
    from scipy.stats import binomtest

    right, n = round(math.fsum(items)), len(items)
    interval = binomtest(right, n).proportion_ci(confidence, method="wilson")
    return Estimate(right / n, float(interval.low), float(interval.high), n, confidence)


def shares_over_draws(values: Sequence[float], items: int) -> Spread | None:
    """The mean, SD and 95 % interval of shares of the same `items`, one a draw; None when there are none.

    The interval is about other draws with the same items. At one draw there is neither SD nor interval.
    """
    found = over_draws(values)
    if found is None or found.sd is None:
        return found
    low, high = _score(found.mean, found.sd**2 / found.n, float(found.n - 1), items, found.interval.confidence)
    return Spread(found.n, found.mean, found.sd, Estimate(found.mean, low, high, found.n))


def near_an_end(table: Float[np.ndarray, "draws items"]) -> bool:
    """Whether a table of right and wrong answers has, a draw, fewer than FEW of either."""
    mean, items = float(table.mean()), table.shape[1]
    return min(mean, 1 - mean) * items < FEW


def difference_of_shares(first: Weighed, second: Weighed, confidence: float = 0.95) -> tuple[Estimate, float]:
    """The first's share less the second's, of the tables' outcomes of 1 and 0, with its interval and two-sided p.

    p is the smallest error rate at which the interval leaves 0 out.
    """
    tables = [np.asarray(one.rows, dtype=float) for one in (first, second)]
    a, b = (float(table.mean()) for table in tables)
    alone = [variance_of([Weighed(1.0, one.draws, one.items, one.rows)]) for one in (first, second)]
    both = variance_of([Weighed(1.0, first.draws, first.items, first.rows),
                        Weighed(-1.0, second.draws, second.items, second.rows)])  # fmt: skip
    spread = math.sqrt(alone[0].value * alone[1].value)
    together = (alone[0].value + alone[1].value - both.value) / (2 * spread) if spread else 0.0
    together, items = max(-1.0, min(1.0, together)), tables[0].shape[1]

    def ends(confidence: float) -> tuple[float, float]:
        low_a, high_a = _of_table(a, alone[0], items, confidence)
        low_b, high_b = _of_table(b, alone[1], items, confidence)
        return (a - b - _hypotenuse(a - low_a, high_b - b, together),
                a - b + _hypotenuse(high_a - a, b - low_b, together))  # fmt: skip

    low, high = ends(confidence)
    return Estimate(a - b, low, high, items, confidence), _p(a - b, ends)


def _p(value: float, ends) -> float:
    if value == 0:
        return 1.0
    low, high = LEAST_P, 1 - LEAST_P
    for _ in range(STEPS):
        middle = (low + high) / 2
        at = ends(1 - middle)
        low, high = (low, middle) if at[0] > 0 or at[1] < 0 else (middle, high)
    return high


def _hypotenuse(x: float, y: float, together: float) -> float:
    return math.sqrt(max(0.0, x * x - 2 * together * x * y + y * y))


def _of_table(share: float, variance: Variance, items: int, confidence: float) -> tuple[float, float]:
    return _score(share, variance.value, variance.freedom, items, confidence)


def _score(share: float, variance: float, freedom: float, items: int, confidence: float) -> tuple[float, float]:
    """The ends of Wilson's interval with the effective number of items; of the items themselves at 0 and 1."""
    level = (1 + confidence) / 2
    if share in (0.0, 1.0):
        size, quantile = float(items), float(ndtri(level))
    elif variance == 0:  # draws do not differ, and items are the same: nothing is left to be unsure of
        return share, share
    else:
        size, quantile = share * (1 - share) / variance, float(stdtrit(min(freedom, 1e9), level))
    weight = quantile**2 / size
    centre = (share + weight / 2) / (1 + weight)
    half = math.sqrt(weight * share * (1 - share) + weight**2 / 4) / (1 + weight)
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))
