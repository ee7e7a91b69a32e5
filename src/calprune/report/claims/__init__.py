"""Do a paper's claims hold here? Each is judged by the study's results alone, with an interval.

The more claims a study has, the more of them would hold by luck. So a verdict needs the interval corrected for all of
them: Holm's procedure, over the smallest error rate at which a claim's interval would still decide it.

| module | what |
|---|---|
| `judged` | a claim with its verdict; how an interval becomes one |
| `selected` | the results that a claim looks at, and what a reader must know of them |
| `differences` | claims about means: better, alike, best, an order |
| `spreads` | claims about how far sources or draws lie apart, and about likeness |
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from calprune.report.claims import differences, spreads
from calprune.report.claims.judged import CANNOT, Judged, Judgement, Undecided
from calprune.report.claims.selected import Selected, select
from calprune.report.findings import Findings
from calprune.studies import claims as kinds
from calprune.uncertainty.difference import holm
from calprune.uncertainty.power import SIGNIFICANCE

JUDGES: dict[type, Callable[[Any, Selected, float], Judgement]] = {
    kinds.Better: differences.better,
    kinds.Alike: differences.alike,
    kinds.Best: differences.best,
    kinds.NotBest: differences.not_best,
    kinds.Order: differences.order,
    kinds.SourcesDiffer: spreads.sources_differ,
    kinds.SourcesAlike: spreads.sources_alike,
    kinds.SourcesDifferMore: spreads.sources_differ_more,
    kinds.DrawsDifferMore: spreads.draws_differ_more,
    kinds.DrawsDifferLessWithAmount: spreads.draws_differ_less_with_amount,
    kinds.GoesWith: spreads.goes_with,
}


LEAST_P, STEPS = 1e-6, 24  # of the search for a claim's p: below the first it is not looked for; halvings


@dataclass(frozen=True)
class _Own:
    """A claim judged by its own 95 % interval."""

    judged: Judged
    selected: Selected | None  # None: nothing decides it


def judge(findings: Findings) -> list[Judged]:
    """The study's claims in their order, each with its verdict after Holm's correction over all that were measured."""
    found = [_own(claim, findings) for claim in findings.results.claims]
    adjusted = holm([_p(one) for one in found])
    measured = sum(p is not None for p in adjusted)
    return [_corrected(one, p, measured) for one, p in zip(found, adjusted, strict=True)]


def _own(claim: kinds.Claim, findings: Findings) -> _Own:
    if isinstance(claim.test, kinds.NotMeasured):
        return _Own(Judged(claim, Judgement("", None, CANNOT, f"not measured: {claim.test.why}")), None)
    try:
        selected = select(claim.test, findings)
        own = JUDGES[type(claim.test)](claim.test, selected, 1 - SIGNIFICANCE)
        return _Own(Judged(claim, own, selected.notes), selected)
    except Undecided as reason:
        return _Own(Judged(claim, Judgement("", None, CANNOT, str(reason))), None)


def _p(one: _Own) -> float | None:
    """The smallest error rate at which the claim's interval decides it, either way; None: it has no interval.

    Of a single difference it is the two-sided p of no difference at all, which is known.
    """
    own, test = one.judged.judgement, one.judged.claim.test
    if own.p is not None or one.selected is None or own.estimate is None or own.estimate.low is None:
        return own.p
    judge_at, selected = JUDGES[type(test)], one.selected

    def decides(rate: float) -> bool:
        return judge_at(test, selected, 1 - rate).verdict != CANNOT

    low, high = (LEAST_P, SIGNIFICANCE) if own.verdict != CANNOT else (SIGNIFICANCE, 1 - LEAST_P)
    if decides(low):
        return low
    if not decides(high):
        return 1.0
    for _ in range(STEPS):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if decides(middle) else (middle, high)
    return high


def _corrected(one: _Own, p: float | None, measured: int) -> Judged:
    """With what Holm's correction leaves of the verdict, and where that is nothing, the draws that would tell."""
    own = one.judged.judgement
    if own.verdict != CANNOT and p is not None and p < SIGNIFICANCE:
        return replace(one.judged, adjusted_p=p)
    drawn = one.selected.draws if one.selected else None
    draws = own.more_draws(drawn, measured) if drawn else None
    if own.verdict == CANNOT:
        return replace(one.judged, adjusted_p=p, draws=draws)
    why = f"{own.why}, but not after Holm's correction over the study's claims"
    judgement = replace(own, verdict=CANNOT, why=why)
    return replace(one.judged, adjusted_p=p, judgement=judgement, alone=own.verdict, draws=draws)
