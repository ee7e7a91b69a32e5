"""A study's page: its answer, warnings, and one section after the other."""

from collections.abc import Callable

from calprune.pages.numbers import counted, listed
from calprune.pages.page import Page, Section
from calprune.report.answer import answer, plain, warnings
from calprune.report.findings import Findings
from calprune.report.sections.amount import amount
from calprune.report.sections.claims import claims
from calprune.report.sections.differences import differences
from calprune.report.sections.effects import effects
from calprune.report.sections.likeness import likeness
from calprune.report.sections.made import again, failures, made, speed
from calprune.report.sections.methods import methods
from calprune.report.sections.overview import overview
from calprune.report.sections.power import power
from calprune.report.sections.retention import retention
from calprune.report.sections.sparsity import sparsity
from calprune.report.sections.tokens import tokens
from calprune.report.settings import is_control

SECTIONS: tuple[Callable[[Findings], Section], ...] = (
    overview,
    effects,
    differences,
    retention,
    tokens,
    sparsity,
    amount,
    methods,
    likeness,
    claims,
    power,
    failures,
    made,
    again,
    speed,
)


def page(findings: Findings) -> Page:
    """The page of a study; a section with nothing in it is left out."""
    results = findings.results
    sections = tuple(make(findings) for make in SECTIONS)
    first = findings.lead.sentence if findings.lead else plain(findings)
    said = (first, *answer(findings)) if findings.rows else ()
    made = Page(results.title, sections, "calprune study", results.question, _size(findings), said,
                tuple(warnings(findings)))  # fmt: skip
    return made.read_as(findings.names)


def _size(findings: Findings) -> str:
    """How much the study is."""
    rows = findings.rows
    if not rows:
        return "no result yet"
    controls = len({row.calibration for row in rows if is_control(row)})
    counts = {
        "source": len(findings.sources) - controls,
        "control": controls,
        "method": len({row.method for row in rows}),
        "pattern": len({row.pattern for row in rows}),
        "draw": len({row.draw for row in rows} - {None}),
        "evaluation": len({row.evaluation for row in rows}),
        "trial": len({row.trial for row in rows}),
        "result": len(rows),
    }
    parts = (counted(n, word) for word, n in counts.items() if n)
    all_of_them = f"; each evaluation with {findings.protocol}" if findings.protocol else ""
    return f"This study of {listed(sorted({row.model for row in rows}))}: {', '.join(parts)}{all_of_them}"
