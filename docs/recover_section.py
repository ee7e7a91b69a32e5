"""docs/recover.md: what recovery gave back, from benchmarks/recover.json."""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from calprune.pages.numbers import counted, listed, number, with_interval
from calprune.uncertainty.difference import holm, paired_by_draw
from calprune.uncertainty.estimate import mean_of
from calprune.uncertainty.power import SIGNIFICANCE

PAGE = Path(__file__).parent / "recover.md"
RESULT = Path(__file__).parents[1] / "benchmarks" / "recover.json"
BEGIN, END = "<!-- measured: made by docs/generate.py -->\n", "<!-- measured: end -->\n"
LONG = 10  # minutes of the runs that the first table is of
DRAWS = 3  # of each text, before texts are compared
COMPARED = 128  # sequences of the runs that compare texts

Row = dict[str, Any]


def current() -> str:
    """The page with the section as the file has it now."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    return before + BEGIN + section() + END + rest.partition(END)[2]


def section() -> str:
    """The tables of what was measured."""
    if not RESULT.exists():
        return "Not measured yet.\n"
    rows = json.loads(RESULT.read_text(encoding="utf-8"))["rows"]
    alone = [row for row in rows if row["what"] == "nothing"]
    by_text = [row for row in rows if row["sequences"] == COMPARED]
    others = [row for row in rows if row not in alone and row not in by_text]
    long, short = ([row for row in others if (row["minutes"] >= LONG) is at_least] for at_least in (True, False))
    texts = list(rows[0]["after"])
    about = (
        f"Each row is one run or the mean of several draws: `python benchmarks/recover.py PRUNED --out "
        f"benchmarks/recover.json`. KL to the dense model, nats a token, on 4,096 tokens each of {listed(texts)}: "
        "nothing was trained on, or chosen by, text of these sources. Trained on 256 sequences of 256 tokens, "
        "`fineweb_edu` watched. Rate: the highest learning rate (found: none was given, and the usual one lowered). "
        f"A minute is of {rows[0]['cores']:g} cores, counted in the process's own seconds.\n"
    )
    parts = [about, f"\n### {LONG} minutes\n", _table(long, texts), _beside_sparsegpt(long)]
    parts.append(_unchanged(long))
    if compensated := [row["took"] for row in rows if row["what"] == "compensate"]:
        parts[0] += (
            "`compensate` (rank 64) reads these sequences once and trains nothing; it took "
            f"{max(compensated):.1f} minutes; its adapters come on top, 64 numbers for each input and output.\n"
        )
    if short:
        minutes = sorted({row["minutes"] for row in short})
        parts += [f"\n### {listed([f'{each:g}' for each in minutes])} minutes\n", _table(short, texts)]
    pruned, trained = Counter(row["pruned_on"] for row in alone), Counter(row["healed_on"] for row in by_text)
    if min((*pruned.values(), *trained.values()), default=0) >= DRAWS and pruned == trained:
        parts += ["\n### Which text to prune with, and which to train on\n", _by_text(alone, by_text)]
    return "\n".join(parts) + "\n"


def _by_text(alone: Sequence[Row], trained: Sequence[Row]) -> str:
    """Each text as what the model was pruned with and as what it was trained on, and whether the same is best."""
    pruned_with: dict[str, list[float]] = {}
    trained_on: dict[str, list[float]] = {}
    for row in sorted(alone, key=lambda row: row["draw"]):  # differences are of the same draw
        pruned_with.setdefault(row["pruned_on"], []).append(_mean_of_texts(row))
    for row in sorted(trained, key=lambda row: row["draw"]):
        trained_on.setdefault(row["healed_on"], []).append(_mean_of_texts(row))
    ((method, pattern, text, minutes),) = {
        (row["method"], row["pattern"], row["pruned_on"], row["minutes"]) for row in trained
    }
    lines = ["| text | pruned with it | trained on it |", "|---|---:|---:|"]
    lines += [f"| `{name}` | {_mean(pruned_with[name])} | {_mean(trained_on[name])} |" for name in trained_on]
    draws = counted(len(next(iter(trained_on.values()))), "draw")
    return (
        f"KL to the dense model, the mean of the three texts, over {draws}. "
        f"Left: {method} {pattern} with 32 sequences of 256 tokens of the text, and no training. Right: pruned with "
        f"{text}, then {minutes:g} minutes on {COMPARED} sequences of 256 tokens of the text.\n\n"
        + "\n".join(lines)
        + f"\n\n{_best(pruned_with, 'To prune with')} {_best(trained_on, 'To train on')} "
        + _claim(pruned_with, trained_on)
        + "\n"
    )


def _claim(pruned_with: Mapping[str, Sequence[float]], trained_on: Mapping[str, Sequence[float]]) -> str:
    """Whether the text that is best to prune with is best to train on, by what is shown of training."""
    pruning, training = (min(values, key=lambda name: math.fsum(values[name])) for values in (pruned_with, trained_on))
    claim = "The claim that the best text to prune with is also the best to train on"
    if pruning != training:
        (p,) = _worse(trained_on, training, [pruning])
        return f"{claim}: {'cannot be told' if p is None or p >= SIGNIFICANCE else 'not held'}."
    others = [name for name in trained_on if name != training]
    open_ = [f"`{name}`" for name, p in zip(others, _worse(trained_on, training, others), strict=True)
             if p is None or p >= SIGNIFICANCE]  # fmt: skip
    if not open_:
        return f"{claim}: held."
    return (f"{claim}: cannot be told. One text has the best mean at both, but to train on {listed(open_)} "
            f"{'is' if len(open_) == 1 else 'are'} not shown to be worse.")  # fmt: skip


def _worse(values: Mapping[str, Sequence[float]], best: str, others: Sequence[str]) -> list[float | None]:
    """How likely so large a difference from the best is by luck, after Holm's correction."""
    return holm([paired_by_draw(values[name], values[best]).p for name in others])


def _best(values: Mapping[str, Sequence[float]], doing: str) -> str:
    """The text with the lowest mean, and which of the others are shown to be worse."""
    best, *others = sorted(values, key=lambda name: math.fsum(values[name]))
    adjusted = _worse(values, best, others)
    shown = [f"`{name}`" for name, p in zip(others, adjusted, strict=True) if p is not None and p < SIGNIFICANCE]
    said = f"{listed(shown)} {'is' if len(shown) == 1 else 'are'} shown to be worse" if shown else "none is shown worse"
    return f"{doing}, `{best}` has the best mean; of the others {said} (paired by draw, after Holm's correction)."


def _mean_of_texts(row: Row) -> float:
    return math.fsum(row["after"].values()) / len(row["after"])


def _table(rows: Sequence[Row], texts: Sequence[str]) -> str:
    """A row for each way, with its draws."""
    lines = [f"| pruned | trained | rate | on | draws | tokens | {' | '.join(texts)} | divergence that remains |",
             f"|---|---|---:|---|---:|---:|{'---:|' * len(texts)}---:|"]  # fmt: skip
    ways: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        way = (row["dense"], row["method"], row["pattern"], row["pruned_on"], row["what"], _rate(row),
               row["healed_on"])  # fmt: skip
        ways.setdefault(way, []).append(row)
    for (dense, method, pattern, pruned_on, what, rate, healed_on), runs in ways.items():
        cells = [f"{number(before(runs, text))} → {_mean([run['after'][text] for run in runs])}" for text in texts]
        left = _mean([share(run) for run in runs], percent=True)
        tokens = round(math.fsum(run["tokens"] for run in runs) / len(runs), -3)
        lines.append(f"| {dense}, {method} {pattern} on `{pruned_on}` | {what} | {rate} | `{healed_on}` | "
                     f"{len(runs)} | {tokens:,.0f} | {' | '.join(cells)} | {left} |")  # fmt: skip
    return "\n".join(lines) + "\n"


def _rate(row: Row) -> str:
    """The highest learning rate, and whether it is what was found where none was given."""
    if "rate" not in row:
        return ""
    return f"{row['rate']:g}{', found' if row['learning_rate'] is None and row.get('lowered') else ''}"


def _unchanged(rows: Sequence[Row]) -> str:
    """Which runs gave nothing back, how they ended, and at which learning rate."""
    ways = sorted({f"{row['ended']}, at a highest learning rate of {row['rate']:g}"
                   for row in rows if row["after"] == row["before"]})  # fmt: skip
    return f"Where 100.0 % remains the model is as it was pruned: {listed(ways)}.\n" if ways else ""


def _beside_sparsegpt(rows: Sequence[Row]) -> str:
    """What remains after training, beside what SparseGPT on c4 alone leaves."""
    rows = [row for row in rows if (row["dense"], row["pattern"]) == ("demo", "2:4")]
    (left,) = {
        math.fsum(row["before"].values()) for row in rows if (row["method"], row["pruned_on"]) == ("sparsegpt", "c4")
    }
    ways: dict[str, list[float]] = {}
    for row in rows:
        ways.setdefault(row["method"], []).append(math.fsum(row["after"].values()) / left)
    said = [f"{_mean(shares, percent=True)} where {method} pruned" for method, shares in ways.items()]
    return ("Beside the divergence of the demo model that SparseGPT pruned to 2:4 with c4, of the texts together, "
            f"what remains after {LONG} minutes of training is {listed(said)}.\n")  # fmt: skip


def before(runs: Sequence[Row], text: str) -> float:
    """What pruning left, which is the same for all draws of training."""
    (value,) = {run["before"][text] for run in runs}
    return value


def share(run: Row) -> float:
    """Of the texts' divergence together, the part that is left."""
    return math.fsum(run["after"].values()) / math.fsum(run["before"].values())


def _mean(values: Sequence[float], percent: bool = False) -> str:
    found = mean_of(values)
    assert found is not None, counted(len(values), "run")
    return with_interval(found, percent)
