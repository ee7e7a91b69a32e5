"""docs/structured.md: the table of methods, and what was measured on the model of half a billion parameters."""

import csv
from collections.abc import Iterable
from pathlib import Path

from calprune.pages.numbers import with_interval
from calprune.removal import described_removals
from calprune.uncertainty.estimate import Estimate

PAGE = Path(__file__).parent / "structured.md"
MEASURED = Path(__file__).parent / "results" / "structured_half_billion.csv"
BEGIN, END = "<!-- {}: made by docs/generate.py -->\n", "<!-- end of {} -->"
COLUMNS = {  # the evaluation and metric of each, and its heading
    ("kl(wikitext2", "KL, nats a token"): "WikiText-2",
    ("kl(gsm8k", "KL, nats a token"): "GSM8K",
    ("kl(mbpp", "KL, nats a token"): "MBPP (code)",
    ("arc_easy", "accuracy"): "ARC-easy",
    ("piqa", "accuracy"): "PIQA",
}


def current() -> str:
    """The page with its tables made anew."""
    page = PAGE.read_text(encoding="utf-8")
    for name, lines in (("methods", _methods()), ("half a billion", _half_billion())):
        begin, end = BEGIN.format(name), END.format(name)
        before, rest = page.split(begin)
        page = before + begin + "\n".join(lines) + f"\n{end}{rest.split(end)[1]}"
    return page


def _methods() -> Iterable[str]:
    yield from ("| method | takes out | reads | what it is | options |", "|---|---|---|---|---|")
    for one in described_removals():
        options = ", ".join(f"`{name}={value}`" for name, value in one.options.items())
        idea = one.idea.replace("|", "\\|")
        yield f"| `{one.name}` | {', '.join(one.kinds)} | {one.needs} | {idea} | {options} |"


def _half_billion() -> Iterable[str]:
    with MEASURED.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    yield "| what goes | chosen by | " + " | ".join(COLUMNS.values()) + " |"
    yield "|---|---|" + "---:|" * len(COLUMNS)
    dense = {row["evaluation"]: float(row["dense"]) for row in rows if row["dense"]}
    yield "| nothing | | " + " | ".join(_of_dense(dense, evaluation, metric) for evaluation, metric in COLUMNS) + " |"
    for pattern, method, source in dict.fromkeys((row["pattern"], row["method"], row["source"]) for row in rows):
        cells = [_cell(rows, (pattern, method, source), *column) for column in COLUMNS]
        yield f"| `{pattern}` | `{method}`, {source} | " + " | ".join(cells) + " |"
    yield from ("", _by_text(rows))


def _by_text(rows: list[dict[str, str]]) -> str:
    """What a quarter of the neurons costs on each use, by whose text they were chosen."""

    def kl(use: str, source: str) -> str:
        return _cell(rows, ("neurons:25%", "flap", source), f"kl({use}", "KL, nats a token")

    return (
        f"**The text decides what is left.** With a quarter of the neurons gone, the divergence on code (MBPP) is "
        f"{kl('mbpp', 'c4')} nats a token where c4 chose them, and {kl('mbpp', 'code')} where code did. On GSM8K it is "
        f"{kl('gsm8k', 'c4')} by c4 and {kl('gsm8k', 'gsm8k')} by its own text; on WikiText-2 {kl('wikitext2', 'c4')} "
        f"by c4 and {kl('wikitext2', 'code')} by code."
    )


def _of_dense(dense: dict[str, float], evaluation: str, metric: str) -> str:
    if metric != "accuracy":
        return "0"
    return next(f"{100 * value:.1f} %" for name, value in dense.items() if name.startswith(evaluation))


def _cell(rows: list[dict[str, str]], of: tuple[str, str, str], evaluation: str, metric: str) -> str:
    row = next(
        row for row in rows
        if (row["pattern"], row["method"], row["source"]) == of
        and row["evaluation"].startswith(evaluation) and row["metric"] == metric
    )  # fmt: skip
    scale = 100 if metric == "accuracy" else 1
    ends = [scale * float(row[name]) for name in ("mean", "mean low", "mean high") if row[name]]
    if len(ends) < 3:
        return f"{ends[0]:.3g}"
    return with_interval(Estimate(*ends, n=int(row["draws"]), confidence=0.95)) + (" %" if scale == 100 else "")
