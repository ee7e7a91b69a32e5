"""Every result, and each evaluation against sparsity."""

from calprune.pages.chart import MOST_LINES, Dots, Panel, ValueAxis
from calprune.pages.page import Section
from calprune.pages.table import Column, Table
from calprune.report.findings import Findings, of_cell, setting
from calprune.report.sections.columns import DRAWS, EVALUATION, PLACE, SOURCE
from calprune.report.sections.points import (
    axis_of,
    dense_value,
    grouped,
    largest,
    lines,
    method_names,
    order,
    place,
    point_of_cell,
    title,
)
from calprune.report.sections.retention import LARGEST
from calprune.report.settings import in_order, sparsity_of

NOTE = (
    "The interval of a mean is about other draws with the same items (Student's t); mean, interval and SD of "
    "perplexity are made in nats a token, and the mean and interval shown as perplexity. KL has no retention."
)


def sparsity(findings: Findings) -> Section:
    """The charts, and the table of every result."""
    lead: tuple[str, ...] = ("Means over draws with 95 % intervals; dashed: the dense model.",)
    lead += (LARGEST,) if "num_samples" in findings.fields else ()
    panels, table = _panels(findings), results_table(findings)
    return Section("sparsity", "Results against sparsity", lead if table.rows else (), panels, (table,))


def _panels(findings: Findings) -> tuple[Panel, ...]:
    """Lines where there are several percentages and few enough sources, else dots."""
    cells, series = largest(findings.cells), method_names(findings)
    percents = in_order(cell.of.pattern for cell in cells if ":" not in cell.of.pattern)
    lined = set(percents) if len(percents) > 1 and len(findings.sources) <= MOST_LINES else set()
    panels = []
    if lined:
        part = [cell for cell in cells if cell.of.pattern in lined]
        panels.append(lines(findings, part, ValueAxis("sparsity, %"), lambda row: sparsity_of(row.pattern) * 100))
    charts = []
    rest = [cell for cell in cells if cell.of.pattern not in lined]
    for group in grouped(rest, lambda cell: (cell.of.evaluation, cell.of.model, cell.of.pattern)):
        points = tuple(point_of_cell(cell, findings.method(cell.of)) for cell in group)
        of, axis = group[0].of, axis_of(group)
        head = title(of.evaluation, place(findings, of))
        charts.append(Dots(head, axis.title, points, axis, order(findings), series, dense_value(group)))
    return (*panels, Panel(tuple(charts)))


def results_table(findings: Findings) -> Table:
    """A row a source, setting and evaluation."""
    heads = (
        EVALUATION, Column("metric", show="never"), Column("capability", show="never"), SOURCE, *PLACE,
        Column("mean", "estimate"), Column("SD of a draw", "number"), Column("dense", "number"),
        Column("retention", "estimate", percent=True), DRAWS, Column("own text", show="varying"),
    )  # fmt: skip
    rank = {name: i for i, name in enumerate(dict.fromkeys(row.evaluation for row in findings.rows))}
    rows = []
    for cell in sorted(findings.cells, key=lambda cell: rank[cell.of.evaluation]):
        of = cell.of
        rows.append((of.evaluation, of.measures.title, of.capability, of.calibration, *setting(of),
                     cell.spread.interval, cell.spread.sd, of.dense, of_cell(cell), len(cell.rows),
                     "yes" if cell.own else ""))  # fmt: skip
    return Table("results", "Every result: means over draws", heads, tuple(rows), (NOTE,))
