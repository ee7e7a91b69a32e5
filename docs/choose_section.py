"""docs/choose.md: what `calprune choose` answered, from the stages that it wrote.

    python docs/choose_section.py CHOSEN docs/results/choose_sparsegpt.json "commit f82488c, 2 cores of an AMD EPYC"

keeps the stages of the folder CHOSEN in one file, with where they were made.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from typing import Any

from calprune.base.values import read
from calprune.choosing.answer import FinalVerdict, Gate, Halving, PrunedResult, Search, SetContrast, read_stage
from calprune.choosing.job import percent
from calprune.pages.numbers import listed, number, with_interval

RESULTS = Path(__file__).parent / "results"
STAGES = {"gate": Gate, "search": Search, "halving": Halving, "judgement": FinalVerdict, "result": PrunedResult}
BEGIN, END = "<!-- choose, {}: made by docs/choose_section.py -->\n", "<!-- choose, {}: end -->\n"
HOW = {  # file -> words on the page
    "sparsegpt": "At 2:4 with SparseGPT",
    "wanda": "At 60 % with Wanda",
    "blocks": "A quarter of the blocks, by block influence",
    "experts": "A quarter of the experts, by REAP",
    "half_billion": "At 50 % with Wanda",
    "half_billion_sparsegpt": "At 2:4 with SparseGPT",
}


def keep(folder: Path, target: Path, made: str) -> None:
    """The stages of a choice as one file. made: where and by what they were found."""
    found = {stage: asdict(read_stage(folder / f"{stage}.json", kind)[0]) for stage, kind in STAGES.items()}
    target.write_text(json.dumps({"format": 1, "made": made, **found}, indent=1) + "\n", encoding="utf-8")


@cache
def stages(name: str) -> dict[str, Any]:
    """The stages as objects, and "made"."""
    path = RESULTS / f"choose_{name}.json"
    kept = json.loads(path.read_text(encoding="utf-8"))
    return {"made": kept["made"], **{stage: read(kind, kept[stage], str(path)) for stage, kind in STAGES.items()}}


def contrasts(name: str, candidate: str, against: str) -> Iterator[SetContrast]:
    """Of two sets, by capability; of all together last."""
    rows = stages(name)["judgement"].contrasts
    return (one for one in rows if (one.candidate, one.against) == (candidate, against))


def current(page: str) -> str:
    """The page with the answers as the kept results have them now."""
    for name, made in [*((name, partial(section, name)) for name in HOW), ("proxies", proxies)]:
        before, _, rest = page.partition(BEGIN.format(name))
        page = before + BEGIN.format(name) + made() + END.format(name) + rest.partition(END.format(name))[2]
    return page


def proxies() -> str:
    """How well the search's regret ranks candidates as their KL does, by what was pruned."""
    capabilities = list(stages("sparsegpt")["halving"].correlation)
    lines = [
        f"| model | what goes | candidates | {' | '.join(capabilities)} |",
        "|---|---|---:|" + "---|" * len(capabilities),
    ]
    for name, how in HOW.items():
        halving = stages(name)["halving"]
        model = "half a billion" if name.startswith("half_billion") else "demo"
        shown = [with_interval(halving.correlation[capability]) for capability in capabilities]
        lines.append(f"| {model} | {how} | {len(halving.divergence[0])} | {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"


def section(name: str) -> str:
    """One answer: the gate, the search, the verdict, and what was saved."""
    found = stages(name)
    judgement, result = found["judgement"], found["result"]
    lines = [
        f"**{HOW[name]}: {result.winner}.**",
        "",
        *_gate(found["gate"]),
        *_search(found["search"], found["halving"]),
    ]
    lines += ["", *_verdict(judgement), ""]
    for candidate in dict.fromkeys(one.candidate for one in judgement.contrasts):
        if candidate in found["search"].mixtures and len(shares := found["search"].shares(candidate)) > 1:
            lines.append(f"- {candidate.capitalize()}: {percent({_short(s): share for s, share in shares.items()})}.")
    texts = [f"{number(pruned)} on {one} (dense {number(dense)})" for one, (dense, pruned) in result.perplexity.items()]
    seen = "" if name in ("blocks", "experts") else ", with pruned propagation,"  # these are chosen by the dense model
    lines.append(f"- The saved model{seen} has perplexity {listed(texts)}.")
    lines += [*_enough(judgement), f"- Its last run took {result.seconds / 60:.0f} min: {found['made']}."]
    return "\n".join(lines) + "\n"


def _gate(gate: Gate) -> Iterator[str]:
    apart = [f"{with_interval(one.apart)} on {name} (least {_short(one.lowest)}, most {_short(one.highest)})"
             for name, one in gate.effects.items()]  # fmt: skip
    yield f"- **The gate**: sources lie, in nats a token, {listed(apart)} apart."
    shared = sum(n for found in gate.shared_wording.values() for n in found.values())
    yield f"- Sequences that share wording with what is judged on: {shared or 'none'}."


def _search(search: Search, halving: Halving) -> Iterator[str]:
    trusted = [f"{name} {with_interval(one)}" for name, one in halving.correlation.items()]
    yield (f"- **The search** looked at {search.evaluations} mixtures in {search.seconds:.0f} s, on {search.blocks} "
           f"blocks, from sums, without a forward pass. Rank correlation of its proxy with KL over "
           f"{len(halving.divergence[0])} candidates, which are mixtures of one another, so that the intervals are too "
           f"sure: {listed(trusted)}.")  # fmt: skip
    yield "- **The verdict**: KL less that of the other set, below 0 is better; bold is shown after correction."


def _verdict(judgement: FinalVerdict) -> Iterator[str]:
    rows: dict[tuple[str, str], list[SetContrast]] = {}
    for one in judgement.contrasts:
        rows.setdefault((one.candidate, one.against), []).append(one)
    names = [one.capability for one in next(iter(rows.values()))]
    yield f"| set | against | {' | '.join(names)} |"
    yield f"|---|---|{'---|' * len(names)}"
    for pair, found in rows.items():
        yield f"| {' | '.join([*pair, *map(_told, found)])} |"


def _told(one: SetContrast) -> str:
    told = with_interval(one.difference)
    return told if one.verdict == "tie" else f"**{told}** {one.verdict}"


def _enough(judgement: FinalVerdict) -> Iterator[str]:
    if judgement.halves:
        sequences, overlap = judgement.halves[-1]
        yield (f"- Halves of the chosen set, {sequences} sequences each, lead to masks with {overlap:.0%} in common."
               ).replace("%", " %")  # fmt: skip


def _short(source: str) -> str:
    return "the model's own text" if source.startswith("self:") else source


if __name__ == "__main__":
    keep(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
