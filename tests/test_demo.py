"""The demo model pruned for real: what the library is for, on real weights and real text."""

import json
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import calprune
from calprune.cli.demo import KEPT, DemoRow, begin_folder, demo_text, keep, table
from calprune.starting.demo import ON, WORDS, demo
from calprune.studies.bench import Knobs
from calprune.studies.reading import parse_study

pytestmark = pytest.mark.demo


@pytest.fixture(scope="module")
def pruned(demo_folder, tmp_path_factory):
    """Perplexities on held-out text, dense and at 2:4 by three methods on real text, and the last one's checkpoint."""
    data = calprune.build("pydoc_topics", "demo", num_samples=8, max_seq_length=128)
    text, found, dense = "perplexity(pydoc_topics, tokens=512, length=128)", {}, calprune.load("demo")
    for method in ("magnitude", "wanda", "sparsegpt"):
        report = calprune.prune("demo", data, method=method, pattern="2:4")
        judged = calprune.evaluate(report.model, text, dense=dense)
        found[method], found["dense"] = judged["perplexity"].value, judged.texts[0].dense.value
    folder = tmp_path_factory.mktemp("demo") / "pruned"
    report.save(folder)
    return found, folder, report.model.model


def test_each_method_keeps_more_of_the_model_than_the_one_it_was_made_to_better(pruned):
    found, _, _ = pruned
    assert found["dense"] < found["sparsegpt"] < found["wanda"] < found["magnitude"]


def test_the_checkpoint_loads_in_plain_transformers_to_the_bit_holds_2_of_4_and_generates(pruned):
    _, folder, model = pruned
    loaded, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    ids = tokenizer("The capital of France is", return_tensors="pt").input_ids
    with torch.no_grad():
        assert torch.equal(loaded(ids).logits, model(ids).logits)
    for block in loaded.model.layers:
        for linear in (block.self_attn.q_proj, block.mlp.down_proj):
            assert ((linear.weight != 0).reshape(-1, 4).sum(1) <= 2).all()
    assert loaded.generate(ids, max_new_tokens=5, do_sample=False).shape[1] > ids.shape[1]
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight, "its embeddings are tied"


@pytest.mark.parametrize(("root", "sets"), [(None, 3), (Path("DATA"), 6)])
def test_the_demo_is_a_study_that_comes_with_the_package(root, sets):
    study = parse_study(demo_text(root), "demo.yaml")
    trials = list(study.trials())
    cells = [(trial.calibration, trial.setting["method"], trial.setting["pattern"]) for trial in trials]
    assert len(set(cells)) == len(cells) == 2 * (1 + 2 * sets) and set(cells) >= KEPT
    assert [one.metric for one in study.evaluations] == ["perplexity", "kl"]
    assert [one.tokens for one in study.evaluations] == [5 * 256] * 2


def test_the_short_demo_is_a_study_with_a_line_for_each_trial():
    text = (files("calprune.studies") / "demo.yaml").read_text()
    trials = list(parse_study(text, "demo.yaml").trials())
    assert {(one.calibration, one.setting["method"], one.setting["pattern"]) for one in trials} == set(WORDS)
    assert len(trials) == len(WORDS) == 5 and {one.calibration for one in trials} == set(ON)


def test_the_demos_table_marks_what_is_judged_on_its_own_source_and_its_folder_holds_nothing_else(tmp_path):
    row = DemoRow("x", "self", "wanda", "2:4", 12.3, 0.4, (1.0, 2.0), (0.1, 0.2), ("kl",), 0.5, 3.0, 900.0)
    assert "0.400*" in table([row]) and "12.30 " in table([row])
    keep([row], tmp_path / "out")
    assert json.loads((tmp_path / "out" / "demo.json").read_text())[0]["calibration"] == "self"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "report.html").write_text("do not touch")
    for begin in (begin_folder, lambda folder: demo(folder, Knobs())):
        with pytest.raises(calprune.UserError, match="holds something else"):
            begin(tmp_path / "mine")
