"""The table of thirteen sources in docs/choosing-calibration-data.md, from the kept results of studies/sources.yaml."""

from pathlib import Path

from calprune.pages.numbers import with_interval
from calprune.report import read_results
from calprune.report.findings import Cell, Findings

KEPT = Path(__file__).parent / "results" / "sources.parquet"
BEGIN, END = "<!-- sources: made by docs/measured_section.py -->\n", "<!-- sources: end -->\n"
CONTROLS = ("ellipses", "random_characters")
COUNTED, ATTENDED = ", padding counted", ", padding counted and attended to"


def cells(metric: str = "perplexity", kept: Path = KEPT) -> dict[str, Cell]:
    """Of each set of the study, by its label."""
    return {cell.of.calibration: cell for cell in Findings(read_results(kept)).cells if cell.of.metric == metric}


def costs(kept: Path = KEPT) -> dict[str, float]:
    """Source -> nats a token that counting its padding costs, the mean over draws."""
    found = cells(kept=kept)
    return {name.partition(COUNTED)[0]: _mean(cell) - _mean(found[name.partition(COUNTED)[0]])
            for name, cell in found.items() if COUNTED in name}  # fmt: skip


def span(kept: Path = KEPT) -> tuple[float, float]:
    """The lowest and the highest mean of the real sources without counted padding, nats a token."""
    means = [_mean(cell) for name, cell in cells(kept=kept).items() if COUNTED not in name and name not in CONTROLS]
    return min(means), max(means)


def section(kept: Path = KEPT) -> str:
    """A row a source, the best first, then the controls."""
    found = cells(kept=kept)
    counted = {name.partition(COUNTED)[0]: (name, cell) for name, cell in found.items() if COUNTED in name}
    plain = {name: cell for name, cell in found.items() if COUNTED not in name}
    lines = ["| source | perplexity, padding left out | tokens that count | perplexity, padding counted |"]
    lines += ["|---|---|---|---|"]
    for name in sorted(plain, key=lambda name: (name in CONTROLS, _mean(plain[name]))):
        tokens, (label, padded) = f"{plain[name].of.tokens:,}", counted.get(name, ("", None))
        mark = " (attended to)" if label.endswith(ATTENDED) else ""
        last = f"{with_interval(padded.spread.interval)}{mark}" if padded else "no padding"
        lines.append(f"| {name} | {with_interval(plain[name].spread.interval)} | {tokens} | {last} |")
    return "\n".join(lines) + "\n"


def current(page: str) -> str:
    """The page with the table as the kept results have it now."""
    before, _, rest = page.partition(BEGIN)
    return before + BEGIN + "\n" + section() + "\n" + END + rest.partition(END)[2]


def _mean(cell: Cell) -> float:
    return sum(cell.values) / len(cell.values)
