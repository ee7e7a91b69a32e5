"""What a number of draws can show of SDs: how often an interval of `spread` lies on the true side of a value.

The rule for means (`power.draws_needed`) is of no use here: an SD's interval is wide and uneven at few draws and
shrinks by its degrees of freedom, sources · (draws - 1), and what shows that sources lie apart by no more than so much
is not what shows a difference. Draws are taken to be normal and as many of each source, as the intervals take them.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import chdtri, chndtr, chndtrix, fdtr, fdtri, ndtr, ndtri

from calprune.uncertainty.estimate import Estimate
from calprune.uncertainty.spread import error_of_doubling, larger_by, spread_from_squares, widening

SLICES = 64  # of equal chance, of the luck of the draw that a study finds
STUDIES = 250  # made-up ones
Spread = tuple[float, float]  # how far sources lie apart, and the SD of a draw
Chance = Callable[[int, float], float]  # of the draws of each source and the interval's confidence


def chance_of_spread(spread: float, luck: float, end: float, sources: int) -> Chance:
    """Of `spread_between`, where the sources' SD is `spread` and that of a draw `luck`: that its whole interval lies
    on the side of `end` where `spread` does. Exact for the noncentral χ² that the interval inverts, a mean over what a
    study may find of the luck."""

    def chance(draws: int, confidence: float) -> float:
        upper, freedom, total = (1 + confidence) / 2, sources * (draws - 1), sources * draws
        found = chdtri(freedom, (np.arange(SLICES) + 0.5) / SLICES) / freedom  # mean square of draws ÷ luck²
        widened = found * widening(freedom, upper)
        level = upper if spread > end else 1 - upper
        edge = widened * chndtrix(level, sources - 1, total * (end / luck) ** 2 / widened)
        below = float(np.mean(chndtr(edge, sources - 1, total * (spread / luck) ** 2)))
        return 1 - below if spread > end else below

    return chance


def chance_of_difference(first: Spread, than: Spread, sources: int) -> Chance:
    """Of `larger_by` of two `spread_between`, each side's sources so far apart with such luck: that its interval lies
    on the side of 0 where the difference does. By made-up studies, whose sides are independent, as the interval takes
    them."""

    def chance(draws: int, confidence: float) -> float:
        stream = np.random.default_rng(0)
        sides = (_made_up(*side, sources, draws, confidence, stream) for side in (first, than))
        found = [larger_by(a, b) for a, b in zip(*sides, strict=True)]
        decided = (one.low > 0 if first[0] > than[0] else one.high < 0 for one in found)  # type: ignore[operator]
        return sum(decided) / STUDIES

    return chance


def _made_up(
    spread: float, luck: float, sources: int, draws: int, confidence: float, stream: np.random.Generator
) -> list[Estimate]:
    """`spread_between` in made-up studies."""
    freedom, total = sources * (draws - 1), sources * draws
    within = luck**2 * stream.chisquare(freedom, STUDIES) / freedom
    seen = luck**2 * stream.noncentral_chisquare(sources - 1, total * (spread / luck) ** 2, STUDIES)
    squares = zip(seen.tolist(), within.tolist(), strict=True)
    return [spread_from_squares(one, (luck2, freedom), sources, total, confidence) for one, luck2 in squares]


def chance_of_ratio(ratio: float, sources: int) -> Chance:
    """Of `ratio_of_luck`, where it is `ratio` and both sides have these sources: that its interval lies on the side of
    1 where `ratio` does."""
    larger = max(ratio, 1 / ratio)  # F with equal degrees of freedom is the same upside down

    def chance(draws: int, confidence: float) -> float:
        freedom = sources * (draws - 1)
        return 1 - float(fdtr(freedom, freedom, float(fdtri(freedom, freedom, (1 + confidence) / 2)) / larger**2))

    return chance


def chance_of_doubling(factor: float, amounts: Sequence[int], sources: int) -> Chance:
    """Of `luck_per_doubling`, where it is `factor` and each of the amounts has these sources: that its interval lies on
    the side of 1 where `factor` does."""
    doublings = [math.log2(n) for n in amounts]

    def chance(draws: int, confidence: float) -> float:
        error = error_of_doubling(doublings, [float(sources * (draws - 1))] * len(doublings))
        return float(ndtr(abs(math.log(factor)) / error - ndtri((1 + confidence) / 2)))

    return chance
