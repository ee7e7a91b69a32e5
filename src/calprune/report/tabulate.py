"""Findings as tables. The same tables are read on the page and in Markdown, and written to CSV and JSON."""

from collections import defaultdict

from calprune.report.capabilities import columns, of_cell, retained
from calprune.report.findings import SIGNIFICANCE, Comparison, Findings, setting
from calprune.report.names import METRICS, OWN, SETTING, oriented
from calprune.report.tables import Cell, Column, Table
from calprune.study.results import Result
from calprune.uncertainty import RULE, rank_correlation

OWN_NOTE = "† the source is judged on its own text: a lead here says little of other text."
UNIT = {"perplexity": "nats a token (a difference of 0.1 is 10 % of perplexity)", "kl": "nats a token"}
PLACE = tuple(Column(field.replace("num_samples", "sequences"), "number" if field == "num_samples" else "text",
                     always=False) for field in SETTING)  # fmt: skip
SOURCE = Column("source")


def tables(findings: Findings) -> list[Table]:
    """All tables that have a row, in the page's order."""
    made = [_retention(findings), _effects(findings), _differences(findings), _results(findings),
            _methods(findings), _similarity(findings), _correlations(findings), _failures(findings)]  # fmt: skip
    return [table for table in made if table.rows]


def _retention(findings: Findings) -> Table:
    names = columns(findings.cells)
    rows = retained(findings.cells)
    notes = ["Perplexity: dense ÷ pruned; tasks: the part of the accuracy above chance that is left. Each averages "
             "the evaluations of its capability. The interval is about other draws and other items."]  # fmt: skip
    if any(row.own for row in rows):
        notes.append("Own text: the columns in which the source is judged on its own text; it may flatter it there.")
    return Table(
        "retention",
        "What is left of the dense model, by capability",
        (SOURCE, *PLACE, *(Column(name, "estimate", percent=True) for name in names), Column("own text", always=False),
         Column("draws", "number", always=False)),
        tuple((row.of.calibration, *setting(row.of), *(row.by.get(name) for name in names),
               ", ".join(sorted(row.own)), row.draws) for row in rows),
        tuple(notes),
    )  # fmt: skip


def _effects(findings: Findings) -> Table:
    heads = (
        Column("evaluation"), *PLACE, Column("in a word"), Column("share of variance", "estimate", percent=True),
        Column("p", "p"), Column("p, Holm", "p"), Column("best"), Column("worst"), Column("from best to worst", "number"),
        Column("SD of a draw", "number"), Column("smallest difference seen", "number"),
        Column("draws to tell best from next", "number"), Column("sources", "number", always=False),
        Column("draws", "number", always=False),
    )  # fmt: skip

    def row(one: Comparison) -> tuple[Cell, ...]:
        effect = one.effect
        return (one.of.evaluation, *setting(one.of), one.word, effect.share, effect.p, one.adjusted_p, one.sources[0],
                one.sources[-1], effect.range, effect.sd, effect.detectable, one.draws_to_tell(), effect.groups,
                effect.draws)  # fmt: skip

    return Table(
        "effects", "Does the data matter? One row a setting and evaluation", heads, tuple(map(row, findings.comparisons)),
        (f"{RULE[0].upper()}{RULE[1:]}, with p after Holm's correction over this table. The share of variance is "
         "between sources, corrected for chance (ε²), with the interval of the population's. Smallest difference "
         "seen: of two sources, found in 80 % of such studies.",),
    )  # fmt: skip


def _differences(findings: Findings) -> Table:
    heads = (Column("evaluation"), *PLACE, Column("best"), Column("less"), Column("difference", "estimate"),
             Column("p, adjusted", "p"), Column("verdict"))  # fmt: skip
    rows = []
    for one in findings.comparisons:
        mark = {cell.of.calibration: cell.of.calibration + OWN * cell.own for cell in one.cells}
        for c in one.contrasts:
            if c.first == one.sources[0]:
                said = c.verdict if c.adjusted_p is not None else "cannot be told"
                rows.append((one.of.evaluation, *setting(one.of), mark[c.first], mark[c.second],
                             c.difference.estimate, c.adjusted_p, said))  # fmt: skip
    notes = [
        "The best of each setting less every other, paired by item, in " + "; ".join(
            f"{unit} for {METRICS[metric].split(',')[0]}" for metric, unit in UNIT.items()) + "; and accuracy. "
        "p: Holm's over all pairs of sources of one setting and evaluation, and not below that of the effect. "
        "A tie says that no difference was shown, not that there is none."
    ]  # fmt: skip
    return Table("differences", "Is the best better than the others?", heads, tuple(rows),
                 (*notes, *_own_note(findings)))  # fmt: skip


def _own_note(findings: Findings) -> tuple[str, ...]:
    return (OWN_NOTE,) if any(cell.own for cell in findings.cells) else ()


def _results(findings: Findings) -> Table:
    heads = (
        Column("evaluation"), Column("metric", always=False), Column("capability", always=False), SOURCE, *PLACE,
        Column("mean", "estimate"), Column("SD of a draw", "number"), Column("dense", "number"),
        Column("retention", "estimate", percent=True), Column("draws", "number", always=False), Column("own text"),
    )  # fmt: skip
    rows = [
        (cell.of.evaluation, METRICS[cell.of.metric], cell.of.capability, cell.of.calibration, *setting(cell.of),
         cell.spread.interval, cell.spread.sd, None if cell.of.metric == "kl" else cell.of.dense,
         None if cell.of.metric == "kl" else of_cell(cell), len(cell.rows), "yes" if cell.own else "")
        for cell in findings.cells
    ]  # fmt: skip
    order = {name: i for i, name in enumerate(dict.fromkeys(row.evaluation for row in findings.rows))}
    rows.sort(key=lambda row: order[row[0]])
    return Table("results", "Every result: means over draws", heads, tuple(rows),
                 ("The interval of a mean is about other draws with the same items (Student's t).",
                  *_own_note(findings)))  # fmt: skip


def _methods(findings: Findings) -> Table:
    place = tuple(column for column in PLACE if column.name in ("model", "pattern", "sequences"))
    heads = (Column("evaluation"), *place, SOURCE, Column("method"), Column("less"), Column("difference", "estimate"),
             Column("p", "p"), Column("p, Holm", "p"), Column("verdict"), Column("draws", "number", always=False))  # fmt: skip
    rows = []
    for one in findings.methods:
        of = one.first
        rows.append((of.evaluation, of.model, of.pattern, of.num_samples, of.calibration, findings.method(of),
                     findings.method(one.second), one.difference.estimate, one.difference.p, one.adjusted_p,
                     one.verdict if one.adjusted_p is not None else "cannot be told", one.draws))  # fmt: skip
    return Table("methods", "Methods with the same draws of one source", heads, tuple(rows),
                 ("The first less the second in the evaluation's own unit, paired by draw (paired t test). Holm's "
                  f"correction is over this table; win and loss at {SIGNIFICANCE:.0%}.",))  # fmt: skip


def _similarity(findings: Findings) -> Table:
    rows = [(one.calibration, one.measure, one.value, "the higher" if one.higher_is_more_alike else "the lower")
            for one in findings.results.similarity]  # fmt: skip
    heads = (SOURCE, Column("measure"), Column("value", "number"), Column("more alike"))
    return Table("similarity", "How like the reference each source is", heads, tuple(rows))


def _correlations(findings: Findings) -> Table:
    alike: dict[str, dict[str, float]] = defaultdict(dict)
    for one in findings.results.similarity:
        alike[one.measure][one.calibration] = one.value if one.higher_is_more_alike else -one.value
    rows = []
    for measure, values in alike.items():
        for one in findings.comparisons:
            both = [cell for cell in one.cells if cell.of.calibration in values]
            if len(both) > 1:
                good = [oriented(cell.of.metric, cell.spread.mean) for cell in both]
                found = rank_correlation([values[cell.of.calibration] for cell in both], good)
                rows.append((measure, one.of.evaluation, *setting(one.of), found, len(both)))
    heads = (Column("measure"), Column("evaluation"), *PLACE, Column("rank correlation", "estimate"),
             Column("sources", "number", always=False))  # fmt: skip
    return Table("correlations", "Does a likeness go with the result?", heads, tuple(rows),
                 ("Spearman's, over sources, with Bonett and Wright's interval: above 0, the more alike the better. "
                  "Each source is one point; with few of them the interval is wide.",))  # fmt: skip


def _failures(findings: Findings) -> Table:
    rows = [(one.trial, one.label, one.error) for one in findings.results.failed]
    rows += [(one.trial, f"{one.calibration} {findings.setting(one)} draw {one.draw}: {one.evaluation}",
              "a value is not finite; the result is in no table") for one in findings.not_finite]  # fmt: skip
    return Table("failures", "Trials that failed", (Column("trial"), Column("what"), Column("error")), tuple(rows))
