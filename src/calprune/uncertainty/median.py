"""The median, with an interval that asks nothing of how the values are distributed: for times, which have a tail."""

from collections.abc import Sequence

from calprune.uncertainty.estimate import Estimate


def median_of(values: Sequence[float], confidence: float = 0.95) -> Estimate | None:
    """The median of independent values, between two of them; None when there are no values.

    The k-th smallest and the k-th largest hold the median of all values that could have been with the probability that
    of n throws of a coin at least k, and at most n − k, show heads: 1 − 2 P(B(n, ½) < k). k is the largest that
    reaches `confidence`; below six values none does at 95 %, and there is no interval. Conover, "Practical
    Nonparametric Statistics", 1999, section 3.2.
    """
    from scipy.stats import binom

    n, ordered = len(values), sorted(values)
    if n == 0:
        return None
    middle = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2
    k = max((k for k in range(n // 2 + 1) if 2 * binom.cdf(k - 1, n, 0.5) <= 1 - confidence), default=0)
    if k == 0:
        return Estimate(middle, None, None, n, confidence)
    return Estimate(middle, ordered[k - 1], ordered[n - k], n, confidence)
