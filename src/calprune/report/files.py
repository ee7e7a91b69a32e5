"""A study's results as files: HTML to read, CSV, JSON and Markdown for other programs. Each is whole or absent."""

import math
from dataclasses import asdict
from pathlib import Path

from calprune.base.store import to_json, write_whole
from calprune.base.values import identity
from calprune.report.claims import judge
from calprune.report.findings import Findings, Lead
from calprune.report.page import page
from calprune.report.sections.overview import results_table
from calprune.studies.results import Results


def write_html(results: Results, path: str | Path, lead: Lead | None = None) -> None:
    """One self-contained page that needs no network; lead: the answer, and what is shown first."""
    write_whole(path, page(Findings(results, lead)).html())


def write_csv(results: Results, path: str | Path) -> None:
    """A row a source, setting and evaluation: the table `results`. Intervals take three columns; nothing is rounded."""
    write_whole(path, results_table(Findings(results)).csv())


def write_json(results: Results, path: str | Path) -> None:
    """The answer and every table; a table is a list of mappings, an interval a mapping of value, low, high and n."""
    record = page(Findings(results)).record()
    write_whole(path, to_json(record | {"missing": results.missing, "about": results.about}))


def write_claims(results: Results, path: str | Path) -> None:
    """The study's claims with their verdicts: figures and hashes only, from which a table of many studies is made.

    Format 2: a verdict is after Holm's correction over all claims with an interval, `alone` what its own interval said
    where that is another. In format 1 a verdict was by its own interval, and p of single differences alone.
    """
    rows = [[row.trial, row.evaluation, row.value if math.isfinite(row.value) else None] for row in results.rows]
    claims = [
        {"id": one.claim.id, "says": one.claim.says, "what": one.judgement.what,
         "measured": one.judgement.estimate and asdict(one.judgement.estimate), "verdict": one.judgement.verdict,
         "why": one.why, "p_holm": one.adjusted_p, "alone": one.alone, "draws": one.draws}
        for one in judge(Findings(results))
    ]  # fmt: skip
    head = {"format": 2, "title": results.title, "results": identity(rows), "missing": results.missing}
    write_whole(path, to_json(head | {"claims": claims}))


def write_markdown(results: Results, path: str | Path) -> None:
    """The answer and every table as they are read."""
    write_whole(path, page(Findings(results)).markdown())
