"""The answer in two sentences, and what else must be said in words: nothing that the statistics do not carry."""

from collections.abc import Sequence

from calprune.choosing.choice import OVERALL, UNIFORM, Choice, Contrast
from calprune.choosing.job import percent
from calprune.config import write_call
from calprune.methods import METHODS
from calprune.report.names import listed, number, with_interval


def setting(choice: Choice) -> str:
    """ "demo, wanda 60%"."""
    q = choice.question
    return f"{q.model}, {write_call(q.method, METHODS)} {q.pattern}"


def answer(choice: Choice) -> list[str]:
    """Which data, and what it gains over the default and over the uniform mixture."""
    if choice.judgement is None:
        used = "the default mixture is used: an equal share of tokens of each source" if choice.winner == UNIFORM else \
            f"{choice.winner} is used: an equal share of each source cannot be built of so few sequences"  # fmt: skip
        return [f"The choice is immaterial here ({setting(choice)}): {_immaterial(choice)}.", f"So {used}."]
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


def _immaterial(choice: Choice) -> str:
    gate = choice.gate
    said = []
    for name, one in gate.told.items():
        seen = f", where {number(one.detectable)} would be seen" if one.detectable else ""
        said.append(f"on {name} they lie {number(one.range)} nats a token apart{seen}")
    return f"{len(gate.used)} sources are not told apart from draws of one source ({'; '.join(said)})"


def _overall(found: Sequence[Contrast], against: str) -> Contrast | None:
    rows = [one for one in found if one.against == against]
    return next((one for one in rows if one.capability == OVERALL), rows[0] if len(rows) == 1 else None)


def _gains(found: Sequence[Contrast], whose: str) -> str:
    """What the weighted KL changes by against each other set."""
    parts = []
    for against in dict.fromkeys(one.against for one in found):
        one = _overall(found, against)
        if one is not None:
            parts.append(f"{with_interval(one.difference)} nats a token against {_the(against)}")
    if not parts:
        return "there is nothing to compare it with"
    return f"{whose} divergence from the dense model, weighted as asked, changes by {listed(parts)} (below 0 is better)"


def _scores(found: Sequence[Contrast]) -> str:
    """Wins, ties and losses by capability."""
    told = []
    for against in dict.fromkeys(one.against for one in found):
        by: dict[str, list[str]] = {"win": [], "tie": [], "loss": []}
        for one in found:
            if one.against == against:
                by[one.verdict].append("all together" if one.capability == OVERALL else one.capability)
        words = {"win": "wins on", "tie": "ties on", "loss": "loses on"}
        said = [f"{words[kind]} {listed(names)}" for kind, names in by.items() if names]
        told.append(f"against {_the(against)} it {', '.join(said)}")
    return "; ".join(told) or "nothing is compared"


def _the(name: str) -> str:
    return f"the {name}" if name == UNIFORM else name


def enough(choice: Choice) -> str:
    """Whether the winner's set is large enough."""
    assert choice.judgement is not None
    halves = choice.judgement.halves
    if not halves:
        return "How much data is enough: not measured."
    steps = ", ".join(f"{n} sequences {overlap:.1%}".replace("%", " %") for n, overlap in halves)
    said = f"Two halves of the winner's set lead to masks with this much in common (intersection over union): {steps}."
    if choice.judgement.enough is None:
        return f"{said} It still rises by 1 % or more at a doubling: with more data the masks would still change."
    return f"{said} From {choice.judgement.enough} sequences on a doubling adds less than 1 %."
