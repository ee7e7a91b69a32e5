"""The section of docs/explanation/half-billion.md on what can be told: the dense model by tasks, draws and items."""

import json
from collections.abc import Iterator
from typing import Any

from half_billion_results import RESULTS, findings, table

from calprune.pages.numbers import number, percent, rough, with_interval
from calprune.report.sections.power import power_table
from calprune.uncertainty.estimate import Estimate

DENSE = RESULTS / "dense_half_billion.json"  # what `calprune eval` printed with --json


def section() -> Iterator[str]:
    """Draws and items that a small difference takes; and tasks of the dense model, beside guessing."""
    yield TOLD
    yield _power()
    yield DENSE_WORDS
    yield _dense()


def _power() -> str:
    """Of each evaluation of zeros: the dense model's value, how much draws differ, what a small difference takes."""
    rows = []
    found = power_table(findings("structured_half_billion"))
    names = [column.name for column in found.columns]
    for row in (dict(zip(names, cells, strict=True)) for cells in found.rows):
        if row["method"] != "wanda":
            continue
        show = percent if row["chance"] else (lambda value: number(value, 2))
        least = "1 point" if row["chance"] else f"{row['smallest difference of interest']} nats"
        sd = percent(row["SD of a draw"]) if row["chance"] else rough(row["SD of a draw"])
        cells = [row["evaluation"], f"`{row['pattern']}`", *map(show, (row["dense"], row["chance"], row["pruned"]))]
        cells += [least, sd, *(_count(row[name]) for name in ("draws needed", "items needed"))]
        rows.append(cells)
    heads = ("judged by", "pattern", "dense", "guessing", "pruned", "to tell", "SD of a draw", "draws", "items")
    return table(heads, rows, words=2)


def _count(needed: int | None) -> str:
    return "at chance" if needed is None else f"{needed:,}"


def _dense() -> str:
    """Of each task what guessing gives, and what the dense model solves."""
    rows = []
    for task in json.loads(DENSE.read_text(encoding="utf-8"))["tasks"]:
        guessing = percent(task["chance"]) if task["chance"] else "none"
        rows.append((f"`{task['name'].partition('(')[0]}`", guessing, _solved(task)))
    return table(("task", "guessing", "dense"), rows)


def _solved(task: dict[str, Any]) -> str:
    """The share with its interval, bold where that is above guessing."""
    above = 0 < task["chance"] < task["value_low"]
    shown = with_interval(Estimate(*(100 * task[end] for end in ("value", "value_low", "value_high")), task["items"]))
    return f"**{shown} %**" if above else f"{shown} %"


TOLD = """\
Three draws of three sources, Wanda, 16 x 256 tokens: how many draws and how many items would find, in 80 % of
studies, a difference of 1 point of accuracy, or of 0.02 nats ([page](../results/structured_half_billion.html)). A
point of accuracy takes thousands of questions, more than these tasks have, whatever the number of draws; 0.02 nats
of KL take tens of windows at 50 %, on code hundreds, and over a thousand at 2:4, beside hundreds of draws. So claims
about sources are judged by KL here, and at 2:4 only large differences can be told."""
DENSE_WORDS = """\
What the dense model solves of 200 items of each task, beside guessing; bold is above it by the whole interval.
`bandari/` are the exact-match prompts of that paper's code; guessing a number scores 0. Where a dense model is at
chance, pruning has nothing to take."""
