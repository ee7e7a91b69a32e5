"""Figures with intervals on hand-written pages are those of the results that the pages name, digit by digit."""

import math
import re
import sys
from pathlib import Path

import pytest

from tests.figures import intervals, known, rests_on

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
sys.path.insert(0, str(ROOT / "docs"))

import measured_section  # noqa: E402

PAGE = ROOT / "docs" / "choosing-calibration-data.md"
NOT_ON_A_PAGE = {  # worked out of the trials' rows beside the page; what with is said there
    "What was measured": {"71 [49, 82]", "44 [0, 74]"},  # by the code in docs/results/README.md
    "Likeness to the training data, and self-written text": {
        # `calprune calib similar` afterwards, with six real sources
        "1.00 [0.62, 1.00]", "0.94 [0.38, 1.00]", "0.71 [-0.36, 0.97]", "0.77 [-0.26, 0.98]",
        # the claim's difference on the texts and the method that the claim does not name; the page has pairs of sources
        "-0.03 [-0.09, 0.02]", "-0.07 [-0.15, 0.00]", "0.08 [-0.09, 0.25]", "0.06 [-0.10, 0.21]", "0.14 [0.01, 0.26]",
        "0.20 [0.09, 0.31]", "0.21 [0.10, 0.32]",
    },
}  # fmt: skip


def sections() -> list[tuple[str, str]]:
    page = re.sub(r"<!-- claims: made.*?<!-- claims: end -->", "", PAGE.read_text(encoding="utf-8"), flags=re.S)
    parts = re.split(r"\n#{2,3} ", page)
    return [(part.partition("\n")[0], part) for part in parts if intervals(part)]


def unknown(text: str, studies: list[str]) -> set[str]:
    """The intervals of a text that no result of these studies holds."""
    figures = list({figure for study in studies for figure in known(RESULTS, study)})
    return {f"{one[0]} [{one[1]}, {one[2]}]" for one in intervals(text) if not rests_on(one, figures)}


@pytest.mark.parametrize(("name", "text"), sections(), ids=[name for name, _ in sections()])
def test_every_interval_of_a_section_is_in_the_results_that_it_links(name, text):
    studies = sorted(set(re.findall(r"\(results/(\w+)\.html\)", text))) or ["*"]
    studies += ["choose_*"] if "(choose.md" in text else []
    stale = unknown(text, studies) - NOT_ON_A_PAGE.get(name, set())
    assert not stale, f"not in docs/results: {', '.join(sorted(stale))}"


def test_every_interval_of_the_readme_is_in_a_result():
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    said = re.sub(r"^```console.*?^```$", "", page, flags=re.S | re.M)  # by docs/tutorials/run.py
    stale = unknown(said, ["*"])
    assert not stale, f"not in docs/results: {', '.join(sorted(stale))}"


def test_a_figure_that_is_a_digit_off_is_seen():
    assert unknown("CR another 0.11 [0.07, 0.14] nats", ["shin2024"]) == set()
    assert unknown("CR another 0.12 [0.07, 0.15] nats", ["shin2024"]) == {"0.12 [0.07, 0.15]"}


@pytest.mark.parametrize("path", [ROOT / "README.md", PAGE], ids=["README", "choosing"])
def test_how_far_sources_lie_apart_is_said(path):
    lowest, highest = measured_section.span()
    page = " ".join(path.read_text(encoding="utf-8").split())
    assert f"{math.exp(lowest):.0f}" in page and f"to {math.exp(highest):.0f}" in page
    assert f"{highest - lowest:.2f} nats" in page


@pytest.mark.parametrize("path", [ROOT / "README.md", PAGE], ids=["README", "choosing"])
def test_what_padding_costs_is_said_for_one_source_and_not_as_a_ratio_of_ranges(path):
    costs = list(measured_section.costs().values())
    assert len(costs) == 9
    page = " ".join(path.read_text(encoding="utf-8").split())
    said = f"{min(costs):.2f} to {max(costs):.2f} nats a token"
    assert said in page and f"{sum(costs) / 9:.2f} in the mean" in page
    assert "ten times" not in page.replace("ten times the damping", "").replace("Ten times", "")
