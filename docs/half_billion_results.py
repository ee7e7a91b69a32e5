"""What the sections of docs/explanation/half-billion.md read and lay out alike: kept results, claims, tables."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import claims_section
import results_pages

from calprune.pages.numbers import with_interval
from calprune.report.claims import judge
from calprune.report.claims.judged import Judged, about_draws
from calprune.report.findings import Cell, Findings
from calprune.report.kept import read_results
from calprune.uncertainty.estimate import Estimate

RESULTS = Path(__file__).parent / "results"
AMOUNTS, LENGTH = "amounts_half_billion", 256  # a study of amounts; its sequences, in tokens
LOST = 1.0  # nats a token: a window that loses more is counted as lost


@cache
def findings(study: str) -> Findings:
    return Findings(read_results(RESULTS / f"{study}.parquet"))


def judged(study: str) -> Iterator[tuple[str, str, str]]:
    """Of each claim its words, the verdict and what was measured."""
    found = claims_section.verdicts_in(RESULTS / f"{study}.claims.json")
    for one in found["claims"]:
        claim = claims_section.corrected(one, found["format"])
        missing = claim["measured"] is None
        measured = claim["why"] if missing else f"{with_interval(Estimate(**claim['measured']))} ({claim['what']})"
        more = f"; {about_draws(claim['draws'])} would tell" if claim["draws"] else ""
        yield claim["says"], claims_section.NOT_MEASURED if missing else claim["verdict"], measured + more


def judged_by_draws(study: str, keep: Callable[[int], bool]) -> dict[str, Judged]:
    """The study's claims judged again, by some of the draws alone where a cell has such."""
    results = results_pages.of_today(RESULTS / f"{study}.parquet")
    cells = defaultdict(list)
    for row in results.rows:
        cells[row.cell, row.evaluation].append(row)
    kept = [[row for row in rows if keep(row.draw)] or rows for rows in cells.values()]
    found = judge(Findings(replace(results, rows=tuple(row for rows in kept for row in rows))))
    return {one.claim.says: one for one in found}


def verdict_counts(found: Sequence[str]) -> str:
    """How many of them are what."""
    counts = Counter(found)
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in claims_section.ORDER if counts[verdict])


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> str:
    """A table whose first columns, so many, are words and the others numbers."""
    rule = "|" + "---|" * words + "---:|" * (len(heads) - words)
    return "\n".join([f"| {' | '.join(heads)} |", rule, *(f"| {' | '.join(row)} |" for row in rows)])


def claims_table(study: str) -> str:
    """A row a claim."""
    rows = [(says, f"**{verdict}**", measured) for says, verdict, measured in judged(study)]
    return table(("claim", "verdict", "measured"), rows, words=3)


def windows_of(cell: Cell) -> list[float]:
    """The KL of each window at each draw."""
    return [value for row in cell.rows for value in row.items]


def lost(windows: Sequence[float]) -> str:
    """How many windows are lost, of how many."""
    return f"{sum(value > LOST for value in windows)} of {len(windows)}"


def claims_of(study: str, rule: str) -> Iterator[str]:
    """How many claims became what, by what rule; and a table of them."""
    yield f"Of its claims: {verdict_counts([verdict for _, verdict, _ in judged(study)])}.\n{rule}"
    yield claims_table(study)


def by_text(study: str, sources: Sequence[str], texts: dict[str, str]) -> str:
    """Sources by the texts that are judged ({how an evaluation begins: its name here}): the KL of each. A source
    whose name is the text's is bold."""
    rows = []
    for source in sources:
        shown = [with_interval(cell_of(study, source, text).spread.interval) for text in texts]
        shown = [f"**{one}**" if name == source else one for one, name in zip(shown, texts.values(), strict=True)]
        rows.append([source, *shown])
    means = [{source: cell_of(study, source, text).spread.mean for source in sources} for text in texts]
    best = [min(of, key=of.__getitem__) for of in means]
    return table(["calibrated on", *texts.values()], [*rows, ["*the lowest*", *best]])


def cell_of(study: str, source: str, evaluation: str, **setting: str) -> Cell:
    """The one cell of a source that is judged by what begins so, in this setting."""
    found = [cell for cell in findings(study).cells
             if (cell.of.calibration, cell.of.evaluation[: len(evaluation)]) == (source, evaluation)
             and setting.items() <= cell.of.setting.items()]  # fmt: skip
    if len(found) != 1:
        raise ValueError(f"{study}: {len(found)} cells are {source} by {evaluation} {setting}, expected one")
    return found[0]


def by_amount() -> dict[tuple[int, str], Cell]:
    """The cells of the study of amounts, by sequences and method."""
    return {(cell.of.num_samples or 0, cell.of.setting["method"]): cell
            for cell in findings(AMOUNTS).cells if cell.of.metric == "kl"}  # fmt: skip


HELD = """\
"Better" is by more than 0.02 nats and "as good as" within 0.02, after correction over the claims, so an interval
wholly beyond 0.02 can leave a claim open."""
