"""Sections of docs/explanation/half-billion.md on sources by method and pattern, and on methods."""

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

from half_billion_results import HELD, LENGTH, by_amount, cell_of, claims_of, findings, table

from calprune.pages.numbers import listed, number, percent, with_interval
from calprune.report.findings import Cell
from calprune.uncertainty.spread import spread_between

FINALISTS, METHODS = "finalists_half_billion", "methods_half_billion"
GENERAL = "kl(wikitext2"
RECONSTRUCTED = {"sparsegpt": "shin2024_half_billion", "wanda": "reconstruction_half_billion"}  # by what is begun from
HALVES = Path(__file__).parents[1] / "benchmarks" / "halves.json"
NAMES = {  # as a study writes a method -> on the page
    "dsnot(start=wanda, linears=attention, rule=released)": "DSnoT as released",
    "dsnot(start=wanda)": "DSnoT, this project's rule, all linears",
}


def finalists() -> Iterator[str]:
    """What general text loses by source, method and pattern."""
    yield FINALISTS_WORDS
    settings = [
        {"method": method, "pattern": pattern} for pattern in ("50%", "2:4") for method in ("wanda", "sparsegpt")
    ]
    heads = [f"`{one['pattern']}`, {one['method']}" for one in settings]
    sources = ("c4", "pile", "gsm8k:icl")
    cells = {source: [cell_of(FINALISTS, source, GENERAL, **one) for one in settings] for source in sources}
    rows = [[source, *(with_interval(cell.spread.interval) for cell in found)] for source, found in cells.items()]
    between = [spread_between({source: found[i].values for source, found in cells.items()}) for i in range(len(heads))]
    yield table(["calibrated on", *heads], [*rows, ["*SD between sources*", *map(with_interval, between)]])
    means = {source: [cell.spread.mean for cell in found] for source, found in cells.items()}
    spans = [number(max(column) - min(column), 2) for column in zip(*means.values(), strict=True)]  # by setting
    gains = {source: number(of[2] - of[3], 2) for source, of in means.items()}
    yield FINALISTS_FOUND.format(wanda=listed(spans[0::2]), sparsegpt=listed(spans[1::2]), c4=gains["c4"],
                                 gsm8k=gains["gsm8k:icl"])  # fmt: skip
    yield from claims_of(FINALISTS, HELD)


def methods() -> Iterator[str]:
    """What general text loses by method or allocation, and pattern."""
    yield METHODS_WORDS
    patterns = ("60%", "2:4", "4:8")
    rows: dict[str, dict[str, Cell]] = defaultdict(dict)
    for cell in findings(METHODS).cells:
        method, allocation = cell.of.setting["method"], cell.of.setting["allocation"]
        name = NAMES.get(method, f"`{method}`") + ("" if allocation == "uniform" else f", sparsity by `{allocation}`")
        rows[name][cell.of.setting["pattern"]] = cell
    shown = [[name, *(_shown(found[one]) if one in found else "not measured" for one in patterns)]
             for name, found in rows.items()]  # fmt: skip
    yield table(["method", *(f"`{one}`" for one in patterns)], shown)
    of_two, of_four = (rows["`wanda`"][one].spread.mean for one in ("2:4", "4:8"))
    other = cell_of(FINALISTS, "c4", GENERAL, method="sparsegpt", pattern="2:4").spread.mean
    yield METHODS_FOUND.format(sparsegpt=number(of_two - other, 2), less=number(of_two - of_four, 2))
    yield from claims_of(METHODS, HELD)


def reconstruction() -> Iterator[str]:
    """What three texts lose at 60 % by SparseGPT and by Wanda, as they leave the weights and after reconstruction."""
    texts = {"kl(c4": "C4", GENERAL: "WikiText-2", "kl(gsm8k": "GSM8K"}
    yield RECONSTRUCTION_WORDS
    rows = []
    for start, study in RECONSTRUCTED.items():
        after = f"block_reconstruction(start={start}, epochs=1"
        names = {start: f"`{start}`", f"{after})": "block by block",
                 f"{after}, global_propagation=True)": "with the dense model's targets"}  # fmt: skip
        for method, name in names.items():
            if any(cell.of.setting["method"] == method for cell in findings(study).cells):
                cells = [cell_of(study, "c4", text, method=method) for text in texts]
                rows.append([name, *(with_interval(cell.spread.interval) for cell in cells)])
    yield table(["at 60 %", *texts.values()], rows)
    yield RECONSTRUCTION_FOUND
    yield from claims_of(RECONSTRUCTED["wanda"], HELD)


def _shown(cell: Cell) -> str:
    """The mean with its interval, or the value of the one draw."""
    spread = cell.spread
    return with_interval(spread.interval) if spread.n > 1 else f"{number(spread.mean, 2)} (one draw)"


def halves() -> Iterator[str]:
    """How far the masks of two halves agree, by method and width of the matrix, beside what the model loses."""
    kept = json.loads(HALVES.read_text(encoding="utf-8"))
    found: dict[tuple[str, int], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in kept["rows"]:
        for sequences, overlap in zip(row["sequences"], row["overlap"], strict=True):
            found[row["method"], row["width"]][sequences].append(overlap)
    columns = sorted(found, key=lambda column: (column[0] != "wanda", column[1]))
    draws = min(len(values) for values in next(iter(found.values())).values())
    yield HALVES_WORDS.format(every=kept["question"]["every"], draws=draws)
    methods = list(dict.fromkeys(method for method, _ in columns))
    heads = [f"{method}, {width:,} inputs" for method, width in columns] + [f"{method}: KL" for method in methods]
    rows = []
    losses = by_amount()
    budgets = sorted(next(iter(found.values())))
    for sequences in budgets:
        shares = [percent(fmean(found[column][sequences])) for column in columns]
        shown = [with_interval(losses[sequences, one].spread.interval) if (sequences, one) in losses else "—"
                 for one in methods]  # fmt: skip
        rows.append([f"{sequences * LENGTH:,}", *shares, *shown])
    yield table(["tokens", *heads], rows, words=0)
    before, last = budgets[-2:]
    risen = [percent(fmean(found[column][last]) - fmean(found[column][before]), 1) for column in columns]
    yield HALVES_FOUND.format(risen=listed(risen), columns=listed([f"{one} {width:,}" for one, width in columns]),
                              tokens=f"{last * LENGTH:,}")  # fmt: skip


FINALISTS_WORDS = """\
Two sources of web text and GSM8K's examples, by two methods at 50 % and 2:4 (three draws of 32 x 256 tokens, 8,192
tokens of WikiText-2 judged after `<|im_start|>`, [page](../results/finalists_half_billion.html))."""
FINALISTS_FOUND = """\
Between the best and the worst of these three lie {sparsegpt} nats with SparseGPT (50 %, 2:4) and {wanda} with Wanda.
So the text decides what SparseGPT gains over Wanda: at 2:4 {c4} nats with C4, and {gsm8k} with GSM8K's examples."""
METHODS_WORDS = """\
Zeros by several methods, and Wanda with OWL's and DLP's sparsity for each block, calibrated on C4 (three draws of 32
x 256 tokens, 8,192 tokens of WikiText-2 judged after `<|im_start|>`, [page](../results/methods_half_billion.html);
50 % is [here](../methods.md#where-no-method-is-named))."""
METHODS_FOUND = """\
What is better than Wanda depends on the pattern. At 60 % only ADMM is, by one draw; OWL is like it, and DSnoT, RIA,
SparseGPT and DLP (with its default width, alpha 0.15) are worse. At 2:4 DSnoT by its released rule is better, which
is shown, RIA is by the means, and SparseGPT is by {sparsegpt} nats, by the means of the table above. 4:8 costs
{less} nats less than 2:4."""
HALVES_WORDS = """\
Can one see without judging the model that a set is large enough? Two halves of a set of C4, each of so many tokens,
that share no sequence: weights that both keep, of those that either keeps, at 50 %, by the inputs of the matrix;
beside it what the model loses with a set of as many tokens. (Draws: {draws}; blocks: one of {every}: `python
benchmarks/halves.py qwen2.5-coder-0.5b --every {every} --draws {draws}`.)"""
HALVES_FOUND = """\
Not by this alone: at {tokens} tokens a doubling still adds {risen} ({columns}), of Wanda, which gains next to nothing
any more, and of SparseGPT, which seems to. And for SparseGPT's wide matrices it falls first, while there are fewer
tokens than inputs: there the damping decides, which both halves share."""
RECONSTRUCTION_WORDS = """\
One epoch on the weights that stay, a block after the other, to give what the dense model's block gives (Shin et al.;
their claims stand [above](#do-the-papers-claims-hold)), after SparseGPT and after Wanda, of the same sets. (60 %, three
draws of 16 x 256 tokens of C4, 8,192 tokens of each text judged after `<|im_start|>`, pages [of
SparseGPT](../results/shin2024_half_billion.html) and [of Wanda](../results/reconstruction_half_billion.html).)"""
RECONSTRUCTION_FOUND = """\
By the means it makes SparseGPT better than Wanda, with it and without, on C4 and GSM8K, and leaves it behind on
WikiText-2; what it gains after Wanda three draws cannot tell, for draws then lie several times as far apart."""
