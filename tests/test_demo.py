"""The demo model pruned for real: what the library is for, on real weights and real text."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import calprune
from calprune.calibration.build import open_source
from calprune.demo import METHODS, PATTERNS, Demo, Row, table
from calprune.evaluation.perplexity import perplexity
from calprune.evaluation.windows import windows_of
from calprune.text.given import Given

pytestmark = pytest.mark.demo


@pytest.fixture(scope="module")
def pruned(demo_folder, tmp_path_factory):
    """Perplexities on held-out text, dense and at 2:4 by three methods on real text, and the last one's checkpoint."""
    model = calprune.load("demo")
    data = calprune.make_set("pydoc_topics", model.tokenizer, num_samples=8, max_seq_length=128)
    text = windows_of(
        open_source("pydoc_topics", Given(tokenizer=model.tokenizer), "evaluation").documents(),
        model.tokenizer,
        128,
        4 * 128,
    )
    dense = {n: p.detach().clone() for n, p in model.model.named_parameters()}
    found = {"dense": perplexity(model.model, text).estimate().value}
    for method in ("magnitude", "wanda", "sparsegpt"):
        model.model.load_state_dict(dense, strict=False)
        calprune.prune(model.model, data, calprune.parse_method(method), calprune.parse_pattern("2:4"))
        found[method] = perplexity(model.model, text).estimate().value
    folder = tmp_path_factory.mktemp("demo") / "pruned"
    calprune.save(model.model, model.tokenizer, folder)
    return found, folder, model.model


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


def test_the_demos_table_has_a_row_a_cell_and_marks_what_is_judged_on_its_own_source(demo_folder, tmp_path):
    demo = Demo(tmp_path / "out", None)
    assert len(set(demo.cells)) == demo.steps() - 1 == len(PATTERNS) * (1 + 3 * (len(METHODS) - 1))
    row = Row("x", "self", "wanda", "2:4", 0.5, 12.3, 0.4, (1.0, 2.0), (0.1, 0.2), ("kl",), 3.0, 900.0)
    assert "0.400*" in table([row]) and "12.30 " in table([row])
    demo.keep([row])
    assert json.loads((tmp_path / "out" / "demo.json").read_text())[0]["calibration"] == "self"
    with pytest.raises(calprune.UserError, match="holds something else"):
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "thesis.txt").write_text("do not touch")
        Demo(tmp_path / "mine", None)
