"""The pages say what the program does: every command, method and file is there, and what is generated is current."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from calprune.allocation import ALLOCATIONS
from calprune.methods import METHODS
from calprune.methods.listing import described_methods

ROOT = Path(__file__).parents[1]


def load_generator():
    sys.path.insert(0, str(ROOT / "docs"))
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATE = load_generator()


def test_every_method_names_its_idea_and_its_paper():
    assert [entry.name for entry in described_methods()] == sorted(METHODS)
    for entry in described_methods():
        assert entry.idea, entry.name
        assert re.search(r"\b(19|20)\d\d\b", entry.paper), entry.name


def test_of_every_method_and_allocation_it_is_said_what_it_was_checked_against():
    assert set(GENERATE.checked_section.CHECKED) == {*METHODS, *ALLOCATIONS}


def test_every_file_that_is_written_is_on_the_page_about_the_disk():
    page = (ROOT / "docs" / "on-disk.md").read_text()
    sets = ("recipe.yaml", "tokens.safetensors", "pieces.jsonl", "counts.json")
    for name in (*sets, "statistics.json", "calprune.json", "demo.json", "about.json", "plan.json", "trial.json",
                 "environment.json", "prune.json", "error.txt", "FORMAT", "question.json", "gate.json", "search.json",
                 "halving.json", "packed.json", "judgement.json", "result.json", "report.html", "recovery.html",
                 "run.json", "state.safetensors", "adapter_config.json"):  # fmt: skip
        assert name in page, name


def test_make_bench_makes_the_table_that_is_committed():
    (command,) = re.findall(r"benchmarks/methods\.py[^#\n]*", (ROOT / "Makefile").read_text())
    assert f"`python {command.strip()}`" in (ROOT / "benchmarks" / "methods.md").read_text()


def test_links_between_pages_lead_somewhere():
    for page in [ROOT / "README.md", *ROOT.glob("docs/*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize(
    "word", ["pypi" + ".org", "python" + "hosted", "registry." + "npmjs", "/work" + "/", "/farm" + "/"]
)
def test_no_registry_host_and_no_path_of_a_machine_is_written_down(word):
    listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True, cwd=ROOT)
    if listed.returncode:
        pytest.skip("this is no git checkout, so its files are not known")
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if path.is_file() and path.suffix not in (".png",):
            assert word not in path.read_text(errors="replace"), name


def test_the_table_of_claims_has_every_claim_with_what_was_found_of_it_as_it_is_now(tmp_path):
    import claims_section  # docs/ is on the path

    after = "after Holm's correction over the claims of each study"
    study = (
        "title: A study\nclaims:\n- {says: one, best: {calibration: a, of: [b]}}\n- {says: two, not_measured: no GPU}\n"
    )
    (tmp_path / "small.yaml").write_text(study)
    assert claims_section.section(tmp_path, tmp_path).startswith("Of 2 claims: 2 not measured.")
    (claim, _) = claims_section.read_claims(claims_section.yaml.safe_load(study)["claims"], "small.yaml")
    found = {"id": claim.id, "what": "gain of a over b", "why": "so it is", "verdict": "held",
             "measured": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 3, "confidence": 0.95}}  # fmt: skip
    (tmp_path / "small.claims.json").write_text(json.dumps({"format": 2, "claims": [found], "missing": 0}))
    told = claims_section.section(tmp_path, tmp_path)
    assert told.startswith(f"Of 2 claims, {after}: 1 held, 1 not measured.") and "not measured: no GPU" in told
    assert "0.50 [0.40, 0.60] (gain of a over b) | **held**: so it is |" in told
    two = study.replace("- {says: two, not_measured: no GPU}", "- {says: two, best: {calibration: b, of: [a]}}")
    other = claims_section.read_claims(claims_section.yaml.safe_load(two)["claims"], "small.yaml")[1]
    (tmp_path / "small.yaml").write_text(two)  # each with a p: how many are left once it is corrected
    both = [found | {"p_holm": 0.01}, found | {"id": other.id, "verdict": "not held", "p_holm": 0.2}]
    (tmp_path / "small.claims.json").write_text(json.dumps({"format": 1, "claims": both, "missing": 0}))
    told = claims_section.section(tmp_path, tmp_path)
    assert told.startswith(f"Of 2 claims, {after}: 1 held, 1 cannot be told here.")
    assert "**held**: so it is; p after Holm 0.010" in told
    assert "**cannot be told here**: so it is, but not after Holm's correction" in told
    both[0] = found | {"p_holm": None}  # of a spread: format 1 corrected none
    (tmp_path / "small.claims.json").write_text(json.dumps({"format": 1, "claims": both, "missing": 0}))
    told = claims_section.section(tmp_path, tmp_path)
    assert told.startswith("Of 2 claims: 1 cannot be told here, 1 held by its own interval alone, uncorrected.")
    (tmp_path / "small.yaml").write_text(study.replace("[b]", "[c]"))  # another claim, of which nothing was measured
    assert claims_section.section(tmp_path, tmp_path).startswith("Of 2 claims: 2 not measured.")


def test_no_claim_of_a_page_counts_as_held_with_a_p_after_holm_of_005_or_more():
    for page in ("choosing-calibration-data.md", "methods.md"):
        lines = (ROOT / "docs" / page).read_text().splitlines()
        counted = {word: sum(f"| **{word}**:" in line for line in lines) for word in ("held", "not held")}
        [counts] = [line for line in lines if re.match(r"Of \d+ claims", line)]
        for word, n in counted.items():
            said = [int(one) for one in re.findall(rf"(\d+) {word}(?=[,.])", counts)]
            assert said == [n] * bool(n), (page, word)
        for line in lines:
            if "| **held**:" in line or "| **not held**:" in line:
                p = re.search(r"p after Holm (< )?([\d.]+)", line)
                assert p and float(p[2]) < 0.05, line


EXAMPLES = {  # files that a page shows how to write, or that a command of it makes
    "my_methods/swing.py", "our_data/quiz.yaml", "recipes/mine.yaml", "studies/NAME.yaml", "runs/demo/demo.json",
    "src/calprune/report/sections/spread.py",
}  # fmt: skip


def named_files(page: str) -> set[str]:
    """The paths of Python and YAML files and of folders of the source that a page names, without those of links."""
    files = re.findall(r"(?<![\w/.:-])(?:[\w-]+/)+[\w-]+\.(?:py|yaml)\b", page)
    return {*files, *re.findall(r"\bsrc/calprune/[\w/]*/(?=`)", page)} - EXAMPLES


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))], ids=lambda path: path.name)
def test_every_file_that_a_page_names_exists(page):
    for name in named_files(page.read_text()):
        assert (ROOT / name).exists() or (ROOT / "src/calprune" / name).exists(), name


def test_a_file_that_was_moved_is_seen_in_a_page():
    page = "in `calibration/spec.py`, `src/calprune/pattern.py`, `src/calprune/study/` (not https://a.b/c/d.py)"
    assert named_files(page) == {"calibration/spec.py", "src/calprune/pattern.py", "src/calprune/study/"}


def test_the_readme_says_how_many_families_were_walked():
    home = Path(__file__).parents[1]
    rows = json.loads((home / "benchmarks" / "families.json").read_text())["families"]
    walked = [row for row in rows if "share" in row]
    assert f"on {len(walked)} of transformers' {len(rows)} families" in (home / "README.md").read_text()
