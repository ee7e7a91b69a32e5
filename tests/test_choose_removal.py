"""`choose` for what is taken out: each source and the even mixture, pruned with and judged end to end."""

import json

import pytest
import transformers as t

from calprune.base.patterns import Removal
from calprune.removal import parse_removal_method
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


def test_it_says_that_shares_were_not_searched(answered):
    if answered.gate.worth_a_search:
        assert any("the search for other shares" in line for line in answered.left_out)
        assert set(answered.search.mixtures) >= {*answered.gate.used}
        assert answered.halving.finalists
