"""Does the data matter here? The one-way effect of the source, beside what draws of one source do."""

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.optimize import brentq
from scipy.special import fdtrc, ncfdtr, stdtrit

from calprune.base.values import UserError
from calprune.uncertainty.estimate import Estimate
from calprune.uncertainty.power import detectable

Word = Literal["immaterial", "not shown", "matters", "cannot be told"]

MOST_F, MOST_SHARE = 1e6, 1 - 1e-7  # beyond, a share is 1 to five digits and the noncentral F loses its own

RULE = (
    "matters: the whole interval of the range, from the best source to the worst, lies beyond the smallest difference "
    "of interest; immaterial: the whole of it lies inside; not shown: it holds that difference"
)


def word_of(apart: Estimate | None, of_interest: float | None) -> Word:
    """What a range of sources is, by RULE. `of_interest` in its unit; None: no difference is too small, so that none is
    immaterial."""
    if apart is None or apart.low is None or apart.high is None:
        return "cannot be told"
    least = of_interest or 0.0
    return "matters" if apart.low > least else "immaterial" if apart.high < least else "not shown"


def range_of(
    groups: Mapping[str, Sequence[float]], confidence: float = 0.95, *, counted: bool = False
) -> Estimate | None:
    """The largest difference of two sources' true means, with its interval; None: no source has two draws, or there is
    one source, or `counted` values that do not differ between draws.

    Draws of all sources are taken to have one SD. Upper end: of all pairs the largest upper end of Student's one-sided
    interval, uncorrected: it holds the range whenever that of the pair farthest apart holds its difference (Berger and
    Hsu, "Bioequivalence trials, intersection-union tests and equivalence confidence sets", Statistical Science 11,
    1996). Lower end: of all pairs the largest lower end of Tukey's and Kramer's intervals, which hold together. Each
    end errs in at most (1 - confidence) / 2 of studies. It is about other draws with the same items.
    """
    effect = effect_of_groups(groups, counted=counted)
    if effect.sd is None:
        return None
    n, level, freedom = len(groups), (1 + confidence) / 2, effect.draws - len(groups)
    means = [(math.fsum(values) / len(values), 1 / len(values)) for values in groups.values()]
    pairs = [(abs(a - b), effect.sd * math.sqrt(p + q)) for (a, p), (b, q) in itertools.combinations(means, 2)]
    one, together = float(stdtrit(freedom, level)), _studentized(level, n, freedom) / math.sqrt(2)
    high = max(difference + one * error for difference, error in pairs)
    low = max(0.0, max(difference - together * error for difference, error in pairs))
    return Estimate(effect.range, low, high, effect.draws, confidence)


@functools.lru_cache(maxsize=1024)
def _studentized(level: float, groups: int, freedom: int) -> float:
    """The quantile of the studentized range; a tenth of a second each."""
    from scipy.stats import studentized_range  # a second of imports

    return float(studentized_range.ppf(level, groups, freedom))


@dataclass(frozen=True)
class Effect:
    """What a choice of source does to one result, the draws of each source being the measure."""

    groups: int
    draws: int  # of all groups
    range: float  # from the lowest to the highest mean of a source
    lowest: str
    highest: str
    sd: float | None  # of draws within a source, pooled; None: no source has two draws, or it cannot be told
    eta_squared: float | None  # share of the variance seen that lies between sources; too high at few draws
    share: Estimate | None  # the same, corrected (ω²), with the interval of the population's η²
    p: float | None  # F test
    detectable: float | None  # the smallest difference of two sources that is found in 80 % of such studies


def effect_of_groups(
    groups: Mapping[str, Sequence[float]], confidence: float = 0.95, *, counted: bool = False
) -> Effect:
    """The one-way effect of the groups' names (sources) on values (one a draw).

    Draws of all groups are taken to have one SD. ω² = (SS_between - (G - 1) MS_within) / (SS_total + MS_within), not
    below 0 (Hays 1963): at 3 draws of 4 sources without any effect η² is .27 on average, ω² .09. The interval inverts
    the noncentral F distribution, η² = λ / (λ + N) (Steiger, Psychological Methods 9, 2004); where there is no effect
    its lower end is 0 in 97.5 % of studies. One draw of each source: nothing but means and range can be told. Nor
    can it where values are `counted`, shares of items that are right, and no draw differs: they move in steps of an
    item, so that a few draws often tie by chance.
    """
    from scipy.stats import hmean

    if not groups or not all(len(values) for values in groups.values()):
        raise UserError("wanted at least one draw of each source")
    if not all(math.isfinite(value) for values in groups.values() for value in values):
        raise UserError("wanted finite values of each source")
    means = {name: math.fsum(values) / len(values) for name, values in groups.items()}
    lowest, highest = min(means, key=means.__getitem__), max(means, key=means.__getitem__)
    total, between = sum(map(len, groups.values())), len(groups) - 1
    within = total - len(groups)
    seen = (len(groups), total, means[highest] - means[lowest], lowest, highest)
    if not between or not within:
        return Effect(*seen, None, None, None, None, None)
    everything = np.concatenate([np.asarray(values, dtype=float) for values in groups.values()])
    sizes = [len(values) for values in groups.values()]
    ss_between = float(np.dot(sizes, (np.array(list(means.values())) - everything.mean()) ** 2))
    ss_within = math.fsum((v - means[name]) ** 2 for name, values in groups.items() for v in values)
    rounding = total * (1e-14 * float(np.abs(everything).max())) ** 2
    ss_between, ss_within = (0.0 if ss <= rounding else ss for ss in (ss_between, ss_within))
    if counted and ss_within == 0:
        return Effect(*seen, None, None, None, None, None)
    sd = math.sqrt(ss_within / within)
    eta, share, p = _shares(ss_between, ss_within, between, within, confidence)
    seeable = detectable(sd, float(hmean(sizes)), within)
    return Effect(*seen, sd, eta, share, p, seeable)


def _shares(
    ss_between: float, ss_within: float, between: int, within: int, confidence: float
) -> tuple[float, Estimate, float]:
    """η², ω² with its interval, and p."""
    total = between + within + 1
    if ss_within == 0:  # draws differ in nothing: what is there between sources is all there is
        eta = float(ss_between > 0)
        return eta, Estimate(eta, eta, eta, total, confidence), 1 - eta
    mean_square = ss_within / within
    f = ss_between / between / mean_square
    eta = ss_between / (ss_between + ss_within)
    corrected = max(0.0, (ss_between - between * mean_square) / (ss_between + ss_within + mean_square))
    upper = (1 + confidence) / 2
    low, high = (_population_share(min(f, MOST_F), between, within, level) for level in (upper, 1 - upper))
    return eta, Estimate(corrected, low, high, total, confidence), float(fdtrc(between, within, f))


def _population_share(f: float, between: int, within: int, level: float) -> float:
    """The η² of the population under which an F up to the one seen has the chance `level`."""
    total = between + within + 1

    def excess(share: float) -> float:
        chance = ncfdtr(between, within, total * share / (1 - share), f)
        return float(np.nan_to_num(chance)) - level  # where it is under 1e-20 scipy gives nan in places

    return float(brentq(excess, 0.0, MOST_SHARE)) if excess(0.0) > 0 else 0.0
