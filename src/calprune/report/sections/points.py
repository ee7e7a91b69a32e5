"""Cells of a study as points of charts, with the names, order and axes that all charts share."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from calprune.pages.chart import Chart, Curve, Dots, Panel
from calprune.pages.drawing import MOST_LINES, Point, ValueAxis
from calprune.pages.numbers import with_interval
from calprune.report.findings import Cell, Findings
from calprune.report.settings import OWN, setting_name
from calprune.studies.axes import NO_DATA
from calprune.studies.results import Result
from calprune.uncertainty.estimate import Estimate


def grouped(items: Iterable[Any], key: Callable[[Any], Any]) -> list[list[Any]]:
    """Items with the same key together, in the order in which keys come."""
    groups: dict[Any, list[Any]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return list(groups.values())


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


def series_name(findings: Findings, of: Result) -> str:
    """What a colour stands for: the method, and the amount of data where the study has several."""
    return setting_name(of, {"method"} | findings.fields - {"model", "pattern"})


def series_names(findings: Findings) -> list[str]:
    """Series as legends name them."""
    return list(dict.fromkeys(series_name(findings, cell.of) for cell in findings.cells))


def legible(points: Sequence[Point], series: Sequence[str]) -> list[tuple[str, list[Point]]]:
    """Points of one chart as charts of few enough series: all in one, or, where they are too many to be told apart, one
    of each series, under its name."""
    there = [name for name in series if any(point.series == name for point in points)]
    if len(there) <= MOST_LINES:
        return [("", list(points))]
    return [(name, [point for point in points if point.series == name]) for name in there]


def dots(findings: Findings, points: Sequence[Point], head: str, axis: ValueAxis, rule: float | None) -> list[Chart]:
    """Charts with a row a source; one, or small multiples of one series each."""
    charts: list[Chart] = []
    for name, some in legible(points, series_names(findings)):
        series = (name,) if name else series_names(findings)
        charts.append(Dots(title(head, name), axis.title, tuple(some), axis, order(findings), series, rule))
    return charts


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
    """The dense model's value, where it is one: of KL 0."""
    values = {cell.of.dense for cell in cells}
    return values.pop() if len(values) == 1 else None


def axis_of(cells: Sequence[Cell]) -> ValueAxis:
    """The axis of these cells' metric."""
    metric = cells[0].of.measures
    return ValueAxis(metric.title, log=metric.log and all(cell.spread.mean > 0 for cell in cells))


def lines(
    findings: Findings, cells: Sequence[Cell], along: ValueAxis, at: Callable[[Result], float]
) -> tuple[Panel, ...]:
    """A chart for each evaluation and whatever else is not along the axis; a line a source. Eight lines can be told
    apart: further sources have charts of their own, the best ones first."""
    there = {source_name(cell.of, False) for cell in cells}
    names = [name for name in order(findings) if name in there]

    def key(cell: Cell) -> tuple[str, ...]:
        return cell.of.evaluation, cell.of.model, findings.method(cell.of), cell.of.pattern if along.log else ""

    panels = []
    for first in range(0, len(names), MOST_LINES):
        series, charts = names[first : first + MOST_LINES], []
        for group in grouped([cell for cell in cells if source_name(cell.of, False) in series], key):
            points = tuple(point_of_cell(cell, source_name(cell.of, False), at(cell.of)) for cell in group)
            if len({point.x for point in points}) > 1:
                of, axis = group[0].of, axis_of(group)
                where = place(findings, of) if along.log else model_name(findings, of)
                head = title(of.evaluation, f"{findings.method(of)} {where}".strip())
                charts.append(Curve(head, f"{axis.title} against {along.title}", points, along, axis, series,
                                    dense_value(group)))  # fmt: skip
        panels.append(Panel(tuple(charts)))
    return tuple(panels)
