"""Each evaluation against the amount of calibration data."""

from calprune.pages.drawing import ValueAxis
from calprune.pages.page import Section
from calprune.report.findings import Findings
from calprune.report.sections.points import lines


def amount(findings: Findings) -> Section:
    """Charts, where there are several amounts."""
    if "num_samples" not in findings.fields:
        return Section("amount")
    cells = [cell for cell in findings.cells if cell.of.num_samples is not None]
    along = ValueAxis("sequences of the calibration set", log=True)
    panels = lines(findings, cells, along, lambda row: float(row.num_samples or 0))
    return Section("amount", "How much data", panels=panels)
