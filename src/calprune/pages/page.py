"""Sections and pages: what a command prints, what a notebook shows, and what is written as one HTML file."""

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from calprune.base.values import choice
from calprune.pages.chart import Bars, Chart, Panel
from calprune.pages.drawing import can_draw
from calprune.pages.html import document, fragment
from calprune.pages.names import shorten
from calprune.pages.table import Table, one_line

TALL = 120  # pixels of the highest bar of a histogram
SHADE = 0.35  # how opaque a token of weight 1 is shaded
NOT_DRAWN = "Charts are drawn where altair is installed: pip install 'calprune[report]'."


class Stretch(NamedTuple):
    """A piece of text; with a weight it is shaded."""

    text: str
    weight: float = 0.0


@dataclass(frozen=True)
class TextBlock:
    """Text to read or to copy, with its title, its lines as they are."""

    title: str
    stretches: tuple[Stretch, ...]

    @classmethod
    def of(cls, title: str, text: str) -> "TextBlock":
        """A block of plain text."""
        return cls(title, (Stretch(text),))

    @classmethod
    def commands(cls, *lines: str) -> tuple["TextBlock", ...]:
        """A block of lines to run; none where there is none."""
        text = "\n".join(line for line in lines if line)
        return (cls.of("Commands", text),) if text else ()

    @property
    def plain(self) -> str:
        return "".join(stretch.text for stretch in self.stretches)


@dataclass(frozen=True)
class Section:
    """A heading with what stands under it."""

    id: str
    title: str = ""
    lead: tuple[str, ...] = ()  # sentences
    panels: tuple[Panel, ...] = ()
    tables: tuple[Table, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()  # names with values
    blocks: tuple[TextBlock, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:  # nothing that it holds is empty
        object.__setattr__(self, "panels", tuple(panel for panel in self.panels if panel.charts))
        object.__setattr__(self, "tables", tuple(table for table in self.tables if table.rows))

    def __bool__(self) -> bool:
        return any((self.lead, self.panels, self.tables, self.facts, self.blocks, self.notes))

    @property
    def charts(self) -> list[Chart]:
        return [chart for panel in self.panels for chart in panel.charts]

    def read_as(self, names: Mapping[str, str]) -> "Section":
        """With names that are read otherwise than they are written; facts and blocks, which are copied, stay."""
        panels = tuple(replace(one, charts=tuple(chart.read_as(names) for chart in one.charts)) for one in self.panels)
        lead, notes = (tuple(shorten(text, names) for text in texts) for texts in (self.lead, self.notes))
        tables = tuple(table.read_as(names) for table in self.tables)
        return replace(self, panels=panels, lead=lead, notes=notes, tables=tables)

    def to_read(self) -> tuple[Table, ...]:
        """The tables as text shows them: charts' data too, where no table holds the same numbers."""
        return self.tables or tuple(chart.table() for chart in self.charts)

    def text(self, width: int | None = None) -> str:
        """The section as plain text."""
        parts = ["\n".join(self.lead), *(table.text(width) for table in self.to_read()), _aligned(self.facts)]
        parts += [f"--- {block.title}\n{block.plain}" for block in self.blocks] + ["\n".join(self.notes)]
        return "\n".join([*([self.title] if self.title else []), "\n\n".join(part for part in parts if part)])

    def markdown(self, level: int = 2) -> str:
        """The section as Markdown."""
        parts = [f"{'#' * level} {one_line(self.title)}"] if self.title else []
        parts += [*map(one_line, self.lead), *(table.markdown(level + bool(self.title)) for table in self.to_read())]
        if self.facts:
            parts.append("\n".join(f"- {one_line(name)}: {one_line(value)}" for name, value in self.facts))
        parts += [f"{one_line(block.title)}:\n\n{textwrap.indent(block.plain, '    ')}" for block in self.blocks]
        return "\n\n".join([*parts, *map(one_line, self.notes)])

    def html(self) -> str:
        """A <section>, to be put into a page; charts as tables of their data, for the page carries what draws them."""
        return fragment("section", _view(_undrawn(self), {}))

    def csv(self) -> str:
        """Its tables one after the other, an empty line between."""
        return "\n".join(table.csv() for table in self.to_read())

    def json(self) -> str:
        """Its tables by name, and its facts."""
        return json.dumps(self.record(), indent=1, ensure_ascii=False)

    def record(self) -> dict[str, Any]:
        """What `json` writes."""
        facts = {"facts": dict(self.facts)} if self.facts else {}
        return {table.name: table.records() for table in self.tables} | facts

    def _repr_html_(self) -> str:
        return self.html()


@dataclass(frozen=True)
class Page:
    """The one design of all pages: a question, its answer, what shows it, and everything else folded under headings."""

    title: str
    sections: tuple[Section, ...] = ()  # the first, with the chart and the table that show the answer, stands open
    kicker: str = ""  # above the title: which command's
    question: str = ""
    summary: str = ""  # how much it is, in one line
    answer: tuple[str, ...] = ()  # one sentence of plain words, then those that say it in full
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "sections", tuple(section for section in self.sections if section))  # none is empty

    def read_as(self, names: Mapping[str, str]) -> "Page":
        """With names that are read otherwise than they are written: local paths, options that stand once."""
        title, question, summary = (shorten(text, names) for text in (self.title, self.question, self.summary))
        answer, warnings = (tuple(shorten(text, names) for text in texts) for texts in (self.answer, self.warnings))
        sections = tuple(section.read_as(names) for section in self.sections)
        return replace(self, title=title, question=question, summary=summary, answer=answer, warnings=warnings,
                       sections=sections)  # fmt: skip

    @property
    def tables(self) -> tuple[Table, ...]:
        return tuple(table for section in self.sections for table in section.tables)

    def table(self, name: str = "") -> Table:
        """A table by its name; without a name the first. Raises ConfigError where there is none of it."""
        named = {table.name: table for table in self.tables}
        return named[choice(name or next(iter(named), ""), tuple(named), "table")]

    def text(self, width: int | None = None) -> str:
        """The page as plain text, for a terminal."""
        head = [self.title, *(line for line in (self.question, self.summary) if line), *self.answer]
        head += [f"note: {warning}" for warning in self.warnings]
        return "\n\n".join(["\n".join(head), *(section.text(width) for section in self.sections)])

    def markdown(self) -> str:
        """The page as Markdown."""
        lines = [f"# {one_line(self.title)}", *map(one_line, (self.question, self.summary, *self.answer))]
        lines += [f"> {one_line(warning)}" for warning in self.warnings]
        return "\n\n".join(part for part in [*lines, *(s.markdown() for s in self.sections)] if part) + "\n"

    def html(self) -> str:
        """One file that needs no network. Everything from outside is escaped. Where altair is not installed, charts are
        tables of their data."""
        drawn = can_draw()
        sections = self.sections if drawn else tuple(_undrawn(section) for section in self.sections)
        undrawn = (NOT_DRAWN,) if sections != self.sections else ()
        specs: dict[str, Any] = {}
        full = Section("full", "The answer in full", self.answer[1:])
        views = [_view(section, specs) for section in (*sections[:1], full, *sections[1:]) if section]
        top = {"sections": views, "answer": self.answer[0] if self.answer else ""}
        return document(vars(self) | top | {"warnings": (*self.warnings, *undrawn)}, specs)

    def csv(self) -> str:
        """All tables one after the other, an empty line between."""
        return "\n".join(section.csv() for section in self.sections)

    def json(self) -> str:
        """The answer, the warnings and every table."""
        return json.dumps(self.record(), indent=1, ensure_ascii=False)

    def record(self) -> dict[str, Any]:
        """What `json` writes: a table is a list of mappings, an interval a mapping of value, low, high and n."""
        tables = {table.name: table.records() for table in self.tables}
        return {"format": 1, "title": self.title, "question": self.question, "answer": list(self.answer),
                "warnings": list(self.warnings), "tables": tables}  # fmt: skip

    def _repr_html_(self) -> str:
        lines = [line for line in (self.question, self.summary, *self.answer, *self.warnings) if line]
        sections = [_view(_undrawn(section), {}) for section in self.sections]
        return fragment("inset", {"title": self.title, "lines": lines, "sections": sections})


class HasPage:
    """A result that can be read: whoever has a `page()` also has its text, tables, Markdown, HTML, CSV and JSON.

    Of a dataclass write `@dataclass(frozen=True, repr=False)`, so that the short repr of here is taken.
    """

    def page(self) -> Page:
        """How it is read."""
        raise NotImplementedError

    def record(self) -> dict[str, Any]:
        """It as JSON-ready data."""
        return self.page().record()

    def table(self, name: str = "") -> Table:
        """One of its page's tables by name; without a name the first."""
        return self.page().table(name)

    def text(self, width: int | None = None) -> str:
        """It as plain text."""
        return self.page().text(width)

    def markdown(self) -> str:
        """It as Markdown."""
        return self.page().markdown()

    def html(self) -> str:
        """It as a page: one HTML file that needs no network."""
        return self.page().html()

    def csv(self) -> str:
        """Its tables as CSV."""
        return self.page().csv()

    def json(self, **more: Any) -> str:
        """It as JSON; `more` are further entries, which come first."""
        return json.dumps(more | self.record(), indent=1, allow_nan=False)

    def _repr_html_(self) -> str:
        return self.page()._repr_html_()

    def __repr__(self) -> str:
        page = self.page()
        return f"<{type(self).__name__}: {page.title}{f'; {page.summary}' if page.summary else ''}>"


def _aligned(facts: Sequence[tuple[str, str]]) -> str:
    """Names and values in two columns."""
    wide = max(9, *(len(name) for name, _ in facts)) if facts else 0
    return "\n".join(f"{name:{wide}}  {value}" for name, value in facts)


def _undrawn(section: Section) -> Section:
    """The section with tables of data in place of the charts that a library would draw."""
    panels = tuple(panel for panel in section.panels if all(chart.by_page for chart in panel.charts))
    charts = [chart for panel in section.panels if panel not in panels for chart in panel.charts]
    tables = [replace(chart.table(), name=f"{section.id}-{i}") for i, chart in enumerate(charts, 1)]
    return replace(section, panels=panels, tables=(*section.tables, *tables))


def _view(section: Section, specs: dict[str, Any]) -> dict[str, Any]:
    """A section as the template reads it; its charts' specifications are added to `specs`."""
    panels = [_panel(panel, specs) for panel in section.panels]
    scripted = any(not chart.by_page for chart in section.charts)
    blocks = [{"title": block.title, "stretches": [*map(_piece, block.stretches)]} for block in section.blocks]
    tables = [table.to_read().view() for table in section.tables]
    return vars(section) | {"panels": panels, "scripted": scripted, "blocks": blocks, "tables": tables}


def _panel(panel: Panel, specs: dict[str, Any]) -> dict[str, Any]:
    """Charts as the template reads them; what their lines and zones are is said once where it is the same for all."""
    marks = {chart.marks for chart in panel.charts}
    once = marks.pop() if len(marks) == 1 else ()
    charts = [_chart(chart, specs) | {"marks": () if once else chart.marks} for chart in panel.charts]
    return {"charts": charts, "legend": panel.legend(), "marks": once, "wide": panel.wide,
            "choose": panel.choose if len(panel.charts) > 1 else ""}  # fmt: skip


def _chart(chart: Chart, specs: dict[str, Any]) -> dict[str, Any]:
    view = {"title": chart.title, "description": f"{chart.title}: {chart.description}", "least": chart.least,
            "id": f"chart-{len(specs) + 1}", "bars": None, "rows": False}  # fmt: skip
    if isinstance(chart, Bars):
        most = max(bar.count for bar in chart.bars) or 1
        bars = [vars(bar) | {"height": f"{TALL * bar.count / most:.0f}", "width": f"{100 * bar.count / most:.1f}"}
                for bar in chart.bars]  # fmt: skip
        return view | {"bars": bars, "rows": chart.rows}
    specs[str(view["id"])] = chart.spec()
    return view


def _piece(stretch: Stretch) -> dict[str, Any]:
    shade = f"{min(stretch.weight, 1.0) * SHADE:.2f}" if stretch.weight else ""
    return {"text": stretch.text, "weight": f"{stretch.weight:g}", "shade": shade}
