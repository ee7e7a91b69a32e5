"""Do two orders go together? Spearman's rank correlation with an interval."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import ndtri

from calprune.base.values import UserError
from calprune.uncertainty.estimate import Estimate

FEWEST = 4  # the standard error divides by n - 3


def rank_correlation(x: Sequence[float], y: Sequence[float], confidence: float = 0.95) -> Estimate | None:
    """Spearman's correlation of pairs, with its interval; None where one side is constant.

    The interval is Fisher's z with the standard error √((1 + r²/2) / (n - 3)) (Bonett and Wright, "Sample size
    requirements for estimating Pearson, Kendall and Spearman correlations", Psychometrika 65, 2000). At 4 to 6 pairs it
    is wider than it must be; under 4 there is none.
    """
    n = len(x)
    if n != len(y):
        raise UserError(f"wanted as many values of both, got {n} and {len(y)}")
    if n < 2 or not np.ptp(x) or not np.ptp(y):
        return None
    from scipy.stats import spearmanr

    r = float(spearmanr(x, y).statistic)
    if n < FEWEST:
        return Estimate(r, None, None, n, confidence)
    most = 1 - 6 / (n * (n * n - 1))  # half a step below 1, the steps of r being 12 / (n³ - n): z of 1 is infinite
    z = math.atanh(max(-most, min(most, r)))
    half = float(ndtri((1 + confidence) / 2)) * math.sqrt((1 + r * r / 2) / (n - 3))
    low, high = math.tanh(z - half), math.tanh(z + half)
    return Estimate(r, min(low, r), max(high, r), n, confidence)
