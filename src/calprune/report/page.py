"""A study's page: one HTML file with its charts, its tables and the library that draws them, for a browser offline."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from calprune.report.charts import SHAPES, altair, colours
from calprune.report.findings import Findings
from calprune.report.panels import (
    Panel,
    amount_panels,
    heat_panels,
    retention_panels,
    similarity_panels,
    sparsity_panels,
)
from calprune.report.sentences import answer, warnings
from calprune.report.tables import Cell, Column, Table, tsv
from calprune.report.tabulate import tables
from calprune.report.told import SPEED, facts, protocols, size_of

MOST_OPEN = 40  # rows of a table that a reader need not ask for
LOOKS = {"win": "win", "loss": "loss", "held": "win", "not held": "loss"}
LONG = 24  # characters of a cell that had better not be broken into a narrow tower
OUTLINES = dict(
    zip(
        SHAPES,
        (
            "M5,0A5,5 0 1 1 -5,0A5,5 0 1 1 5,0Z", "M-4.5,-4.5H4.5V4.5H-4.5Z", "M0,-5L5.5,4.5H-5.5Z",
            "M0,-6L5,0L0,6L-5,0Z", "M-5.5,-2H-2V-5.5H2V-2H5.5V2H2V5.5H-2V2H-5.5Z", "M0,5L5.5,-4.5H-5.5Z",
            "M-5,0L4.5,-5.5V5.5Z", "M5,0L-4.5,-5.5V5.5Z",
        ),
        strict=True,
    )
)  # fmt: skip


@dataclass(frozen=True)
class Section:
    """A heading with what stands under it."""

    id: str
    title: str
    text: tuple[str, ...] = ()
    panels: tuple[Panel, ...] = ()
    tables: tuple[Table, ...] = ()
    points: tuple[tuple[str, str], ...] = ()  # names with what is told of them
    blocks: tuple[tuple[str, str], ...] = ()  # a title with lines to copy


@dataclass(frozen=True)
class Head:
    """What stands above the sections."""

    kicker: str
    title: str
    question: str
    size: str  # how much it is, in one line
    answer: Sequence[str]  # sentences
    warnings: Sequence[str]


def page(findings: Findings) -> str:
    """The page of a study as text."""
    results = findings.results
    head = Head("calprune study", results.title, results.question, size_of(findings), answer(findings),
                warnings(findings))  # fmt: skip
    return render(head, _sections(findings))


def render(head: Head, given: Sequence[Section]) -> str:
    """The page as text. Everything from outside is escaped; missing altair is one line that says what to install."""
    altair()
    from jinja2 import Environment, StrictUndefined

    from calprune.base.version import __version__

    sections = [one for one in given if one.panels or one.tables or one.points or one.blocks or one.text]
    specs: dict[str, Any] = {}
    drawn = [_shown(section, specs) for section in sections]
    template = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True).from_string(_part("page.html"))
    from markupsafe import Markup

    return template.render(
        top=head, sections=drawn, version=__version__,
        style=Markup(_part("page.css")), script=Markup(_part("page.js")), library=Markup(_library() if specs else ""),
        specs=Markup(json.dumps(specs, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")),
    )  # fmt: skip


SHADED = (
    "Shaded is what is shown to be worse than the best of its column (after Holm's correction), the darker the "
    "further. Means over draws."
)


def _sections(findings: Findings) -> list[Section]:
    made = {table.name: table.to_read() for table in tables(findings)}

    def of(*names: str) -> tuple[Table, ...]:
        return tuple(made[name] for name in names if name in made)

    points, blocks = facts(findings.results.about)
    many, heat = "num_samples" in findings.fields, tuple(heat_panels(findings))
    largest = ("Drawn for the largest amount of data.",) if many else ()
    return [
        Section("retention", "What is left, by capability", largest, tuple(retention_panels(findings)),
                of("retention")),
        Section("sparsity", "Results against sparsity",
                ("Means over draws with 95 % intervals; dashed: the dense model.", *largest),
                tuple(sparsity_panels(findings)), of("results")),
        Section("matters", "Does the data matter, and which is best?", (), (), of("effects", "differences")),
        Section("heat", "Source × method", (SHADED,) if heat else (), heat, of("methods")),
        Section("amount", "How much data", (), tuple(amount_panels(findings))),
        Section("similarity", "Does likeness foretell the result?", (), tuple(similarity_panels(findings)),
                of("correlations", "similarity")),
        Section("claims", "The paper's claims", (), (), of("claims")),
        Section("made", "How each number was made", points=tuple(protocols(findings))),
        Section("failed", "What failed", (), (), of("failures")),
        Section("again", "Make it again", points=tuple(points), blocks=tuple(blocks)),
        Section("speed", "What sparsity does not give", SPEED),
    ]  # fmt: skip


def _shown(section: Section, specs: dict[str, Any]) -> dict[str, Any]:
    """A section as the template reads it; its charts' specifications are added to `specs`."""
    panels = []
    for panel in section.panels:
        charts = []
        for chart in panel.charts:
            specs[name := f"chart-{len(specs) + 1}"] = chart.spec
            charts.append(
                {
                    "id": name,
                    "title": chart.title,
                    "least": chart.least,
                    "description": f"{chart.title}: {chart.description}",
                }
            )
        legend = [(name, colour, OUTLINES[shape]) for name, (colour, shape) in colours(panel.series).items()]
        panels.append({"charts": charts, "legend": legend if len(legend) > 1 else [], "wide": panel.wide})
    shown = {"panels": [one for one in panels if one["charts"]], "tables": [_table(table) for table in section.tables]}
    return {**vars(section), **shown}


def _table(table: Table) -> dict[str, Any]:
    heads = [
        {"name": column.name, "tsv": tsv(column.names), "number": column.kind != "text"} for column in table.columns
    ]
    rows = [[_cell(c, cell) for c, cell in zip(table.columns, row, strict=True)] for row in table.rows]
    return {"id": f"table-{table.name}", "caption": table.caption, "heads": heads, "rows": rows, "notes": table.notes,
            "folded": len(rows) > MOST_OPEN}  # fmt: skip


def _cell(column: Column, cell: Cell) -> dict[str, Any]:
    if column.kind == "text":
        look = LOOKS.get(str(cell), "long" if len(str(cell)) > LONG else "")
        return {"text": column.shown(cell), "tsv": None, "look": look}
    return {"text": column.shown(cell), "tsv": tsv(column.values(cell)), "look": "number"}


def _part(name: str) -> str:
    return resources.files("calprune.report").joinpath(name).read_text(encoding="utf-8")


@cache
def _library() -> str:
    """Vega, Vega-Lite and vega-embed in one script that sets window.vegaEmbed; it comes with vl-convert-python."""
    import vl_convert
    from altair import VEGALITE_VERSION

    version = ".".join(VEGALITE_VERSION.split(".")[:2])
    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=version).replace(
        "</script", "<\\/script"
    )
