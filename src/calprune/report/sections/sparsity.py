"""Each evaluation against sparsity."""

from calprune.pages.drawing import ValueAxis
from calprune.pages.page import Section
from calprune.report.findings import Findings
from calprune.report.sections.points import lines
from calprune.report.settings import in_order, sparsity_of


def sparsity(findings: Findings) -> Section:
    """Lines, where the study has several percentages."""
    percents = in_order(cell.of.pattern for cell in findings.cells if ":" not in cell.of.pattern)
    if len(percents) < 2:
        return Section("sparsity")
    cells = [cell for cell in findings.cells if cell.of.pattern in percents]
    panels = lines(findings, cells, ValueAxis("sparsity, %"), lambda row: sparsity_of(row.pattern) * 100)
    lead = (
        ("Means over draws with 95 % intervals; dashed: the dense model.",) if any(one.charts for one in panels) else ()
    )
    return Section("sparsity", "Results against sparsity", lead, panels)
