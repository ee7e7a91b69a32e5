"""Tokens weighted by the attention they receive: RSQ's formula, in any family, whatever the batches and the padding."""

import pytest
import torch
import transformers as t
from torch import Tensor

from calprune.base.values import ConfigError, UserError
from calprune.calibration.set import CalibrationSet
from calprune.layers.attention import AttentionConcentration, parse_token_weights
from calprune.layers.blocks import walk
from calprune.layers.collect import Counting
from calprune.layers.linears import find_blocks
from calprune.layers.saved import Statistics
from calprune.methods.sparsegpt import SparseGPT
from calprune.methods.wanda import Wanda
from calprune.pattern import KeepNofM
from calprune.pruning.job import Pruning
from tests.families import CONFIGS, FUSED_EXPERTS, random_model, tiny_model
from tests.test_blocks import LENGTHS, calibration

BY_ATTENTION = Counting(min_expert_tokens=1, token_weights=AttentionConcentration())
TWO_FOUR = KeepNofM(2, 4)


def scaled(received: Tensor, least: float = 0.005) -> Tensor:
    """RSQ's weights of one sequence's tokens, with a mean of 1, from the attention that each receives."""
    r = (received - received.min()) / (received.max() - received.min()) * (1 - least) + least
    return r / r.mean()


def weights_in(block, batch) -> Tensor:
    """(b, T) of a block of a walk, by the code under test."""
    weigh = block.counting.token_weights
    with torch.no_grad():
        return weigh(block.name, lambda: block.forward(batch), batch.lengths, batch.counts())


def sums(model, data, batch_size: int = 2, counting: Counting = BY_ATTENTION) -> dict:
    walked = walk(model, data, batch_size=batch_size, propagate="dense", counting=counting)
    return {f"{b.name}.{n}": s for b in walked for n, s in b.collect("gram").items()}


def received_in_llama(block, hidden: Tensor, window: int | None) -> Tensor:
    """What each token of hidden (n, 32) receives, summed over 4 heads that share 2 heads' keys; by the paper, float64.

    softmax(q kᵀ / √8) over the tokens up to the query's, `window` of them; rotary positions as in the Llama paper.
    """
    n, angles = len(hidden), 10000.0 ** (-torch.arange(0, 8, 2).double() / 8)
    x = hidden / (hidden.square().mean(1, keepdim=True) + block.input_layernorm.variance_epsilon).sqrt()
    x = x * block.input_layernorm.weight
    turn = torch.polar(torch.ones(n, 4).double(), torch.arange(n).double()[:, None] * angles)

    def heads(linear, count):
        y = (x @ linear.weight.T).reshape(n, count, 8)
        y = torch.complex(y[..., :4], y[..., 4:]) * turn[:, None]
        return torch.cat([y.real, y.imag], -1).transpose(0, 1)

    q, k = heads(block.self_attn.q_proj, 4), heads(block.self_attn.k_proj, 2)
    received = torch.zeros(n).double()
    for head in range(4):
        for at in range(n):
            first = 0 if window is None else max(0, at - window + 1)
            logits = k[head // 2, first : at + 1] @ q[head, at] / 8**0.5
            received[first : at + 1] += logits.softmax(0)
    return received


@pytest.mark.parametrize(("family", "window"), [("llama", None), ("mistral", 8)])
def test_a_tokens_weight_is_the_attention_it_receives_as_in_the_paper(family, window):
    model, data = tiny_model(family), calibration()
    exact = tiny_model(family).double()
    for i, block in enumerate(walk(model, data, batch_size=2, propagate="dense", counting=BY_ATTENTION)):
        for batch in block.batches:
            found = weights_in(block, batch)
            for row, sequence, n in zip(found, batch.sequences, batch.lengths.tolist(), strict=True):
                with torch.no_grad():
                    tokens = data.tokens[sequence : sequence + 1, :n]
                    hidden = exact(tokens, output_hidden_states=True).hidden_states[i][0]
                    expected = scaled(received_in_llama(find_blocks(exact)[1][i], hidden, window))
                torch.testing.assert_close(row[:n].double(), expected, rtol=1e-4, atol=1e-5)
                assert not row[n:].any(), "padding has no weight"
        block.run()


@pytest.mark.parametrize("family", [*CONFIGS, *FUSED_EXPERTS])
def test_a_tokens_weight_is_of_the_attention_that_the_family_itself_tells(family):
    data = calibration()
    own = tiny_model(family)
    own.set_attn_implementation("eager")
    for i, block in enumerate(walk(tiny_model(family), data, batch_size=5, propagate="dense", counting=BY_ATTENTION)):
        (batch,) = block.batches
        found = weights_in(block, batch)
        for row, sequence, n in zip(found, batch.sequences, batch.lengths.tolist(), strict=True):
            with torch.no_grad():
                told = own(data.tokens[sequence : sequence + 1, :n], output_attentions=True).attentions[i]
            torch.testing.assert_close(row[:n], scaled(told[0].sum((0, 1))), rtol=1e-3, atol=1e-4)
        block.run()


def test_the_statistics_are_sums_of_weighted_tokens():
    model, data = tiny_model("llama"), calibration()
    block = next(iter(walk(model, data, batch_size=5, counting=BY_ATTENTION)))
    (batch,) = block.batches
    read: list[Tensor] = []
    weights = weights_in(block, batch)
    with block.module.mlp.down_proj.register_forward_pre_hook(lambda m, args: read.append(args[0])), torch.no_grad():
        block.forward(batch)
    x, r = read[0].flatten(0, 1).double(), weights.flatten().double()
    stats = block.collect("gram")["mlp.down_proj"]
    torch.testing.assert_close(stats.gram.double(), torch.einsum("t,ti,tj->ij", r, x, x), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(stats.sum_x.double(), r @ x, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", ["llama", "gemma2", "bloom", "gpt_oss", "mixtral"])
def test_weighted_statistics_know_nothing_of_batches_and_padding(family):
    data = calibration()
    other = data.tokens.clone()
    other[torch.arange(24) >= LENGTHS[:, None]] = 5
    together = sums(tiny_model(family), data, 5)
    repadded = CalibrationSet.from_tokens(other, LENGTHS)
    for changed in (sums(tiny_model(family), data, 1), sums(tiny_model(family), repadded, 5)):
        for name, stats in together.items():
            assert changed[name].tokens == pytest.approx(stats.tokens, rel=1e-5)
            scale = stats.gram.abs().max().item()
            torch.testing.assert_close(changed[name].gram, stats.gram, rtol=1e-3, atol=1e-4 * scale)


def test_each_sequence_counts_as_much_as_without_weights_and_the_sets_own_weights_multiply():
    own = torch.rand(5, 24, generator=torch.Generator().manual_seed(1))
    own[:, :3] = 0
    own[4] = 0  # a sequence that does not count at all
    for plain, weighted in zip(
        walk(tiny_model("llama"), calibration(), batch_size=5, counting=BY_ATTENTION),
        walk(tiny_model("llama"), calibration(weights=own), batch_size=5, counting=BY_ATTENTION),
        strict=True,
    ):
        (one,), (other,) = plain.batches, weighted.batches
        r, both = weights_in(plain, one), weights_in(weighted, other)
        counts = other.counts()
        torch.testing.assert_close(r.sum(1), one.lengths.float())
        torch.testing.assert_close(both.sum(1), counts.sum(1))
        for row, product, n in zip(both, r * counts, counts.sum(1), strict=True):
            if n > 0:
                torch.testing.assert_close(row / row.sum(), product / product.sum())
        assert both.isfinite().all() and not both[counts == 0].any()
        stats = weighted.collect("moments")["self_attn.q_proj"]
        assert stats.tokens == pytest.approx(counts.sum().item(), rel=1e-5)


def test_tokens_that_receive_the_same_attention_count_as_without_weights():
    each_itself = t.MistralConfig(**{**CONFIGS["mistral"]().to_dict(), "sliding_window": 1})
    plain = sums(random_model(each_itself), calibration(), counting=Counting())
    for name, stats in sums(random_model(each_itself), calibration()).items():
        assert stats.tokens == plain[name].tokens
        torch.testing.assert_close(stats.gram, plain[name].gram, rtol=1e-5, atol=1e-5)


def test_least_is_how_much_less_the_least_attended_token_counts():
    for least in (0.005, 0.1, 1.0):
        counting = Counting(token_weights=AttentionConcentration(least))
        block = next(iter(walk(tiny_model("llama"), calibration(), batch_size=1, counting=counting)))
        weights = weights_in(block, block.batches[0])
        assert (weights.min() / weights.max()).item() == pytest.approx(least, rel=1e-4)


def test_pruning_and_saved_statistics_are_of_weighted_tokens(tmp_path):
    data = calibration()
    saved = Statistics.collect(tiny_model("llama"), data, counting=BY_ATTENTION)
    saved.save(tmp_path / "sums")
    again = Statistics.load(tmp_path / "sums")
    assert again.about["counting"]["token_weights"]["type"] == "AttentionConcentration"
    assert "counting" not in Statistics.collect(tiny_model("llama"), data, "moments").about
    from_saved, on_the_way, plain = (tiny_model("llama") for _ in range(3))
    Pruning(SparseGPT(), TWO_FOUR).run(from_saved, again)
    Pruning(SparseGPT(), TWO_FOUR, propagate="dense", counting=BY_ATTENTION).run(on_the_way, data)
    Pruning(SparseGPT(), TWO_FOUR, propagate="dense").run(plain, data)
    name = "model.layers.1.mlp.down_proj.weight"
    torch.testing.assert_close(from_saved.state_dict()[name], on_the_way.state_dict()[name])
    assert ((plain.state_dict()[name] == 0) != (on_the_way.state_dict()[name] == 0)).any()


def test_what_cannot_be_weighted_is_refused_in_one_line():
    mamba = random_model(
        t.MambaConfig(hidden_size=32, num_hidden_layers=2, vocab_size=96, state_size=4, time_step_rank=4)
    )
    with pytest.raises(UserError, match=r"backbone\.layers\.0 has no attention that can be read.*--token-weights"):
        Pruning(Wanda(), TWO_FOUR, counting=BY_ATTENTION, min_coverage=0.0).run(mamba, calibration())
    with pytest.raises(ConfigError, match="least must be above 0 and at most 1, got 0"):
        parse_token_weights("attention(least=0.0)")
    with pytest.raises(ConfigError, match="unknown token weights 'atention'; did you mean 'attention'"):
        parse_token_weights("atention")
    assert parse_token_weights("attention(least=0.1)") == AttentionConcentration(0.1)
