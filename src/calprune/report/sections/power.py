"""What the study can tell at all: how many draws and items find the smallest difference of interest.

Of a pilot (two sources, three draws, few items) it says what the whole study would take, before it is run.
"""

import itertools
import math

import numpy as np

from calprune.pages.numbers import counted
from calprune.pages.page import Section
from calprune.pages.table import Column, Table, Value
from calprune.report.findings import Cell, Comparison, Findings, setting
from calprune.report.sections.columns import DRAWS, EVALUATION, PLACE
from calprune.uncertainty.estimate import Estimate
from calprune.uncertainty.power import MOST_DRAWS, draws_needed, items_needed

NOTE = (
    "Can it tell: whether 80 % of such studies find the smallest difference of interest between two sources, by their "
    "draws. At chance: the interval of the dense model reaches the value of guessing, or the pruned ones' does, so "
    "there is nothing to lose and no number of draws tells. Draws needed: of each source, for these items. Items "
    "needed: so that the difference holds for other items of the kind too, by the SD of the differences of an item."
)
CAN, CANNOT, AT_CHANCE = "yes", "no", "at chance"
HEADS = (
    EVALUATION, *PLACE, Column("dense", "number"), Column("pruned", "number"),
    Column("chance", "number", show="varying"), Column("can it tell"),
    Column("smallest difference of interest", "number"), Column("SD of a draw", "number"), DRAWS,
    Column("draws needed", "number"), Column("SD of an item's difference", "number"),
    Column("items", "number"), Column("items needed", "number"),
)  # fmt: skip


def power(findings: Findings) -> Section:
    """A row a setting and evaluation with two sources; none where no evaluation has a smallest difference."""
    table = power_table(findings)
    return Section("power", "What this study can tell", tables=(table,) if table.rows else ())


def power_table(findings: Findings) -> Table:
    """As the section has it; without rows where no setting has two sources."""
    rows = tuple(_row(one) for one in findings.comparisons if one.of_interest)
    return Table("power", "Draws and items for the smallest difference of interest", HEADS, rows, (NOTE,))


def _row(one: Comparison) -> tuple[Value, ...]:
    least, metric, draws = one.of_interest, one.of.measures, min(len(cell.rows) for cell in one.cells)
    assert least is not None
    dense = metric.estimate(one.of.dense_items) if one.of.dense_items and not metric.needs_dense else None
    pruned = math.fsum(cell.spread.mean for cell in one.cells) / len(one.cells)
    sd, item_sd = one.effect.sd, _item_sd(one.cells)
    needed = _at_most(draws_needed, sd, least)
    guessing = one.of.chance is not None and any(_reaches(each, one.of.chance) for each in (dense, _together(one)))
    can = AT_CHANCE if guessing else CAN if needed is not None and draws >= needed else CANNOT
    items = None if guessing else _at_most(items_needed, item_sd, least)
    return (
        one.of.evaluation, *setting(one.of), dense and dense.value, pruned, one.of.chance, can, least, sd, draws,
        None if guessing else needed, item_sd, len(one.of.items), items,
    )  # fmt: skip


def in_words(table: Table) -> str:
    """How many rows of the table can tell, and what the others lack."""
    words = [row[[column.name for column in HEADS].index("can it tell")] for row in table.rows]
    parts = [f"{words.count(CAN)} of {counted(len(words), 'row')} can tell"]
    parts += [f"{words.count(CANNOT)} need more draws"] if CANNOT in words else []
    parts += [f"{words.count(AT_CHANCE)} at chance, where nothing can be told"] if AT_CHANCE in words else []
    return "; ".join(parts)


def _together(one: Comparison) -> Estimate | None:
    """The pruned models' value with its interval over items: of each item the mean over sources and draws."""
    rows = [row.items for cell in one.cells for row in cell.rows if row.items]
    return one.of.measures.estimate([math.fsum(each) / len(rows) for each in zip(*rows, strict=True)]) if rows else None


def _reaches(dense: Estimate | None, chance: float) -> bool:
    return dense is not None and dense.low is not None and dense.low <= chance


def _at_most(needed, sd: float | None, least: float) -> int | None:
    """None where there is no SD, or where no study could have so many."""
    if sd is None or not math.isfinite(sd) or sd / least > math.sqrt(MOST_DRAWS) / 10:
        return None
    return needed(sd, least)


def _item_sd(cells: tuple[Cell, ...]) -> float | None:
    """The SD over items of the difference of two sources' means over draws: the root mean square over all pairs."""
    means = [np.mean(cell.items, axis=0) for cell in cells if len({len(items) for items in cell.items}) == 1]
    pairs = [a - b for a, b in itertools.combinations(means, 2) if len(a) == len(b) > 1]
    if not pairs or not all(np.isfinite(pair).all() for pair in pairs):
        return None
    return math.sqrt(math.fsum(float(np.var(pair, ddof=1)) for pair in pairs) / len(pairs))
