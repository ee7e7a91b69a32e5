"""Claims about means: which is better, alike, the best of several, and in what order."""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

from calprune.report.claims.judged import Judgement, Region, Undecided
from calprune.report.claims.selected import Selected
from calprune.report.findings import Cell
from calprune.report.settings import sources_of
from calprune.studies import claims as kinds
from calprune.studies.axes import NO_DATA
from calprune.uncertainty.crossed import Weighed
from calprune.uncertainty.difference import Difference, weighed_sum
from calprune.uncertainty.estimate import Estimate


@dataclass(frozen=True)
class SmallestDifference:
    """The smallest of several differences, each of two sides."""

    pair: tuple[str, str]
    estimate: Estimate
    detectable: float | None
    p: float | None  # where it is one difference, not the smallest of several
    error: float | None  # its standard error
    pairs: int


def better(test: kinds.Better, selected: Selected, confidence: float) -> Judgement:
    least = smallest(selected, [("first", side) for side in selected.sides if side != "first"], confidence)
    region = Region(least=test.by)
    judgement = _judgement(selected, least, region, " (the best of them)" if len(test.than) > 1 else "")
    return judgement if test.by else replace(judgement, p=least.p)


def alike(test: kinds.Alike, selected: Selected, confidence: float) -> Judgement:
    return _judgement(selected, smallest(selected, [("first", "than")], confidence), Region(-test.margin, test.margin))


def best(test: kinds.Best, selected: Selected, confidence: float) -> Judgement:
    return _judgement(selected, _of_best(test, selected, confidence), Region(least=0.0), " (the best of the others)")


def not_best(test: kinds.NotBest, selected: Selected, confidence: float) -> Judgement:
    return _judgement(selected, _of_best(test, selected, confidence), Region(most=0.0), " (the best of the others)")


def order(test: kinds.Order, selected: Selected, confidence: float) -> Judgement:
    steps = list(zip(test.calibrations, test.calibrations[1:], strict=False))
    return _judgement(selected, smallest(selected, steps, confidence), Region(least=0.0), " (the smallest step)")


def _of_best(test: kinds.Best, selected: Selected, confidence: float) -> SmallestDifference:
    pairs = [(test.calibration, side) for side in selected.sides if side != test.calibration]
    return smallest(selected, pairs, confidence)


def _judgement(selected: Selected, least: SmallestDifference, region: Region, which: str = "") -> Judgement:
    first, than = (selected.names[side] for side in least.pair)
    mean = f", mean of {selected.settings} settings" if selected.settings > 1 else ""
    what = f"gain of {first} over {than}{which}{mean}, {selected.unit}"
    verdict, why = region.judge(least.estimate, least.detectable)
    return Judgement(what, least.estimate, verdict, why, region=region, error=least.error, pairs=least.pairs)


def smallest(selected: Selected, pairs: Sequence[tuple[str, str]], confidence: float = 0.95) -> SmallestDifference:
    """The smallest difference of these pairs, with an interval that holds it with this confidence.

    Each pair's interval is Bonferroni's, so with it all are right together, and then the smallest difference lies
    between the smallest lower and the smallest upper end (as in Hsu's comparisons with the best, 1984).
    """
    found = {pair: _difference(selected, *pair, 1 - (1 - confidence) / len(pairs)) for pair in pairs}
    pair = min(found, key=lambda one: found[one].estimate.value)
    estimates = [one.estimate for one in found.values()]
    lows, highs = [one.low for one in estimates], [one.high for one in estimates]
    low = None if None in lows else min(end for end in lows if end is not None)
    high = None if None in highs else min(end for end in highs if end is not None)
    estimate = Estimate(found[pair].estimate.value, low, high, estimates[0].n, confidence)
    of = found[pair]
    return SmallestDifference(pair, estimate, of.detectable, of.p if len(pairs) == 1 else None, of.error, len(pairs))


def _difference(selected: Selected, first: str, than: str, confidence: float) -> Difference:
    """The first's mean less the other's, oriented so that above 0 is better; every stratum counts the same."""
    weights = [(cell, sign / len(strata) / len(cells)) for side, sign in ((first, 1.0), (than, -1.0))
               for strata in [selected.sides[side]] for cells in strata.values() for cell in cells]  # fmt: skip
    shared = _shared_draws([cell for cell, _ in weights])
    counts: dict[str, set[int]] = defaultdict(set)
    for cell, _ in weights:
        counts[cell.of.evaluation].add(len(cell.of.items))
    if uneven := [name for name, found in counts.items() if len(found) > 1]:
        raise Undecided(f"not measured: {uneven[0]} has other items from one model to the next, so a mean over them is "
                        "not paired by item; let the claim name a model")  # fmt: skip
    return weighed_sum([_weighed(cell, weight, shared[_draws(cell)]) for cell, weight in weights], confidence)


def _draws(cell: Cell) -> Hashable:
    """What the draws are of: sets of the same sources with one seed may share documents, whatever their settings."""
    return tuple(sorted(sources_of(cell.of)))


def _shared_draws(cells: Sequence[Cell]) -> dict[Hashable, list]:
    draws: dict[Hashable, list[set]] = defaultdict(list)
    for cell in cells:
        draws[_draws(cell)].append({row.draw for row in cell.rows})
    shared = {name: sorted(set.intersection(*found), key=str) for name, found in draws.items()}
    if not all(shared.values()):
        raise Undecided("not measured: settings of one source have no draw in common")
    return shared


def _weighed(cell: Cell, weight: float, draws: list) -> Weighed:
    rows = [row.items for row in cell.rows if row.draw in draws]
    rows = rows * 2 if cell.of.calibration == NO_DATA and len(rows) == 1 else rows  # the same at every draw
    return Weighed(cell.of.measures.oriented(weight), _draws(cell), cell.of.evaluation, rows)
