"""Does the likeness of a source to a reference text predict its result?"""

from collections import defaultdict

from calprune.pages.chart import Panel, Scatter
from calprune.pages.drawing import ValueAxis
from calprune.pages.page import Section
from calprune.pages.table import Column, Table, Value
from calprune.report.findings import Findings, setting
from calprune.report.sections.columns import EVALUATION, PLACE, SOURCE, SOURCES
from calprune.report.sections.points import axis_of, grouped, point_of_cell, title
from calprune.uncertainty.ranks import rank_correlation

NOTE = (
    "Spearman's, over sources without controls, with Bonett and Wright's interval: above 0, the more alike the "
    "better. Each source is one point; with few of them the interval is wide."
)


def likeness(findings: Findings) -> Section:
    """A dot a source, rank correlations, and the measured likeness."""
    tables = (_correlations(findings), _measured(findings))
    return Section("similarity", "Does likeness predict the result?", panels=_panels(findings), tables=tables)


def _panels(findings: Findings) -> tuple[Panel, ...]:
    """Of the study's first setting, for the table has them all."""
    alike: dict[str, dict[str, float]] = defaultdict(dict)
    for one in findings.results.similarity:
        alike[one.measure][one.calibration] = one.value
    charts = []
    for measure, values in alike.items():
        for group in grouped(findings.comparisons, lambda one: one.of.evaluation):
            cells = [cell for cell in group[0].cells if cell.of.calibration in values]
            if len(cells) > 2:
                where = findings.setting(cells[0].of)
                points = tuple(point_of_cell(cell, where, values[cell.of.calibration]) for cell in cells)
                head = title(cells[0].of.evaluation, where)
                charts.append(Scatter(head, f"against {measure}", points, ValueAxis(measure), axis_of(cells)))
    return (Panel(tuple(charts)),)


def _correlations(findings: Findings) -> Table:
    alike: dict[str, dict[str, float]] = defaultdict(dict)
    for one in findings.results.similarity:
        alike[one.measure][one.calibration] = one.value if one.higher_is_more_alike else -one.value
    rows: list[tuple[Value, ...]] = []
    for measure, values in alike.items():
        for comparison in findings.comparisons:
            both = [cell for cell in comparison.cells if cell.of.calibration in values]
            if len(both) > 1:
                good = [cell.of.measures.oriented(cell.spread.mean) for cell in both]
                correlation = rank_correlation([values[cell.of.calibration] for cell in both], good)
                rows.append((comparison.of.evaluation, measure, *setting(comparison.of), correlation, len(both)))
    heads = (EVALUATION, Column("measure"), *PLACE, Column("rank correlation", "estimate"), SOURCES)
    return Table("correlations", "Is likeness correlated with the result?", heads, tuple(rows), (NOTE,))


def _measured(findings: Findings) -> Table:
    heads = (SOURCE, Column("measure"), Column("value", "number"), Column("more alike"))
    rows = tuple(
        (one.calibration, one.measure, one.value, "the higher" if one.higher_is_more_alike else "the lower")
        for one in findings.results.similarity
    )
    return Table("similarity", "How like the reference each source is", heads, rows)
