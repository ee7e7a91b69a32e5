"""`choose` for what is taken out: each source and the even mixture, pruned with and judged end to end."""

import json

import pytest
import transformers as t

from calprune.base.patterns import Removal
from calprune.choosing.page import choice_page
from calprune.removal import parse_removal_method
from calprune.studies.results import read
from tests.small_choice import answer_of


@pytest.fixture(scope="module")
def answered(choice_folder):
    pattern = Removal("neurons", share=0.5)
    return answer_of(choice_folder, choice_folder / "neurons", method=parse_removal_method("wanda", pattern),
                     pattern=pattern)  # fmt: skip


def test_the_answer_is_a_smaller_model_with_its_set(answered, choice_folder):
    folder = choice_folder / "neurons"
    model = t.AutoModelForCausalLM.from_pretrained(folder / "model")
    assert model.config.intermediate_size == 32
    report = json.loads((folder / "model" / "calprune.json").read_text())
    assert report["removed"]["kind"] == "neurons" and report["evaluations"]
    assert answered.winner and (folder / "calibration").is_dir()


def test_shares_are_searched_by_sums_as_for_zeros(answered):
    assert answered.gate.worth_a_search, "letters and figures are loud in different channels"
    assert answered.search.evaluations > len(answered.gate.used) and set(answered.search.loss) == {*answered.gate.used}
    assert answered.halving.finalists and not answered.left_out
    page = choice_page(answered, read(answered.folder / "runs")).html()
    assert "Share of each capability" in page and "scores of all units" in page and "tr(ΔW" not in page


def test_where_a_method_does_not_decide_by_added_scores_it_says_that_shares_were_not_searched(choice_folder):
    pattern = Removal("neurons", share=0.5)
    found = answer_of(choice_folder, choice_folder / "obs", method=parse_removal_method("obs", pattern),
                      pattern=pattern)  # fmt: skip
    assert found.gate.worth_a_search, "else nothing is searched for"
    assert any("the search for other shares, which adds scores up, and obs" in line for line in found.left_out)
    assert {*found.search.mixtures} >= {*found.gate.used} and found.halving.finalists
