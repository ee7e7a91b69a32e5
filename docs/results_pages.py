"""The pages, tables and verdicts of docs/results, made from the kept results beside them, without a model.

    python docs/results_pages.py [NAME ...]     all, or those named

docs/results/NAME.parquet is what `calprune study report RUNS --parquet FILE` keeps of a run; claims and the smallest
differences of interest are those that studies/NAME.yaml has now.
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from calprune import report
from calprune.studies.folder import study_text
from calprune.studies.reading import parse_study
from calprune.studies.results import STUDY, Results

HERE = Path(__file__).parent
RESULTS = HERE / "results"
AS_ROWS = (
    "bandari2024",
    "default_method",
    "experts",
    "methods",
    "sources",
    "structured",
    "structured_half_billion",
)  # the docs read their rows


def write(kept: Path, folder: Path = RESULTS) -> Iterator[Path]:
    """Write what is made of one kept study into a folder; gives each file as it is there."""
    results = of_today(kept)
    wanted = {"html": report.write_html}
    if results.claims:
        wanted["claims.json"] = report.write_claims
    if kept.stem in AS_ROWS:
        wanted["csv"] = report.write_csv
    for ending, write_as in wanted.items():
        path = folder / f"{kept.stem}.{ending}"
        write_as(results, path)
        yield path


def of_today(kept: Path) -> Results:
    """The kept results, with the claims that the study's file has now."""
    results = report.read_results(kept)
    text = study_text(HERE.parent / "studies" / f"{kept.stem}.yaml")
    study = parse_study(text, kept.stem)
    return replace(results, claims=study.claims, interest=study.interest, about=results.about | {STUDY: text})


def answer(page: Path) -> str:
    """The words of the answer on a page."""
    found = re.search(r'<section id="answer".*?</section>', page.read_text(encoding="utf-8"), re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", found[0]).split()) if found else ""


if __name__ == "__main__":
    for one in [RESULTS / f"{name}.parquet" for name in sys.argv[1:]] or sorted(RESULTS.glob("*.parquet")):
        for made in write(one):
            print(made.relative_to(HERE.parent))
