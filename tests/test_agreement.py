"""Before a model is walked, a short batch shows that the walk gives what the model's own forward gives."""

import pytest
import torch
from torch import nn

from calprune.layers import agreement
from calprune.layers.agreement import check_agreement, measure, remember
from calprune.layers.blocks import walk
from calprune.layers.linears import ModelError, find_blocks
from calprune.methods.wanda import Wanda
from calprune.pattern import Unstructured
from calprune.pruning.job import Pruning
from tests.families import ALL, tiny_model
from tests.test_blocks import calibration


def check(model) -> float:
    return measure(model, *find_blocks(model))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("family", ALL)
def test_a_causal_decoder_agrees_in_every_precision(family, dtype):
    assert check(tiny_model(family).to(dtype)) < 0.02


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_attention_that_looks_to_the_right_is_refused_by_its_first_block(dtype):
    model = tiny_model("embedding_gemma").to(dtype)
    with pytest.raises(ModelError, match=r"^model\.layers\.0 gives other numbers .* expected a causal decoder"):
        next(iter(walk(model, calibration())))


def test_only_the_block_that_looks_to_the_right_is_named():
    model = tiny_model("llama")
    original = model.model.layers[1].self_attn.forward

    def both_ways(*args, attention_mask=None, **kwargs):
        real = torch.zeros(2, 10, dtype=torch.bool) if attention_mask is None else attention_mask[:, 0, -1]
        mask = real[:, None, None].expand(-1, 1, 10, -1) if attention_mask is not None else None
        return original(*args, attention_mask=mask, **kwargs)

    model.model.layers[1].self_attn.forward = both_ways
    with pytest.raises(ModelError, match=r"^model\.layers\.1 gives other numbers"):
        check(model)


def test_a_model_that_changes_its_weights_while_it_runs_is_refused():
    with pytest.raises(ModelError, match=r"RwkvForCausalLM changes its weights while it runs \(rwkv\.blocks\.0"):
        Pruning(Wanda(), Unstructured(0.5)).run(tiny_model("rwkv"), calibration())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda run, blocks: lambda x: run(run(x)), r"layers\.0 runs 2 times"),
        (lambda run, blocks: lambda x: blocks[0](blocks[1](x)), r"layers\.1 runs where model\.layers\.0 is expected"),
        (lambda run, blocks: lambda x: blocks[1](x), r"layers\.0 does not run"),
        (lambda run, blocks: lambda x: blocks[1](blocks[0](x) * 2), r"layers\.1 does not read what model\.layers\.0"),
    ],
    ids=["twice", "order", "skipped", "between"],
)
def test_blocks_that_do_not_run_once_in_a_row_are_refused(change, said):
    model = Loop()
    model.run = change(model.run, model.model.layers)
    with pytest.raises(ModelError, match=said):
        check(model)


class Loop(nn.Module):
    """Two blocks, each a linear."""

    def __init__(self):
        super().__init__()
        self.embed, self.model = nn.Embedding(20, 8), nn.Module()
        self.model.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(2))

    def get_input_embeddings(self):
        return self.embed

    def run(self, x):
        for block in self.model.layers:
            x = block(x)
        return x

    def forward(self, input_ids, attention_mask=None, use_cache=False):
        return self.run(self.embed(input_ids))


def test_blocks_that_hand_on_more_of_each_token_than_hidden_states_are_refused():
    model = tiny_model("llama")
    for block in model.model.layers:
        block.forward = lambda hidden, state=None, **_: (hidden * 1.1, hidden)
    layers = model.model.layers
    model.forward = lambda input_ids, **_: layers[1](*layers[0](model.model.embed_tokens(input_ids)))
    with pytest.raises(ModelError, match=r"^model\.layers\.0 hands on more of each token"):
        check(model)


def test_logits_that_differ_after_the_same_blocks_are_refused():
    model = tiny_model("llama")
    original = model.forward

    def masked_head(*args, attention_mask=None, **kwargs):
        output = original(*args, attention_mask=attention_mask, **kwargs)
        output.logits = output.logits * (1 if attention_mask is None else 1.1)
        return output

    model.forward = masked_head
    with pytest.raises(ModelError, match="logits"):
        check(model)


def test_a_model_is_measured_once_and_again_in_another_precision(monkeypatch):
    model, times = tiny_model("llama"), []
    monkeypatch.setattr(agreement, "measure", lambda *given: times.append(1))
    for _ in range(3):
        next(iter(walk(model, calibration())))
    assert len(times) == 1
    next(iter(walk(model.bfloat16(), calibration())))
    assert len(times) == 2
    next(iter(walk(tiny_model("llama"), calibration())))
    assert len(times) == 3, "another object may be another model"


def test_what_was_measured_under_an_identity_is_known_to_other_processes(monkeypatch, tmp_path):
    monkeypatch.setenv("CALPRUNE_CACHE", str(tmp_path))
    times: list[int] = []
    monkeypatch.setattr(agreement, "measure", lambda *given: times.append(1))
    for identity in ("a", "a", "b"):
        model = tiny_model("llama")
        remember(model, identity)
        check_agreement(model, *find_blocks(model))
    assert len(times) == 2


def test_the_check_leaves_weights_and_random_numbers_as_they_were():
    model = tiny_model("gpt2")
    before, state = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    check(model)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_its_tokens_are_valid_and_none_that_the_config_names():
    model = tiny_model("gemma3_wrapper")
    batch = agreement.short_batch(model)
    assert batch.tokens.max() < 96 and not set(batch.tokens.flatten().tolist()) & {0, 1, 2, 90, 91, 92}
    model.config.text_config.max_position_embeddings = 4
    assert agreement.short_batch(model).tokens.shape[1] == 4


def test_what_cannot_be_run_on_text_is_one_line():
    model = Loop()
    model.forward = lambda input_ids, **more: model.missing
    with pytest.raises(ModelError, match="Loop cannot be run on a short batch of text with an attention mask: Attri"):
        check(model)
