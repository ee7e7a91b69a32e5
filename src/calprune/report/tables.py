"""Tables: named columns of plain values, estimates and words, from which HTML, CSV, JSON and Markdown are written."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from calprune.report.names import number, probability, with_interval
from calprune.uncertainty.estimate import Estimate

Cell = str | int | float | bool | Estimate | None


@dataclass(frozen=True)
class Column:
    """What a column holds and how it is shown."""

    name: str
    kind: str = "text"  # "text", "number", "estimate" (takes three columns of a file), "p"
    percent: bool = False  # an estimate is shown times 100
    show: Literal["always", "varying", "never"] = "always"  # to readers; files have it; varying: where cells differ

    @property
    def names(self) -> tuple[str, ...]:
        """What the column is called in a file, where an estimate is three."""
        return (self.name, f"{self.name} low", f"{self.name} high") if self.kind == "estimate" else (self.name,)

    def values(self, cell: Cell) -> tuple[Cell, ...]:
        """The cell as a file has it: whole numbers and fractions, nothing rounded."""
        if self.kind != "estimate":
            return (cell,)
        return (cell.value, cell.low, cell.high) if isinstance(cell, Estimate) else (None, None, None)

    def shown(self, cell: Cell) -> str:
        """The cell as it is read."""
        match cell:
            case Estimate():
                return with_interval(cell, self.percent)
            case None:
                return "—" if self.kind == "number" else "not measured"
            case float() if self.kind == "p":
                return probability(cell)
            case float():
                return number(cell)
            case int():
                return f"{cell:,}"
        return cell


@dataclass(frozen=True)
class Table:
    """Rows under columns, with a name for files and a caption for readers."""

    name: str  # "does_it_matter": the key in JSON
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()  # said under it

    def to_read(self) -> "Table":
        """Without the columns that are for files, and those that say the same in each row that says something."""
        kept = [
            i
            for i, column in enumerate(self.columns)
            if column.show == "always"
            or (column.show == "varying" and len({row[i] for row in self.rows if row[i] is not None}) > 1)
        ]
        rows = tuple(tuple(row[i] for i in kept) for row in self.rows)
        return replace(self, columns=tuple(self.columns[i] for i in kept), rows=rows)

    def records(self) -> list[dict[str, Any]]:
        """A mapping a row, with everything; an estimate is a mapping of its own."""
        names = [column.name for column in self.columns]
        return [
            {name: asdict(cell) if isinstance(cell, Estimate) else cell for name, cell in zip(names, row, strict=True)}
            for row in self.rows
        ]

    def flat(self) -> tuple[list[str], list[list[Cell]]]:
        """The heads and the rows of a file of columns."""
        heads = [name for column in self.columns for name in column.names]
        rows = [[v for c, cell in zip(self.columns, row, strict=True) for v in c.values(cell)] for row in self.rows]
        return heads, rows


def tsv(cells: Sequence[Cell]) -> str:
    """Cells for a spreadsheet: one tab between, full precision; a tab or line break within a cell is a space."""
    return "\t".join("" if cell is None else " ".join(str(cell).split()) for cell in cells)
