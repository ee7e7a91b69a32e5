"""The docs site: links and anchors lead somewhere, every command in a page can be given, the map of papers agrees with
the results, tutorials run, and sentences are short."""

import itertools
import json
import math
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import calprune
from calprune.allocation import ALLOCATIONS, parse_allocation
from calprune.methods import METHODS, parse_method
from calprune.pattern import parse_pattern
from tests.figures import intervals, known, rests_on
from tests.test_cli import run  # noqa: F401  a fixture
from tests.test_docs import GENERATE, ROOT

DOCS = ROOT / "docs"
PAGES = sorted({ROOT / "README.md", *DOCS.rglob("*.md"), ROOT / "benchmarks" / "results.md"})
HAND_WRITTEN = [path for path in PAGES if path == ROOT / "README.md" or path.name == "index.md"
                or path.parent.name in ("tutorials", "how-to", "explanation")]  # fmt: skip
COMMANDS = dict(GENERATE.commands())


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def prose(page: str) -> str:
    """A page without code, comments and what is in no sentence."""
    page = re.sub(r"<!--.*?-->", "", page, flags=re.S)
    return re.sub(r"^```.*?^```$", "", page, flags=re.S | re.M)


# ---- links


def anchors(page: str) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    heads = re.findall(r"^#{1,6} (.+)$", prose(page), re.M)
    plain = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", head).lower().replace("`", "") for head in heads]
    return {re.sub(r"[^\w\- ]", "", head).strip().replace(" ", "-") for head in plain}


def dead(page: Path, text: str) -> list[str]:
    """The links of a page that lead nowhere: no such file, or no such heading in it."""
    found = []
    for target, _, anchor in (link.partition("#") for link in re.findall(r"\]\(([^)\s]+)\)", prose(text))):
        if re.match(r"\w+:", target):
            continue
        path = (page.parent / target).resolve() if target else page
        if not path.exists() or (anchor and path.suffix == ".md" and anchor not in anchors(path.read_text())):
            found.append(f"{target}#{anchor}" if anchor else target)
    return found


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_and_anchor_leads_somewhere(page):
    assert dead(page, page.read_text(encoding="utf-8")) == []


def test_a_link_to_no_file_and_one_to_no_heading_are_seen():
    text = (
        "# A head, of `code`\n[a](absent.md) [b](words.md#no-such) [c](#a-head-of-code) [d](words.md) [e](https://a.b)"
    )
    assert dead(DOCS / "made.md", text.replace("(#", "(made.md#")) == [
        "absent.md",
        "words.md#no-such",
        "made.md#a-head-of-code",
    ]
    assert anchors(text) == {"a-head-of-code"}


def test_every_page_is_in_one_of_the_four_kinds():
    listed = set()
    for path in DOCS.rglob("*.md"):
        for entries in re.findall(r"^```\{toctree\}\n(.*?)^```", path.read_text(), re.S | re.M):
            for entry in filter(None, (line.strip() for line in entries.splitlines() if not line.startswith(":"))):
                listed |= {one.resolve() for one in path.parent.glob(f"{entry}.*")}
    assert {path for path in DOCS.rglob("*.md") if path != DOCS / "index.md"} <= listed


def build(folder: Path) -> subprocess.CompletedProcess:
    words = [sys.executable, "-m", "sphinx", "-W", "-q", "-c", DOCS / "site", folder, folder / "out"]
    return subprocess.run(list(map(str, words)), capture_output=True, text=True)


def test_the_site_is_not_built_with_a_dead_link(tmp_path):
    pytest.importorskip("sphinx"), pytest.importorskip("myst_parser"), pytest.importorskip("pydata_sphinx_theme")
    (tmp_path / "docs").mkdir()
    page = tmp_path / "docs" / "index.md"
    page.write_text("# Home\n\n[here](#home)\n")
    assert build(tmp_path).returncode == 0
    assert (tmp_path / "out" / "docs" / "index.html").is_file()
    page.write_text("# Home\n\n[nowhere](absent.md)\n")
    ended = build(tmp_path)
    assert ended.returncode != 0 and "absent.md" in ended.stderr


def test_every_public_name_is_on_the_page_of_the_python_api():
    page = (DOCS / "api.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"^\.\. auto\w+:: (\w+)$", page, re.M))
    assert shown == {*calprune.__all__} - {"METHODS", "__version__"}


# ---- commands and what is written as text


def blocks(page: str) -> list[str]:
    return re.findall(r"^```(?:console|bash|)\n(.*?)^```$", page, re.S | re.M)


def lines_of(page: str) -> list[str]:
    """Every calprune command of a page, its continued lines joined, without what follows a pipe or a comment."""
    joined = [re.sub(r"\\\n\s*", " ", block) for block in blocks(page)]
    found = [line.removeprefix("$ ") for block in joined for line in block.splitlines()]
    return [
        line for line in found if line.startswith("calprune ") and not re.search(r"COMMAND|\.\.\.|^calprune: ", line)
    ]


def unknown(line: str) -> list[str]:
    """What of a command line the program does not have: its command, or options of it."""
    words = shlex.split(re.split(r" (?:\||&&|>) ", line)[0], comments=True)
    command = next((" ".join(words[:n]) for n in (3, 2) if " ".join(words[:n]) in COMMANDS), "")
    if not command:
        return [] if words[1].startswith("--") else [" ".join(words[:2])]
    options = {opt for param in COMMANDS[command].params for opt in (*param.opts, *param.secondary_opts)}
    given = [word.partition("=")[0] for word in words if word.startswith("--")]
    return [word for word in given if word not in options | {"--help"}]


WITH_COMMANDS = [path for path in PAGES if lines_of(path.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=name)
def test_every_command_of_a_page_can_be_given(page):
    assert {line: unknown(line) for line in lines_of(page.read_text(encoding="utf-8")) if unknown(line)} == {}


def test_a_command_and_an_option_that_are_not_there_are_seen():
    assert unknown("calprune prune demo --pattern 2:4 --patern 1") == ["--patern"]
    assert unknown("calprune prone demo") == ["calprune prone"]
    assert len(WITH_COMMANDS) >= 15


@pytest.mark.parametrize("page", ["from-the-papers-scripts.md", "from-llm-compressor.md"])
def test_every_option_that_another_programs_is_translated_to_is_there(page):
    cells = [row.split("|")[2] for row in (DOCS / "how-to" / page).read_text().splitlines() if row.startswith("| `")]
    parse = {"--method": parse_method, "--pattern": parse_pattern, "--allocation": parse_allocation}
    options = {opt for param in COMMANDS["calprune prune"].params for opt in param.opts}
    seen = 0
    for code in (code for cell in cells for code in re.findall(r"`([^`]+)`", cell)):
        words = shlex.split(code)
        if words[0] == "calprune":
            assert not unknown(code), code
            seen += 1
            continue
        for option, value in itertools.pairwise(words):
            if option.startswith("--"):
                assert option in options, code
                parse.get(option, str)(value)
                seen += 1
    assert seen >= 8


# ---- the map of papers


def test_every_method_and_every_papers_study_has_a_paper():
    papers = GENERATE.literature_page.papers()
    methods = {method for paper in papers.values() for method in paper.get("methods", ())}
    assert methods == {*METHODS, *ALLOCATIONS} - {"uniform", "from_file"}
    studies = {study for paper in papers.values() for study in paper.get("studies", ())}
    judged = {path.name.partition(".")[0] for path in (DOCS / "results").glob("*.claims.json")}
    assert judged <= studies | {*GENERATE.literature_page.OF_SEVERAL} and all(
        (ROOT / "studies" / f"{study}.yaml").exists() for study in studies
    )


def test_every_claim_that_was_judged_is_some_papers():
    page = GENERATE.literature_page
    shown = {(row["page"], row["says"]) for paper in page.papers().values() for row in page.judged(paper)}
    for path in (DOCS / "results").glob("*.claims.json"):
        study = path.name.partition(".")[0]
        asked = {claim["says"] for claim in yaml.safe_load((ROOT / "studies" / f"{study}.yaml").read_text())["claims"]}
        for claim in json.loads(path.read_text())["claims"]:  # some were asked once, and are not any more
            assert claim["says"] not in asked or (f"results/{study}.html", claim["says"]) in shown, claim["says"]


def test_verdicts_and_figures_of_the_map_are_those_of_the_tables_of_claims():
    """The tables of two pages are read as text, and compared with the data of the map."""
    rows: dict[str, set[tuple[str, str]]] = {}
    for page in ("choosing-calibration-data.md", "methods.md"):
        for line in (DOCS / page).read_text(encoding="utf-8").splitlines():
            cells = re.split(r"(?<!\\) \| ", line.strip("| "))
            if len(cells) == 4 and (
                verdict := re.match(r"\*{0,2}(held|not held|cannot be told here|not measured)[^*:]*", cells[3])
            ):
                rows.setdefault(cells[0], set()).add((verdict[0].strip("*"), cells[2]))
    data = json.loads(
        (DOCS / "site" / "static" / "papers.js").read_text(encoding="utf-8").partition("= ")[2].rstrip(";\n")
    )
    claims = [claim for node in data["nodes"] for claim in node["claims"]]
    assert len(claims) >= 70
    for claim in claims:
        word = (
            claim["verdict"]
            .replace("undecided", "cannot be told here")
            .replace(", uncorrected", " by its own interval alone, uncorrected")
        )
        assert (word, " ".join(claim["measured"].split()).replace("|", "\\|")) in rows[claim["says"]], claim


def test_nothing_of_a_paper_is_typed_that_a_result_should_say():
    text = (DOCS / "papers.yaml").read_text(encoding="utf-8")
    assert not re.search(r"\b(held|undecided|verdict)\b", text.partition("papers:")[2]) and not intervals(text)


@pytest.mark.parametrize(
    ("field", "value"), [("kind", "poetry"), ("builds_on", {"absent": "so it is"}), ("titel", "x")]
)
def test_a_mistake_in_the_file_of_papers_is_named(monkeypatch, tmp_path, field, value):
    page = GENERATE.literature_page
    paper = {"title": "A", "year": 2020, "kind": "score"} | {field: value}
    (tmp_path / "papers.yaml").write_text(json.dumps({"papers": {"a": paper}}))
    monkeypatch.setattr(page, "HERE", tmp_path)
    with pytest.raises(ValueError, match=r"papers\.yaml: a: "):
        page.papers.__wrapped__()


# ---- figures, pictures, words


TYPED = [page for page in HAND_WRITTEN if page.name not in ("findings.md", "half-billion.md")]  # figures looked up


@pytest.mark.parametrize("page", [path for path in TYPED if intervals(prose(path.read_text()))], ids=name)
def test_every_interval_of_a_hand_written_page_is_in_a_result(page):
    figures = known(DOCS / "results")
    found = intervals(prose(page.read_text(encoding="utf-8")))
    stale = {f"{one[0]} [{one[1]}, {one[2]}]" for one in found if not rests_on(one, figures)}
    assert not stale


def test_the_picture_of_kl_adds_up():
    draw = GENERATE.draw
    kl = draw.numbers()["kl"]
    for one in kl["tokens"]:
        assert one["adds"] == pytest.approx(
            one["dense"] * math.log(one["dense"] / one["pruned"]), abs=0.08 * max(1, one["adds"])
        )
    assert 0 < kl["kl"] < 20 and sum(one["dense"] for one in kl["tokens"]) <= 1


def test_of_each_four_scores_two_stay():
    draw = GENERATE.draw
    kept = draw.of_four([0.3, 0.1, 0.2, 0.0, 5.0, 5.0, 5.0, 9.0])
    assert kept == [True, False, True, False, True, False, False, True]
    calibration = draw.numbers()["calibration"]
    chosen = [
        draw.of_four([abs(w) * n for w, n in zip(calibration["weights"], norms, strict=True)])
        for norms in calibration["norms"].values()
    ]
    assert chosen[0] != chosen[1]  # what the picture is to show


@pytest.mark.parametrize("of", GENERATE.frontier.MODELS)
def test_nothing_beats_what_is_on_the_frontier_and_something_beats_all_else(of):
    frontier = GENERATE.frontier
    found = frontier.measured(of)
    assert len({one.kind for one in found}) == 4, "blocks, neurons, heads, zeros"
    for worth in ({one.pattern: -one.size for one in found}, {one.pattern: one.speed[0] for one in found}):
        on = frontier.best(found, worth)
        for one in found:
            beaten = [a for a in found if a.kl[0] < one.kl[0] and worth[a.pattern] >= worth[one.pattern]]
            assert bool(beaten) == (one not in on), one.pattern
        assert [one.kl for one in on] == sorted(one.kl for one in on), "what is worth more costs more"


def test_of_zeros_and_neurons_the_readme_says_what_was_measured_each_mean_outside_the_others_interval():
    found = {one.pattern: one for one in GENERATE.frontier.measured()}
    zeros, neurons = found["50%"], found["neurons:25%"]
    assert neurons.kl[0] < zeros.kl[1] and zeros.kl[0] > neurons.kl[2]
    assert neurons.size < zeros.size == 1 and zeros.speed[1] < 1 < zeros.speed[2]
    larger = {one.pattern: one for one in GENERATE.frontier.measured("_half_billion")}
    assert larger["50%"].kl[1] < larger["neurons:25%"].kl[2] and larger["neurons:25%"].kl[1] < larger["50%"].kl[2]


def sentences(page: str) -> list[str]:
    """The sentences of a page, and each cell and item as one."""
    text = re.sub(r"!\[[^]]*\]\([^)]*\)", "", prose(page))
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", text)
    parts = [
        part
        for paragraph in re.split(r"\n\s*\n|\n(?=\s*(?:[-|#]|\d\.) ?)", text)
        for part in re.split(r"\|", paragraph)
    ]
    found = [one for part in parts for one in re.split(r"(?<=[.?!:])\s+", " ".join(part.split()))]
    return [one for one in found if len(re.findall(r"[A-Za-z]{2,}", one)) >= 3]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_sentences_have_at_most_25_words_on_average(page):
    found = sentences(page.read_text(encoding="utf-8"))
    words = [len(one.split()) for one in found]
    assert sum(words) / len(words) <= 25
    assert page not in HAND_WRITTEN or max(words) <= 50, max(found, key=lambda one: len(one.split()))


def test_a_long_sentence_is_seen():
    assert [
        len(one.split()) for one in sentences("One two three. Four five six\nseven eight.\n\n- Item of a list")
    ] == [3, 5, 5]


# ---- the first page


def test_no_statistics_stand_above_the_first_command_of_the_readme():
    above = (ROOT / "README.md").read_text(encoding="utf-8").partition("```")[0].replace("Python 3.11", "")
    assert not re.search(r"\d\.\d|\[|nats|\bp =|perplexity|interval", re.sub(r"\]\([^)]*\)|\[", "", above)), above


def test_the_readme_has_what_a_first_page_needs_in_this_order():
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    places = [
        page.index(one)
        for one in ("overview.svg", "you give", "## Install", "```console", "```python", "## Three findings")
    ]
    assert places == sorted(places)
    (code,) = re.findall(r"```python\n(.*?)```", page, re.S)
    assert len(code.strip().splitlines()) == 6


# ---- the tutorials


SMALLER = {
    "demo": "tiny",
    "128": "16",
    "1024": "64",
    "256": "16",
    "draws: 3": "draws: 2",
    "samples 16": "samples 4",
    "samples 8": "samples 4",
}


@pytest.mark.parametrize(
    "page", [path.name for path in sorted((DOCS / "tutorials").glob("*.md")) if "$ calprune" in path.read_text()]
)
def test_the_commands_of_a_tutorial_run(page, tmp_path, choice_folder, run):  # noqa: F811
    """On a tiny model, with sizes that take seconds, in this process; what a pipe does with the output is left out."""
    from tutorials import run as tutorials  # docs/ is on the path

    text = (DOCS / "tutorials" / page).read_text(encoding="utf-8")
    for old, new in SMALLER.items():
        text = re.sub(
            rf"(?<![\w./-]){re.escape(old)}(?![\w.-])", str(choice_folder / "model") if new == "tiny" else new, text
        )
    done = []

    def here(command: str, folder: Path) -> str:
        words = shlex.split(re.split(r" (?:\||&&) ", command.replace("\\\n", " "))[0])
        status, out, err = run(*words[1:])
        assert status in (0, None), f"{command}: {err}"
        done.append(words)
        return out or err

    tutorials.run(text, tmp_path, here)
    assert len(done) == len([line for block in blocks(text) for line in tutorials.commands(block)]) >= 5


@pytest.mark.parametrize("page", sorted((DOCS / "tutorials").glob("*.md")), ids=name)
def test_under_every_command_of_a_tutorial_stands_what_it_printed(page):
    for block in re.findall(r"^```console\n(.*?)^```$", page.read_text(encoding="utf-8"), re.S | re.M):
        parts = re.split(r"^\$ (?:.*\\\n)*.*$", block, flags=re.M)[1:]
        assert all(part.strip() for part in parts), block


def test_the_cells_of_the_notebook_run(tmp_path, choice_folder):
    from tutorials import notebook  # docs/ is on the path

    code = "\n".join(
        re.findall(r"^```python\n(.*?)\n```$", notebook.as_markdown(notebook.NOTEBOOK.read_text()), re.S | re.M)
    )
    for old, new in {'"demo"': repr(str(choice_folder / "model")), "128": "16", "1024": "64", "256": "16"}.items():
        assert old in code
        code = code.replace(old, new)
    (tmp_path / "cells.py").write_text(code)
    ended = subprocess.run([sys.executable, "cells.py"], cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("of the layers' output is lost") == 3


def test_every_cell_of_the_notebook_was_executed_in_order():
    cells = [
        cell
        for cell in json.loads((DOCS / "tutorials" / "in-python.ipynb").read_text())["cells"]
        if cell["cell_type"] == "code"
    ]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert sum(bool(cell["outputs"]) for cell in cells) >= len(cells) - 1
