"""A study's results as files: HTML to read, CSV, JSON and Markdown for other programs. Each is whole or absent."""

import csv
import io
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from calprune.base.store import to_json, write_whole
from calprune.base.values import identity
from calprune.report.claims import judge
from calprune.report.findings import Findings
from calprune.report.page import page
from calprune.report.sentences import answer, warnings
from calprune.report.tables import Table
from calprune.report.tabulate import tables
from calprune.studies.results import Results


def write_html(results: Results, path: str | Path) -> None:
    """One self-contained page that needs no network. Raises UserError where altair is not installed."""
    write_whole(path, page(Findings(results)))


def write_csv(results: Results, path: str | Path) -> None:
    """A row a source, setting and evaluation: the table `results`. Intervals take three columns; nothing is rounded."""
    heads, rows = next((t.flat() for t in tables(Findings(results)) if t.name == "results"), ([], []))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heads)
    writer.writerows(rows)
    write_whole(path, text.getvalue())


def write_json(results: Results, path: str | Path) -> None:
    """The answer and every table; a table is a list of mappings, an interval a mapping of value, low, high and n."""
    findings = Findings(results)
    write_whole(path, to_json(_plain(results, findings)))


def write_claims(results: Results, path: str | Path) -> None:
    """The study's claims with their verdicts: figures and hashes only, from which a table of many studies is made."""
    rows = [[row.trial, row.evaluation, row.value if math.isfinite(row.value) else None] for row in results.rows]
    claims = [
        {"id": one.claim.id, "says": one.claim.says, "what": one.judgement.what,
         "measured": one.judgement.estimate and asdict(one.judgement.estimate), "verdict": one.judgement.verdict,
         "why": one.why, "p_holm": one.adjusted_p}
        for one in judge(Findings(results))
    ]  # fmt: skip
    head = {"format": 1, "title": results.title, "results": identity(rows), "missing": results.missing}
    write_whole(path, to_json(head | {"claims": claims}))


def write_markdown(results: Results, path: str | Path) -> None:
    """The answer and every table as they are read."""
    findings = Findings(results)
    parts = [f"# {_line(results.title)}", _line(results.question), *map(_line, answer(findings)),
             *(f"> {_line(said)}" for said in warnings(findings)),
             *(_markdown(table.to_read()) for table in tables(findings))]  # fmt: skip
    write_whole(path, "\n\n".join(part for part in parts if part) + "\n")


def _plain(results: Results, findings: Findings) -> dict[str, Any]:
    made = {table.name: table.records() for table in tables(findings)}
    return {"format": 1, "title": results.title, "question": results.question, "answer": answer(findings),
            "warnings": warnings(findings), "missing": results.missing, "about": results.about,
            "tables": made}  # fmt: skip


def _markdown(table: Table) -> str:
    heads = "| " + " | ".join(_line(column.name) for column in table.columns) + " |"
    rule = "|" + "|".join("---:" if column.kind != "text" else "---" for column in table.columns) + "|"
    rows = [
        "| " + " | ".join(_line(c.shown(cell)) for c, cell in zip(table.columns, row, strict=True)) + " |"
        for row in table.rows
    ]
    notes = "".join(f"\n\n{_line(note)}" for note in table.notes)
    return f"## {_line(table.caption)}\n\n" + "\n".join([heads, rule, *rows]) + notes


def _line(text: str) -> str:
    """One line that Markdown takes as text, not as a mark of its own."""
    text = " ".join(text.split())
    for mark in ("\\", "|", "*", "_", "`", "<", "[", "#"):
        text = text.replace(mark, f"\\{mark}")
    return text
