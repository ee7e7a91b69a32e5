"""The answer in one sentence and in full, and the warnings above the page: every statement follows from the statistics.

A sentence is of what the study compared: sources, methods, the claims of papers. Words of the effects are the table's.
"""

import math
import re
from collections import defaultdict
from dataclasses import dataclass

from calprune.base.calls import split
from calprune.pages.numbers import alike, counted, listed, number, percent, rough, with_interval
from calprune.report.claims import judge
from calprune.report.claims.judged import Verdict as ClaimVerdict
from calprune.report.findings import DEFAULT, WORDS, Comparison, Findings, MethodContrast
from calprune.report.settings import in_order, is_control
from calprune.studies.axes import NO_DATA
from calprune.studies.results import OVERLAPPING, Result
from calprune.uncertainty.difference import TURNED, Verdict


def plain(findings: Findings) -> str:
    """The answer in one sentence of plain words."""
    if (widest := findings.widest) is not None:
        return _plainly(findings, widest)
    if findings.methods:
        return _plainly_methods(findings) if any(len(cell.rows) > 1 for cell in findings.cells) else _one_draw(findings)
    if not findings.comparisons:
        return "This study cannot tell whether the choice of calibration data matters: it takes two sources to compare."
    if any(len(cell.rows) > 1 for cell in findings.cells):
        return "This study cannot tell whether the choice of calibration data matters: draws of a source are all alike."
    return ("This study cannot tell whether the choice of calibration data matters: it takes two draws of each source "
            "to know the luck of the draw.")  # fmt: skip


def _plainly(findings: Findings, widest: Comparison) -> str:
    """Yes, no or not shown, and the two ends of the widest range."""
    word, n, of = widest.word, findings.words()[widest.word], sum(findings.words().values())
    of -= findings.words().get("cannot be told", 0)
    metric, where = widest.of.measures, "" if n == of else f" in {n} of {of} settings"
    if word == "immaterial":
        least = "" if widest.of_interest is None else f": by less than {metric.difference(widest.of_interest)}"
        if widest.costless:
            return f"{_nothing_lost(widest)}, so this says nothing of the choice."
        return (f"The choice does not matter here: whichever of the {_counted(widest)} is taken, too little "
                f"changes to act on{least}.")  # fmt: skip
    if word == "not shown" and widest.distinguished:
        return "Perhaps: the sources differ more than draws of one do, but not surely by enough to act on."
    if word == "not shown":
        seen = widest.effect.detectable
        missed = "" if seen is None else f"; a difference below {rough(seen)} {metric.unit} could have been missed"
        return f"Not shown: the {_counted(widest)} are not distinguished from draws of one source{where}{missed}."
    best, worst = widest.cells[0], widest.worst
    least, most, of_dense = alike(best.spread.mean, worst.spread.mean, best.of.dense)
    dense = "" if metric.needs_dense else f"; the dense model has {of_dense}"  # of a divergence it is 0
    kind, on = _measure(best.of)
    return (
        f"The choice matters{where}: pruned with {_quoted(best.of.calibration)} the model has {kind} of {least}{on}, "
        f"with {_quoted(worst.of.calibration)} {most}{dense}."
    )


def _counted(one: Comparison) -> str:
    """ "13 sources"; "source and control" where a control had to count as a source."""
    controls = sum(is_control(cell.of) for cell in one.cells)
    parts = [counted(n, word) for n, word in ((len(one.cells) - controls, "source"), (controls, "control")) if n]
    return listed(parts)


def _nothing_lost(one: Comparison) -> str:
    """Where pruning costs nothing, no source can save anything: a light pattern, or a dense model that only guesses."""
    metric, kind = one.of.measures, _measure(one.of)[0]
    assert one.of_interest is not None
    dense = "" if metric.needs_dense else f" (the dense model has {kind} of {number(one.of.dense)})"
    return (f"Pruning itself costs less than {metric.difference(one.of_interest)} here{dense}: it takes a harder "
            "pattern, or a text that the dense model can predict, to tell sources apart")  # fmt: skip


def _one_draw(findings: Findings) -> str:
    """The ends of what was seen once, by the first evaluation."""
    of = findings.methods[0].first
    cells = [cell for cell in findings.cells if (cell.of.evaluation, cell.of.model) == (of.evaluation, of.model)]
    best, *_, worst = sorted(cells, key=lambda cell: of.measures.oriented(cell.spread.mean), reverse=True)
    kind, on = _measure(of)
    least, most, dense = alike(best.spread.mean, worst.spread.mean, of.dense)
    ends = [f"{findings.setting(one.of)} ({'no data' if one.of.calibration == NO_DATA else one.of.calibration})"
            for one in (best, worst)]  # fmt: skip
    return (f"One draw of each, which proves no difference: pruned with {ends[0]} the model has {kind} of "
            f"{least}{on}, with {ends[1]} {most}; the dense model has {dense}.")  # fmt: skip


def _measure(row: Result) -> tuple[str, str]:
    """ "a perplexity" and " on wikitext2", of "perplexity(wikitext2, length=256)"."""
    kind, text = row.measures.title.partition(",")[0], row.evaluation
    if (found := re.fullmatch(r"(\w+)\((.*)\)", text)) and found[1].lower() == kind.lower():
        text = split(found[2], ",")[0]
    return f"{'an' if kind[0] in 'aei' else 'a'} {kind}", f" on {text}"


def _quoted(name: str) -> str:
    """A name of several words in quotes, so that its end can be seen."""
    return f"“{name}”" if re.search(r"[\s,]", name) else name


def _plainly_methods(findings: Findings) -> str:
    """Which method is shown to be best at which patterns."""
    leads: dict[str, list[str]] = defaultdict(list)
    for pattern in in_order(one.first.pattern for one in findings.methods):
        lead = _lead(findings, [one for one in findings.methods if one.first.pattern == pattern])
        best = lead.name if lead.beats_all else ""
        leads[best].append(pattern)
    parts = [f"{name or 'no method'} is shown to be best at {listed(patterns)}" for name, patterns in leads.items()]
    if list(leads) == [""]:
        parts = ["no method is shown to be better than all others"]
    return f"With the same data, {listed(parts)}."


def answer(findings: Findings) -> list[str]:
    """What the study compared: does the data matter here and which source is best, which method, and the claims."""
    measured = [one for one in findings.comparisons if one.word != "cannot be told"]
    said = []
    if measured:
        said += [_matters(findings, measured), _best(findings)]
    elif findings.comparisons or not findings.methods:
        said += [_cannot(findings), "So no source can be called best: the means below may be luck of the draw."]
    if findings.methods:
        said.append(_methods(findings))
    if findings.results.claims:
        said.append(_claims(findings))
    return said


def warnings(findings: Findings) -> list[str]:
    """What a reader must know before the numbers."""
    warnings = []
    if missing := findings.results.missing:
        are = "is" if missing == 1 else "are"
        warnings.append(f"{missing:,} {_plural('trial', missing)} of this study {are} not there yet: the numbers are "
                        "of those that are.")  # fmt: skip
    if failed := len(findings.results.failed):
        warnings.append(
            f"{failed:,} {_plural('trial', failed)} failed; {'its' if failed == 1 else 'their'} errors are below."
        )
    if gone := len(findings.not_finite):
        warnings.append(f"{gone:,} {_plural('result', gone)} {'is' if gone == 1 else 'are'} not finite and in no mean.")
    if cut := findings.results.left_out:
        rest = f" and {counted(len(cut) - 3, 'thing')} more, named in the study's file" if len(cut) > 3 else ""
        warnings.append(f"Left out, and so not measured: {'; '.join(cut[:3])}{rest}.")
    if overlapping := findings.results.about.get(OVERLAPPING):
        warnings.append(
            f"Draws of {listed(overlapping)} have documents in common: the spread between them looks small."
        )
    warnings += [f"{name} stands in: {what}." for name, what in findings.results.stand_ins.items()]
    return warnings


def _cannot(findings: Findings) -> str:
    head = "Whether the choice of calibration data matters here cannot be decided"
    if not findings.sources:
        return f"{head}: there is no source, and it takes two to compare."
    if not findings.comparisons:
        return f"{head}: there is one source in each setting, and it takes two to compare."
    if any(len(cell.rows) > 1 for cell in findings.cells):
        return f"{head}: draws of a source do not differ at all, so nothing can be told from their luck."
    return f"{head}: each source has one draw, and it takes two or more to know the luck of the draw."


def _matters(findings: Findings, measured: list[Comparison]) -> str:
    """The effect's word, the same as in the table, and the widest range that has it."""
    counts, several, widest = findings.words(), len(measured) > 1, findings.widest
    assert widest is not None
    word = widest.word
    rest = [f"{counts[one]} {one}" for one in WORDS if counts.get(one) and one != word]
    others = f" ({listed(rest)})" if rest else ""
    where = f" in {_of(counts[word], len(measured))} pairs of setting and evaluation" if several else ""
    if word == "not shown":
        where = f" in {_none_of(counts[word], len(measured))} pairs of setting and evaluation" if several else ""
    if word == "immaterial" and widest.costless:
        return f"{_nothing_lost(widest)}: {_range(findings, widest, several)}."
    lead = {
        "matters": f"The choice of calibration data matters here{where}{others}",
        "immaterial": f"The choice of calibration data is immaterial here{where}{others}",
        "not shown": f"That the choice of calibration data matters here is not shown{where}{others}",
    }[word]
    return f"{lead}: {_range(findings, widest, several)}{_power(widest) if word == 'not shown' else ''}."


def _range(findings: Findings, one: Comparison, several: bool) -> str:
    """From best to worst, in the unit, as a share of what pruning cost, and beside what would be of interest."""
    best, worst = one.cells[0], one.cells[-1]
    metric = one.of.measures
    part = one.part_of_cost
    cost = (
        ""
        if part is None
        else f", {percent(part, 0 if part >= 0.1 else 1 if part >= 0.01 else 2)} of what pruning itself cost"
    )
    least = (
        ""
        if one.of_interest is None
        else f"; the smallest difference of interest is {metric.difference(one.of_interest)}"
    )
    lowest, highest = alike(best.spread.mean, worst.spread.mean)
    return (f"{'most of all ' if several else ''}{one.of.evaluation} with {findings.setting(one.of)} goes from "
            f"{lowest} ({best.of.calibration}) to {highest} "
            f"({worst.of.calibration}), a range of {with_interval(one.apart)} {metric.unit}{cost}{least}")  # fmt: skip


def _power(one: Comparison) -> str:
    """Whether sources are distinguished at all, and what could have been missed."""
    if one.distinguished:
        return "; the sources do differ more than draws of one do, but not surely by so much"
    least = f"{rough(one.effect.detectable)} {one.of.measures.unit}"
    return ("; the sources are not distinguished from the luck of the draw, and two that differ by "
            f"{least} would be in 80 % of such studies")  # fmt: skip


def _best(findings: Findings) -> str:
    if len(findings.ranking) < 2:
        return ("Which source is best cannot be decided: each evaluation reads the text of one of the sources that it "
                "would judge, so none but one is judged fairly.")  # fmt: skip
    best, *others = [name for name, _ in findings.ranking]
    fair = " on other text than a source's own" if any(cell.own for cell in findings.cells) else ""
    named = f"{best} (the usual choice)" if best == DEFAULT else best
    records = {other: findings.record(best, other) for other in others}
    met = [other for other in others if any(records[other].values())]  # never empty: a place is of two
    apart = _unmet(others, met)
    places = dict(findings.ranking)
    shared = [name for name in met if math.isclose(places[name], places[best])]
    has = f"{listed([named, *shared])} share the best mean place" if shared else f"{named} has the best mean place"
    if lost := [other for other in met if records[other]["loss"]]:
        some = [f"{records[one]['loss']} of {sum(records[one].values())} comparisons to {one}" for one in lost[:3]]
        more = [f"some to {len(lost) - 3} others"] if len(lost) > 3 else []
        loses = f"{best} loses {listed([*some, *more])}"
        return f"No source is best throughout: {has}{fair}, yet {loses} after Holm's correction{apart}."
    following, first = met[0], others.index(met[0])
    against = [following] + [DEFAULT] * (following != DEFAULT and DEFAULT in met)
    names = {following: f"the next{' in its settings' * bool(first)} ({following})", DEFAULT: f"the usual {DEFAULT}"}
    scores = listed([f"{_score(records[other])} against {names[other]}" for other in against])
    if records[following]["win"] and not shared:
        return f"The best by mean place{fair} is {named}: after Holm's correction {scores}{apart}."
    lead = "No source can be called best" if not any(records[one]["win"] for one in against) else (
        "The best cannot be distinguished from the next")  # fmt: skip
    return f"{lead}: {has}{fair}, with {scores} after Holm's correction{apart}."


def _unmet(others: list[str], met: list[str]) -> str:
    """The better places, and the default, that the best was never beside."""
    first = others.index(met[0])
    unmet = [other for i, other in enumerate(others) if other not in met and (i < first or other == DEFAULT)]
    unmet = unmet if len(unmet) < 4 else [*unmet[:2], f"{len(unmet) - 2} others"]
    are = "was" if len(unmet) == 1 else "were"
    return f"; {listed(unmet)} {are} in none of its settings, so not compared with it" if unmet else ""


def _methods(findings: Findings) -> str:
    """Which method is best at each pattern, of methods with the same draws of one source."""
    parts = []
    for pattern in in_order(one.first.pattern for one in findings.methods):
        found = [one for one in findings.methods if one.first.pattern == pattern]
        if said := _best_method(findings, found):
            parts.append(f"at {pattern} {said}")
    count = len(findings.methods)
    shown = sum(one.verdict != "tie" for one in findings.methods)
    told = f"{_of(shown, count)} differences of two are shown" if shown else f"none of {count} differences is shown"
    head = f"Methods with the same draws of a source, after Holm's correction ({told})"
    return f"{head}: {'; '.join(parts)}."


@dataclass(frozen=True)
class _Lead:
    """The method that is ahead in the largest share of its pairs, the next of those it met, and its record."""

    name: str
    following: str
    record: dict[Verdict, int]  # against the next
    lost: list[str]  # methods that are shown to be better somewhere
    beats_all: bool  # whether it is shown to be better than every other somewhere, and worse nowhere


def _best_method(findings: Findings, found: list[MethodContrast]) -> str:
    """Of the contrasts of one pattern: the method that is better in most pairs, if it is shown to be."""
    lead = _lead(findings, found)
    score = f"{_score(lead.record)} against the next ({lead.following})"
    if lead.lost:
        return f"none is best throughout ({lead.name} is ahead most often, yet loses to {listed(sorted(lead.lost))})"
    if lead.record["win"]:
        return f"{lead.name} is ahead most often, with {score}"
    return f"none can be called best ({lead.name} is ahead most often, with {score})"


def _lead(findings: Findings, found: list[MethodContrast]) -> _Lead:
    ahead: dict[str, list[int]] = defaultdict(lambda: [0, 0])  # method -> pairs in which its mean is better, and all
    record: dict[str, dict[str, dict[Verdict, int]]] = defaultdict(
        lambda: defaultdict(lambda: {"win": 0, "tie": 0, "loss": 0}))  # fmt: skip
    for one in found:
        first, second = findings.method(one.first), findings.method(one.second)
        ahead[first][0] += 1
        for name, other, verdict in ((first, second, one.verdict), (second, first, TURNED[one.verdict])):
            ahead[name][1] += 1
            record[name][other][verdict] += 1
    ranked = sorted(ahead, key=lambda name: ahead[name][0] / ahead[name][1], reverse=True)
    best = ranked[0]
    following = next(name for name in ranked[1:] if name in record[best])
    lost = [other for other, counts in record[best].items() if counts["loss"]]
    beats_all = not lost and all(record[best][other]["win"] for other in ranked[1:])
    return _Lead(best, following, record[best][following], lost, beats_all)


def _claims(findings: Findings) -> str:
    found = [one.judgement.verdict for one in judge(findings)]
    verdicts: tuple[ClaimVerdict, ...] = ("held", "not held", "cannot be told here")
    counts = [f"{found.count(verdict)} {verdict}" for verdict in verdicts if found.count(verdict)]
    return f"Of the {counted(len(found), 'claim')}, after Holm's correction: {listed(counts)}."


def _score(record: dict) -> str:
    kinds = ("win", "tie", "loss")
    words = {"win": "wins", "tie": "ties", "loss": "losses"}
    counts = [f"{record[kind]} {kind if record[kind] == 1 else words[kind]}" for kind in kinds if record[kind]]
    return listed(counts)


def _of(n: int, whole: int) -> str:
    return f"all {whole}" if n == whole else f"{n} of {whole}"


def _none_of(n: int, whole: int) -> str:
    return f"any of {whole}" if n == whole else f"{n} of {whole}"


def _plural(word: str, n: int) -> str:
    return word if n == 1 else f"{word}s"
