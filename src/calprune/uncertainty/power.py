"""What a number of draws can show: the power of the two-sample t test, by the noncentral F distribution."""

import math
from collections.abc import Callable

from scipy.optimize import brentq
from scipy.special import fdtri, ncfdtr

from calprune.base.values import UserError

SIGNIFICANCE, POWER = 0.05, 0.8
MOST_DRAWS = 10**9


def detectable(sd: float, draws: float, freedom: int | float, power: float = POWER, comparisons: int = 1) -> float:
    """The smallest difference of two sources, each with `draws` draws of SD `sd`, found with this power at 5 % among so
    many comparisons (Bonferroni).

    `draws` may be the harmonic mean of two numbers; `freedom` is of the SD: 2 · draws - 2 with these two sources alone,
    more where it is pooled over others.
    """
    critical = float(fdtri(1, freedom, 1 - SIGNIFICANCE / comparisons))

    def lacking(shift: float) -> float:  # in standard errors; t² is F with the noncentrality shift²
        return power - 1 + float(ncfdtr(1, freedom, shift**2, critical))

    most = 4.0
    while lacking(most) > 0:
        most *= 2
    return sd * math.sqrt(2 / draws) * float(brentq(lacking, 0.0, most))


def draws_needed(sd: float, difference: float, power: float = POWER, comparisons: int = 1) -> int:
    """Draws of each of two sources, at least 2, that a two-sided t test at 5 % needs to find `difference`.

    Among so many comparisons each has its share of the 5 % (Bonferroni).
    """
    return _fewest(lambda n: detectable(sd, float(n), 2 * n - 2, power, comparisons), sd, difference, power, "draws")


def items_needed(sd: float, difference: float, power: float = POWER) -> int:
    """Items, at least 2, that a two-sided paired t test at 5 % needs to find `difference`; sd: of differences."""
    return _fewest(lambda n: detectable(sd, 2.0 * n, n - 1, power), sd, difference, power, "items")


def _fewest(seen: Callable[[int], float], sd: float, difference: float, power: float, what: str) -> int:
    """The smallest number from 2 on with which what is seen is at most the difference."""
    if not (sd >= 0 and difference > 0 and 0 < power < 1):
        raise UserError(f"wanted sd >= 0, difference > 0 and a power in (0, 1), got {sd}, {difference} and {power}")
    if (found := fewest(lambda n: seen(n) <= difference, 2, MOST_DRAWS)) > MOST_DRAWS:
        raise UserError(f"a difference of {difference:g} with an SD of {sd:g} needs over {MOST_DRAWS:,} {what}")
    return found


def fewest(enough: Callable[[int], bool], least: int, most: int) -> int:
    """The smallest number from `least` on that is enough, as all larger ones are; most + 1: none up to `most` is."""
    short, found = least - 1, least
    while not enough(found):
        if found == most:
            return most + 1
        short, found = found, min(most, 2 * found)
    while found - short > 1:
        middle = (found + short) // 2
        found, short = (middle, short) if enough(middle) else (found, middle)
    return found
