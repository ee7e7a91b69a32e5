"""What a number of draws can show of SDs: how often an interval of `spread` lies on the true side of a value.

The rule for means (`power.draws_needed`) is of no use here: an SD's interval is wide and uneven at few draws and
shrinks by its degrees of freedom, sources · (draws - 1), and what shows that sources lie apart by no more than so much
is not what shows a difference. Draws are taken to be normal and as many of each source, as the intervals take them.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import chdtri, chndtr, chndtrix, fdtr, fdtri, ndtr, ndtri, stdtrit

from calprune.uncertainty.power import POWER
from calprune.uncertainty.spread import error_of_doubling

SLICES = 64  # of equal chance, of the luck of the draw that a study finds

STUDIES, STEPS = 250, 24  # made-up studies, and halvings of where a noncentrality lies
Spread = tuple[float, float]  # how far sources lie apart, and the SD of a draw
Chance = Callable[[int, float], float]  # of the draws of each source and the interval's confidence


def fewest_draws(chance: Callable[[int], float], least: int, most: int, power: float = POWER) -> int:
    """The smallest number from `least` on that has this chance; most + 1 where none up to `most` has it."""
    short, enough = least - 1, least
    while not chance(enough) >= power:  # nor where it cannot be worked out
        if enough == most:
            return most + 1
        short, enough = enough, min(most, 2 * enough)
    while enough - short > 1:
        middle = (enough + short) // 2
        enough, short = (middle, short) if chance(middle) >= power else (enough, middle)
    return enough


def chance_of_spread(spread: float, luck: float, end: float, sources: int) -> Chance:
    """Of `spread_between`, where the sources' SD is `spread` and that of a draw `luck`: that its whole interval lies
    on the side of `end` where `spread` does. Exact for the noncentral χ² that the interval inverts, a mean over what a
    study may find of the luck."""

    def chance(draws: int, confidence: float) -> float:
        upper, freedom, total = (1 + confidence) / 2, sources * (draws - 1), sources * draws
        found = chdtri(freedom, (np.arange(SLICES) + 0.5) / SLICES) / freedom  # mean square of draws ÷ luck²
        widened = found * (float(stdtrit(freedom, upper)) / float(ndtri(upper))) ** 2
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
        a, b = (_studies(*side, sources, draws, confidence, stream) for side in (first, than))
        if first[0] < than[0]:
            a, b = b, a
        (low, value, _), (_, than_value, high) = a, b
        return float(np.mean(value - than_value > np.hypot(value - low, high - than_value)))

    return chance


def _studies(
    spread: float, luck: float, sources: int, draws: int, confidence: float, stream: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Low end, value and high end of `spread_between` in made-up studies."""
    upper, freedom, total, between = (1 + confidence) / 2, sources * (draws - 1), sources * draws, sources - 1
    within = luck**2 * stream.chisquare(freedom, STUDIES) / freedom
    seen = luck**2 * stream.noncentral_chisquare(between, total * (spread / luck) ** 2, STUDIES)
    widened = within * (float(stdtrit(freedom, upper)) / float(ndtri(upper))) ** 2
    low, high = (_noncentrality(seen / widened, between, level) * widened for level in (upper, 1 - upper))
    value = np.sqrt(np.maximum(0, seen - between * within) / total)
    return np.minimum(np.sqrt(low / total), value), value, np.maximum(np.sqrt(high / total), value)


def _noncentrality(seen: np.ndarray, freedom: int, level: float) -> np.ndarray:
    """By bisection that of the noncentral χ² which lies below what was seen in so many cases; 0 where none does."""
    low, high = np.zeros_like(seen), 2 * (seen + freedom + 40)
    for _ in range(STEPS):
        middle = (low + high) / 2
        beyond = chndtr(seen, freedom, middle) < level
        low, high = np.where(beyond, low, middle), np.where(beyond, middle, high)
    return low


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
