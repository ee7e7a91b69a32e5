"""How far sources, or draws, lie apart, and whether they do so more in one setting than in another.

No bootstrap: at 3 draws it holds the truth far too seldom. Sources are these and no others, draws are a sample of more,
and the items are the same. `benchmarks/intervals.md` has the coverage.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.optimize import brentq
from scipy.special import chdtr, chndtr, fdtri, ndtri, psi, stdtrit, zeta

from calprune.base.values import UserError
from calprune.uncertainty.estimate import Estimate

Groups = Mapping[str, Sequence[float]]  # values by source, one a draw
CONFIDENCE = 0.95


def spread_between(groups: Groups, confidence: float = CONFIDENCE) -> Estimate | None:
    """The SD of the sources' true means (divided by their number), without what the luck of the draw adds to it.

    σ² = Σ(μ_s - μ)² / G. With N draws in all, SS_between / σ_draw² has the noncentral χ² distribution of noncentrality
    N σ² / σ_draw², which is inverted for the limits; σ_draw is estimated, so it is widened there as Student's t is
    beside the normal. None: fewer than two sources, or no source has two draws, or draws do not differ.
    """
    within = within_draws(groups)
    if len(groups) < 2 or within is None or within[0] == 0:
        return None
    total = sum(map(len, groups.values()))
    means = {name: math.fsum(values) / len(values) for name, values in groups.items()}
    middle = math.fsum(len(groups[name]) * mean for name, mean in means.items()) / total
    seen = math.fsum(len(groups[name]) * (mean - middle) ** 2 for name, mean in means.items())
    return spread_from_squares(seen, within, len(groups), total, confidence)


def spread_from_squares(
    seen: float, within: tuple[float, int], sources: int, total: int, confidence: float
) -> Estimate:
    """`spread_between` of `total` draws: from the sum of squares between sources, and `within_draws`."""
    mean_square, freedom = within
    upper = (1 + confidence) / 2
    widened = mean_square * widening(freedom, upper)
    low, high = (_noncentrality(seen / widened, sources - 1, level) * widened for level in (upper, 1 - upper))
    value = max(0.0, seen - (sources - 1) * mean_square)
    low, value, high = (math.sqrt(one / total) for one in (low, value, high))
    return Estimate(value, min(low, value), max(high, value), total, confidence)


def widening(freedom: int, upper: float) -> float:
    """By how much a variance is raised because it is estimated: as Student's t is wider than the normal, squared."""
    return (float(stdtrit(freedom, upper)) / float(ndtri(upper))) ** 2


def larger_by(a: Estimate, b: Estimate) -> Estimate:
    """a - b with the interval that their own make (MOVER: Zou and Donner, Statistics in Medicine 27, 2008).

    It takes them to be independent; where the same draws move both the same way it is wider than it must be.
    """
    if a.low is None or a.high is None or b.low is None or b.high is None:
        return Estimate(a.value - b.value, None, None, a.n, a.confidence)
    value = a.value - b.value
    low = value - math.hypot(a.value - a.low, b.high - b.value)
    return Estimate(value, low, value + math.hypot(a.high - a.value, b.value - b.low), min(a.n, b.n),
                    a.confidence)  # fmt: skip


def ratio_of_luck(a: Groups, b: Groups, confidence: float = CONFIDENCE) -> Estimate | None:
    """SD of a draw in `a` ÷ that in `b`, each pooled over its sources, by the F distribution of normal draws.

    None: somewhere no source has two draws, or the draws do not differ.
    """
    first, second = within_draws(a), within_draws(b)
    if first is None or second is None or not first[0] or not second[0]:
        return None
    squared = first[0] / second[0]
    upper, n = (1 + confidence) / 2, first[1] + second[1]
    ends = [squared / float(fdtri(first[1], second[1], level)) for level in (upper, 1 - upper)]
    return Estimate(math.sqrt(squared), math.sqrt(ends[0]), math.sqrt(ends[1]), n, confidence)


def luck_per_doubling(by_amount: Mapping[int, Groups], confidence: float = CONFIDENCE) -> Estimate | None:
    """By what factor the SD of a draw changes when the amount of data doubles: an average's by 1/√2.

    A weighted line through ln SD against log2 of the amount. With ν degrees of freedom ln s² is biased by
    ψ(ν/2) - ln(ν/2) and has the variance ψ'(ν/2) (Bartlett and Kendall, JRSS Supplement 8, 1946). None: there are not
    two amounts with draws that differ.
    """
    points = [(math.log2(n), *one) for n, groups in by_amount.items() if (one := within_draws(groups)) and one[0]]
    if len({x for x, _, _ in points}) < 2:
        return None
    x = np.array([one[0] for one in points])
    half = np.array([one[2] / 2 for one in points])
    y = (np.log([one[1] for one in points]) - psi(half) + np.log(half)) / 2
    weight = _certainty(half)
    centred = x - np.average(x, weights=weight)
    slope, error = float(weight @ (centred * y)) / float(weight @ centred**2), error_of_doubling(x, 2 * half)
    reach = float(ndtri((1 + confidence) / 2)) * error
    ends = math.exp(slope - reach), math.exp(slope + reach)
    return Estimate(math.exp(slope), *ends, int(2 * half.sum()), confidence)


def error_of_doubling(doublings: Sequence[float] | np.ndarray, freedom: Sequence[float] | np.ndarray) -> float:
    """The standard error of `luck_per_doubling`'s slope, of ln SD: by amount its log2 and the degrees of freedom."""
    x, weight = np.asarray(doublings), _certainty(np.asarray(freedom) / 2)
    return 1 / math.sqrt(float(weight @ (x - np.average(x, weights=weight)) ** 2))


def _certainty(half: np.ndarray) -> np.ndarray:
    """1 / variance of ln SD by half its degrees of freedom: ψ' is Hurwitz's zeta at 2."""
    return 4 / zeta(2, half)


def within_draws(groups: Groups) -> tuple[float, int] | None:
    """The mean square of draws within sources, and its degrees of freedom; None: no source has two draws."""
    if not all(math.isfinite(value) for values in groups.values() for value in values):
        raise UserError("wanted finite values of each source")
    freedom = sum(len(values) - 1 for values in groups.values())
    if freedom < 1:
        return None
    squares = math.fsum((v - math.fsum(values) / len(values)) ** 2 for values in groups.values() for v in values)
    largest = max(abs(value) for values in groups.values() for value in values)
    return (0.0 if squares <= freedom * (1e-14 * largest) ** 2 else squares / freedom), freedom


def _noncentrality(chi_squared: float, freedom: int, level: float) -> float:
    """The noncentrality under which so small a χ² has the chance `level`; 0 where it always has less."""
    if float(chdtr(freedom, chi_squared)) <= level:
        return 0.0
    most = 10 + 4 * chi_squared
    while float(chndtr(chi_squared, freedom, most)) > level:
        most *= 2
    return float(brentq(lambda shift: float(chndtr(chi_squared, freedom, shift)) - level, 1e-12, most))
