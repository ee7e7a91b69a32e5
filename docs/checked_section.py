"""What each method and allocation was checked against, for docs/methods.md; the figures are in LOG.md.

"text": the paper's own text was read. Where it could not be had, no number of an equation is given that was not there
before, and one that was is said to be not confirmed.
"""

import inspect
import re
from collections.abc import Iterator
from typing import Any

from calprune.allocation import ALLOCATIONS
from calprune.methods import METHODS
from calprune.methods.listing import CITATION

UNSEEN = "number not confirmed; "
CHECKED = {
    "admm": UNSEEN + "admm-pruning 8039208, run",
    "alps": "text; ALPS 8af9e6b, run",
    "block_reconstruction": "text; rethinking-LLM-pruning 4a55ec9, run: the same to the bit; sub-blocks by an abstract",
    "dsnot": "DSnoT 4c029df, run: with rule=released 97.96 % and more, 99.956 % with our variance",
    "gblm": "the formula in a summary; GBLM-Pruner 9e8aea2, run",
    "gptq": "text; a float64 loop over columns; no released code was run",
    "magnitude": "wanda 8e8fc87, run: the same but for ties",
    "pruner_zero": "Pruner-Zero db70134, run",
    "refit": UNSEEN + "a float64 solve, in the tests",
    "regional": "public notes; wandaplus 71e01bb (not the authors'), read, not run",
    "ria": UNSEEN + "RIA 7bc55b0, run",
    "rose": "its page's summary; ROSE 000b131, run, matrices that are reordered too",
    "round_to_nearest": "text; no released code was run",
    "sparsegpt": "text; sparsegpt 147d215, run",
    "sparseswaps": "abstract and reviews; brute force, in the tests; there is no released code",
    "wanda": UNSEEN + "wanda 8e8fc87, run",
    "wanda_variant": "the equation is Wanda's; wanda 8e8fc87, run",
    "wanda_plus_plus": "a public note; wandaplus 71e01bb (not the authors'), run",
    "alpha": "AlphaPruning 5f0e984, run",
    "dlp": "a public note; DLP 31d480f, run: the same with the median in place of its mean",
    "from_file": "no paper: a table that a user brings",
    "linear": "abstract",
    "owl": UNSEEN + "OWL dddb7a4, run",
    "uniform": "no paper: every linear gets the pattern as given",
}  # fmt: skip


def section() -> str:
    return "\n".join(_lines())


def _lines() -> Iterator[str]:
    yield "Text: the paper's own text was read. Otherwise it was not available, and what stands in for it is named; the"
    yield "hexadecimal numbers are commits of released code. What was compared, on which matrices and what differed is"
    yield from ["in LOG.md (2026-11-22, methods; 2026-11-25, methods; 2026-11-26, against public code).", ""]
    yield from ["| method or allocation | paper | equation or algorithm | checked against |", "|---|---|---|---|"]
    for name, cls in [*METHODS.items(), *ALLOCATIONS.items()]:
        yield f"| `{name}` | {' | '.join(_source(cls))} | {CHECKED[name]} |"


def _source(cls: Any) -> tuple[str, str]:
    """First author, year and id; equation or algorithm. From the file that holds the class."""
    text = (inspect.getdoc(inspect.getmodule(cls)) or "").partition("\n\n")[2]
    if not (found := re.match(CITATION, " ".join(text.split()))) or '"' not in found[0]:
        return "", ""
    author = found[0].split(",")[0].removesuffix(" and others").removesuffix(" et al.")
    year = re.findall(r"\b(?:19|20)\d\d\b", found[0].partition('", ')[2])[0]
    return ", ".join(filter(None, [f"{author} {year}", found["id"]])), found["place"] or "not seen"
