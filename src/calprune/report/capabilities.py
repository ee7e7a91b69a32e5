"""Retention: how much of what the dense model can do is left, by capability."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from calprune.report.comparisons import Cell, setting
from calprune.study.results import Result
from calprune.uncertainty import Estimate, retention, retention_of_perplexity

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
    if row.metric == "kl":
        return None
    return f"{row.capability}, {'perplexity' if row.metric == 'perplexity' else 'tasks'}"


def columns(cells: Sequence[Cell]) -> list[str]:
    """Capabilities in an order that does not depend on the study's; perplexity and tasks are not averaged."""
    found = {name: cell.of.capability for cell in cells if (name := column_of(cell.of)) is not None}
    known = {name: i for i, name in enumerate(CAPABILITIES)}
    return sorted(found, key=lambda name: (known.get(found[name], len(known)), name))


def of_cell(cell: Cell) -> Estimate | None:
    """What one evaluation says is left: accuracy above chance, or dense ÷ pruned perplexity; None: not measurable."""
    if cell.of.metric == "perplexity":
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
        by = {name: _together([of_cell(cell) for cell in those]) for name, those in parts.items()}
        own = frozenset(name for name, those in parts.items() if any(cell.own for cell in those))
        if by:
            found.append(Retained(group[0].of, max(len(cell.rows) for cell in group), by, own))
    return found


def _together(estimates: Sequence[Estimate | None]) -> Estimate | str:
    """The mean over a capability's evaluations that are measurable. The SD of a mean is at most the mean of the SDs,
    so the mean of the intervals is wide enough however the evaluations hang together."""
    known = [one for one in estimates if one is not None]
    if not known:
        return NOT_MEASURABLE
    if len(known) == 1:
        return known[0]
    ends = [(one.low, one.high) for one in known if one.low is not None and one.high is not None]
    value, n = _mean([one.value for one in known]), sum(one.n for one in known)
    if len(ends) < len(known):
        return Estimate(value, None, None, n)
    return Estimate(value, _mean([low for low, _ in ends]), _mean([high for _, high in ends]), n)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
