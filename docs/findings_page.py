"""docs/explanation/findings.md and its charts, from docs/findings.yaml and the results that it names.

A figure of a chart is looked up by one of:

    claim: [STUDY, WORDS]          what was measured for the claim of docs/results/STUDY.claims.json that is worded so
    mean: [STUDY, {COLUMN: CELL}]  the mean in the row of docs/results/STUDY.csv that has these cells
    set: LABEL                     the perplexity of a set of docs/results/sources.parquet
    table: [PAGE, WORDS, CELLS, COLUMN]  a cell of the first table after these words: of the row that begins with the
                                   cells, in the column of this number (from 0)
    choice: [NAME, SET, AGAINST]   what docs/results/choose_NAME.json has for two sets, all capabilities together

A figure that has a `name` can stand in a finding's text as {name}; those under `also` are not drawn. `negative: true`
turns its sign, where a text says "worse by" or the result's lower side is the better one.
"""

import itertools
import re
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import choose_section
import kept_results
import measured_section
import yaml
from pictures.draw import BLUE, GREY, INK, PALE, picture, stroke, text

from calprune.choosing.answer import OVERALL
from calprune.evaluation.metric import NATS_OF_INTEREST
from calprune.pages.numbers import with_interval
from calprune.uncertainty.estimate import Estimate

HERE = Path(__file__).parent
RESULTS = HERE / "results"
INTERVAL = re.compile(r"([−-]?[\d.,]+) \[([−-]?[\d.,]+), ([−-]?[\d.,]+)\]")
USES = (  # what a reader prunes for, what to calibrate with, the findings
    (
        "no use in particular",
        "whole sequences of web text, C4 say, at random; or what the model writes from their beginnings",
        (1, 9),
    ),
    (
        "one task",
        "its own text and as much web text (where blocks go judge it first)",
        (2,),
    ),
    ("a language", "text in that language", (2,)),
    ("its worked solutions", "what it writes itself to your questions, and the questions count", (9,)),
    ("several uses", "equal shares of text of each", (3,)),
)
LEFT, RIGHT, ROW = 330, 640, 24  # of the axis; a row's height


@cache
def findings() -> list[dict[str, Any]]:
    return yaml.safe_load((HERE / "findings.yaml").read_text(encoding="utf-8"))["findings"]


def figure(row: dict[str, Any]) -> Estimate:
    """What a row of a chart shows. Raises ValueError where the results do not hold it, or more than once."""
    kinds = {"claim": _claim, "mean": _mean, "set": _set, "table": _table, "choice": _choice}
    if len(named := [kind for kind in kinds if kind in row]) != 1:
        raise ValueError(f"docs/findings.yaml: {row.get('label')}: expected one of {', '.join(kinds)}")
    found = list(kinds[named[0]](row[named[0]]))
    if len(found) != 1:
        raise ValueError(
            f"docs/findings.yaml: {row.get('label')}: {len(found)} results are {row[named[0]]}, expected one"
        )
    return _negative(found[0]) if row.get("negative") else found[0]


def _negative(of: Estimate) -> Estimate:
    low, high = (None if end is None else -end for end in (of.high, of.low))
    return replace(of, value=-of.value, low=low, high=high)


def _claim(given: list[str]) -> Iterator[Estimate]:
    study, words = given
    return (Estimate(**claim["measured"]) for claim in kept_results.claims(study, words, RESULTS))


def _mean(given: list[Any]) -> Iterator[Estimate]:
    study, cells = given
    for row in kept_results.rows(f"{study}.csv", cells, RESULTS):
        low, high = (float(row[f"mean {end}"]) if row[f"mean {end}"] else None for end in ("low", "high"))
        yield Estimate(float(row["mean"]), low, high, int(row["draws"]))


def _set(label: str) -> Iterator[Estimate]:
    if cell := measured_section.cells().get(label):
        yield cell.spread.interval


def _table(given: list[Any]) -> Iterator[Estimate]:
    page, words, cells, column = given
    _, _, rest = (HERE / page).read_text(encoding="utf-8").partition(words)
    lines = itertools.dropwhile(lambda line: not line.startswith("|"), rest.splitlines())
    rows = [line.strip("| ").split(" | ") for line in itertools.takewhile(lambda line: line[:1] == "|", lines)]
    for row in rows:
        if row[: len(cells)] == cells and (found := INTERVAL.search(row[column])):
            value, low, high = (float(part.replace("−", "-").replace(",", "")) for part in found.groups())
            yield Estimate(value, low, high, 3)


def _choice(given: list[str]) -> Iterator[Estimate]:
    name, candidate, against = given
    return (one.difference for one in choose_section.contrasts(name, candidate, against) if one.capability == OVERALL)


def chart(finding: dict[str, Any]) -> str:
    """Its figures, a row each, with their intervals; of differences, also 0 and the zone of no interest."""
    rows = [(row["label"], figure(row)) for row in finding["rows"]]
    difference = finding.get("difference", False)
    ends = [end for _, one in rows for end in (one.value, one.low, one.high) if end is not None]
    low, high = min([*ends, *([0.0] if difference else [])]), max([*ends, *([0.0] if difference else [])])
    low, high = low - 0.04 * (high - low), high + 0.04 * (high - low)

    def at(value: float) -> float:
        return LEFT + (RIGHT - LEFT) * (value - low) / (high - low)

    foot = 30 + ROW * len(rows)
    parts = []
    if difference:
        left, right = at(max(low, -NATS_OF_INTEREST)), at(min(high, NATS_OF_INTEREST))
        parts += [f'<rect x="{left:g}" y="24" width="{right - left:g}" height="{foot - 24}" fill="{PALE}"/>',
                  stroke(at(0), 24, at(0), foot, GREY)]  # fmt: skip
    for i, (label, one) in enumerate(rows):
        y = 30 + ROW * i + ROW / 2
        parts += [text(LEFT - 14, y + 5, label, 14, INK, "end"), text(RIGHT + 14, y + 5, with_interval(one), 14, INK)]
        if one.low is not None and one.high is not None:
            parts.append(stroke(at(one.low), y, at(one.high), y, BLUE, 3))
        parts.append(f'<circle cx="{at(one.value):g}" cy="{y:g}" r="5" fill="{BLUE}"/>')
    parts.append(text((LEFT + RIGHT) / 2, foot + 22, finding["axis"], 13, GREY, "middle"))
    return picture(880, foot + 36, finding["says"], parts)


def picture_name(number: int) -> str:
    return f"finding-{number}.svg"


def pictures() -> dict[str, Any]:
    """Path below docs -> what draws it."""
    return {
        f"pictures/{picture_name(number)}": lambda finding=finding: chart(finding)
        for number, finding in enumerate(findings(), 1)
    }


def page() -> str:
    lines = ["# Findings", "", INTRODUCTION.format(interest=NATS_OF_INTEREST, uses=_uses(), padding=_link(4),
                                                   draws=_link(10), units=_link(8), method=_link(6))]  # fmt: skip
    for number, finding in enumerate(findings(), 1):
        rows, title = [*finding["rows"], *finding.get("also", [])], finding["says"]
        figures = shared() | {row["name"]: with_interval(figure(row)) for row in rows if "name" in row}
        sure = f"*How sure*: {finding['sure'].strip()} {held(finding['rows'])}*From*: {finding['study'].strip()}"
        lines += ["", f"## {number}. {title}", "", _wrapped(finding["text"].format(**figures)), ""]
        lines += [_wrapped(f"*On half a billion parameters*: {finding['larger'].format(**figures)}"), ""]
        lines += [f"![{title}](../pictures/{picture_name(number)})", "", _wrapped(sure)]
    return "\n".join([*lines, "", UNTOLD]) + "\n"


def _uses() -> str:
    """What to calibrate with, by use."""
    rows = [f"| {use} | {text} | {', '.join(map(_link, numbers))} |" for use, text, numbers in USES]
    return "\n".join(["| you prune for | calibrate with | finding |", "|---|---|---|", *rows])


def _link(number: int) -> str:
    heading = f"{number}. {findings()[number - 1]['says']}".lower()
    return f"[{number}](#{re.sub(r'[^a-z0-9 -]', '', heading).replace(' ', '-')})"


def shared() -> dict[str, str]:
    """Figures that any text can hold: how far real sources lie apart, where their padding is left out."""
    lowest, highest = measured_section.span()
    return {"span": f"{highest - lowest:.2f} nats a token"}


def held(rows: list[dict[str, Any]]) -> str:
    """Which of the claims are held after correction, in a sentence."""
    claims = {row["label"]: kept_results.claims(*row["claim"], RESULTS) for row in rows if "claim" in row}
    found = [label for label, (claim,) in claims.items() if claim["verdict"] == "held"]
    if not claims:
        return ""
    return f"Held after correction over all claims of the study: {'; '.join(found) or 'none of them'}. "


def _wrapped(said: str) -> str:
    together = " ".join(said.split()).replace(" %", "\0%")  # a number and its sign stay on a line
    return textwrap.fill(together, 118, break_on_hyphens=False, break_long_words=False).replace("\0", " ")


INTRODUCTION = """\
What should you calibrate with?

{uses}

Always leave padding out ({padding}).
Look at several draws ({draws}).
The choice matters most where you take out neurons or blocks ({units}), and more with SparseGPT than with Wanda,
as is shown on half a billion parameters ({method}).

Most of this rests on SmolLM2-135M, a small model, with small sets, judged by text; languages, shares and selections of
documents on [half a billion parameters](half-billion.md) alone. What became of each finding there stands with it. Take
them as questions for your model, and ask it with [choose](../choose.md) or a [study](../tutorials/study.md).

In a chart a point is a mean over draws, a line its interval (95 %). Where differences are drawn, the shaded zone is
what is too small to matter ({interest:g} nats a token, which is 2 % of perplexity). "16 x 256 tokens" are 16 sequences
of 256 tokens that the model was calibrated on. Compare perplexities within a chart only: charts are judged on texts of
different lengths. "Shown" and "held" are meant after [Holm's correction](../words.md).
Methods have [their page](../methods.md)."""
UNTOLD = """\
## What we could not tell

- Whether most of this holds for a larger model than [half a billion parameters](half-billion.md), or by tasks: the demo
  model is at chance in most of them, and of 200 questions no number of draws tells one point.
- Most claims of the papers on the demo model, and some of those asked of
  [half a billion parameters](half-billion.md#do-the-papers-claims-hold). All verdicts:
  [claims about data](../choosing-calibration-data.md#do-the-papers-claims-hold),
  [about methods](../methods.md#do-the-papers-orders-hold), and by paper the
  [map of the literature](../literature.md). Their figures beside ours: [the papers' numbers](../paper-numbers.md).
- Whether a likeness of a text to the training data foretells how well it serves.

All tables, with the commands that made them:
[choosing calibration data](../choosing-calibration-data.md#what-was-measured)."""
