"""What is left of the dense model, by capability."""

from calprune.pages.chart import Panel
from calprune.pages.drawing import ValueAxis
from calprune.pages.page import Section
from calprune.pages.table import Column, Table
from calprune.report.findings import Findings, setting
from calprune.report.retained import columns, retained
from calprune.report.sections.columns import DRAWS, PLACE, SOURCE
from calprune.report.sections.points import dots, grouped, place, point, series_name, source_name, title
from calprune.uncertainty.estimate import Estimate

NOTE = (
    "Perplexity: dense ÷ pruned; tasks: the part of the accuracy above chance that is left; each averages the "
    "evaluations of its capability. The interval is about other draws and other items. Own text: columns in which the "
    "source is judged on its own text, which may flatter it."
)


def retention(findings: Findings) -> Section:
    """A chart a capability and pattern, and the table."""
    return Section("retention", "What is left, by capability", (), _panels(findings), (_table(findings),))


def _panels(findings: Findings) -> tuple[Panel, ...]:
    axis, charts = ValueAxis("left of the dense model", percent=True), []
    for name in columns(findings.cells):
        for group in grouped(retained(findings.cells), lambda row: (row.of.model, row.of.pattern)):
            points = tuple(
                point(source_name(row.of, name in row.own), row.draws, estimate, series_name(findings, row.of),
                      percent=True)
                for row in group if isinstance(estimate := row.by.get(name), Estimate)
            )  # fmt: skip
            if points:
                head = title(name.capitalize(), place(findings, group[0].of))
                charts += dots(findings, points, head, axis, 1.0)
    return (Panel(tuple(charts)),)


def _table(findings: Findings) -> Table:
    names = columns(findings.cells)
    estimates = (Column(name, "estimate", percent=True) for name in names)
    rows = tuple(
        (row.of.calibration, *setting(row.of), *map(row.by.get, names), ", ".join(sorted(row.own)), row.draws)
        for row in retained(findings.cells)
    )
    heads = (SOURCE, *PLACE, *estimates, Column("own text", show="varying"), DRAWS)
    return Table("retention", "What is left of the dense model, by capability", heads, rows, (NOTE,))
