"""What a number of draws can show: the power of the two-sample t test, by the noncentral F distribution."""

import math
from collections.abc import Callable

from scipy.optimize import brentq
from scipy.special import fdtri, ncfdtr, ndtri

from calprune.base.values import UserError

SIGNIFICANCE, POWER = 0.05, 0.8
MOST_DRAWS = 10**9


def detectable(sd: float, draws: float, freedom: int | float, power: float = POWER) -> float:
    """The smallest difference of two sources, each with `draws` draws of SD `sd`, found with this power.

    `draws` may be the harmonic mean of two numbers; `freedom` is of the SD: 2 · draws - 2 with these two sources alone,
    more where it is pooled over others.
    """
    critical = float(fdtri(1, freedom, 1 - SIGNIFICANCE))

    def lacking(shift: float) -> float:  # in standard errors; t² is F with the noncentrality shift²
        return power - 1 + float(ncfdtr(1, freedom, shift**2, critical))

    most = 4.0
    while lacking(most) > 0:
        most *= 2
    return sd * math.sqrt(2 / draws) * float(brentq(lacking, 0.0, most))


def draws_needed(sd: float, difference: float, power: float = POWER) -> int:
    """Draws of each of two sources, at least 2, that a two-sided t test at 5 % needs to find `difference`."""
    return _fewest(lambda n: detectable(sd, float(n), 2 * n - 2, power), sd, difference, power, "draws")


def items_needed(sd: float, difference: float, power: float = POWER) -> int:
    """Items, at least 2, that a two-sided paired t test at 5 % needs to find `difference`; sd: of differences."""
    return _fewest(lambda n: detectable(sd, 2.0 * n, n - 1, power), sd, difference, power, "items")


def draws_to_decide(away: float, draws: int, comparisons: int = 1, power: float = POWER) -> int:
    """About how many draws would show what these `draws` do not, if the truth is what they found; MOST_DRAWS at most.

    `away`: how many of its standard errors what was found lies from the end that decides. What is shown holds at 5 %
    among so many comparisons (Bonferroni), with this power, and the standard error falls with the root of the draws:
    where it is one of items too, they must grow as draws do.
    """
    wanted = float(ndtri(power) - ndtri(SIGNIFICANCE / comparisons / 2))
    return math.ceil(min(MOST_DRAWS, draws * (wanted / away) ** 2)) if away else MOST_DRAWS


def _fewest(seen: Callable[[int], float], sd: float, difference: float, power: float, what: str) -> int:
    """The smallest number from 2 on with which what is seen is at most the difference."""
    if not (sd >= 0 and difference > 0 and 0 < power < 1):
        raise UserError(f"wanted sd >= 0, difference > 0 and a power in (0, 1), got {sd}, {difference} and {power}")
    enough, short = 2, 1
    while seen(enough) > difference:
        enough, short = 2 * enough, enough
        if enough > MOST_DRAWS:
            raise UserError(f"a difference of {difference:g} with an SD of {sd:g} needs over {MOST_DRAWS:,} {what}")
    while enough - short > 1:
        middle = (enough + short) // 2
        enough, short = (middle, short) if seen(middle) <= difference else (enough, middle)
    return enough
