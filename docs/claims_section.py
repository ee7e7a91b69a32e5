"""The table of all papers' claims that opens docs/choosing-calibration-data.md: from the studies' files and results.

A study's claims are in studies/NAME.yaml. docs/results/NAME.claims.json, by `calprune study report RUNS --claims FILE`,
has their verdicts; a claim that is not in it, or has changed since, was not measured. A verdict counts after Holm's
correction over the study's claims. Files of format 1 have p after Holm's correction of single differences alone: what
they say of spreads, orders and margins was never corrected, and is counted apart.
"""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from calprune.pages.numbers import probability, with_interval
from calprune.studies.claims import Claim, NotMeasured, read_claims
from calprune.uncertainty.estimate import Estimate
from calprune.uncertainty.power import SIGNIFICANCE

HERE = Path(__file__).parent
BEGIN, END = "<!-- claims: made by docs/claims_section.py -->\n", "<!-- claims: end -->\n"
NOT_MEASURED, CANNOT = "not measured", "cannot be told here"
ALONE = "by its own interval alone, uncorrected"
OF_METHODS = ("methods", "dsnot", "propagate")  # their claims stand in docs/methods.md
ORDER = ("held", "not held", CANNOT, f"held {ALONE}", f"not held {ALONE}", NOT_MEASURED)


def current(page: str) -> str:
    """The page with the section as the studies and their results have it now."""
    before, _, rest = page.partition(BEGIN)
    return before + BEGIN + "\n" + section() + "\n" + END + rest.partition(END)[2]


def section(studies: Path = HERE.parent / "studies", results: Path = HERE / "results", of: Sequence[str] = ()) -> str:
    """Every claim of these studies, or of all that are about data, with what was found, by study."""
    lines: list[str] = []
    counts: Counter[str] = Counter()
    for path in sorted(studies.glob("*.yaml")):
        if path.stem not in of if of else path.stem in OF_METHODS or path.stem.endswith("_full"):  # never run
            continue
        study = yaml.safe_load(path.read_text(encoding="utf-8"))
        if claims := read_claims(study.get("claims", []), path.name):
            judged = verdicts_in(results / f"{path.stem}.claims.json")
            found = {one["id"]: corrected(one, judged.get("format", 1)) for one in judged["claims"]}
            page = f" ([page](results/{path.stem}.html))" if (results / f"{path.stem}.html").is_file() else ""
            lines += [f"**[{study['title']}](../studies/{path.name})**{page}", ""]
            lines += ["| claim | in the paper | measured here | verdict |", "|---|---|---|---|"]
            for claim in claims:
                verdict, row = row_of(claim, found.get(claim.id))
                counts[verdict] += 1
                lines.append("| " + " | ".join(_line(cell) for cell in row) + " |")
            lines.append("")
            if judged["missing"]:
                lines += [f"{judged['missing']} of its trials were not there when the claims were judged.", ""]
    said = ", ".join(f"{counts[verdict]} {verdict}" for verdict in ORDER if counts[verdict])
    after = ", after Holm's correction over the claims of each study" if counts["held"] or counts["not held"] else ""
    return "\n".join([f"Of {counts.total()} claims{after}: {said}.", "", *lines])


def corrected(found: dict[str, Any], form: int) -> dict[str, Any]:
    """A claim as its file has it, with the verdict that is left of format 1's by its own interval."""
    own, p = found["verdict"], found.get("p_holm")
    if form > 1 or own == CANNOT or (p is not None and p < SIGNIFICANCE):
        return found
    if p is None:
        return found | {"verdict": f"{own} {ALONE}"}
    why = f"{found['why']}, but not after Holm's correction over the study's claims"
    return found | {"verdict": CANNOT, "why": why}


def verdicts_in(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"claims": [], "missing": 0}


def row_of(claim: Claim, found: dict[str, Any] | None) -> tuple[str, tuple[str, ...]]:
    """The verdict's word, and the cells."""
    said = (claim.says, claim.paper or "figure not verified")
    if isinstance(claim.test, NotMeasured):
        return NOT_MEASURED, (*said, "", f"{NOT_MEASURED}: {claim.test.why}")
    if found is None:
        return NOT_MEASURED, (*said, "", NOT_MEASURED)
    if found["measured"] is None:
        return found["verdict"], (*said, "", f"{found['verdict']}: {found['why']}")
    measured = f"{with_interval(Estimate(**found['measured']))} ({found['what']})"
    p = f"; p after Holm {probability(found['p_holm'])}" if found.get("p_holm") is not None else ""
    return found["verdict"], (*said, measured, f"**{found['verdict']}**: {found['why']}{p}")


def _line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
