"""What is left of each capability of the dense model, by source and setting."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from calprune.report.findings import Cell, setting
from calprune.studies.results import Result
from calprune.uncertainty import retention
from calprune.uncertainty.estimate import Estimate
from calprune.uncertainty.retention import Kept, mean_retention, retention_of_perplexity

CAPABILITIES = ("general", "language", "commonsense", "knowledge", "mathematics", "code")
NOT_MEASURABLE = "not measurable"


@dataclass(frozen=True)
class Retained:
    """One source in one setting, with what is left of each capability."""

    of: Result
    draws: int
    by: dict[str, Estimate | str]  # a column of `columns`: the estimate, or why there is none
    own: frozenset[str]  # columns in which the source is judged on its own text


def column_of(row: Result) -> str | None:
    """The column that a row counts in; None: its metric has no dense value to be a part of (KL)."""
    return f"{row.capability}, {row.measures.group}" if row.measures.retention else None


def columns(cells: Sequence[Cell]) -> list[str]:
    """Capabilities in an order that does not depend on the study's; perplexity and tasks are not averaged."""
    found = {name: cell.of.capability for cell in cells if (name := column_of(cell.of)) is not None}
    known = {name: i for i, name in enumerate(CAPABILITIES)}
    return sorted(found, key=lambda name: (known.get(found[name], len(known)), name))


def of_cell(cell: Cell) -> Estimate | None:
    """What one evaluation says is left: accuracy above chance, or dense ÷ pruned perplexity; None: not measurable."""
    if cell.of.measures.retention is None:
        return None
    if cell.of.measures.retention == "ratio":
        return retention_of_perplexity(cell.items, cell.of.dense_items)
    return retention(cell.items, cell.of.dense_items, cell.of.chance or 0.0)


def retained(cells: Sequence[Cell]) -> list[Retained]:
    """A row a source and setting, in the cells' order."""
    groups: dict[tuple, list[Cell]] = defaultdict(list)
    for cell in cells:
        groups[(*setting(cell.of), cell.of.calibration)].append(cell)
    found = []
    for group in groups.values():
        parts: dict[str, list[Cell]] = defaultdict(list)
        for cell in group:
            if name := column_of(cell.of):
                parts[name].append(cell)
        by = {name: _together(those) for name, those in parts.items()}
        own = frozenset(name for name, those in parts.items() if any(cell.own for cell in those))
        if by:
            found.append(Retained(group[0].of, max(len(cell.rows) for cell in group), by, own))
    return found


def _together(cells: Sequence[Cell]) -> Estimate | str:
    """The mean over a capability's evaluations that are measurable, on the draws that all of them have."""
    if len(cells) == 1:
        return of_cell(cells[0]) or NOT_MEASURABLE
    draws = set.intersection(*({row.draw for row in cell.rows} for cell in cells))
    shared = [Cell(tuple(row for row in cell.rows if row.draw in draws)) for cell in cells]
    found = mean_retention([_kept(cell) for cell in shared]) if draws else None
    return NOT_MEASURABLE if found is None else found


def _kept(cell: Cell) -> Kept:
    chance = None if cell.of.measures.retention == "ratio" else cell.of.chance or 0.0
    return Kept(cell.items, cell.of.dense_items, chance)
