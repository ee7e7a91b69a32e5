"""What shows the answer: every source at every amount of data in one chart, and every result in one table."""

import math
from collections.abc import Sequence
from dataclasses import replace

from calprune.pages.chart import Chart, Dots, Panel
from calprune.pages.page import Section
from calprune.pages.table import Column, Table, Value
from calprune.report.findings import Cell, Comparison, Findings, setting
from calprune.report.retained import of_cell
from calprune.report.sections.columns import DRAWS, PLACE, SOURCE, own_note
from calprune.report.sections.points import (
    axis_of,
    dense_value,
    grouped,
    legible,
    order,
    place,
    point_of_cell,
    series_name,
    series_names,
    source_name,
    title,
)
from calprune.report.settings import is_control, setting_name, varying
from calprune.studies.axes import NO_DATA

NOTE = (
    "Mean over draws, with its 95 % interval about other draws judged by the same items (Student's t); mean, interval "
    "and SD of perplexity are made in nats a token, and the mean and interval shown as perplexity. Retention: what is "
    "left of the dense model, with an interval about other draws and items; KL has none. Beside the best of its "
    "setting: worse is shown after Holm's correction, no difference shown is no proof that there is none."
)
BESIDE = {"win": "worse", "tie": "no difference shown", "loss": "better"}  # by the best's verdict against it


def overview(findings: Findings) -> Section:
    """The chart, chosen by evaluation and pattern, and the table of every result."""
    charts = _charts(findings)
    several = any(len(cell.rows) > 1 for cell in findings.cells)
    single = any(len(cell.rows) == 1 and cell.of.calibration != NO_DATA for cell in findings.cells)
    marks = "a mean over draws, with its 95 % interval" if several else "one draw, so none has an interval"
    marks += "; one without is a single draw" if several and single else ""
    lead = (f"Each mark is {marks}.", *own_note(findings)) if charts else ()
    panel = Panel(tuple(charts), wide=True, choose="Evaluation and pattern:")
    what = "source" if len(findings.sources) > 1 else "method"
    return Section("results", f"Each {what}", lead, (panel,), (results_table(findings),))


def _charts(findings: Findings) -> list[Chart]:
    groups = grouped(findings.cells, lambda cell: (cell.of.evaluation, cell.of.model, cell.of.pattern))
    first = findings.widest.of if findings.widest else max(groups, key=len)[0].of if groups else None
    if findings.lead is not None:
        first = next((cell.of for cell in findings.cells if cell.of.evaluation == findings.lead.evaluation), first)
    if first is not None:  # the chart of what the answer speaks of is seen first, else the one that shows most
        groups.sort(key=lambda group: (group[0].of.evaluation, group[0].of.model, group[0].of.pattern)
                    != (first.evaluation, first.model, first.pattern))  # fmt: skip
    by_method = len({cell.of.calibration for cell in findings.cells} - {NO_DATA}) < 2
    return [chart for group in groups for chart in _charts_of(findings, group, by_method)]


def _charts_of(findings: Findings, cells: Sequence[Cell], by_method: bool) -> list[Chart]:
    """The sources as rows and methods and amounts as colours; of one source alone the methods are the rows. All charts
    of a page have the same colours."""
    head, axis = title(cells[0].of.evaluation, place(findings, cells[0].of)), axis_of(cells)
    zone, words = _no_difference(findings, cells)
    charts: list[Chart] = []
    if by_method:
        points = [replace(point_of_cell(cell, ""), source=_method_name(cell, cells)) for cell in cells]
        best_first = sorted(cells, key=lambda cell: cell.of.measures.oriented(cell.spread.mean), reverse=True)
        rows = [_method_name(cell, cells) for cell in best_first]
        return [
            Dots(head, axis.title, tuple(points), axis, rows, ("",), dense_value(cells), zone=zone, zone_name=words)
        ]
    points = [point_of_cell(cell, series_name(findings, cell.of)) for cell in cells]
    for name, some in legible(points, series_names(findings)):
        series = (name,) if name else [one for one in series_names(findings) if any(p.series == one for p in points)]
        charts.append(Dots(title(head, name), axis.title, tuple(some), axis, _order(findings, cells), series,
                           dense_value(cells), zone=zone, zone_name=words))  # fmt: skip
    return charts


def _method_name(cell: Cell, cells: Sequence[Cell]) -> str:
    """The method, with what its rows of this chart differ in."""
    of_method = [one.of for one in cells if one.of.method == cell.of.method]
    return setting_name(cell.of, {"method", *varying(of_method)})


def _order(findings: Findings, cells: Sequence[Cell]) -> list[str]:
    """The rows of a chart by the best mean that each has in it; then what reads no data."""
    places: dict[str, float] = {}
    for cell in cells:
        name, good = source_name(cell.of, cell.own), cell.of.measures.oriented(cell.spread.mean)
        places[name] = max(good, places.get(name, -math.inf)) if cell.of.calibration != NO_DATA else -math.inf
    return sorted(places, key=lambda name: places[name], reverse=True) + [
        name for name in order(findings) if name not in places
    ]


def _no_difference(findings: Findings, cells: Sequence[Cell]) -> tuple[tuple[float, float] | None, str]:
    """From the best value of a text to one that is worse by the smallest difference of interest, and its words."""
    texts = [cell for cell in cells if cell.of.calibration != NO_DATA and not is_control(cell.of)]
    metric = cells[0].of.measures
    least = findings.results.interest.of(metric)
    if least is None or not texts:
        return None, ""
    fair = [one for one in texts if not one.own]
    several = len({one.of.calibration for one in fair}) > 1
    best = max((cell.spread.mean for cell in (fair if several else texts)), key=metric.oriented)
    away = best * math.exp(least) if metric.log else best + least if metric.lower_is_better else best - least
    other = " on other text" if several and len(fair) < len(texts) else ""
    words = f"no difference to act on: within {metric.difference(least)} of the best{other}"
    return (min(best, away), max(best, away)), words


def results_table(findings: Findings) -> Table:
    """A row a source, setting and evaluation."""
    heads = (
        SOURCE, Column("evaluation", show="varying"), Column("metric", show="never"),
        Column("capability", show="never"), *PLACE, Column("mean", "estimate"), Column("beside the best"),
        Column("retention", "estimate", percent=True), Column("dense", "number", show="varying"),
        Column("SD of a draw", "number"), DRAWS, Column("own text", show="varying"),
    )  # fmt: skip
    rank = {name: i for i, name in enumerate(dict.fromkeys(row.evaluation for row in findings.rows))}
    beside = {key: word for one in findings.comparisons for key, word in _beside(one)}
    rows: list[tuple[Value, ...]] = []
    for cell in sorted(findings.cells, key=lambda cell: rank[cell.of.evaluation]):
        of = cell.of
        rows.append((of.calibration, of.evaluation, of.measures.title, of.capability, *setting(of),
                     cell.spread.interval, beside.get(_key(cell), "—"), of_cell(cell), of.dense, cell.spread.sd,
                     len(cell.rows), "yes" if cell.own else ""))  # fmt: skip
    only = f": {next(iter(rank))}" if len(rank) == 1 else ""
    return Table("results", f"Every result{only}", heads, tuple(rows), (NOTE, *_pooled(findings)))


def _pooled(findings: Findings) -> tuple[str, ...]:
    """Why the choice may matter where no row of the table is worse than the best."""
    widest = findings.widest
    if widest is None or widest.word != "matters" or widest.beaten:
        return ()
    return ("The answer is of the range from best to worst, for which the draws of all sources count together. Of two "
            "sources alone none is shown to differ there: more draws may tell which do.",)  # fmt: skip


def _key(cell: Cell) -> tuple:
    return (*setting(cell.of), cell.of.evaluation, cell.of.calibration)


def _beside(one: Comparison) -> list[tuple[tuple, str]]:
    """What is shown of each source beside the best of its setting."""
    verdicts = {contrast.second: contrast for contrast in one.of_best}
    found = [(_key(one.cells[0]), "best mean")]
    for cell in (*one.cells[1:], *one.controls):
        contrast = verdicts[cell.of.calibration]
        found.append((_key(cell), BESIDE[contrast.verdict] if contrast.adjusted_p is not None else "cannot be told"))
    return found
