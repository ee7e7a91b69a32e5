"""The evidence that opens docs/methods.md: the table of studies/methods.yaml, from docs/results/methods.csv.

The file is by `calprune study report RUNS --csv FILE`.
"""

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from calprune.pages.numbers import with_interval
from calprune.uncertainty.estimate import Estimate

RESULTS = Path(__file__).parent / "results" / "methods.csv"
BY_PATTERN = RESULTS.with_name("default_method.csv")  # of studies/default_method.yaml
SECONDS = Path(__file__).parents[1] / "benchmarks" / "methods.md"
METRICS = ("perplexity", "KL")
Row = dict[str, str]


def section() -> str:
    """Three tables: methods, allocations at 70 %, dense and pruned propagation."""
    with RESULTS.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    dense = float(rows[0]["dense"])
    even = [row for row in rows if row["allocation"] == "uniform"]
    of_dense = [row for row in even if row["propagate"] == "dense"]
    by_inputs = [row for row in even if row["pattern"] == "60%"]
    both = {row["method"] for row in by_inputs if row["propagate"] == "pruned"}
    at_70 = [row for row in rows if row["pattern"] == "70%"]
    lines = [
        f"Perplexity and KL (nats a token) on 8,192 tokens of WikiText-2; the dense model has {dense:.2f} and 0.",
        "Means of three draws with their 95 % interval, which is about other draws; without one: a single draw, or no",
        "data read.",
        "",
        *_table("method", "method", of_dense, ("60%", "2:4"), "pattern"),
        "",
        "How 70 % is shared out:",
        "",
        *_table("allocation", "allocation", at_70, ("wanda", "sparsegpt"), "method"),
        "",
        "60 %, by what a block's inputs come from when its sums are collected:",
        "",
        *_table("method", "method", [r for r in by_inputs if r["method"] in both], ("dense", "pruned"), "propagate"),
    ]  # fmt: skip
    return "\n".join(lines)


def where_none_is_named() -> Iterator[str]:
    """The methods that are taken by the pattern, beside each other on two models."""
    if not BY_PATTERN.exists():
        yield "Not measured yet."
        return
    with BY_PATTERN.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["evaluation"].startswith("kl")]
    patterns = list(dict.fromkeys(row["pattern"] for row in rows))
    for model in dict.fromkeys(row["model"] for row in rows):
        of = [row for row in rows if row["model"] == model]
        yield from (
            f"| {model}, KL on WikiText-2 | {' | '.join(map(_said, patterns))} |",
            "|---" + "|---:" * len(patterns) + "|",
        )
        for method in dict.fromkeys(row["method"] for row in of):
            cells = (_cell([row for row in of if (row["method"], row["pattern"]) == (method, one)]) for one in patterns)
            yield f"| `{method}` | {' | '.join(cells)} |"
        yield ""


def seconds_a_block() -> dict[str, str]:
    """By method, as benchmarks/methods.md has it."""
    found = re.findall(r"^\| (\w+) \| ([\d.]+) \|", SECONDS.read_text(encoding="utf-8"), re.MULTILINE)
    return dict(found)


def _table(head: str, by: str, rows: Sequence[Row], columns: Sequence[str], across: str) -> Iterator[str]:
    """A row for each value of `by`, perplexity and KL for each of `columns`, which are values of `across`."""
    yield f"| {head} | " + " | ".join(f"{_said(c)}, {metric}" for c in columns for metric in METRICS) + " |"
    yield "|---" + "|---:" * (len(columns) * len(METRICS)) + "|"
    for name in dict.fromkeys(row[by] for row in rows):
        own = [row for row in rows if row[by] == name]
        cells = [_cell([r for r in own if r[across] == column and r["evaluation"].startswith(metric.lower())])
                 for column in columns for metric in METRICS]  # fmt: skip
        yield f"| `{name}` | " + " | ".join(cells) + " |"


def _cell(found: Sequence[Row]) -> str:
    if not found:
        return "not measured"
    (row,) = found
    low, high = (float(row[end]) if row[end] else None for end in ("mean low", "mean high"))
    return with_interval(Estimate(float(row["mean"]), low, high, int(row["draws"])))


def _said(column: str) -> str:
    return column.replace("%", " %")
