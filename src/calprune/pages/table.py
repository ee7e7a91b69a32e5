"""Tables: named columns of plain values and estimates, as text, Markdown, HTML, CSV and JSON."""

import csv
import io
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from calprune.pages.html import fragment
from calprune.pages.names import shorten
from calprune.pages.numbers import MISSING, Interval, number, percent, probability, with_interval

Value = str | int | float | bool | Interval | None
Kind = Literal["text", "number", "estimate", "p"]  # an estimate takes three columns of a file

WIDTH = 160  # characters of a line of text where the output is no terminal
TALL = 40  # rows; a table of more scrolls within its place of a page
PRINTED = 20  # rows of it on paper
LOOKS = {"win": "win", "best": "win", "loss": "loss", "worse": "loss", "held": "win", "not held": "loss"}  # of a cell
LONG = 24  # characters of a cell from which on it may be broken into lines


@dataclass(frozen=True)
class Column:
    """What a column holds and how it is shown."""

    name: str
    kind: Kind = "text"
    percent: bool = False  # a number or an estimate is shown times 100
    show: Literal["always", "varying", "never"] = "always"  # to readers; files have it; varying: where cells differ
    short: Mapping[str, str] = field(default_factory=dict, hash=False)  # how texts are read; files have them whole

    @property
    def names(self) -> tuple[str, ...]:
        """What the column is called in a file, where an estimate is three."""
        return (self.name, f"{self.name} low", f"{self.name} high") if self.kind == "estimate" else (self.name,)

    def values(self, value: Value) -> tuple[Value, ...]:
        """The value as a file has it: whole numbers and fractions, nothing rounded."""
        if self.kind != "estimate":
            return (value,)
        return (value.value, value.low, value.high) if isinstance(value, Interval) else (None, None, None)

    def shown(self, value: Value) -> str:
        """The value as it is read."""
        match value:
            case Interval():
                return with_interval(value, self.percent)
            case None:
                return "—" if self.kind == "number" else MISSING
            case float() if self.kind == "p":
                return probability(value)
            case float():
                return percent(value) if self.percent else number(value)
            case int():
                return f"{value:,}"
        return shorten(value, self.short)


@dataclass(frozen=True)
class Table:
    """Rows under columns, with a name for files and a caption for readers."""

    name: str  # "effects": the key in JSON
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...]
    notes: tuple[str, ...] = ()  # shown under it

    def read_as(self, names: Mapping[str, str]) -> "Table":
        """With texts that are read otherwise than they are written; files have them as they are."""
        columns = tuple(replace(one, short=names) if one.kind == "text" else one for one in self.columns)
        notes = tuple(shorten(note, names) for note in self.notes)
        return replace(self, columns=columns, caption=shorten(self.caption, names), notes=notes)

    def to_read(self) -> "Table":
        """Without the columns that are for files, and without those of `varying` whose cells are all the same."""
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
            {name: vars(cell) if isinstance(cell, Interval) else cell for name, cell in zip(names, row, strict=True)}
            for row in self.rows
        ]

    def flat(self) -> tuple[list[str], list[list[Value]]]:
        """The heads and the rows of a file of columns."""
        heads = [name for column in self.columns for name in column.names]
        rows = [[v for c, cell in zip(self.columns, row, strict=True) for v in c.values(cell)] for row in self.rows]
        return heads, rows

    def cells(self) -> list[list[str]]:
        """Every row as it is read."""
        return [[column.shown(cell) for column, cell in zip(self.columns, row, strict=True)] for row in self.rows]

    def text(self, width: int | None = None) -> str:
        """Aligned columns, as wide as the terminal (or WIDTH); long cells are broken into lines."""
        from rich.console import Console
        from rich.table import Table as Grid
        from rich.text import Text

        given, grid = self.to_read(), Grid(box=None, padding=(0, 2, 0, 0), pad_edge=False)
        cells = given.cells()
        for i, column in enumerate(given.columns):
            breaks = max((len(row[i]) for row in cells), default=0) > LONG
            grid.add_column(Text(column.name), justify="left" if column.kind == "text" else "right",
                            overflow="fold", no_wrap=not breaks and column.kind == "text")  # fmt: skip
        for row in cells:
            grid.add_row(*map(Text, row))
        drawn = io.StringIO()
        Console(
            file=drawn,
            width=width or line_width(),
            highlight=False,
            color_system=None,
            force_terminal=False,
            force_jupyter=False,
        ).print(grid)  # in a notebook it would be shown, not drawn
        lines = [line.rstrip() for line in drawn.getvalue().splitlines()]
        return "\n".join([*([given.caption] if given.caption else []), *lines, *given.notes])

    def markdown(self, level: int = 2) -> str:
        """A heading, a table and its notes."""
        given = self.to_read()
        heads = "| " + " | ".join(one_line(column.name) for column in given.columns) + " |"
        rule = "|" + "|".join("---:" if column.kind != "text" else "---" for column in given.columns) + "|"
        rows = ["| " + " | ".join(map(one_line, row)) + " |" for row in given.cells()]
        caption = f"{'#' * level} {one_line(given.caption)}\n\n" if given.caption else ""
        return caption + "\n".join([heads, rule, *rows]) + "".join(f"\n\n{one_line(note)}" for note in given.notes)

    def html(self) -> str:
        """A <table> with its caption and notes, to be put into a page. Everything from outside is escaped."""
        return fragment("table", self.to_read().view())

    def view(self) -> dict[str, Any]:
        """The table as the template reads it."""
        heads = [
            {"name": column.name, "tsv": tsv(column.names), "number": column.kind != "text"} for column in self.columns
        ]
        rows = [[_cell(c, cell) for c, cell in zip(self.columns, row, strict=True)] for row in self.rows]
        return {"id": f"table-{self.name}", "caption": self.caption, "heads": heads, "rows": rows, "notes": self.notes,
                "tall": len(rows) > TALL, "most": PRINTED}  # fmt: skip

    def csv(self) -> str:
        """Every column; intervals take three of them, nothing is rounded."""
        heads, rows = self.flat()
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(heads)
        writer.writerows([_spreadsheet_safe(value) for value in row] for row in rows)
        return text.getvalue()

    def json(self) -> str:
        """A list of mappings, one a row."""
        return json.dumps(self.records(), indent=1, ensure_ascii=False)

    def _repr_html_(self) -> str:
        return self.html()


def _spreadsheet_safe(value: Any) -> Any:
    """Text that a spreadsheet would take for a formula, after an apostrophe, which it takes for text."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def _cell(column: Column, value: Value) -> dict[str, Any]:
    if column.kind == "text":
        shown = column.shown(value)
        return {"text": shown, "tsv": None, "look": LOOKS.get(shown, "long" if len(shown) > LONG else "")}
    return {"text": column.shown(value), "tsv": tsv(column.values(value)), "look": "number"}


def line_width() -> int:
    """Characters of a line: the terminal's, else WIDTH."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else WIDTH


def one_line(text: str) -> str:
    """One line that Markdown takes as text, not as a mark of its own."""
    text = " ".join(text.split())
    for mark in ("\\", "|", "*", "_", "`", "<", "[", "#"):
        text = text.replace(mark, f"\\{mark}")
    return text


def tsv(cells: Sequence[Value]) -> str:
    """Cells for a spreadsheet: one tab between, full precision; a tab or line break within a cell is a space."""
    return "\t".join("" if cell is None else " ".join(str(cell).split()) for cell in cells)
