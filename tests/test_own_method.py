"""A method of a user's own that gives no new weight in the pattern is told so in one line, and nothing is written."""

import json
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from calprune.allocation import ALLOCATIONS
from calprune.base.values import ConfigError
from calprune.cli.app import _is_ours
from calprune.methods import METHODS
from calprune.methods.contract import check_given
from calprune.pattern import keep_mask, masked, parse_pattern
from calprune.pruning.job import Pruning
from calprune.studies.bench import Knobs
from calprune.studies.folder import Runs, in_a_line
from calprune.studies.plan import plan
from calprune.studies.reading import parse_study
from calprune.studies.results import read
from calprune.studies.runner import begin, work
from tests.families import tiny_model
from tests.test_removal import data
from tests.test_study import material, study_text  # noqa: F401


@dataclass(frozen=True)
class Own:
    """Gives what the test makes of the weight and the mask that the pattern asks for."""

    gives: object = None

    needs: ClassVar[str] = "nothing"
    version: ClassVar[int] = 1

    def __call__(self, weight, stats, pattern):
        return self.gives(weight, keep_mask(weight.abs(), parse_pattern("2:4")))


MISTAKES = {
    "its mask": (lambda w, keep: keep, r"gave bool \(\d+, \d+\); expected .*, float32 .*masked\(weight, keep\)"),
    "a column less": (lambda w, keep: masked(w, keep)[:, :-1], r"gave float32 \(\d+, \d+\); expected its new weight"),
    "another dtype": (lambda w, keep: masked(w, keep).double(), r"gave float64 .*; expected its new weight, float32"),
    "nothing": (lambda w, keep: None, r"gave NoneType; expected its new weight"),
    "NaN": (lambda w, keep: w * torch.nan, "gave weights that hold NaN"),
    "the dense weight": (lambda w, keep: w.clone(), "left 4 of 4 neighbours; 2:4 allows 2"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_is_no_new_weight_in_the_pattern_is_refused(mistake):
    gives, said = MISTAKES[mistake]
    model = tiny_model("llama")
    before = [p.clone() for p in model.parameters()]
    with pytest.raises(ConfigError, match=f"^Own {said}") as caught:
        Pruning(Own(gives), parse_pattern("2:4")).run(model, data())
    assert "while pruning model.layers.0." in caught.value.__notes__[0]
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))


def test_a_share_is_asked_of_whom_does_not_say_that_he_counts_otherwise():
    weight, half = torch.randn(8, 16), parse_pattern("50%")
    few = masked(weight, torch.rand(8, 16) > 0.2)
    with pytest.raises(ConfigError, match=r"Own set \d+(\.\d+)? % to zero; 50% asks for more"):
        check_given(Own(), few, weight, half)
    check_given(Counting(), few, weight, half)
    check_given(Own(), masked(weight, keep_mask(weight.abs(), parse_pattern("50%/row"))), weight, half)


class Counting(Own):
    """One that says so."""

    exact_count: ClassVar[bool] = False


def test_a_failed_trial_is_told_by_its_error_its_place_and_what_was_done():
    try:
        try:
            torch.zeros(2) @ torch.zeros(3)
        except RuntimeError as e:
            e.add_note("while pruning model.layers.0")
            raise
    except RuntimeError as e:
        text = "".join(traceback.format_exception(e))
        assert (
            in_a_line(text) == f"RuntimeError: {e} (test_own_method.py:{e.__traceback__.tb_lineno}), {e.__notes__[0]}"
        )
    assert in_a_line("the source is empty; give another") == "the source is empty; give another"


def test_an_error_is_placed_in_ones_own_file_and_in_no_library():
    assert _is_ours(__file__) and _is_ours("/home/me/my_methods/swing.py")
    assert not _is_ours(torch.__file__.replace("calprune", "x")) and not _is_ours("<frozen importlib>")


def test_what_a_class_says_of_itself_is_one_of_the_words_of_the_contract():
    with pytest.raises(ConfigError, match="its needs is 'grams'; expected one of nothing, moments, gram, regional"):
        METHODS.make(f"{__name__}:Misspelt")
    with pytest.raises(ConfigError, match="its needs is 'grams'; expected one of nothing, moments"):
        ALLOCATIONS.make(f"{__name__}:Misspelt")


@dataclass(frozen=True)
class Misspelt(Own):
    """A method and an allocation, if what it reads were a word that is known."""

    needs: ClassVar[str] = "grams"


def test_code_of_ones_own_that_changed_since_trials_were_done_is_named(material, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    code = "from calprune.methods.magnitude import Magnitude\nclass Mine(Magnitude):\n    pass\n"
    Path("my_code_12.py").write_text(code)
    text = study_text(material, methods='["my_code_12:Mine", wanda]', patterns="50%", calibrations="random_tokens")
    made, runs = plan(parse_study(text, "study.yaml"), None), Runs(tmp_path / "runs")
    with made.doing(runs, text):
        begin(runs)
        assert made.made_by_other_code(runs) == {}
        assert all(one.error is None for one in work(runs, Knobs()))
    assert made.made_by_other_code(runs) == {}, "and Wanda is none of the user's"
    Path("my_code_12.py").write_text(code + "# another rule\n")
    assert made.made_by_other_code(runs) == {"my_code_12": 1}
    assert any("my_code_12" in one for one in read(runs.path).about["versions"]), "the page has both codes"


def test_a_format_of_ones_own_names_a_set_by_its_version_and_its_code_is_noticed(material, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_format_12", raising=False)
    code = """from dataclasses import dataclass
from typing import ClassVar

@dataclass(frozen=True)
class Upper:
    packing: ClassVar[str] = "text"
    version: ClassVar[int] = 1

    def document(self, record):
        return record["text"].upper()
"""
    Path("my_format_12.py").write_text(code)
    text = study_text(material, methods="wanda", patterns="50%",
                      calibrations=f"""['{material["text"]}:my_format_12:Upper']""")  # fmt: skip
    made, runs = plan(parse_study(text, "study.yaml"), None), Runs(tmp_path / "runs")
    with made.doing(runs, text):
        begin(runs)
        assert all(one.error is None for one in work(runs, Knobs()))
    assert made.made_by_other_code(runs) == {}
    Path("my_format_12.py").write_text(code.replace("upper()", "lower()"))
    assert made.made_by_other_code(runs) == {"my_format_12": 2}
    first = {trial.set_id for trial in made.trials}
    monkeypatch.setattr(sys.modules["my_format_12"].Upper, "version", 2)
    assert not first & {trial.set_id for trial in plan(parse_study(text, "study.yaml"), None).trials}


def test_a_trial_that_is_judged_anew_keeps_the_code_that_its_first_result_was_made_by(
    material, tmp_path, monkeypatch  # noqa: F811
):  # fmt: skip
    monkeypatch.chdir(tmp_path)
    code = "from calprune.methods.magnitude import Magnitude\nclass Mine(Magnitude):\n    pass\n"
    runs = Runs(tmp_path / "runs")

    def done(module_text, *evaluations):
        Path("my_code_13.py").write_text(module_text)
        judged = [f"{one}({material['text']}, tokens=64, length=16)" for one in evaluations]
        text = study_text(material, methods='["my_code_13:Mine"]', patterns="50%", calibrations="random_tokens",
                          evaluations=json.dumps(judged))  # fmt: skip
        made = plan(parse_study(text, "study.yaml"), None)
        with made.doing(runs, text):
            begin(runs)
            assert all(one.error is None for one in work(runs, Knobs()))
        (trial,) = made.trials
        return made, json.loads((runs.trial(trial.id) / "environment.json").read_text())["my_code_13"]

    _, first = done(code, "perplexity")
    made, both = done(code + "# another rule\n", "perplexity", "kl")
    assert both.startswith(f"{first}, ") and both != f"{first}, {first}"
    assert made.made_by_other_code(runs) == {"my_code_13": 1}, "the perplexity is still that of the first code"
