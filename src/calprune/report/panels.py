"""Which charts the page has: one for each thing that a reader compares, and none where there is nothing to compare."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from calprune.report.capabilities import columns, retained
from calprune.report.charts import MOST_LINES, Axis, Chart, Point, curve, dots, heat, heat_width, needs_log, scatter
from calprune.report.comparisons import Cell, Comparison
from calprune.report.findings import Findings
from calprune.report.names import METRICS, OWN, in_order, number, sparsity_of, with_interval
from calprune.studies.axes import NO_DATA
from calprune.studies.results import LOWER_IS_BETTER, Result
from calprune.uncertainty.estimate import Estimate


@dataclass(frozen=True)
class Panel:
    """Charts that share a legend."""

    charts: tuple[Chart, ...]
    series: tuple[str, ...] = ()  # what colours and shapes stand for; one needs no legend
    wide: bool = False  # a chart takes the whole width


def retention_panels(findings: Findings) -> list[Panel]:
    """A chart a capability and pattern: what is left, a row a source."""
    rows, series = _largest(retained(findings.cells)), _methods(findings)
    axis, charts = Axis("left of the dense model", percent=True), []
    for name in columns(findings.cells):
        for group in _grouped(rows, lambda row: (row.of.model, row.of.pattern)):
            points = [
                _point(_shown(row.of, name in row.own), row.draws, estimate, findings.method(row.of), percent=True)
                for row in group if isinstance(estimate := row.by.get(name), Estimate)
            ]  # fmt: skip
            if points:
                spec = dots(points, axis, 1.0, _order(findings), series)
                charts.append(Chart(_title(name.capitalize(), _place(findings, group[0].of)), axis.title, spec))
    return [Panel(tuple(charts), tuple(series))] if charts else []


def sparsity_panels(findings: Findings) -> list[Panel]:
    """Each evaluation against sparsity: lines where there are several percentages and few enough sources, else dots."""
    cells, series = _largest(findings.cells), _methods(findings)
    percents = in_order(cell.of.pattern for cell in cells if ":" not in cell.of.pattern)
    lined = set(percents) if len(percents) > 1 and len(findings.sources) <= MOST_LINES else set()
    panels = []
    if lined:
        part = [cell for cell in cells if cell.of.pattern in lined]
        panels.append(_lines(findings, part, Axis("sparsity, %"), lambda row: sparsity_of(row.pattern) * 100))
    charts = []
    rest = [cell for cell in cells if cell.of.pattern not in lined]
    for group in _grouped(rest, lambda cell: (cell.of.evaluation, cell.of.model, cell.of.pattern)):
        points = [_of_cell(cell, findings.method(cell.of)) for cell in group]
        spec = dots(points, _axis(group), _dense(group), _order(findings), series)
        of = group[0].of
        charts.append(Chart(_title(of.evaluation, _place(findings, of)), _axis(group).title, spec))
    return [*panels, *([Panel(tuple(charts), tuple(series))] if charts else [])]


def amount_panels(findings: Findings) -> list[Panel]:
    """Each evaluation against the sequences of the calibration set, where there are several amounts."""
    if "num_samples" not in findings.fields:
        return []
    cells = [cell for cell in findings.cells if cell.of.num_samples is not None]
    along = Axis("sequences of the calibration set", log=True)
    return [_lines(findings, cells, along, lambda row: float(row.num_samples or 0))]


def heat_panels(findings: Findings) -> list[Panel]:
    """Source × method, a map an evaluation; shaded is what is shown to be worse than the best of its column."""
    charts, widest = [], 0
    for group in _grouped(_largest(findings.comparisons), lambda one: (one.of.model, one.of.evaluation)):
        cells = [(one, cell) for one in group for cell in (*one.cells, *one.controls)]
        most = max(_lost(one, cell) for one, cell in cells) or 1.0
        points = [
            Point(_shown(cell.of, cell.own), number(cell.spread.mean), f"{findings.method(cell.of)}\n{cell.of.pattern}",
                  _shade(_lost(one, cell) / most), 0.0, 0.0, with_interval(cell.spread.interval), len(cell.rows))
            for one, cell in cells
        ]  # fmt: skip
        heads = list(dict.fromkeys(str(point.x) for point in points))
        if len(heads) > 1:
            widest, of = max(widest, len(heads)), group[0].of
            told = f"{METRICS[of.metric]} of each source with {', '.join(heads)}".replace("\n", " ")
            rows = [name for name in _order(findings) if name in {point.source for point in points}]
            charts.append(
                Chart(_title(of.evaluation, _model(findings, of)), told, heat(points, heads, rows), heat_width(heads))
            )
    return [Panel(tuple(charts), wide=widest > 4)] if charts else []


def similarity_panels(findings: Findings) -> list[Panel]:
    """Likeness against the result, a dot a source; of the study's first setting, for the table has them all."""
    alike: dict[str, dict[str, float]] = defaultdict(dict)
    for one in findings.results.similarity:
        alike[one.measure][one.calibration] = one.value
    charts = []
    for measure, values in alike.items():
        for group in _grouped(_largest(findings.comparisons), lambda one: one.of.evaluation):
            cells = [cell for cell in group[0].cells if cell.of.calibration in values]
            if len(cells) > 2:
                points = [_of_cell(cell, findings.setting(cell.of), values[cell.of.calibration]) for cell in cells]
                title = _title(cells[0].of.evaluation, findings.setting(cells[0].of))
                charts.append(Chart(title, f"against {measure}", scatter(points, Axis(measure), _axis(cells))))
    return [Panel(tuple(charts))] if charts else []


def _lines(findings: Findings, cells: Sequence[Cell], along: Axis, at: Callable[[Result], float]) -> Panel:
    """A chart an evaluation and all else but what is along; a line a source, of the best that can be told apart."""
    there = {_shown(cell.of, False) for cell in cells}
    series = [name for name in _order(findings) if name in there][:MOST_LINES]
    charts = []

    def key(cell: Cell) -> tuple[str, ...]:
        return cell.of.evaluation, cell.of.model, findings.method(cell.of), cell.of.pattern if along.log else ""

    for group in _grouped([cell for cell in cells if _shown(cell.of, False) in series], key):
        points = [_of_cell(cell, _shown(cell.of, False), at(cell.of)) for cell in group]
        if len({point.x for point in points}) > 1:
            of = group[0].of
            place = _place(findings, of) if along.log else _model(findings, of)
            title = _title(of.evaluation, f"{findings.method(of)} {place}".strip())
            spec = curve(points, along, _axis(group), _dense(group), series)
            charts.append(Chart(title, f"{_axis(group).title} against {along.title}", spec))
    return Panel(tuple(charts), tuple(series))


def _lost(comparison: Comparison, cell: Cell) -> float:
    """How much worse than the comparison's best: of perplexity and KL a share of it, else the difference; 0 where it
    is not shown to be worse."""
    best, value = comparison.cells[0].spread.mean, cell.spread.mean
    if cell.of.calibration not in {one.second for one in comparison.of_best if one.verdict == "win"}:
        return 0.0
    return value / best - 1 if comparison.of.metric in LOWER_IS_BETTER and best > 0 else abs(best - value)


def _shade(lost: float) -> float:
    return 0.2 + 0.8 * lost if lost else 0.0  # what is shown to be worse can be seen, however little it is


def _grouped(items: Iterable[Any], key: Callable[[Any], Any]) -> list[list[Any]]:
    groups: dict[Any, list[Any]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return list(groups.values())


def _largest(items: Sequence[Any]) -> list[Any]:
    """Of several amounts of data the largest, for charts that show one; what reads no data stays."""
    amounts = [one.of.num_samples for one in items if one.of.num_samples is not None]
    return [one for one in items if one.of.num_samples in (None, max(amounts, default=None))]


def _of_cell(cell: Cell, series: str, x: float | str = "") -> Point:
    return _point(_shown(cell.of, cell.own), len(cell.rows), cell.spread.interval, series, x)


def _point(
    source: str, draws: int, estimate: Estimate, series: str, x: float | str = "", percent: bool = False
) -> Point:
    low, high = (estimate.value if end is None else end for end in (estimate.low, estimate.high))
    return Point(source, series, x, estimate.value, low, high, with_interval(estimate, percent), draws)


def _shown(of: Result, own: bool) -> str:
    return "no data" if of.calibration == NO_DATA else of.calibration + OWN * own


def _order(findings: Findings) -> list[str]:
    """Sources as charts name them, the best first, each with and without its mark."""
    ranked = [name for name, _ in findings.ranking]
    ranked += [name for name in findings.sources if name not in ranked]
    return [shown for name in ranked for shown in (name, name + OWN)] + ["no data"]


def _methods(findings: Findings) -> list[str]:
    return list(dict.fromkeys(findings.method(cell.of) for cell in findings.cells))


def _model(findings: Findings, of: Result) -> str:
    return of.model if "model" in findings.fields else ""


def _place(findings: Findings, of: Result) -> str:
    return f"{of.pattern} {_model(findings, of)}".strip()


def _title(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


def _dense(cells: Sequence[Cell]) -> float | None:
    """The dense model's value, where it is one and does not lie at KL's 0, which says nothing."""
    values = {cell.of.dense for cell in cells}
    return values.pop() if len(values) == 1 and cells[0].of.metric != "kl" else None


def _axis(cells: Sequence[Cell]) -> Axis:
    metric = cells[0].of.metric
    return Axis(METRICS[metric], log=metric in LOWER_IS_BETTER and needs_log([cell.spread.mean for cell in cells]))
