"""The page of papers' numbers: ours are those of the kept results, the papers' are only what was read, and an entry
that points nowhere is one line."""

import csv
import json
import math
import re
from pathlib import Path

import pytest
import yaml

from tests.figures import intervals
from tests.test_docs import GENERATE, ROOT

DOCS = ROOT / "docs"
NUMBERS = DOCS / "numbers.yaml"
PAGE = GENERATE.paper_numbers_page
PLAN = yaml.safe_load(NUMBERS.read_text(encoding="utf-8"))
ENTRIES = [(key, paper, entry) for key, paper in PLAN["papers"].items() for entry in paper["numbers"]]
GOOD = {"what": "A against B", "ratio": [10.17, 11.02], "here": {"not_measured": "no such thing"}}


def table(page: str) -> list[list[str]]:
    """The cells of each row, in the order of the entries."""
    lines = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith("| what |")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def of(folder: Path, entry: dict, tag: str = "readme", results: Path = DOCS / "results") -> list[str]:
    """The one row of a page of one entry."""
    plan = {"words": {"model": "another model"}, "papers": {"wanda": {"tag": tag, "numbers": [entry]}}}
    (folder / "numbers.yaml").write_text(json.dumps(plan))
    (row,) = table(PAGE.page(folder / "numbers.yaml", results))
    return row


def copied(folder: Path, change: str) -> Path:
    """A folder of links to the kept results, but for one file, whose text can be changed."""
    folder.mkdir()
    for path in (DOCS / "results").iterdir():
        to = folder / path.name
        to.write_bytes(path.read_bytes()) if path.name == change else to.symlink_to(path)
    return folder


def test_every_entry_resolves_and_is_a_row():
    rows = table(PAGE.page())
    assert len(rows) == len(ENTRIES) >= 100
    for (_, _, entry), cells in zip(ENTRIES, rows, strict=True):
        assert len(cells) == 7 and cells[0] == " ".join(entry["what"].split()) and cells[2] and cells[4]


def test_every_figure_of_ours_is_the_one_of_its_file():
    seen = 0
    for (_, _, entry), cells in zip(ENTRIES, table(PAGE.page()), strict=True):
        place = entry["here"]
        if "claim" in place:
            path = DOCS / "results" / f"{place['claim']}.claims.json"
            (claim,) = [c for c in json.loads(path.read_text())["claims"] if c["says"] == place["says"]]
            ends = [claim["measured"][end] for end in ("value", "low", "high")]
        elif "loss" in place:
            with (DOCS / "results" / place["loss"]).open(newline="") as file:
                wanted = {"source": "c4", "allocation": "uniform", "propagate": "dense", **place["where"]}
                (row,) = [r for r in csv.DictReader(file) if "perplexity" in r["evaluation"]
                          and all(r[column] == value for column, value in wanted.items())]  # fmt: skip
            loss = math.log(float(row["mean"]) / float(row["dense"]))
            assert cells[4].startswith(f"{loss:.2f} [")
            ends = [loss, *(math.log(1 / float(row[f"retention {end}"])) for end in ("high", "low"))]
        else:
            continue
        found = [float(one.replace("−", "-")) for one in re.findall(r"[−\d]\d*\.?\d*", cells[4])]
        assert found == pytest.approx([one for one in ends if one is not None], abs=0.0051), entry["what"]
        seen += 1
    assert seen >= 50


def test_a_value_that_changes_in_a_file_of_claims_changes_on_the_page(tmp_path):
    says = "SparseGPT is better than Wanda at 2:4"
    entry = GOOD | {"here": {"claim": "methods", "says": says}}
    before = of(tmp_path, entry)
    results = copied(tmp_path / "results", "methods.claims.json")
    kept = json.loads((results / "methods.claims.json").read_text())
    (claim,) = [one for one in kept["claims"] if one["says"] == says]
    claim["measured"] |= {"value": 0.75, "low": 0.5, "high": 1.0}
    (results / "methods.claims.json").write_text(json.dumps(kept))
    after = of(tmp_path, entry, results=results)
    assert before[4] != after[4] == "0.75 [0.50, 1.00]"
    assert after[5] == f"{0.75 - math.log(11.02 / 10.17):.2f}" and before[:4] == after[:4]


def test_a_value_that_changes_in_a_table_changes_on_the_page(tmp_path):
    where = {"method": "wanda", "pattern": "2:4"}
    loss = GOOD | {"ratio": None, "loss": [11.02, 5.12], "here": {"loss": "methods.csv", "where": where}}
    loss.pop("ratio")
    two = GOOD | {"here": {"rows": "methods.csv", "where": {"pattern": "2:4"}, "first": {"method": "sparsegpt"},
                           "than": {"method": "wanda"}}}  # fmt: skip
    before = [of(tmp_path, one) for one in (loss, two)]
    results = copied(tmp_path / "results", "methods.csv")
    text = (results / "methods.csv").read_text()
    (row,) = [one for one in csv.DictReader(text.splitlines())
              if one["metric"] == "perplexity" and (one["method"], one["pattern"]) == ("wanda", "2:4")]  # fmt: skip
    assert text.count(row["mean"]) == text.count(row["retention"]) == 1
    text = text.replace(row["mean"], "580.6669573852").replace(row["retention"], "0.1")
    (results / "methods.csv").write_text(text)
    after = [of(tmp_path, one, results=results) for one in (loss, two)]
    assert after[0][4].startswith("2.30 [") and before[0][4] != after[0][4] and before[0][5] != after[0][5]
    assert after[1][4] == "0.69 (no interval)" and before[1][4] != after[1][4]


def test_what_is_compared_is_worked_out_of_the_papers_numbers(tmp_path):
    assert of(tmp_path, GOOD)[2] == "10.17 against 11.02: 0.08 nats a token"
    for kind, numbers, said in (
        ("loss", [20.0, 10], "20.0, dense 10.0: 0.69 nats a token"),
        ("points", [62.5, 61.25], "62.50 against 61.25: 1.25 points"),
        ("doubling", [0.8, 0.2, 2], "0.8, after 2 doublings 0.2: 0.50 a doubling"),
    ):
        entry = {"what": "it", kind: numbers, "here": {"not_measured": "no such thing"}}
        assert of(tmp_path, entry)[2] == said
    nats = {"claim": "methods", "says": "Wanda is better than magnitude at 2:4"}
    assert of(tmp_path, {"what": "it", "points": [2, 1], "here": nats})[5] == "no common unit"


# ---- what is not verified


@pytest.mark.parametrize("kind", list(PAGE.FIGURES))
def test_a_figure_that_is_not_verified_cannot_appear(tmp_path, kind):
    figure = {"ratio": [28.76, 85.84], "loss": [28.76, 5.54], "points": [2, 1], "doubling": [2, 1, 1], "values": "7"}
    entry = {"what": "it", kind: figure[kind], "here": {"not_measured": "no such thing"}}
    for tag in ("mem", "calc", None):
        for given in ({}, {"tag": tag}):
            with pytest.raises(ValueError, match=rf"^numbers\.yaml: wanda: it: a figure tagged {tag} is not verified"):
                of(tmp_path, entry | given, tag="readme" if given else tag)


def test_without_a_verified_figure_the_page_says_so(tmp_path):
    entry = {"what": "it", "here": {"claim": "methods", "says": "ADMM is better than SparseGPT at 2:4"}}
    row = of(tmp_path, entry, tag="mem")
    assert row[2] == "not verified" and row[4] and row[5] == ""
    for (_, paper, one), cells in zip(ENTRIES, table(PAGE.page()), strict=True):
        read = one.get("tag", paper.get("tag")) in PAGE.SOURCES
        assert (cells[2] == "not verified") == (not read)


def test_no_figure_of_ours_is_typed():
    assert not intervals(NUMBERS.read_text(encoding="utf-8"))


# ---- what is said beside


def test_the_counts_are_those_of_the_rows_and_every_word_is_used():
    page = PAGE.page()
    rows = table(page)
    (counts,) = re.findall(r"^(\d+) rows\. Ours is: (.*)\.$", page, re.M)
    kinds = {name: int(n) for n, name in re.findall(r"(\d+) ([^,]+)", counts[1])}
    verified = [cells for cells in rows if cells[2] != "not verified"]
    assert int(counts[0]) == len(rows) == sum(kinds.values())
    assert kinds["not measured"] == sum(cells[4].startswith("not measured") for cells in verified)
    assert kinds["on a page alone"] == sum("[page](" in cells[4] for cells in verified)
    assert kinds["in another unit"] == sum(cells[5] == "no common unit" for cells in verified)
    used = {word for cells in rows for word in (*cells[6].split("; "), cells[4].removeprefix("not measured: "))}
    assert set(PLAN["words"]) <= used


def test_a_figure_that_is_compared_has_a_reason_why_it_may_differ():
    for cells in table(PAGE.page()):
        if cells[5]:
            assert cells[6], cells[0]


# ---- bad input


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"here": {"claim": "methods", "says": "absent"}},
            "results/methods.claims.json has no measured claim 'absent'",
        ),
        ({"here": {"claim": "absent", "says": "it"}}, "there is no results/absent.claims.json"),
        ({"here": {"loss": "absent.csv"}}, "there is no results/absent.csv"),
        ({"here": {"loss": "methods.csv", "where": {"method": "absent"}}}, "expected one row with .*absent; found 0"),
        ({"here": {"loss": "methods.csv", "where": {"method": "wanda"}}}, "expected one row with .*; found 3"),
        ({"here": {"page": "absent"}}, r"there is no page results/absent\.html"),
        ({"here": {}}, "here: expected one of claim, .*; got nothing"),
        ({"why": ["absent"]}, "absent: expected a sentence or one of model"),
        ({"here": {"not_measured": "absent"}}, "absent: expected a sentence or one of model"),
        ({"ratio": [1]}, r"ratio: expected 2 numbers above 0; got \[1\]"),
        ({"ratio": [0, 1]}, r"ratio: expected 2 numbers above 0; got \[0, 1\]"),
        ({"points": [2, 1]}, "expected one figure of .*; got ratio, points"),
        ({"ratio": 1}, "ratio: expected 2 numbers above 0; got 1"),
        ({"figure": 1}, "unknown fields figure"),
        ({"here": {"page": "methods", "were": 1}}, "here: unknown fields were"),
    ],
)
def test_a_mistake_in_an_entry_is_one_line(tmp_path, change, said):
    with pytest.raises(ValueError, match=rf"^numbers\.yaml: wanda: A against B: .*{said}") as caught:
        of(tmp_path, GOOD | change)
    assert "\n" not in str(caught.value)


def test_a_paper_that_is_nowhere_is_one_line(tmp_path):
    (tmp_path / "numbers.yaml").write_text(json.dumps({"words": {}, "papers": {"absent": {"numbers": [GOOD]}}}))
    with pytest.raises(ValueError, match=r"^numbers\.yaml: absent: no title here, and no such paper"):
        PAGE.page(tmp_path / "numbers.yaml")
