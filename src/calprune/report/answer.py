"""The answer in two sentences, and the warnings above the page: every statement follows from the statistics."""

from calprune.pages.numbers import listed, number, rough, with_interval
from calprune.report.findings import DEFAULT, Comparison, Findings


def answer(findings: Findings) -> list[str]:
    """Does the data matter here, and which source is best."""
    measured = [one for one in findings.comparisons if one.word != "cannot be told"]
    if not measured:
        return [_cannot(findings), "So no source can be called best: the means below may be luck of the draw."]
    return [_matters(findings, measured), _best(findings)]


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
    warnings += [f"{name} stands in: {what}." for name, what in findings.results.stand_ins.items()]
    return warnings


def _cannot(findings: Findings) -> str:
    head = "Whether the choice of calibration data matters here cannot be decided"
    if len(findings.sources) < 2:
        return f"{head}: there is {'one source' if findings.sources else 'no source'}, and it takes two to compare."
    return f"{head}: each source has one draw, and it takes two or more to know the luck of the draw."


def _matters(findings: Findings, measured: list[Comparison]) -> str:
    shown = [one for one in measured if one.word in ("small", "large")]
    share = max(shown or measured, key=lambda one: one.effect.share.value if one.effect.share else 0.0)
    if not shown:
        none, seen = _none_shown(findings, measured), _seen(findings, share)
        return f"The choice of calibration data is immaterial here: {none}; {seen}."
    counts = findings.words()
    size = "large" if counts.get("large") else "small"
    where = "" if len(measured) == 1 else f" in {_of(counts[size], len(measured))} pairs of setting and evaluation"
    parts = [f"{counts['small']} small" if size == "large" and counts.get("small") else "",
             f"{counts['immaterial']} immaterial" if counts.get("immaterial") else ""]  # fmt: skip
    rest = f" ({listed([part for part in parts if part])})" if any(parts) else ""
    lead = "The choice of calibration data makes a"
    return f"{lead} {size} difference here{where}{rest}: {_range(findings, share, len(measured))}."


def _range(findings: Findings, one: Comparison, of: int) -> str:
    """From best to worst, with the share of variance between sources."""
    best, worst = one.cells[0], one.cells[-1]
    most = "" if of == 1 else "most clearly "
    return (f"{most}{one.of.evaluation} with {findings.setting(one.of)} goes from "
            f"{number(best.spread.mean)} ({best.of.calibration}) to {number(worst.spread.mean)} "
            f"({worst.of.calibration}), where {with_interval(one.effect.share, as_percent=True)} of the variance lies "
            "between sources rather than draws")  # fmt: skip


def _none_shown(findings: Findings, measured: list[Comparison]) -> str:
    if len(measured) == 1:
        return f"with {findings.setting(measured[0].of)} the sources are not distinguished from the luck of the draw"
    return (f"in none of {len(measured)} pairs of setting and evaluation are the sources distinguished from the luck "
            "of the draw")  # fmt: skip


def _seen(findings: Findings, one: Comparison) -> str:
    """What could have been missed."""
    effect = one.effect
    where = f"{one.of.evaluation} with {findings.setting(one.of)}"
    least = f"{rough(effect.detectable)} {one.of.measures.unit}"
    share = with_interval(effect.share, as_percent=True)
    return (f"the largest share of variance between sources is {share} ({where}), "
            f"where two sources that differ by {least} would be distinguished in 80 % of such studies")  # fmt: skip


def _best(findings: Findings) -> str:
    if len(findings.ranking) < 2:
        return ("Which source is best cannot be decided: each evaluation reads the text of one of the sources that it "
                "would judge, so none but one is judged fairly.")  # fmt: skip
    best, *others = [name for name, _ in findings.ranking]
    met = [other for other in others if any(findings.record(best, other).values())]  # never empty: a place is of two
    following, first = met[0], others.index(met[0])
    against = [following] + [DEFAULT] * (following != DEFAULT and DEFAULT in others)
    records = [(other, findings.record(best, other)) for other in against if other in met]
    named = f"{best} (the usual choice)" if best == DEFAULT else best
    fair = " on other text than a source's own" if any(cell.own for cell in findings.cells) else ""
    names = {following: f"the next{' in its settings' * bool(first)} ({following})", DEFAULT: f"the usual {DEFAULT}"}
    scores = listed([f"{_score(record)} against {names[other]}" for other, record in records])
    unmet = [other for i, other in enumerate(others) if other not in met and (i < first or other == DEFAULT)]
    unmet = unmet if len(unmet) < 4 else [*unmet[:2], f"{len(unmet) - 2} others"]
    are = "was" if len(unmet) == 1 else "were"
    apart = f"; {listed(unmet)} {are} in none of its settings, so not compared with it" if unmet else ""
    if records[0][1]["win"]:
        return f"The best by mean place{fair} is {named}: after Holm's correction {scores}{apart}."
    lead = "No source can be called best" if not any(record["win"] for _, record in records) else (
        "The best cannot be distinguished from the next")  # fmt: skip
    return f"{lead}: {named} has the best mean place{fair}, with {scores} after Holm's correction{apart}."


def _score(record: dict) -> str:
    kinds = ("win", "tie", "loss")
    words = {"win": "wins", "tie": "ties", "loss": "losses"}
    counts = [f"{record[kind]} {kind if record[kind] == 1 else words[kind]}" for kind in kinds if record[kind]]
    return listed(counts)


def _of(n: int, whole: int) -> str:
    return f"all {whole}" if n == whole else f"{n} of {whole}"


def _plural(word: str, n: int) -> str:
    return word if n == 1 else f"{word}s"
