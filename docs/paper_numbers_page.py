"""docs/paper-numbers.md: papers' figures beside ours, from docs/numbers.yaml and the kept results.

numbers.yaml has the papers' figures and says where ours are; no figure of ours is written in it. What is compared of
two perplexities is the logarithm of their ratio, in nats a token, so that a large and a small model have one unit.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kept_results
import yaml
from literature_page import address, papers

from calprune.pages.numbers import counted, number
from calprune.uncertainty.estimate import Estimate

HERE = Path(__file__).parent
STUDIES = HERE.parent / "studies"
NATS, POINTS, FACTOR = "nats a token", "points", "factor of the SD of a draw"
SOURCES = {  # where a figure was read, by the tag of our notes; what was not read anywhere has another tag
    "abs": "its abstract",
    "code": "its repository",
    "data": "the data of its plots, in its repository",
    "issue": "a public thread",
    "note": "others' notes on it",
    "readme": "its repository's README",
    "review": "public reviews of it",
    "seed": "a summary of it",
    "text": "its text",
}
FIGURES = {"ratio": 2, "loss": 2, "points": 2, "doubling": 3, "values": 0}  # and how many numbers each takes; 0: text
MORE = {"claim": ["says"], "loss": ["where"], "rows": ["where", "first", "than"], "page": [], "not_measured": []}
USUAL = {"source": "c4", "allocation": "uniform", "propagate": "dense"}  # of a row, unless said
UNVERIFIED = "not verified"
COMPARED, IN_TWO_UNITS = "in the paper's unit", "in another unit"
ON_A_PAGE, NOT_MEASURED = "on a page alone", "not measured"
COLUMNS = (
    "| what | setting, paper | paper | setting, here | here | difference | why |",
    "|---|---|---|---|---|---|---|",
)
HEAD = """\
# The papers' numbers, and ours

What each paper measured, what we measured, and why the two may differ. A figure of a paper stands here only if it was
read: in its text, its repository, its abstract, a public review or others' notes. Ours are read from the kept results.

- **Perplexity.** Two perplexities are compared by the logarithm of their ratio, in nats a token. *Over dense*: the
  pruned model's perplexity to the dense one's, lower is better. *A against B*: above 0, A is better.
- **Here.** The value with its 95 % interval. *No interval*: one draw, or two rows whose difference was not kept. Of
  magnitude, which reads no data, the interval is over the text that is judged.
- **Difference.** Ours less the paper's, which is taken as exact. It is left out where the units differ.
- **Why.** A word of this list, or a reason of its own. None is proved to be the cause.

"""


@dataclass(frozen=True)
class Figure:
    """A figure as it is read, its value where it has one, and its unit."""

    text: str
    value: float | None = None
    unit: str = ""


@dataclass(frozen=True)
class Ours:
    """What stands here beside a paper's figure: how it came about, the figure, and what kind of row that makes."""

    setting: str
    figure: Figure
    kind: str = COMPARED


def page(numbers: Path = HERE / "numbers.yaml", results: Path = HERE / "results") -> str:
    """The page. Raises ValueError for an entry that says nothing or points nowhere, in one line."""
    plan = yaml.safe_load(numbers.read_text(encoding="utf-8"))
    lines, kinds = [], Counter()
    for key, paper in plan["papers"].items():
        lines += ["", *heading(key, paper), "", *COLUMNS]
        for entry in paper["numbers"]:
            kind, cells = row(key, paper, entry, plan["words"], results)
            kinds[kind] += 1
            lines.append("| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |")
    words = [f"- *{word}*: {meaning}" for word, meaning in plan["words"].items()]
    order = (COMPARED, IN_TWO_UNITS, ON_A_PAGE, NOT_MEASURED, UNVERIFIED)
    said = ", ".join(f"{kinds[kind]} {kind}" for kind in order if kinds[kind])
    count = f"{counted(kinds.total(), 'row')}. Ours is: {said}."
    without = [one["title"] for key, one in papers().items() if key not in plan["papers"]]
    rest = ["", "## Without a figure", "", "Of these papers of the [map](literature.md) our notes have none:", ""]
    return HEAD + "\n".join([*words, "", count, *lines, *rest, *(f"- {title}" for title in without), ""])


def heading(key: str, paper: dict[str, Any]) -> Iterator[str]:
    """The paper's title, and where its figures were read."""
    known = papers().get(key, {})
    if odd := set(paper) - {"title", "link", "tag", "setting", "why", "numbers"}:
        raise ValueError(f"numbers.yaml: {key}: unknown fields {', '.join(sorted(odd))}")
    title, link = paper.get("title", known.get("title")), address(paper) or address(known)
    if not title:
        raise ValueError(f"numbers.yaml: {key}: no title here, and no such paper in papers.yaml")
    yield f"## {title}"
    if tag := SOURCES.get(paper.get("tag", "")):
        linked = f"[{link.removeprefix('https://')}]({link}); f" if link else "F"
        yield from ["", f"{linked}igures from {tag}."]
    elif link:
        yield from ["", f"[{link.removeprefix('https://')}]({link})."]


def row(key: str, paper: dict[str, Any], entry: dict[str, Any], words: dict, results: Path) -> tuple[str, list[str]]:
    """The kind of row, and its cells. A figure whose tag is not of what was read is refused."""
    where = f"numbers.yaml: {key}: {entry.get('what', 'an entry without `what`')}"
    tag = entry.get("tag", paper.get("tag"))
    given = [kind for kind in FIGURES if kind in entry]
    if odd := set(entry) - {"what", "setting", "here", "why", "tag", *FIGURES}:
        raise ValueError(f"{where}: unknown fields {', '.join(sorted(odd))}")
    if tag not in SOURCES and given:
        raise ValueError(f"{where}: a figure tagged {tag} is not verified: leave it out")
    if tag in SOURCES and len(given) != 1:
        raise ValueError(f"{where}: expected one figure of {', '.join(FIGURES)}; got {', '.join(given) or 'none'}")
    theirs = figure(given[0], entry[given[0]], where) if given else Figure(UNVERIFIED)
    ours = here(entry.get("here", {}), words, where, results)
    apart, kind = "", ours.kind if given else UNVERIFIED
    if given and ours.figure.value is not None:
        same = theirs.unit == ours.figure.unit and theirs.value is not None
        apart = number(ours.figure.value - theirs.value, 2) if same else "no common unit"
        kind = COMPARED if same else IN_TWO_UNITS
    said = f" ({SOURCES[tag]})" if given and tag != paper.get("tag") else ""
    setting, usual = (
        entry.get("setting", paper.get("setting", "")),
        [] if kind == NOT_MEASURED else paper.get("why", []),
    )
    cells = [entry["what"], setting, theirs.text + said, ours.setting, ours.figure.text, apart]
    return kind, [*cells, reasons(entry.get("why", usual), words, where)]


def figure(kind: str, given: Any, where: str) -> Figure:
    """A paper's figure: of its own numbers, what can be compared is worked out."""
    if kind == "values":
        return Figure(str(given))
    listed = isinstance(given, list) and len(given) == FIGURES[kind]
    if not listed or not all(isinstance(one, int | float) and one > 0 for one in given):
        raise ValueError(f"{where}: {kind}: expected {FIGURES[kind]} numbers above 0; got {given}")
    a, b = written(*given[:2])
    first, other = map(float, given[:2])
    if kind == "ratio":
        nats = math.log(other / first)
        return Figure(f"{a} against {b}: {number(nats, 2)} {NATS}", nats, NATS)
    if kind == "loss":
        nats = math.log(first / other)
        return Figure(f"{a}, dense {b}: {number(nats, 2)} {NATS}", nats, NATS)
    if kind == "points":
        return Figure(f"{a} against {b}: {number(first - other, 2)} {POINTS}", first - other, POINTS)
    each = (other / first) ** (1 / given[2])
    return Figure(f"{a}, after {given[2]} doublings {b}: {number(each, 2)} a doubling", each, FACTOR)


def written(*numbers: float) -> list[str]:
    """Numbers with as many decimals as the one that has most."""
    decimals = max(len(str(one).partition(".")[2]) for one in numbers)
    return [f"{one:.{decimals}f}" for one in numbers]


def here(place: dict[str, Any], words: dict[str, str], where: str, results: Path) -> Ours:
    """What is kept of ours, read from its file."""
    kinds = [kind for kind in MORE if kind in place]
    if len(kinds) != 1:
        raise ValueError(f"{where}: here: expected one of {', '.join(MORE)}; got {', '.join(place) or 'nothing'}")
    if odd := set(place) - {kinds[0], *MORE[kinds[0]]}:
        raise ValueError(f"{where}: here: unknown fields {', '.join(sorted(odd))}")
    name = place[kinds[0]]
    if kinds[0] == "claim":
        return of_claim(name, place.get("says", ""), where, results)
    if kinds[0] == "loss":
        return of_row(name, place.get("where", {}), where, results)
    if kinds[0] == "rows":
        return of_two_rows(name, place, where, results)
    if kinds[0] == "not_measured":
        return Ours("", Figure(f"{NOT_MEASURED}: {reasons([name], words, where)}"), NOT_MEASURED)
    if not (results / f"{name}.html").is_file():
        raise ValueError(f"{where}: there is no page results/{name}.html")
    return Ours(study(name), Figure(f"on its [page](results/{name}.html) alone"), ON_A_PAGE)


def of_claim(name: str, says: str, where: str, results: Path) -> Ours:
    """The measured value of a claim of studies/NAME.yaml, as results/NAME.claims.json has it."""
    found = looked_up(kept_results.claims, name, says, where, results)
    if len(found) != 1:
        raise ValueError(f"{where}: results/{name}.claims.json has no measured claim {says!r}")
    measured, what = Estimate(**found[0]["measured"]), found[0]["what"]
    unit = next((one for one in (NATS, FACTOR) if one in what), "")
    what = what.partition("; above")[0].replace(f", {NATS}", "")
    return Ours(f"{what}; {setting_of(name, says)}", kept(measured, unit))


def looked_up(look: Callable[..., list[Any]], name: str, wanted: Any, where: str, results: Path) -> list[Any]:
    """What is found, with the entry that asked for it where the file is not there."""
    try:
        return look(name, wanted, results)
    except ValueError as e:
        raise ValueError(f"{where}: {e}") from None


def setting_of(name: str, says: str) -> str:
    """The pattern and the evaluation of a claim, from the study's file; what draws and tokens it had."""
    plan = yaml.safe_load((STUDIES / f"{name}.yaml").read_text(encoding="utf-8"))
    claim = next((one for one in plan["claims"] if one["says"] == says), {})
    test = next((value for value in claim.values() if isinstance(value, dict)), {})
    at = test.get("where", {})
    pattern = at.get("pattern") or (plan["patterns"] if isinstance(plan.get("patterns"), str) else "")
    parts = [pattern.replace("%", " %"), at.get("method", "") if isinstance(at.get("method"), str) else ""]
    return ", ".join(part for part in (*parts, at.get("evaluation", ""), study(name)) if part)


def study(name: str) -> str:
    return f"[{name}](../studies/{name}.yaml)"


def rows_of(name: str, wanted: dict[str, str], where: str, results: Path) -> dict[str, str]:
    """The one row of a table of results that has these values."""
    wanted = {**USUAL, **wanted}
    found = looked_up(kept_results.rows, name, {"metric": "perplexity", **wanted}, where, results)
    if len(found) != 1:
        said = ", ".join(f"{column} {value}" for column, value in wanted.items())
        raise ValueError(f"{where}: results/{name}: expected one row with {said}; found {len(found)}")
    return found[0]


def of_row(name: str, wanted: dict[str, str], where: str, results: Path) -> Ours:
    """How far a pruned model's perplexity is over the dense one's, of a table's retention: dense to pruned."""
    one = rows_of(name, wanted, where, results)
    value, high, low = (
        -math.log(float(one[end])) if one[end] else None for end in ("retention", "retention low", "retention high")
    )
    return Ours(described(one, name), kept(Estimate(value, low, high, int(one["draws"])), NATS))


def of_two_rows(name: str, place: dict[str, Any], where: str, results: Path) -> Ours:
    """The logarithm of two means' ratio: the interval of it is not kept."""
    first, than = (
        rows_of(name, {**place.get("where", {}), **place.get(which, {})}, where, results) for which in ("first", "than")
    )
    nats = math.log(float(than["mean"]) / float(first["mean"]))
    apart = [c for c in ("source", "method", "pattern", "allocation") if first[c] != than[c]]
    said = ", ".join(f"{first[c]} against {than[c]}" for c in apart)
    return Ours(f"{said}; {described(first, name)}", kept(Estimate(nats, None, None, 1), NATS))


def described(one: dict[str, str], name: str) -> str:
    shared = f"{one['allocation']}, " if one["allocation"] != "uniform" else ""
    what = f"{one['method']}, {shared}{one['pattern'].replace('%', ' %')}, {one['evaluation']}"
    return f"{what}, {counted(int(one['draws']), 'draw')}, [{name}](results/{name})"


def kept(measured: Estimate, unit: str) -> Figure:
    if measured.low is None or measured.high is None:
        return Figure(f"{number(measured.value, 2)} (no interval)", measured.value, unit)
    value, low, high = (number(one, 2) for one in (measured.value, measured.low, measured.high))
    return Figure(f"{value} [{low}, {high}]", measured.value, unit)


def reasons(given: list[str], words: dict[str, str], where: str) -> str:
    """Words of the page's list, or reasons of their own, which have more than one word."""
    if odd := [one for one in given if one not in words and " " not in one]:
        raise ValueError(f"{where}: {', '.join(odd)}: expected a sentence or one of {', '.join(words)}")
    return "; ".join(given)
