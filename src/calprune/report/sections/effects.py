"""Does the choice of calibration data matter?"""

from calprune.pages.page import Section
from calprune.pages.table import Column, Table, Value
from calprune.report.findings import Comparison, Findings, setting
from calprune.report.sections.columns import DRAWS, EVALUATION, PLACE, SOURCES
from calprune.uncertainty.effect import RULE

NOTE = (
    f"{RULE[0].upper()}{RULE[1:]}, with p after Holm's correction over this table. Controls are no choice of text and "
    "do not count. Share of variance: between sources, corrected for chance (ω²), with the interval of the "
    "population's. Range: from best to worst. Minimum detectable difference: the smallest difference of two sources "
    "that 80 % of such studies find; both in nats a token of perplexity and KL. Draws to separate best from next: of "
    "each, if they differ as they do here."
)
HEADS = (
    EVALUATION, *PLACE, Column("effect"), Column("share of variance", "estimate", percent=True),
    Column("p", "p", show="never"), Column("p, Holm", "p"), Column("best"), Column("worst"),
    Column("range", "number"), Column("SD of a draw", "number", show="never"),
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
        one.of.evaluation, *setting(one.of), one.word, effect.share, effect.p, one.adjusted_p, one.sources[0],
        one.sources[-1], effect.range, effect.sd, effect.detectable, one.draws_for_best(), effect.groups, effect.draws,
    )  # fmt: skip
