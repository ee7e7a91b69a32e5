"""Cells of a study as points of charts, with the names, order and axes that all charts share."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from calprune.pages.chart import MOST_LINES, Curve, Panel, Point, ValueAxis, needs_log
from calprune.pages.numbers import with_interval
from calprune.report.findings import Cell, Findings
from calprune.report.settings import OWN
from calprune.studies.axes import NO_DATA
from calprune.studies.results import Result
from calprune.uncertainty.estimate import Estimate


def grouped(items: Iterable[Any], key: Callable[[Any], Any]) -> list[list[Any]]:
    """Items with the same key together, in the order in which keys come."""
    groups: dict[Any, list[Any]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return list(groups.values())


def largest(items: Sequence[Any]) -> list[Any]:
    """Of several amounts of data the largest, for charts that show one; what reads no data stays."""
    amounts = [one.of.num_samples for one in items if one.of.num_samples is not None]
    return [one for one in items if one.of.num_samples in (None, max(amounts, default=None))]


def point_of_cell(cell: Cell, series: str, x: float | str = "") -> Point:
    """A cell's mean with its interval."""
    return point(source_name(cell.of, cell.own), len(cell.rows), cell.spread.interval, series, x)


def point(
    source: str, draws: int, estimate: Estimate, series: str, x: float | str = "", percent: bool = False
) -> Point:
    """An estimate as a point; where it has no interval, the interval is the value."""
    low, high = (estimate.value if end is None else end for end in (estimate.low, estimate.high))
    return Point(source, series, x, estimate.value, low, high, with_interval(estimate, percent), draws)


def source_name(of: Result, own: bool) -> str:
    """The source as charts name it, with a mark where it is judged on its own text."""
    return "no data" if of.calibration == NO_DATA else of.calibration + OWN * own


def order(findings: Findings) -> list[str]:
    """Sources as charts name them, the best first, each with and without its mark."""
    ranked = [name for name, _ in findings.ranking]
    ranked += [name for name in findings.sources if name not in ranked]
    return [shown for name in ranked for shown in (name, name + OWN)] + ["no data"]


def method_names(findings: Findings) -> list[str]:
    """Methods as legends name them."""
    return list(dict.fromkeys(findings.method(cell.of) for cell in findings.cells))


def model_name(findings: Findings, of: Result) -> str:
    """The model, where the study has several."""
    return of.model if "model" in findings.fields else ""


def place(findings: Findings, of: Result) -> str:
    """Pattern, and model where there are several."""
    return f"{of.pattern} {model_name(findings, of)}".strip()


def title(*parts: str) -> str:
    """A chart's title of those parts that are not empty."""
    return ", ".join(part for part in parts if part)


def dense_value(cells: Sequence[Cell]) -> float | None:
    """The dense model's value, where it is one and does not lie at KL's 0, which says nothing."""
    values = {cell.of.dense for cell in cells}
    return values.pop() if len(values) == 1 and not cells[0].of.measures.needs_dense else None


def axis_of(cells: Sequence[Cell]) -> ValueAxis:
    """The axis of these cells' metric."""
    metric = cells[0].of.measures
    return ValueAxis(metric.title, log=metric.lower_is_better and needs_log([cell.spread.mean for cell in cells]))


def lines(findings: Findings, cells: Sequence[Cell], along: ValueAxis, at: Callable[[Result], float]) -> Panel:
    """A chart for each evaluation and whatever else is not along the axis; a line a source, of the best ones that can
    be distinguished."""
    there = {source_name(cell.of, False) for cell in cells}
    series = [name for name in order(findings) if name in there][:MOST_LINES]
    charts = []

    def key(cell: Cell) -> tuple[str, ...]:
        return cell.of.evaluation, cell.of.model, findings.method(cell.of), cell.of.pattern if along.log else ""

    for group in grouped([cell for cell in cells if source_name(cell.of, False) in series], key):
        points = tuple(point_of_cell(cell, source_name(cell.of, False), at(cell.of)) for cell in group)
        if len({point.x for point in points}) > 1:
            of, axis = group[0].of, axis_of(group)
            where = place(findings, of) if along.log else model_name(findings, of)
            head = title(of.evaluation, f"{findings.method(of)} {where}".strip())
            charts.append(Curve(head, f"{axis.title} against {along.title}", points, along, axis, series,
                                dense_value(group)))  # fmt: skip
    return Panel(tuple(charts))
