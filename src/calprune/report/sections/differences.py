"""Which source is best: the best of each setting less every other."""

from calprune.pages.page import Section
from calprune.pages.table import Column, Table, Value
from calprune.report.findings import Findings, setting
from calprune.report.sections.columns import EVALUATION, PLACE, VERDICT, own_note, shown_verdict
from calprune.report.settings import OWN

NOTE = (
    "The best of each setting less every other, paired by item: of perplexity and KL in nats a token (0.1 is 10 % of "
    "perplexity), of tasks in accuracy. p: Holm's over all pairs of sources of one setting and evaluation, and not "
    "below that of the effect; against controls, Holm's over those. A tie says that no difference was shown, not that "
    "there is none."
)


def differences(findings: Findings) -> Section:
    """A row a setting, evaluation and other source."""
    heads = (EVALUATION, *PLACE, Column("best"), Column("less"), Column("difference", "estimate"),
             Column("p, adjusted", "p"), VERDICT)  # fmt: skip
    rows: list[tuple[Value, ...]] = []
    for one in findings.comparisons:
        marked = {c.of.calibration: c.of.calibration + OWN * c.own for c in (*one.cells, *one.controls)}
        for c in one.of_best:
            rows.append((one.of.evaluation, *setting(one.of), marked[c.first], marked[c.second],
                         c.difference.estimate, c.adjusted_p, shown_verdict(c.verdict, c.adjusted_p)))  # fmt: skip
    caption = "Is the best better than the others?"
    table = Table("differences", caption, heads, tuple(rows), (NOTE, *own_note(findings)))
    return Section("best", "Which source is best?", tables=(table,))
