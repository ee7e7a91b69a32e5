"""What a study's rows show, by the statistics of `uncertainty`: cells, comparisons of sources, retention, methods.

A *cell* is one source in one setting judged by one evaluation, with all of its draws. A *comparison* is one setting
judged by one evaluation: the cells of all its sources beside each other.
"""

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from calprune.config import UserError
from calprune.report.names import NO_DATA, SETTING, in_order, own_text, setting_name, varying
from calprune.study.results import LOWER_IS_BETTER, Result, Results
from calprune.uncertainty import (
    Difference,
    Effect,
    Spread,
    Verdict,
    draws_needed,
    effect_of_groups,
    holm,
    over_draws,
    paired_by_draw,
    paired_by_item,
    verdict,
)
from calprune.uncertainty.difference import SIGNIFICANCE

DEFAULT = "c4"  # what the field calibrates with where nothing is said


@dataclass(frozen=True)
class Cell:
    """All draws of one source in one setting, judged by one evaluation."""

    rows: tuple[Result, ...]  # by draw

    @property
    def of(self) -> Result:
        """A row of it, for what all of its rows share."""
        return self.rows[0]

    @cached_property
    def spread(self) -> Spread:
        spread = over_draws([row.value for row in self.rows])
        assert spread is not None
        return spread

    @property
    def items(self) -> list[tuple[float, ...]]:
        """One row a draw. A method without data gives the same at every draw, so its row stands twice."""
        rows = [row.items for row in self.rows]
        return rows * 2 if self.of.calibration == NO_DATA and len(rows) == 1 else rows

    @property
    def own(self) -> bool:
        """Whether the source is judged on its own text."""
        return own_text(self.of.calibration, self.of.evaluation)


@dataclass(frozen=True)
class Contrast:
    """One source less another."""

    first: str
    second: str
    difference: Difference
    adjusted_p: float | None  # the larger of Holm's over the comparison's pairs and of the effect's
    verdict: Verdict


@dataclass(frozen=True)
class Comparison:
    """The sources of one setting judged by one evaluation."""

    cells: tuple[Cell, ...]  # best first
    effect: Effect
    adjusted_p: float | None  # of the effect: Holm's over all comparisons of the page
    contrasts: tuple[Contrast, ...] = ()  # of all pairs, the better first

    @property
    def of(self) -> Result:
        return self.cells[0].of

    @property
    def word(self) -> str:
        """The effect's word, after Holm's correction over the page."""
        shown = self.adjusted_p is not None and self.adjusted_p < SIGNIFICANCE
        return self.effect.word if shown or self.effect.word == "cannot be told" else "immaterial"

    @property
    def sources(self) -> list[str]:
        return [cell.of.calibration for cell in self.cells]

    @property
    def fair(self) -> list[str]:
        """The sources, best first, that are not judged on their own text."""
        return [cell.of.calibration for cell in self.cells if not cell.own]

    def draws_to_tell(self) -> int | None:
        """Draws of each that the best needs to be told from the next; None: it cannot be said."""
        best, following = self.cells[0].spread.mean, self.cells[1].spread.mean
        try:
            return draws_needed(self.effect.sd, abs(best - following)) if self.effect.sd is not None else None
        except UserError:  # they do not differ, or by next to nothing
            return None


@dataclass(frozen=True)
class MethodContrast:
    """Two methods with the same draws of one source."""

    first: Result  # a row of it
    second: Result
    draws: int
    difference: Difference
    adjusted_p: float | None  # Holm's over all of these
    verdict: Verdict


class Findings:
    """What the page, the files and the sentences say; nothing is computed twice."""

    def __init__(self, results: Results):
        self.results = results
        self.rows = tuple(row for row in results.rows if _finite(row))
        self.not_finite = tuple(row for row in results.rows if not _finite(row))
        self.fields = set(varying(self.rows))
        self.cells = _cells(self.rows)
        self.comparisons = _comparisons(self.cells)
        self.methods = _methods(self.cells)

    @property
    def sources(self) -> list[str]:
        """Calibrations, without those of methods that read no data, in the order in which they come."""
        return [name for name in dict.fromkeys(row.calibration for row in self.rows) if name != NO_DATA]

    def method(self, row: Result) -> str:
        """The method, with the allocation and the propagation where the study has several."""
        return setting_name(row, {"method"} | self.fields & {"allocation", "propagate"})

    def setting(self, row: Result) -> str:
        """Method and pattern, and whatever else the study has several of: "wanda 60%"."""
        return setting_name(row, {"method", "pattern"} | self.fields)

    def words(self) -> dict[str, int]:
        """How many comparisons have each word."""
        counts: dict[str, int] = defaultdict(int)
        for comparison in self.comparisons:
            counts[comparison.word] += 1
        return dict(counts)

    @cached_property
    def ranking(self) -> list[tuple[str, float]]:
        """Sources by mean place, 0 the best to 1 the worst of a comparison, where not judged on their own text."""
        places: dict[str, list[float]] = defaultdict(list)
        for comparison in self.comparisons:
            for place, source in enumerate(fair := comparison.fair):
                places[source].append(place / max(1, len(fair) - 1))
        return sorted(((name, math.fsum(at) / len(at)) for name, at in places.items()), key=lambda one: one[1])

    def record(self, first: str, second: str) -> dict[Verdict, int]:
        """How often the first wins, ties and loses against the second, where neither reads its own text."""
        counts: dict[Verdict, int] = {"win": 0, "tie": 0, "loss": 0}
        turned: dict[Verdict, Verdict] = {"win": "loss", "tie": "tie", "loss": "win"}
        for comparison in self.comparisons:
            if {first, second} <= set(comparison.fair):
                for one in comparison.contrasts:
                    if {one.first, one.second} == {first, second}:
                        counts[one.verdict if one.first == first else turned[one.verdict]] += 1
        return counts


def _finite(row: Result) -> bool:
    return all(map(math.isfinite, (row.value, *row.items)))


def _cells(rows: Iterable[Result]) -> list[Cell]:
    groups: dict[tuple[str, ...], list[Result]] = defaultdict(list)
    for row in rows:
        groups[(*row.cell, row.evaluation, row.metric)].append(row)
    cells = [Cell(tuple(sorted(group, key=lambda row: row.draw or 0))) for group in groups.values()]
    patterns = {pattern: i for i, pattern in enumerate(in_order(cell.of.pattern for cell in cells))}
    return sorted(cells, key=lambda cell: (cell.of.model, patterns[cell.of.pattern]))  # else as they come


def setting(row: Result) -> tuple[str | int | None, ...]:
    """What a row shares with those of other sources: all but the source and the draw."""
    return tuple(getattr(row, field) for field in SETTING)


def _comparisons(cells: Iterable[Cell]) -> list[Comparison]:
    groups: dict[tuple, list[Cell]] = defaultdict(list)
    for cell in cells:
        if cell.of.calibration != NO_DATA:
            groups[(*setting(cell.of), cell.of.evaluation, cell.of.metric)].append(cell)
    found = []
    for group in groups.values():
        if len(group) > 1:
            effect = effect_of_groups({cell.of.calibration: [row.value for row in cell.rows] for cell in group})
            lower = group[0].of.metric in LOWER_IS_BETTER
            best_first = sorted(group, key=lambda cell: cell.spread.mean if lower else -cell.spread.mean)
            found.append(Comparison(tuple(best_first), effect, None))
    adjusted = holm([comparison.effect.p for comparison in found])
    return [_contrasted(replace(one, adjusted_p=p)) for one, p in zip(found, adjusted, strict=True)]


def _contrasted(comparison: Comparison) -> Comparison:
    """With the differences of all pairs of sources. One counts only where the source is shown to matter at all, so
    its p is the larger of Holm's over the comparison's pairs and of the effect's own."""
    pairs = list(itertools.combinations(comparison.cells, 2))
    differences = [paired_by_item(a.items, b.items) for a, b in pairs]
    lower = comparison.of.metric in LOWER_IS_BETTER
    contrasts = []
    for (a, b), difference, p in zip(pairs, differences, holm([d.p for d in differences]), strict=True):
        p = None if p is None or comparison.adjusted_p is None else max(p, comparison.adjusted_p)
        won = verdict(difference, p, lower)
        contrasts.append(Contrast(a.of.calibration, b.of.calibration, difference, p, won))
    return replace(comparison, contrasts=tuple(contrasts))


def _methods(cells: Sequence[Cell]) -> list[MethodContrast]:
    groups: dict[tuple, list[Cell]] = defaultdict(list)
    for cell in cells:
        one = cell.of
        if one.calibration != NO_DATA:
            groups[one.model, one.calibration, one.pattern, one.num_samples, one.evaluation, one.metric].append(cell)
    found = []
    for group in groups.values():
        for a, b in itertools.combinations(group, 2):
            first, second = ({row.draw: row.value for row in cell.rows} for cell in (a, b))
            if draws := [draw for draw in first if draw in second]:
                difference = paired_by_draw([first[draw] for draw in draws], [second[draw] for draw in draws])
                found.append((a.of, b.of, len(draws), difference))
    adjusted = holm([difference.p for *_, difference in found])
    return [
        MethodContrast(a, b, n, difference, p, verdict(difference, p, a.metric in LOWER_IS_BETTER))
        for (a, b, n, difference), p in zip(found, adjusted, strict=True)
    ]
