"""Columns that several tables share, and what they say of a row's setting."""

from calprune.pages.table import Column
from calprune.report.findings import Findings
from calprune.report.settings import SETTING

EVALUATION, SOURCE, VERDICT = Column("evaluation"), Column("source"), Column("verdict")
DRAWS, SOURCES = (Column(name, "number", show="varying") for name in ("draws", "sources"))
PLACE = tuple(
    Column("sequences", "number", show="varying") if field == "num_samples" else Column(field, show="varying")
    for field in SETTING
)
OWN_NOTE = "† the source is judged on its own text: a lead here says little of other text."


def own_note(findings: Findings) -> tuple[str, ...]:
    """The note on sources judged on their own text, where there are any."""
    return (OWN_NOTE,) if any(cell.own for cell in findings.cells) else ()


def shown_verdict(verdict: str, p: float | None) -> str:
    """The verdict of a difference; without a p there is none."""
    return verdict if p is not None else "cannot be told"
