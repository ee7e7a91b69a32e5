"""What a study's rows show, by the statistics of `uncertainty`: cells, comparisons of sources, methods, the ranking."""

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from calprune.report.comparisons import Cell, comparisons_of
from calprune.report.names import in_order, oriented, setting_name, varying
from calprune.studies.axes import NO_DATA
from calprune.studies.results import LOWER_IS_BETTER, Result, Results
from calprune.uncertainty.difference import Difference, Verdict, holm, paired_by_draw, verdict

DEFAULT = "c4"  # what the field calibrates with where nothing is said


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
        self.comparisons = comparisons_of(self.cells)
        self.methods = _methods(self.cells)

    @property
    def sources(self) -> list[str]:
        """Calibrations as they come, controls too, without that of methods that read no data."""
        return [name for name in dict.fromkeys(row.calibration for row in self.rows) if name != NO_DATA]

    def method(self, row: Result) -> str:
        """The method, with the allocation, the propagation and the weights of tokens where the study has several."""
        return setting_name(row, {"method"} | self.fields & {"allocation", "propagate", "token_weights", "permute"})

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
            fair = comparison.fair
            for place, source in enumerate(fair if len(fair) > 1 else ()):
                places[source].append(place / (len(fair) - 1))
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
    return all(map(math.isfinite, (row.value, row.dense, *row.items, *row.dense_items)))


def _cells(rows: Iterable[Result]) -> list[Cell]:
    groups: dict[tuple[str, ...], list[Result]] = defaultdict(list)
    for row in rows:
        groups[(*row.cell, row.evaluation, row.metric)].append(row)
    cells = [Cell(tuple(sorted(group, key=lambda row: row.draw or 0))) for group in groups.values()]
    patterns = {pattern: i for i, pattern in enumerate(in_order(cell.of.pattern for cell in cells))}
    return sorted(cells, key=lambda cell: (cell.of.model, patterns[cell.of.pattern]))  # else as they come


def _methods(cells: Sequence[Cell]) -> list[MethodContrast]:
    groups: dict[tuple, list[Cell]] = defaultdict(list)
    for cell in cells:
        one = cell.of
        if one.calibration != NO_DATA:
            groups[one.model, one.calibration, one.pattern, one.num_samples, one.evaluation, one.metric].append(cell)
    found = []
    for group in groups.values():
        better_first = sorted(group, key=lambda cell: oriented(cell.of.metric, cell.spread.mean), reverse=True)
        for a, b in itertools.combinations(better_first, 2):
            first, second = (dict(zip([row.draw for row in cell.rows], cell.values, strict=True)) for cell in (a, b))
            if draws := [draw for draw in first if draw in second]:
                difference = paired_by_draw([first[draw] for draw in draws], [second[draw] for draw in draws])
                found.append((a.of, b.of, len(draws), difference))
    adjusted = holm([difference.p for *_, difference in found])
    return [
        MethodContrast(a, b, n, difference, p, verdict(difference, p, a.metric in LOWER_IS_BETTER))
        for (a, b, n, difference), p in zip(found, adjusted, strict=True)
    ]
