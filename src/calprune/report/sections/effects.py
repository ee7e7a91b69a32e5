"""Does the choice of calibration data matter?"""

from calprune.pages.page import Section
from calprune.pages.table import Column, Table, Value
from calprune.report.findings import Comparison, Findings, setting
from calprune.report.sections.columns import DRAWS, EVALUATION, PLACE, SOURCES
from calprune.uncertainty.effect import RULE
from calprune.uncertainty.estimate import Estimate

NOTE = (
    f"{RULE[0].upper()}{RULE[1:]}. "
    "Range: from the best source to the worst, in nats a token of perplexity and KL, with an interval that holds in "
    "all rows at once (Bonferroni), about other draws with the same items. Of what pruning cost: the range as a share "
    "of what the sources lose against the dense model on average. The smallest difference of interest is 0.02 nats, "
    "which is 2 % of perplexity, and 1 point of accuracy, if the study says nothing else (`of_interest`). Controls "
    "are no choice of text and do not count. Share of variance: between sources rather than draws, corrected for "
    "chance (ω²), with the interval of the population's: how surely sources differ, not by how much; p is the F "
    "test's. Minimum detectable difference: the smallest of two sources that 80 % of such studies find. Draws to "
    "separate best from next: of each, if they differ as they do here."
)
HEADS = (
    EVALUATION, *PLACE, Column("effect"), Column("range", "estimate"),
    Column("of what pruning cost", "number", percent=True), Column("smallest difference of interest", "number"),
    Column("share of variance", "estimate", percent=True), Column("p", "p", show="never"), Column("p, Holm", "p"),
    Column("best"), Column("worst"), Column("SD of a draw", "number", show="never"),
    Column("minimum detectable difference", "number"), Column("draws to separate best from next", "number"), SOURCES,
    DRAWS,
)  # fmt: skip


def effects(findings: Findings) -> Section:
    """A row a setting and evaluation."""
    rows = tuple(map(_row, findings.comparisons))
    table = Table("effects", "Does the data matter? One row a setting and evaluation", HEADS, rows, (NOTE,))
    return Section("matters", "Does the data matter?", tables=(table,))


def _row(one: Comparison) -> tuple[Value, ...]:
    effect = one.effect
    return (
        one.of.evaluation, *setting(one.of), one.word, one.apart or Estimate(effect.range, None, None, effect.draws),
        one.part_of_cost, one.of_interest, effect.share, effect.p, one.adjusted_p, one.sources[0], one.sources[-1],
        effect.sd, effect.detectable, one.draws_for_best(), effect.groups, effect.draws,
    )  # fmt: skip
