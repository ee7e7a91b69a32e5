"""What pages look up in docs/results: claims by their words, rows by their cells."""

import csv
from pathlib import Path
from typing import Any

import claims_section


def claims(study: str, says: str, results: Path) -> list[dict[str, Any]]:
    """Those of results/STUDY.claims.json that say this and were measured, with the verdict that correction leaves."""
    judged = claims_section.verdicts_in(_there(results / f"{study}.claims.json"))
    found = [one for one in judged["claims"] if one["says"] == says and one["measured"]]
    return [claims_section.corrected(one, judged.get("format", 1)) for one in found]


def rows(table: str, cells: dict[str, Any], results: Path) -> list[dict[str, str]]:
    """Those of results/TABLE, a CSV, that have these cells."""
    with _there(results / table).open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if all(row[name] == str(cell) for name, cell in cells.items())]


def _there(path: Path) -> Path:
    if not path.is_file():
        raise ValueError(f"there is no results/{path.name}")
    return path
