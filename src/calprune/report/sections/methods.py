"""Sources and methods beside each other."""

from calprune.pages.chart import Heat, Panel
from calprune.pages.drawing import Point
from calprune.pages.numbers import number, with_interval
from calprune.pages.page import Section
from calprune.pages.table import Column, Table
from calprune.report.findings import Cell, Comparison, Findings
from calprune.report.sections.columns import DRAWS, EVALUATION, PLACE, SOURCE, VERDICT, shown_verdict
from calprune.report.sections.points import grouped, model_name, order, series_name, source_name, title
from calprune.uncertainty.power import SIGNIFICANCE

SHADED = (
    "Shaded: shown to be worse than the best of its column (after Holm's correction); darker is "
    "worse. Means over draws."
)
NOTE = (
    "The better by its mean less the other, paired by draw (paired t test); of perplexity in nats a token. Holm's "
    f"correction is over this table; a win is one at {SIGNIFICANCE:.0%}."
)


def methods(findings: Findings) -> Section:
    """A map an evaluation, and methods with the same draws of one source."""
    panels = _panels(findings)
    return Section("heat", "Source × method", (SHADED,) if panels else (), panels, (_table(findings),))


def _panels(findings: Findings) -> tuple[Panel, ...]:
    charts, widest = [], 0
    for group in grouped(findings.comparisons, lambda one: (one.of.model, one.of.evaluation)):
        cells = [(one, cell) for one in group for cell in (*one.cells, *one.controls)]
        most = max(_lost(one, cell) for one, cell in cells) or 1.0
        points = tuple(
            Point(source_name(cell.of, cell.own), number(cell.spread.mean),
                  _head(findings, cell), _shade(_lost(one, cell) / most), 0.0, 0.0,
                  with_interval(cell.spread.interval), len(cell.rows))
            for one, cell in cells
        )  # fmt: skip
        heads = list(dict.fromkeys(str(point.x) for point in points))
        if len(heads) > 1:
            widest, of = max(widest, len(heads)), group[0].of
            what = f"{of.measures.title} of each source with {', '.join(heads)}".replace("\n", " ")
            rows = [name for name in order(findings) if name in {point.source for point in points}]
            charts.append(Heat(title(of.evaluation, model_name(findings, of)), what, points, heads, rows))
    return (Panel(tuple(charts), wide=widest > 4),) if charts else ()


def _head(findings: Findings, cell: Cell) -> str:
    """A column's: what was done, on how much, to which pattern, a line each."""
    return f"{series_name(findings, cell.of)}\n{cell.of.pattern}".replace(" on ", "\non ")


def _lost(comparison: Comparison, cell: Cell) -> float:
    """How much worse than the comparison's best: of perplexity and KL a share of it, else the difference; 0 where it
    is not shown to be worse."""
    best, value = comparison.cells[0].spread.mean, cell.spread.mean
    if cell.of.calibration not in comparison.beaten:
        return 0.0
    return value / best - 1 if comparison.of.measures.lower_is_better and best > 0 else abs(best - value)


def _shade(lost: float) -> float:
    return 0.2 + 0.8 * lost if lost else 0.0  # what is shown to be worse can be seen, however little it is


def _table(findings: Findings) -> Table:
    where = tuple(column for column in PLACE if column.name in ("model", "pattern", "sequences"))
    heads = (EVALUATION, *where, SOURCE, Column("better"), Column("less"), Column("difference", "estimate"),
             Column("p", "p", show="never"), Column("p, Holm", "p"), VERDICT, DRAWS)  # fmt: skip
    rows = tuple(
        (one.first.evaluation, one.first.model, one.first.pattern, one.first.num_samples, one.first.calibration,
         findings.method(one.first), findings.method(one.second), one.difference.estimate, one.difference.p,
         one.adjusted_p, shown_verdict(one.verdict, one.adjusted_p), one.draws)
        for one in findings.methods
    )  # fmt: skip
    return Table("methods", "Methods with the same draws of one source", heads, rows, (NOTE,))
