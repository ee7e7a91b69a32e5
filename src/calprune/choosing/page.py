"""The page of a choice, with the look of a study's: the answer, transfer, shares, the verdict, how to do it again.

The answer's sentences say nothing that the statistics do not carry.
"""

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from calprune.base.patterns import Removal
from calprune.choosing.answer import OVERALL, UNIFORM, Choice, SetContrast
from calprune.choosing.job import percent
from calprune.evaluation.metric import KL
from calprune.pages.chart import Heat, Panel
from calprune.pages.drawing import Point
from calprune.pages.names import short_names
from calprune.pages.numbers import listed, number, with_interval
from calprune.pages.numbers import percent as percentage
from calprune.pages.page import Page, Section, TextBlock
from calprune.pages.table import Column, Table, Value
from calprune.report.findings import Findings
from calprune.report.sections.made import speed
from calprune.report.sections.overview import overview
from calprune.report.sections.retention import retention
from calprune.studies.results import Results
from calprune.uncertainty.effect import RULE
from calprune.uncertainty.estimate import Estimate
from calprune.uncertainty.power import SIGNIFICANCE

OWN = "own text"  # the row of what a capability's own text would give
TRANSFER = (
    "Regret: by how much more of a capability's signal the layers lose when a source decides the masks than when other "
    "text of the capability's own kind does. From sums, without a forward pass; the darker, the worse of its column."
)
WORDS = {
    "Gate": f"{RULE[0].upper()}{RULE[1:]}. Range: in nats a token, with an interval that holds for all capabilities at "
    "once (Bonferroni), about other draws. p: of no difference between sources at all (F test), Holm's correction over "
    "the capabilities. A search is made where a range matters, or is not shown and p is under 0.05.",
    "Texts": "Each capability's text is cut in two: the first half is searched on, the second is read by the gate and "
    "the verdict alone. Divergence is KL(dense || pruned), nats a token.",
    "Regret": "L[λ → t] / L[t → t] - 1, L the mean over linears of tr(ΔW C ΔWᵀ) / tr(W C Wᵀ): a proxy. Its rank "
    "correlation with the divergence says how far to trust it here.",
    "Search": "Exponentiated gradient on regret, for its weighted mean and for the largest weighted one; the draw that "
    "is searched on is in no verdict.",
    "Verdict": "Draws and items both vary (a crossed design, Student's t); items are paired, and so are the draws of "
    "sets with a source in common, which hold the same documents of it. Holm's correction over the table. All "
    "together is of as many windows of each capability as the shortest text has. A tie says that no difference was "
    "shown, not that there is none. The verdict's sets are used with dense propagation, the saved model with pruned "
    "propagation.",
}


TRANSFER_OF_UNITS = (
    "Regret: by how much more of a capability's own scores go where a source decides what is taken out than where "
    "other text of the capability's own kind does. From sums, without a forward pass; the darker, the worse of its "
    "column."
)
REGRET_OF_UNITS = (
    "L[λ → t] / L[t → t] - 1, L the share of a capability's scores of all units that those which go have, the mean "
    "over places: a proxy. Its rank correlation with the divergence says how far to trust it here."
)


def choice_page(choice: Choice, results: Results, data_root: Path | None = None) -> Page:
    """The page of a choice; `results` are those of DIR/runs; `data_root`: what its commands name."""
    q = choice.question
    goals = ", ".join(f"{one.name} {one.weight:g} (on {one.text})" for one in q.capabilities)
    took = f"its last run took {choice.result.seconds / 60:.0f} min"
    size = (f"{len(choice.gate.used)} sources, {q.draws} draws of {q.num_samples} × {q.max_seq_length} tokens, "
            f"{q.tokens:,} tokens a capability to judge on; {took}")  # fmt: skip
    findings = Findings(results)
    sections = _sections(choice, findings, commands(choice, data_root))
    made = Page(f"Calibration data for {setting(choice)}", sections, "calprune choose",
                f"Which data should it be calibrated with, for {goals}?", size, (plain(choice), *answer(choice)),
                tuple(_warnings(choice, results)))  # fmt: skip
    return made.read_as(short_names([q.model, *q.sources, *(one.text for one in q.capabilities)]) | findings.names)


def _warnings(choice: Choice, results: Results) -> Iterator[str]:
    yield from (f"Left out: {what}." for what in choice.left_out)
    for source, why in choice.gate.dropped.items():
        yield f"{source} could not be used: {why}."
    for source, found in choice.gate.shared_wording.items():
        for name, n in found.items():
            if n:
                yield (f"{n} of {choice.gate.looked_at} sequences of {source} share wording with what {name} is judged "
                       "on: a lead there may be memory.")  # fmt: skip
    yield from (f"{name} stands in: {what}." for name, what in results.stand_ins.items())


def _sections(choice: Choice, findings: Findings, again: list[str]) -> tuple[Section, ...]:
    kept = retention(findings)
    size = (enough(choice),) if choice.judgement else ()
    lead = ((TRANSFER_OF_UNITS if _of_units(choice) else TRANSFER),) if _has_table(choice) else ()
    words = WORDS | ({"Regret": REGRET_OF_UNITS} if _of_units(choice) else {})
    return (
        overview(findings),
        Section("verdict", "The verdict", size, tables=(*_verdict(choice), _saved(choice))),
        Section("matters", "Does the choice matter?", tables=(_gate(choice), _wording(choice))),
        Section("retention", kept.title, (), kept.panels, kept.tables),
        Section("transfer", "What each source costs each capability", lead,
                tuple(_heat(choice)), tuple(_transfer(choice))),
        Section("mixtures", "Mixtures", tables=tuple(_mixtures(choice))),
        Section("made", "How each number was made", facts=tuple(words.items())),
        Section("again", "Reproduce", blocks=(TextBlock.of("Commands", "\n".join(again)),)),
        speed(findings),
    )  # fmt: skip


def _saved(choice: Choice) -> Table:
    heads = (Column("capability"), Column("perplexity, dense", "number"), Column("perplexity, pruned", "number"),
             Column("divergence", "estimate"))  # fmt: skip
    rows = tuple((name, *choice.result.perplexity[name], kl) for name, kl in choice.result.divergence.items())
    note = "The interval is over the text's windows, of this one model."
    return Table("saved", f"The saved model, pruned with {choice.winner}", heads, rows, (note,))


def _gate(choice: Choice) -> Table:
    heads = (Column("capability"), Column("effect"), Column("range", "estimate"),
             Column("of what pruning cost", "number", percent=True),
             Column("smallest difference of interest", "number"),
             Column("share of variance", "estimate", percent=True), Column("p, Holm", "p"), Column("least divergence"),
             Column("most"), Column("minimum detectable difference", "number"))  # fmt: skip
    rows = tuple((name, one.shown, one.apart or Estimate(one.range, None, None, 0), one.part_of_cost, one.of_interest,
                  one.share, one.adjusted_p, one.lowest, one.highest, one.detectable)
                 for name, one in choice.gate.effects.items())  # fmt: skip
    return Table("gate", "Sources against draws of one source", heads, rows, (WORDS["Gate"],))


def _wording(choice: Choice) -> Table:
    """What of a source is, word for word, in what a capability is judged on."""
    names, gate = list(choice.question.weights), choice.gate
    rows = tuple((source, *(gate.shared_wording.get(source, {}).get(name, "not looked for") for name in names))
                 for source in gate.used)  # fmt: skip
    heads = (Column("source"), *(Column(name, "number") for name in names))
    return Table("wording", f"Sequences, of {gate.looked_at}, that share wording with what is judged on", heads, rows,
                 ("It is not looked for where a text is made up or written by the model.",))  # fmt: skip


def _of_units(choice: Choice) -> bool:
    return isinstance(choice.question.pattern, Removal)


def _has_table(choice: Choice) -> bool:
    return choice.search is not None and bool(choice.search.loss)


def _heat(choice: Choice) -> Iterator[Panel]:
    """Regret of each source, the worst of a column darkest."""
    if not _has_table(choice):
        return
    assert choice.search is not None
    regrets = {source: choice.search.regret(loss) for source, loss in choice.search.loss.items()}
    names = list(choice.question.weights)
    points = []
    for name in names:
        column = [regret[name] for regret in regrets.values()]
        low, high = min(column), max(column)
        for source, regret in regrets.items():
            dark = (regret[name] - low) / (high - low) if high > low else 0.0
            shown = f"{regret[name]:+.0%}".replace("%", " %").replace("-", "−")
            points.append(Point(source, shown, name, dark, low, high, shown, 1))
    yield Panel((Heat("Regret: source × capability", "regret", tuple(points), names, list(regrets)),), wide=True)


def _transfer(choice: Choice) -> Iterator[Table]:
    if not _has_table(choice):
        return
    assert choice.search is not None
    names = list(choice.question.weights)
    rows: list[tuple[Value, ...]] = [
        (source, *(loss[name] for name in names)) for source, loss in choice.search.loss.items()
    ]
    rows.append((OWN, *(choice.search.own[name] for name in names)))
    heads = (Column("calibrated on"), *(Column(name, "number") for name in names))
    read = [f"{tokens:,} of {name}" for name, tokens in choice.search.own_tokens.items()]
    most = choice.question.num_samples * choice.question.max_seq_length
    notes = (f"Own text: {listed(read)} tokens, beside at most {most:,} of a source: where it is the shorter, regret "
             "can be too small, and below 0.",) if read else ()  # fmt: skip
    error = "Relative error of the layers on each capability's held-out text"
    what = "Share of each capability's own scores that goes" if _of_units(choice) else error
    yield Table("transfer", what, heads, tuple(rows),
                notes)  # fmt: skip


def _mixtures(choice: Choice) -> Iterator[Table]:
    if choice.search is None or choice.halving is None:
        return
    search, halving = choice.search, choice.halving
    names, sources = list(choice.question.weights), list(choice.gate.used)
    heads = [Column("candidate"), *(Column(f"share of {s}", "number") for s in sources)]
    heads += [Column(f"regret, {name}", "number") for name in names] if search.proxy else []
    rounds = [Column(f"divergence at {tokens:,} tokens", "number") for tokens in halving.tokens]
    weights, rows = choice.question.weights, []
    for name, shares in search.mixtures.items():
        regret = search.regret(search.proxy[name]) if search.proxy else {}
        judged = [sum(weights[c] * kl for c, kl in found[name].items()) if name in found else None
                  for found in halving.divergence]  # fmt: skip
        rows.append((name, *(shares.get(s, 0.0) for s in sources), *(regret[c] for c in names if regret), *judged))
    note = (f"{search.evaluations} mixtures were decided from sums in {search.seconds:.0f} s, the search on "
            f"{search.blocks} blocks, without a forward pass. Divergence: the weighted mean.")  # fmt: skip
    yield Table("mixtures", "Candidates: shares of tokens, regret, divergence", tuple([*heads, *rounds]), tuple(rows),
                (note,) if search.proxy else ())  # fmt: skip
    if search.proxy:
        trusted = tuple(halving.correlation.items())
        yield Table("trust", "Can the proxy be trusted? Its rank correlation with the divergence, over candidates",
                    (Column("capability"), Column("rank correlation", "estimate")), trusted,
                    ("Candidates are mixtures of one another: the intervals, made as if they were not, are too "
                     "narrow.",))  # fmt: skip


def _verdict(choice: Choice) -> Iterator[Table]:
    if choice.judgement is None:
        return
    heads = (Column("set"), Column("against"), Column("capability"), Column("divergence less", "estimate"),
             Column("p, Holm", "p"), Column("verdict"))  # fmt: skip
    rows = tuple((one.candidate, one.against, one.capability, one.difference, one.adjusted_p, one.verdict)
                 for one in choice.judgement.contrasts)  # fmt: skip
    if rows:
        yield Table("verdict", "The divergence of a set less that of another (below 0 is better)", heads, rows)


def commands(choice: Choice, data_root: Path | None = None) -> list[str]:
    """To choose again, and to prune by hand with what was chosen."""
    q = choice.question
    root = f" --data-root {shlex.quote(str(data_root))}" if data_root else ""
    method = shlex.quote(q.method_text)
    weights = " ".join(f"--for {shlex.quote(f'{one.name}={one.weight:g}')}" for one in q.capabilities)
    judged = " ".join(f"--judge {shlex.quote(f'{one.name}={one.text}')}" for one in q.capabilities)
    sources = " ".join(f"--sources {shlex.quote(source)}" for source in q.sources)
    sizes = f"--num-samples {q.num_samples} --max-seq-length {q.max_seq_length}"
    winner = shlex.quote(choice.result.spec)
    of_interest = f"--of-interest nats={q.of_interest:g} " if q.of_interest != KL.of_interest else ""
    return [
        f"calprune choose {shlex.quote(q.model)} {sources} {weights} {judged} "
        f"--method {method} --pattern {q.pattern} {sizes} --draws {q.draws} --tokens {q.tokens} "
        f"{of_interest}--out {shlex.quote(choice.folder.resolve().name)}{root}",
        f"calprune calib build {winner} --model {shlex.quote(q.model)} {sizes} --out calibration{root}",
        f"calprune prune {shlex.quote(q.model)} --method {method} --pattern {q.pattern} --calibration calibration "
        "--out model",
    ]


def setting(choice: Choice) -> str:
    """ "demo, wanda 60%"."""
    q = choice.question
    return f"{q.model}, {q.method_text} {q.pattern}"


def plain(choice: Choice) -> str:
    """The answer in one sentence of plain words."""
    many = f"{len(choice.gate.used)} sources"
    if choice.judgement is None:
        if {one.shown for one in choice.gate.effects.values()} == {"immaterial"}:
            return f"Whichever of the {many} is taken, too little changes to act on; {_the(choice.winner)} is used."
        share = ": an equal share of each" if choice.winner == UNIFORM else ""
        return (f"None of the {many} is shown to be better than another by as much as is of interest, so "
                f"{_the(choice.winner)} is used{share}.")  # fmt: skip
    if "win" not in choice.judgement.overall(choice.winner):
        return f"Prune with {_the(choice.winner)}: nothing else that was tried is shown to be better."
    ahead = [one for one in choice.judgement.of(choice.winner) if one.verdict == "win"
             and one == _overall(choice.judgement.of(choice.winner), one.against)]  # fmt: skip
    less = listed([f"{with_interval(one.turned().difference)} nats a token nearer than with {_the(one.against)}"
                   for one in ahead])  # fmt: skip
    return f"Prune with {_the(choice.winner)}: it keeps the model nearer to the dense one, {less}."


def answer(choice: Choice) -> list[str]:
    """Which data, and what it gains over the default and over the uniform mixture."""
    if choice.judgement is None:
        used = "the default mixture is used: an equal share of tokens of each source" if choice.winner == UNIFORM else \
            f"{choice.winner} is used: an equal share of each source cannot be built of so few sequences"  # fmt: skip
        shown = {one.shown for one in choice.gate.effects.values()}
        lead = (
            "The choice is immaterial here" if shown == {"immaterial"} else "That the choice matters here is not shown"
        )
        return [f"{lead} ({setting(choice)}): {_gated(choice)}.", f"So {used}."]
    assert choice.search is not None and choice.halving is not None
    shares = choice.search.shares(choice.winner)
    named = choice.winner if len(shares) == 1 else f"the {choice.winner} ({percent(shares)})"
    best = choice.winner if "win" in choice.judgement.overall(choice.winner) else choice.halving.finalists[0]
    found = choice.judgement.of(best)
    if best == choice.winner:
        first = f"Prune with {named}: {_gains(found, 'its')}."
    else:
        first = (f"Prune with {named}: nothing that was searched for is shown to be better. With the best of it, "
                 f"{_the(best)} ({percent(choice.search.shares(best))}), {_gains(found, 'the')}.")  # fmt: skip
    return [first, f"After Holm's correction, {_scores(found)}."]


def headline(choice: Choice) -> list[str]:
    """The answer, and where everything is."""
    kept = [f"  {line}" for line in choice.left_out]
    return [*answer(choice), *(["left out:", *kept] if kept else []),
            f"{choice.folder}: calibration/ (the set), model/ (pruned with it), report.html"]  # fmt: skip


def _gated(choice: Choice) -> str:
    """Why there was no search: the ranges, beside what would be of interest and what could have been seen."""
    gate, ranges = choice.gate, []
    for name, one in gate.effects.items():
        apart = with_interval(one.apart) if one.apart else number(one.range)
        part = f", {percentage(one.part_of_cost)} of what pruning cost" if one.part_of_cost is not None else ""
        seen = f", minimum detectable difference {number(one.detectable)}" if one.detectable else ""
        ranges.append(f"on {name} they range over {apart} nats a token{part}{seen}")
    least = {one.of_interest for one in gate.effects.values() if one.of_interest is not None}
    less = [name for name, one in gate.effects.items() if one.shown == "immaterial"]
    others = [name for name in gate.effects if name not in less]
    surely = any(one.adjusted_p is not None and one.adjusted_p < SIGNIFICANCE for one in gate.effects.values())
    unseen = (
        "are not shown to differ by as much" if less or surely else "are not distinguished from draws of one source"
    )
    parts = ["differ by less than is of interest" + (f" on {listed(less)}" if others else "")] if less else []
    parts += [unseen + (f" on {listed(others)}" if less else "")] if others else []
    head = f"{len(gate.used)} sources {' and '.join(parts)}"
    told = f"; the smallest difference of interest is {KL.difference(least.pop())}" if least else ""
    return f"{head} ({'; '.join(ranges)}{told})"


def _overall(found: Sequence[SetContrast], against: str) -> SetContrast | None:
    rows = [one for one in found if one.against == against]
    return next((one for one in rows if one.capability == OVERALL), rows[0] if len(rows) == 1 else None)


def _gains(found: Sequence[SetContrast], whose: str) -> str:
    """What the weighted KL changes by against each other set."""
    parts = []
    for against in dict.fromkeys(one.against for one in found):
        one = _overall(found, against)
        if one is not None:
            parts.append(f"{with_interval(one.difference)} nats a token against {_the(against)}")
    if not parts:
        return "there is nothing to compare it with"
    return f"{whose} divergence from the dense model, with your weights, changes by {listed(parts)} (below 0 is better)"


def _scores(found: Sequence[SetContrast]) -> str:
    """Wins, ties and losses by capability."""
    scores = []
    for against in dict.fromkeys(one.against for one in found):
        by: dict[str, list[str]] = {"win": [], "tie": [], "loss": []}
        for one in found:
            if one.against == against:
                by[one.verdict].append("all together" if one.capability == OVERALL else one.capability)
        words = {"win": "wins on", "tie": "ties on", "loss": "loses on"}
        kinds = [f"{words[kind]} {listed(names)}" for kind, names in by.items() if names]
        scores.append(f"against {_the(against)} it {', '.join(kinds)}")
    return "; ".join(scores) or "nothing is compared"


def _the(name: str) -> str:
    return f"the {name}" if name == UNIFORM else name


def enough(choice: Choice) -> str:
    """Whether the winner's set is large enough."""
    assert choice.judgement is not None
    halves = choice.judgement.halves
    if not halves:
        return "How much data is enough: not measured."
    steps = ", ".join(f"{n} sequences {overlap:.1%}".replace("%", " %") for n, overlap in halves)
    shared = (
        f"Two halves of the winner's set lead to masks with this much in common (intersection over union): {steps}."
    )
    if choice.judgement.enough is None:
        return f"{shared} It still moves by 1 % or more at a doubling: with more data the masks would still change."
    return f"{shared} From {choice.judgement.enough} sequences on a doubling moves it by less than 1 %."
