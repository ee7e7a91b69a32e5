"""Is one better than the other? Differences between sources, paired by item, and methods, paired by draw."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from calprune.base.values import UserError
from calprune.uncertainty.crossed import CONFIDENCE, Rows, Weighed, table_of, variance_of
from calprune.uncertainty.estimate import Estimate, mean_of
from calprune.uncertainty.power import SIGNIFICANCE, detectable
from calprune.uncertainty.share import difference_of_shares, is_shares, near_an_end

Verdict = Literal["win", "tie", "loss"]
TURNED: dict[Verdict, Verdict] = {"win": "loss", "tie": "tie", "loss": "win"}  # of the other one of the two
ROUNDING = 1e-13  # of a number: differences that are equal up to it are the same


@dataclass(frozen=True)
class Difference:
    """The first minus the second, with its interval; `p` is two-sided, for no difference at all."""

    estimate: Estimate
    p: float | None  # None: cannot be told
    method: str  # how it was made, in words
    note: str  # what a reader must know of this one; "" mostly
    error: float | None = None  # the standard error of a difference by items, and its degrees of freedom
    freedom: float | None = None

    @property
    def detectable(self) -> float | None:
        """The smallest difference that 80 % of such studies find; None where it is not known."""
        if self.error is None or self.freedom is None:
            return None
        return detectable(self.error, 2.0, min(self.freedom, 1e4))  # of the difference itself, so √(2 / 2)


def paired_by_item(a: Rows, b: Rows) -> Difference:
    """The difference of two sources' means, whose draws are separate samples and whose items are the same.

    `a` and `b` hold one row a draw and one column an item; they may have different numbers of draws. A method that
    reads no data gives the same items at every draw: repeat its row. The interval is about other draws of the same
    sources and other items of the same kind. It covers from 3 draws on, and is cautious where draws and items are all
    alike. Of right and wrong answers of which there are few of either kind it is made of the two shares' intervals
    (`share.py`). The hierarchical bootstrap over draws and items does not: at 3 draws that differ it holds the truth in
    84 % of studies instead of 95 %, at 20 that do not in all (benchmarks/intervals.md), and its p value ends at one in
    as many as it resamples, too coarse for Holm over a page.
    """
    first, second = table_of(a, "the first source"), table_of(b, "the second source")
    if first.shape[1] != second.shape[1]:
        raise UserError(f"wanted the same items for both sources, got {first.shape[1]} and {second.shape[1]}")
    return weighed_sum([Weighed(1.0, "first", "items", first), Weighed(-1.0, "second", "items", second)])


def weighed_sum(parts: Sequence[Weighed], confidence: float = CONFIDENCE) -> Difference:
    """Σ weight · mean over draws and items, as `paired_by_item` has it of two tables with the weights 1 and -1.

    So that means over several settings can be compared: settings of one source share its draws, those judged by one
    evaluation share its items, and what parts share moves them together. Sources and settings are these and no others.
    """
    tables = [table_of(part.rows, f"{part.draws}, {part.items}") for part in parts]
    for axis, named in ((0, "draws"), (1, "items")):
        sizes: dict = {}
        for part, table in zip(parts, tables, strict=True):
            if sizes.setdefault(getattr(part, named), table.shape[axis]) != table.shape[axis]:
                raise UserError(f"{getattr(part, named)}: wanted the same {named} in each table")
    value = math.fsum(part.weight * float(table.mean()) for part, table in zip(parts, tables, strict=True))
    items = sum({part.items: table.shape[1] for part, table in zip(parts, tables, strict=True)}.values())
    if min(min(table.shape) for table in tables) < 2:
        few = "one draw" if min(table.shape[1] for table in tables) > 1 else "one item"
        return Difference(Estimate(value, None, None, items), None, "none", f"{few}: cannot be told")
    variance = variance_of(parts)
    method, p = "paired by item; Student's t with the variance of draws and items", variance.p(value)
    interval, error = variance.interval(value, items, confidence), math.sqrt(variance.value)
    if all(map(is_shares, tables)):
        if [part.weight for part in parts] == [1.0, -1.0] and any(map(near_an_end, tables)):
            interval, p = difference_of_shares(parts[0], parts[1], confidence)
            method = "paired by item; of the two shares' score intervals"
        interval = _within(interval, parts)
    return Difference(interval, p, method, "", error, variance.freedom)


def _within(interval: Estimate, parts: Sequence[Weighed]) -> Estimate:
    """Cut to what a sum of shares can be: the truth lies in it, so no interval that held it loses it."""
    least, most = (math.fsum(end(0.0, part.weight) for part in parts) for end in (min, max))
    assert interval.low is not None and interval.high is not None
    return replace(interval, low=max(least, interval.low), high=min(most, interval.high))


def paired_by_draw(a: Sequence[float], b: Sequence[float], most: float = math.inf) -> Difference:
    """The mean difference of two methods on the same draws of one source: the paired t test.

    The interval is about other draws with the same evaluation items. `most`: what no difference exceeds, 1 of shares;
    the interval is cut there. Shares move in steps of one item, so a few draws of them often differ by the same: that
    says nothing of the next draw, and cannot be told.
    """
    from scipy.stats import ttest_rel

    if len(a) != len(b) or not len(a):
        raise UserError(f"wanted the same draws of both methods, got {len(a)} and {len(b)}")
    differences = [x - y for x, y in zip(a, b, strict=True)]
    estimate = mean_of(differences)
    assert estimate is not None
    if estimate.low is not None and estimate.high is not None:
        estimate = replace(estimate, low=max(-most, estimate.low), high=min(most, estimate.high))
    method = "paired by draw; Student's t"
    if len(a) == 1:
        return Difference(estimate, None, method, "one draw: cannot be told")
    if np.ptp(differences) <= ROUNDING * max(1.0, *map(abs, (*a, *b))):  # t is x / 0
        note = "all draws differ by the same"
        if most < math.inf:
            return Difference(replace(estimate, low=None, high=None), None, method, note)
        return Difference(estimate, float(estimate.value == 0), method, note)
    return Difference(estimate, float(ttest_rel(a, b).pvalue), method, "")


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """The p values adjusted for being a family: the chance of one false finding in the family stays under the level.

    Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6, 1979. None,
    a comparison that could not be told, stays None and is no member of the family.
    """
    order = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, i) in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p))
        adjusted[i] = highest
    return adjusted


def verdict(difference: Difference, adjusted_p: float | None, lower_is_better: bool = False) -> Verdict:
    """Whether the first beats the second. A tie says that no difference was shown, not that there is none."""
    if adjusted_p is None or adjusted_p >= SIGNIFICANCE or difference.estimate.value == 0:
        return "tie"
    return "win" if (difference.estimate.value > 0) != lower_is_better else "loss"
