"""Do a paper's claims hold here? Each is judged by the study's results alone, with an interval.

| module | what |
|---|---|
| `judged` | a claim with its verdict; how an interval becomes one |
| `selected` | the results that a claim looks at, and what a reader must know of them |
| `differences` | claims about means: better, alike, best, an order |
| `spreads` | claims about how far sources or draws lie apart, and about likeness |
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from calprune.report.claims import differences, spreads
from calprune.report.claims.judged import CANNOT, Judged, Judgement, Undecided
from calprune.report.claims.selected import Selected, select
from calprune.report.findings import Findings
from calprune.studies import claims as kinds
from calprune.uncertainty.difference import holm

JUDGES: dict[type, Callable[[Any, Selected], Judgement]] = {
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


def judge(findings: Findings) -> list[Judged]:
    """The study's claims in their order, each with its verdict by its own interval, and with Holm's p beside it."""
    found = [_judge(claim, findings) for claim in findings.results.claims]
    adjusted = holm([one.judgement.p for one in found])
    return [replace(one, adjusted_p=p) for one, p in zip(found, adjusted, strict=True)]


def _judge(claim: kinds.Claim, findings: Findings) -> Judged:
    if isinstance(claim.test, kinds.NotMeasured):
        return Judged(claim, Judgement("", None, CANNOT, f"not measured: {claim.test.why}"))
    try:
        selected = select(claim.test, findings)
        return Judged(claim, JUDGES[type(claim.test)](claim.test, selected), selected.notes)
    except Undecided as reason:
        return Judged(claim, Judgement("", None, CANNOT, str(reason)))
