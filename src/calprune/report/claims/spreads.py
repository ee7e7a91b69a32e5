"""Claims about how far sources, or draws of one, lie apart, and about likeness. The interval is about other draws;
that of a likeness is about other sources."""

import math
from collections import defaultdict
from collections.abc import Iterable

from scipy.stats import rankdata

from calprune.pages.numbers import listed
from calprune.report.claims.judged import CANNOT, NO_LUCK, ONE_DRAW, Judgement, Region, Undecided
from calprune.report.claims.selected import Selected
from calprune.report.findings import Cell
from calprune.studies import claims as kinds
from calprune.uncertainty.effect import effect_of_groups
from calprune.uncertainty.estimate import Estimate
from calprune.uncertainty.ranks import rank_correlation
from calprune.uncertainty.spread import larger_by, luck_per_doubling, ratio_of_luck, spread_between, within_draws
from calprune.uncertainty.spread_power import (
    Chance,
    chance_of_difference,
    chance_of_doubling,
    chance_of_ratio,
    chance_of_spread,
)

Groups = dict[str, list[float]]  # by source, one value a draw


def sources_differ(test: kinds.SourcesDiffer, selected: Selected, confidence: float) -> Judgement:
    return _spread(selected, confidence, Region(least=test.by))


def sources_alike(test: kinds.SourcesAlike, selected: Selected, confidence: float) -> Judgement:
    return _spread(selected, confidence, Region(most=test.margin))


def sources_differ_more(test: kinds.SourcesDifferMore, selected: Selected, confidence: float) -> Judgement:
    first, than = _groups(selected)
    if test.measure == "share":
        what, unit = "the share of variance between sources", "1 is all"
        counted = all(cell.counted for side in selected.sides.values() for cells in side.values() for cell in cells)
        a, b = (effect_of_groups(groups, confidence, counted=counted).share for groups in (first, than))
    else:
        what, unit = "the SD between sources", selected.unit
        a, b = spread_between(first, confidence), spread_between(than, confidence)
    if a is None or b is None:
        raise Undecided(_no_luck(first, than))
    chance = None if test.measure == "share" else _chance_of_more(a, b, first, than)
    found = larger_by(a, b)
    said = f"{what}, {selected.names['first']} minus {selected.names['than']}, {unit}; {_of(first)}"
    return Judgement(said, found, *Region(least=0.0).judge(found), chance=chance)


def draws_differ_more(test: kinds.DrawsDifferMore, selected: Selected, confidence: float) -> Judgement:
    first, than = _groups(selected)
    found = ratio_of_luck(first, than, confidence)
    if found is None:
        raise Undecided(_no_luck(first, than))
    said = f"SD of a draw, {selected.names['first']} ÷ {selected.names['than']}; {_of(first)}"
    chance = chance_of_ratio(found.value, len(first))
    return Judgement(said, found, *Region(least=1.0).judge(found), chance=chance)


def draws_differ_less_with_amount(
    test: kinds.DrawsDifferLessWithAmount, selected: Selected, confidence: float
) -> Judgement:
    cells = [cell for found in selected.sides["where"].values() for cell in found]
    amounts = sorted({cell.of.num_samples for cell in cells if cell.of.num_samples is not None})
    if len(amounts) < 2:
        raise Undecided("not measured: there is one amount of data")
    by_amount = {n: [cell for cell in cells if cell.of.num_samples == n] for n in amounts}
    sources = _everywhere(by_amount.values())
    found = luck_per_doubling({n: _means(own, sources) for n, own in by_amount.items()}, confidence)
    if found is None:
        raise Undecided(ONE_DRAW if any(len(cell.values) < 2 for cell in cells) else NO_LUCK)
    said = f"factor of the SD of a draw when the data doubles, {listed([f'{n:,}' for n in amounts])} sequences; "
    chance = chance_of_doubling(found.value, amounts, len(sources))
    return Judgement(said + listed(sources), found, *Region(most=1.0).judge(found), chance=chance)


def goes_with(test: kinds.GoesWith, selected: Selected, confidence: float) -> Judgement:
    measures = {one.measure for one in selected.similarity if kinds.fits(one.measure, test.measure)}
    if len(measures) != 1:
        known = sorted(measures or {one.measure for one in selected.similarity}) or ["none"]
        raise Undecided(f"not measured: no single likeness is called {test.measure!r}; there are: {listed(known)}")
    reference = next(iter(measures)).partition(" to ")[2]
    if reference in selected.stand_ins:
        raise Undecided(f"{reference} stands in: {selected.stand_ins[reference]}")
    alike = {one.calibration: one.value if one.higher_is_more_alike else -one.value
             for one in selected.similarity if one.measure in measures}  # fmt: skip
    cells = [cell for found in selected.sides["where"].values() for cell in found if cell.of.calibration in alike]
    sources = _everywhere([cells])
    found = rank_correlation([alike[one] for one in sources], _standing(cells, sources), confidence)
    if found is None or found.low is None:
        few = f"{len(sources)} sources have both, and it takes four"
        return Judgement("", found, CANNOT, few if len(sources) < 4 else "all of them are the same")
    region = Region(least=0.0) if test.sign == "better" else Region(most=0.0)
    said = f"rank correlation with {next(iter(measures))}, {len(sources)} sources; above 0: the more alike the better"
    return Judgement(said, found, *region.judge(found))


def _spread(selected: Selected, confidence: float, region: Region) -> Judgement:
    (groups,) = _groups(selected)
    found = spread_between(groups, confidence)
    if found is None:
        raise Undecided(_no_luck(groups))
    said = f"the SD between sources, {selected.unit}; {_of(groups)}"
    return Judgement(said, found, *region.judge(found), chance=_chance(found, groups, region))


def _chance(found: Estimate, groups: Groups, region: Region) -> Chance | None:
    """None where nothing lies apart and the claim is that anything does: no draws show that nothing does."""
    within, end = within_draws(groups), region.least if math.isfinite(region.least) else region.most
    assert within is not None, "as there is an estimate"
    return chance_of_spread(found.value, math.sqrt(within[0]), end, len(groups)) if found.value != end else None


def _chance_of_more(a: Estimate, b: Estimate, first: Groups, than: Groups) -> Chance | None:
    luck = [math.sqrt(within[0]) for groups in (first, than) if (within := within_draws(groups))]
    return None if a.value == b.value else chance_of_difference((a.value, luck[0]), (b.value, luck[1]), len(first))


def _groups(selected: Selected) -> list[Groups]:
    """Of each side: for each source, that all settings of all sides have, the mean over settings by draw."""
    cells = [[cell for found in strata.values() for cell in found] for strata in selected.sides.values()]
    sources = _everywhere(cells)
    return [_means(own, sources) for own in cells]


def _everywhere(sides: Iterable[list[Cell]]) -> list[str]:
    """The sources that have every setting of these."""
    settings: dict[tuple, dict[str, None]] = defaultdict(dict)
    for i, cells in enumerate(sides):
        for cell in cells:
            settings[(i, *_setting(cell))][cell.of.calibration] = None
    first, *rest = settings.values() or [{}]
    return [source for source in first if all(source in other for other in rest)]


def _setting(cell: Cell) -> tuple:
    return tuple((cell.of.setting | {"calibration": ""}).values())


def _means(cells: list[Cell], sources: list[str]) -> Groups:
    """By source and draw, over its cells."""
    groups = {}
    for source in sources:
        own = [dict(zip([row.draw for row in cell.rows], cell.values, strict=True)) for cell in cells
               if cell.of.calibration == source]  # fmt: skip
        draws = [draw for draw in own[0] if all(draw in other for other in own)]
        groups[source] = [math.fsum(one[draw] for one in own) / len(own) for draw in draws]
    return {source: values for source, values in groups.items() if values}


def _standing(cells: list[Cell], sources: list[str]) -> list[float]:
    """Of each source the sum of its ranks in every setting, so that one of large differences counts like another."""
    good: dict[tuple, dict[str, float]] = defaultdict(dict)
    for cell in cells:
        good[_setting(cell)][cell.of.calibration] = cell.of.measures.oriented(math.fsum(cell.values) / len(cell.values))
    return sum(rankdata([by[source] for source in sources]) for by in good.values()).tolist() if sources else []


def _no_luck(*sides: Groups) -> str:
    if any(len(groups) < 2 for groups in sides):
        return "not measured: there are not two sources that have results in all of these settings"
    return ONE_DRAW if any(len(values) < 2 for groups in sides for values in groups.values()) else NO_LUCK


def _of(groups: Groups) -> str:
    draws = sorted({len(values) for values in groups.values()})
    return f"{listed(list(groups))}, {' to '.join(map(str, draws))} draws each"
