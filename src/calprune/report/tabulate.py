"""Findings as tables. The same tables are read on the page and in Markdown, and written to CSV and JSON."""

from collections import defaultdict

from calprune.report.capabilities import columns, of_cell, retained
from calprune.report.claims import judge
from calprune.report.comparisons import Comparison, setting
from calprune.report.findings import Findings
from calprune.report.names import METRICS, OWN, SETTING, oriented
from calprune.report.tables import Cell, Column, Table
from calprune.uncertainty.effect import RULE
from calprune.uncertainty.power import SIGNIFICANCE
from calprune.uncertainty.ranks import rank_correlation

EVALUATION, SOURCE, VERDICT = Column("evaluation"), Column("source"), Column("verdict")
DRAWS, SOURCES = (Column(name, "number", show="varying") for name in ("draws", "sources"))
PLACE = tuple(
    Column("sequences", "number", show="varying") if field == "num_samples" else Column(field, show="varying")
    for field in SETTING
)
OWN_NOTE = "† the source is judged on its own text: a lead here says little of other text."
EFFECT_NOTE = (
    f"{RULE[0].upper()}{RULE[1:]}, with p after Holm's correction over this table. Controls are no choice of text and "
    "do not count. Share of variance: between sources, corrected for chance (ω²), with the interval of the "
    "population's. Range: from best to worst. Could be seen: the smallest difference of two sources that 80 % of such "
    "studies find; both in nats a token of perplexity and KL. Draws to tell best from next: of each, if they differ as "
    "they do here."
)
DIFFERENCE_NOTE = (
    "The best of each setting less every other, paired by item: of perplexity and KL in nats a token (0.1 is 10 % of "
    "perplexity), of tasks in accuracy. p: Holm's over all pairs of sources of one setting and evaluation, and not "
    "below that of the effect; against controls, Holm's over those. A tie says that no difference was shown, not that "
    "there is none."
)
RETENTION_NOTE = (
    "Perplexity: dense ÷ pruned; tasks: the part of the accuracy above chance that is left; each averages the "
    "evaluations of its capability. The interval is about other draws and other items. Own text: columns in which the "
    "source is judged on its own text, which may flatter it."
)
METHOD_NOTE = (
    "The better by its mean less the other, paired by draw (paired t test); of perplexity in nats a token. Holm's "
    f"correction is over this table; a win is one at {SIGNIFICANCE:.0%}."
)
CORRELATION_NOTE = (
    "Spearman's, over sources without controls, with Bonett and Wright's interval: above 0, the more alike the "
    "better. Each source is one point; with few of them the interval is wide."
)
CLAIM_NOTE = (
    "Held: the whole 95 % interval is on the claim's side. Not held: the whole of it is on the other. Else it cannot "
    "be told here, which says nothing against the claim. Differences are paired by item, with the variance of draws "
    "and items; of several sources the smallest is shown, with an interval that holds for all of them (Bonferroni). "
    "SDs and shares are about other draws with the same items. The intervals are not corrected for the number of "
    "claims; Holm's p is, over the claims of a single difference. It is another model than the paper's, so a claim "
    "that does not hold here may hold there."
)
NOT_VERIFIED = "figure not verified"


def tables(findings: Findings) -> list[Table]:
    """All tables that have a row, in the page's order."""
    made = (_retention, _effects, _differences, _results, _methods, _correlations, _similarity, _claims, _failures)
    return [table for one in made if (table := one(findings)).rows]


def _retention(findings: Findings) -> Table:
    names = columns(findings.cells)
    estimates = (Column(name, "estimate", percent=True) for name in names)
    rows = tuple(
        (row.of.calibration, *setting(row.of), *map(row.by.get, names), ", ".join(sorted(row.own)), row.draws)
        for row in retained(findings.cells)
    )
    heads = (SOURCE, *PLACE, *estimates, Column("own text", show="varying"), DRAWS)
    return Table("retention", "What is left of the dense model, by capability", heads, rows, (RETENTION_NOTE,))


def _effects(findings: Findings) -> Table:
    heads = (
        EVALUATION, *PLACE, Column("in a word"), Column("share of variance", "estimate", percent=True),
        Column("p", "p", show="never"), Column("p, Holm", "p"), Column("best"), Column("worst"),
        Column("range", "number"), Column("SD of a draw", "number", show="never"), Column("could be seen", "number"),
        Column("draws to tell best from next", "number"), SOURCES, DRAWS,
    )  # fmt: skip

    def row(one: Comparison) -> tuple[Cell, ...]:
        effect = one.effect
        return (
            one.of.evaluation, *setting(one.of), one.word, effect.share, effect.p, one.adjusted_p, one.sources[0],
            one.sources[-1], effect.range, effect.sd, effect.detectable, one.draws_to_tell(),
            effect.groups, effect.draws,
        )  # fmt: skip

    caption = "Does the data matter? One row a setting and evaluation"
    return Table("effects", caption, heads, tuple(map(row, findings.comparisons)), (EFFECT_NOTE,))


def _differences(findings: Findings) -> Table:
    heads = (EVALUATION, *PLACE, Column("best"), Column("less"), Column("difference", "estimate"),
             Column("p, adjusted", "p"), VERDICT)  # fmt: skip
    rows: list[tuple[Cell, ...]] = []
    for one in findings.comparisons:
        marked = {c.of.calibration: c.of.calibration + OWN * c.own for c in (*one.cells, *one.controls)}
        for c in one.of_best:
            rows.append((one.of.evaluation, *setting(one.of), marked[c.first], marked[c.second],
                         c.difference.estimate, c.adjusted_p, _told(c.verdict, c.adjusted_p)))  # fmt: skip
    notes = (DIFFERENCE_NOTE, *_own_note(findings))
    return Table("differences", "Is the best better than the others?", heads, tuple(rows), notes)


def _results(findings: Findings) -> Table:
    heads = (
        EVALUATION, Column("metric", show="never"), Column("capability", show="never"), SOURCE, *PLACE,
        Column("mean", "estimate"), Column("SD of a draw", "number"), Column("dense", "number"),
        Column("retention", "estimate", percent=True), DRAWS, Column("own text", show="varying"),
    )  # fmt: skip
    order = {name: i for i, name in enumerate(dict.fromkeys(row.evaluation for row in findings.rows))}
    rows = []
    for cell in sorted(findings.cells, key=lambda cell: order[cell.of.evaluation]):
        of, kl = cell.of, cell.of.metric == "kl"
        rows.append((of.evaluation, METRICS[of.metric], of.capability, of.calibration, *setting(of),
                     cell.spread.interval, cell.spread.sd, of.dense, None if kl else of_cell(cell), len(cell.rows),
                     "yes" if cell.own else ""))  # fmt: skip
    note = (
        "The interval of a mean is about other draws with the same items (Student's t); mean, interval and SD of "
        "perplexity are made in nats a token, and the mean and interval shown as perplexity. KL has no retention."
    )
    return Table("results", "Every result: means over draws", heads, tuple(rows), (note,))


def _methods(findings: Findings) -> Table:
    place = tuple(column for column in PLACE if column.name in ("model", "pattern", "sequences"))
    heads = (EVALUATION, *place, SOURCE, Column("better"), Column("less"), Column("difference", "estimate"),
             Column("p", "p", show="never"), Column("p, Holm", "p"), VERDICT, DRAWS)  # fmt: skip
    rows = tuple(
        (one.first.evaluation, one.first.model, one.first.pattern, one.first.num_samples, one.first.calibration,
         findings.method(one.first), findings.method(one.second), one.difference.estimate, one.difference.p,
         one.adjusted_p, _told(one.verdict, one.adjusted_p), one.draws)
        for one in findings.methods
    )  # fmt: skip
    return Table("methods", "Methods with the same draws of one source", heads, rows, (METHOD_NOTE,))


def _correlations(findings: Findings) -> Table:
    alike: dict[str, dict[str, float]] = defaultdict(dict)
    for one in findings.results.similarity:
        alike[one.measure][one.calibration] = one.value if one.higher_is_more_alike else -one.value
    rows: list[tuple[Cell, ...]] = []
    for measure, values in alike.items():
        for comparison in findings.comparisons:
            both = [cell for cell in comparison.cells if cell.of.calibration in values]
            if len(both) > 1:
                good = [oriented(cell.of.metric, cell.spread.mean) for cell in both]
                found = rank_correlation([values[cell.of.calibration] for cell in both], good)
                rows.append((comparison.of.evaluation, measure, *setting(comparison.of), found, len(both)))
    heads = (EVALUATION, Column("measure"), *PLACE, Column("rank correlation", "estimate"), SOURCES)
    return Table("correlations", "Does likeness go with the result?", heads, tuple(rows), (CORRELATION_NOTE,))


def _similarity(findings: Findings) -> Table:
    heads = (SOURCE, Column("measure"), Column("value", "number"), Column("more alike"))
    rows = tuple(
        (one.calibration, one.measure, one.value, "the higher" if one.higher_is_more_alike else "the lower")
        for one in findings.results.similarity
    )
    return Table("similarity", "How like the reference each source is", heads, rows)


def _claims(findings: Findings) -> Table:
    heads = (Column("claim"), Column("in the paper"), Column("measured", "estimate"), Column("of what"), VERDICT,
             Column("why"), Column("p, Holm", "p"))  # fmt: skip
    rows = tuple(
        (one.claim.says, one.claim.paper or NOT_VERIFIED, one.judgement.estimate, one.judgement.what or "—",
         one.judgement.verdict, one.why, one.adjusted_p)
        for one in judge(findings)
    )  # fmt: skip
    return Table("claims", "What the paper claims, and whether it holds here", heads, rows, (CLAIM_NOTE,))


def _failures(findings: Findings) -> Table:
    rows = [(one.trial, one.label, one.error) for one in findings.results.failed]
    for row in findings.not_finite:
        what = f"{row.calibration} {findings.setting(row)} draw {row.draw}: {row.evaluation}"
        rows.append((row.trial, what, "a value is not finite, so the result is in no mean"))
    return Table("failures", "Trials that failed", (Column("trial"), Column("what"), Column("error")), tuple(rows))


def _told(verdict: str, p: float | None) -> str:
    return verdict if p is not None else "cannot be told"


def _own_note(findings: Findings) -> tuple[str, ...]:
    return (OWN_NOTE,) if any(cell.own for cell in findings.cells) else ()
