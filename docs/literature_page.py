"""docs/literature.md and the data of its map: the papers of docs/papers.yaml, with what studies found of their claims.

Verdicts and figures are those of docs/results/*.claims.json, after the correction of claims_section; none is written in
papers.yaml.
"""

import json
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import claims_section
import yaml

HERE = Path(__file__).parent
STUDIES = HERE.parent / "studies"
OF_SEVERAL = (  # claims in them are several papers'
    "methods", "methods_half_billion", "selection_half_billion", "amounts_half_billion",
)  # fmt: skip
KINDS = {
    "choice of data": "which text to calibrate on",
    "self-written text": "text that the model writes itself",
    "selection": "which documents of a source",
    "likeness": "how like training data a text is",
    "score": "which weights stay",
    "mask refinement": "from any mask to a better one",
    "weight update": "what the weights that stay become",
    "reconstruction": "training a block to give its dense output",
    "allocation": "how much each layer loses",
    "quantisation": "fewer values in place of fewer weights",
}
FIELDS = {"title", "authors", "year", "venue", "link", "kind", "methods", "here", "studies", "claims", "builds_on"}
NAMED = {"magnitude": "magnitude", "rounding": "rounding", "obs": "OBS", "wanda": "Wanda", "owl": "OWL", "ria": "RIA",
         "admm": "ADMM", "gblm": "GBLM", "dsnot": "DSnoT", "cola": "COLA", "herding": "herding",
         "self_calibration": "Self-calibration", "free_lunch": "A Free Lunch"}  # fmt: skip
HEAD = """\
# Map of the literature

The papers that calprune implements or judges, and what became of their claims on small models. *Builds on* is drawn
where the paper, its code or its tables are known to use or to be compared with another. It is no list of references.
Their figures, and ours beside them: [the papers' numbers](paper-numbers.md).

- **Click** a paper, or go to it with Tab and press Enter, for its details. Escape closes them.
- **Drag** a paper to move it, and the background to move all. Zoom with `+`, `-` and, in the map, the wheel.
- The arrow keys go to the nearest paper on that side.

```{raw} html
<div id="paper-map" class="paper-map"><p>The map needs JavaScript. The table below holds the same.</p></div>
```

## All papers

A claim is *held* where the whole interval is on its side after Holm's correction, and *not held* where the whole of it
is on the other. *Undecided*: this cannot be told here, with a small model and few draws. *Uncorrected*: only the
claim's own interval was looked at. Each verdict is of a study on one or two small models, which its page
names: SmolLM2-135M, or [larger ones](explanation/half-billion.md). Other models may give other verdicts, and some
papers ask it of another use (RSQ of quantisation, COLA of tasks, herding of no pruning).

"""


@cache
def papers() -> dict[str, dict[str, Any]]:
    """Each paper by its key. Raises ValueError for a field, a kind or a paper that is not known."""
    found = yaml.safe_load((HERE / "papers.yaml").read_text(encoding="utf-8"))["papers"]
    for key, paper in found.items():
        if odd := set(paper) - FIELDS:
            raise ValueError(f"papers.yaml: {key}: unknown fields {', '.join(sorted(odd))}")
        if paper["kind"] not in KINDS:
            raise ValueError(f"papers.yaml: {key}: kind: expected one of {', '.join(KINDS)}; got {paper['kind']}")
        if odd := set(paper.get("builds_on", {})) - set(found):
            raise ValueError(f"papers.yaml: {key}: builds_on: no paper {', '.join(sorted(odd))}")
    return found


def judged(paper: dict[str, Any], results: Path = HERE / "results") -> list[dict[str, str]]:
    """The claims about a paper: what it says, what was measured, the verdict, and the page that has it."""
    rows = [row for study in paper.get("studies", ()) for row in claims_of(study, results)]
    starts = tuple(f"{start} " if start[-1].isalpha() else start for start in paper.get("claims", ()))
    several = (row for study in OF_SEVERAL for row in claims_of(study, results))
    return rows + [row for row in several if starts and f"{row['says']} ".startswith(starts)]


def claims_of(study: str, results: Path) -> list[dict[str, str]]:
    """A study's claims, each with its verdict as docs/choosing-calibration-data.md and docs/methods.md have it."""
    written = claims_as_written(study)
    held = claims_section.verdicts_in(results / f"{study}.claims.json")
    found = {one["id"]: claims_section.corrected(one, held.get("format", 1)) for one in held["claims"]}
    page = f"results/{study}.html" if (results / f"{study}.html").is_file() else ""
    rows = []
    for claim in claims_section.read_claims(written, study):
        verdict, (says, _, measured, _) = claims_section.row_of(claim, found.get(claim.id))
        rows.append({"says": says, "measured": measured, "verdict": verdict, "page": page})
    return rows


@cache
def claims_as_written(study: str) -> list[dict[str, Any]]:
    """Those of its file, which a page asks for at every paper."""
    return yaml.safe_load((STUDIES / f"{study}.yaml").read_text(encoding="utf-8"))["claims"]


def word(verdict: str) -> str:
    """A verdict in a word or two."""
    return verdict.replace(claims_section.CANNOT, "undecided").replace(f" {claims_section.ALONE}", ", uncorrected")


def summary(rows: list[dict[str, str]]) -> str:
    counts = Counter(row["verdict"] for row in rows)
    return ", ".join(f"{counts[verdict]} {word(verdict)}" for verdict in claims_section.ORDER if counts[verdict])


def here(paper: dict[str, Any]) -> str:
    """What of it is in calprune."""
    methods = ", ".join(f"[`{name}`](methods.md#{name})" for name in paper.get("methods", ()))
    return "; ".join(part for part in (methods, paper.get("here", "")) if part) or "its claims, as a study"


def address(paper: dict[str, Any]) -> str:
    site, _, name = paper.get("link", "").partition(":")
    where = {"arXiv": "https://arxiv.org/abs/", "OpenReview": "https://openreview.net/forum?id="}
    return where[site] + name if site else ""


def page() -> str:
    lines = []
    for kind, about in KINDS.items():
        lines += [f"### {kind.capitalize()}", "", f"{about.capitalize()}.", ""]
        lines += ["| paper | in calprune | claims judged here |", "|---|---|---|"]
        for paper in sorted(papers().values(), key=lambda one: (one["year"], one["title"])):
            if paper["kind"] == kind:
                title = f"[{paper['title']}]({address(paper)})" if address(paper) else paper["title"]
                by = ", ".join(str(paper[field]) for field in ("authors", "venue", "year") if field in paper)
                rows = judged(paper)
                pages = dict.fromkeys(row["page"] for row in rows if row["page"])
                links = ", ".join(f"[{Path(one).stem}]({one})" for one in pages)
                verdict = f"{summary(rows)} ({links})" if links else summary(rows) or "none"
                lines.append(f"| {title}. {by} | {here(paper)} | {verdict} |")
        lines.append("")
    return HEAD + "\n".join(lines)


def script() -> str:
    """The map's data, as a script that a page opened from a file can read too."""
    nodes = [
        {
            "id": key,
            "title": paper["title"],
            "short": short(key, paper),
            "by": ", ".join(str(paper[field]) for field in ("authors", "venue", "year") if field in paper),
            "year": paper["year"],
            "kind": paper["kind"],
            "link": address(paper),
            "here": [*(f"the method {name}" for name in paper.get("methods", ())), *filter(None, [paper.get("here")])],
            "claims": [row | {"verdict": word(row["verdict"])} for row in judged(paper)],
        }
        for key, paper in papers().items()
    ]
    edges = [
        {"from": key, "to": other, "why": why}
        for key, paper in papers().items()
        for other, why in paper.get("builds_on", {}).items()
    ]
    data = {"nodes": nodes, "edges": edges, "kinds": list(KINDS)}
    return f"window.PAPERS = {json.dumps(data, indent=1, ensure_ascii=False)};\n"


def short(key: str, paper: dict[str, Any]) -> str:
    """A name that fits beside a dot: its own, what stands before the title's colon, or first author and year."""
    if key in NAMED:
        return NAMED[key]
    name, colon, _ = paper["title"].partition(":")
    if (colon and len(name) < 16) or len(paper["title"]) < 16:
        return name
    return f"{paper['authors'].partition(',')[0].removesuffix(' and others')} {paper['year']}"
