"""The walk gives what the model gives, for every family; statistics know nothing of batches and padding."""

import pytest
import torch

from calprune.base.values import UserError
from calprune.calibration.set import CalibrationSet
from calprune.layers.attention import AttentionConcentration
from calprune.layers.blocks import walk
from calprune.layers.collect import Counting
from calprune.layers.gradients import loss_gradients
from calprune.layers.inputs import StatsError
from calprune.layers.linears import ModelError, find_blocks, linears
from calprune.layers.products import onednn_products, torch_products
from calprune.refine.windows import targets_of
from tests.families import ALL, CONFIGS, VOCABULARY, WRAPPERS, tiny_model

LENGTHS = torch.tensor([24, 7, 13, 24, 2])


def calibration(seed: int = 0, lengths: torch.Tensor = LENGTHS, weights: torch.Tensor | None = None) -> CalibrationSet:
    numbers = torch.Generator().manual_seed(seed)
    tokens = torch.randint(3, VOCABULARY, (len(lengths), 24), generator=numbers)
    return CalibrationSet.from_tokens(tokens, lengths, weights)


def own_outputs(model, tokens, mask) -> torch.Tensor:
    """What leaves the last block in the model's own forward."""
    caught = []
    hook = find_blocks(model)[1][-1].register_forward_hook(lambda m, a, out: caught.append(out))
    with torch.no_grad(), hook:
        model(input_ids=tokens, attention_mask=mask.long(), use_cache=False)
    return caught[0][0] if isinstance(caught[0], tuple) else caught[0]


def largest_difference(model, data: CalibrationSet, batch_size: int) -> float:
    """Between the walk and the model's own forward of the same batches, on real tokens, relative."""
    *_, block = walk(model, data, batch_size=batch_size)
    block.run()
    worst = 0.0
    for batch in block.batches:
        lengths = data.lengths[batch.sequences]
        mask = torch.arange(batch.shape[1]) < lengths[:, None]
        expected = batch.by_token(own_outputs(model, data.tokens[batch.sequences, : batch.shape[1]], mask))
        found = batch.by_token(batch.hidden)[mask]
        assert found.isfinite().all() and expected[mask].isfinite().all(), "max() would pass over NaN"
        worst = max(worst, ((found - expected[mask]).abs().max() / expected[mask].abs().max()).item())
    return worst


@pytest.mark.parametrize("family", ALL)
def test_the_walk_gives_the_models_own_output(family):
    """To the last bit but one: a product's rounding may depend on where in memory its operands lie."""
    with torch_products():
        assert largest_difference(tiny_model(family), calibration(), batch_size=2) < 1e-6


@pytest.mark.parametrize("family", CONFIGS)
def test_faster_products_stay_within_rounding(family):
    with onednn_products():
        assert largest_difference(tiny_model(family), calibration(), batch_size=2) < 1e-5


@pytest.mark.parametrize("family", ["gemma2", "gpt2", "llama", "opt"])
def test_statistics_do_not_depend_on_batches_and_are_the_same_alone(family):
    model = tiny_model(family)
    one_by_one, together = statistics(model, calibration(), 1), statistics(model, calibration(), 5)
    for name, stats in together.items():
        assert stats.tokens == LENGTHS.sum()
        torch.testing.assert_close(stats.gram, one_by_one[name].gram, rtol=1e-4, atol=1e-4)


def statistics(model, data, batch_size: int = 2, **options) -> dict:
    return {
        f"{b.name}.{n}": s
        for b in walk(model, data, batch_size=batch_size, **options)
        for n, s in b.collect("gram").items()
    }


MASKED = torch.tensor([4, 0])  # of 12 tokens


def padded_on_the_left() -> CalibrationSet:
    """Two sequences of 12 tokens, the first of which begins with four of padding that counts and is masked."""
    tokens = torch.randint(3, VOCABULARY, (2, 12), generator=torch.Generator().manual_seed(0))
    tokens[0, :4] = 1
    return CalibrationSet(tokens, torch.tensor([12, 12]), masked=MASKED)


@pytest.mark.parametrize("family", ["gpt_neox", "llama", "olmo2", "qwen3", "mixtral", "llava"])
def test_what_no_token_attends_to_changes_no_other_token_and_counts(family):
    data, model = padded_on_the_left(), tiny_model(family)
    *_, block = walk(model, data, batch_size=2)
    (stats, *_) = block.collect("gram").values()
    block.run()
    *_, alone = walk(model, CalibrationSet(data.tokens[:1, 4:], torch.tensor([8])))
    alone.run()
    torch.testing.assert_close(block.batches[0].hidden[:1, 4:], alone.batches[0].hidden, rtol=1e-4, atol=1e-5)
    assert stats.tokens == 24, "padding is counted"


def test_masked_padding_looks_at_its_whole_sequence_evenly_as_in_transformers_4_28():
    """That library added the least number twice and cut the sum there, so all columns of such a row were equal."""
    model, data = tiny_model("llama"), padded_on_the_left()
    given = []
    hook = find_blocks(model)[1][0].self_attn.o_proj.register_forward_pre_hook(lambda m, a: given.append(a[0]))
    values = find_blocks(model)[1][0].self_attn.v_proj.register_forward_hook(lambda m, a, out: given.append(out))
    with hook, values:
        block = next(iter(walk(model, data, batch_size=2)))
        given.clear()
        block.run()
    v, attended = given  # (b, T, kv heads · d), (b, T, heads · d)
    d = model.config.hidden_size // model.config.num_attention_heads
    repeat = model.config.num_attention_heads // model.config.num_key_value_heads
    mean = v.mean(1).unflatten(-1, (-1, d)).repeat_interleave(repeat, 1).flatten(1)
    torch.testing.assert_close(attended[0, :4], mean[:1].expand(4, -1))
    assert not torch.allclose(attended[0, 4], mean[0]), "a token of the text attends to what is before it"


@pytest.mark.parametrize("family", ["bloom", "opt", "jamba", "gemma2"])
def test_a_model_that_cannot_be_given_the_mask_is_one_line(family):
    with pytest.raises(UserError, match="leave count_padding: masked out"):
        list(walk(tiny_model(family), padded_on_the_left()))


def test_tokens_are_not_weighted_by_attention_where_padding_is_masked():
    with pytest.raises(UserError, match="leave --token-weights or count_padding"):
        walk(tiny_model("llama"), padded_on_the_left(), counting=Counting(token_weights=AttentionConcentration()))


def test_gradients_of_the_loss_see_the_mask(monkeypatch):
    model, data = tiny_model("llama"), padded_on_the_left()
    other = CalibrationSet(data.tokens.clone(), data.lengths, masked=MASKED)
    other.tokens[0, 0] = 9  # what no token attends to: only the loss of padding itself may change
    weights = torch.ones(2, 12)
    weights[0, :5] = 0  # the loss of the text alone
    found = [
        loss_gradients(model, CalibrationSet(one.tokens, one.lengths, weights, masked=MASKED)) for one in (data, other)
    ]
    linear = next(name for name in found[0] if "mlp" in name)
    torch.testing.assert_close(found[0][linear].squares, found[1][linear].squares)


def test_padding_has_no_part_in_the_statistics():
    model, data = tiny_model("llama"), calibration()
    other = data.tokens.clone()
    other[torch.arange(24) >= LENGTHS[:, None]] = 5  # other padding
    changed = statistics(model, CalibrationSet.from_tokens(other, LENGTHS))
    for name, stats in statistics(model, data).items():
        assert torch.equal(stats.gram, changed[name].gram)


def test_the_statistics_are_sums_over_what_the_linears_read():
    model, data = tiny_model("llama"), calibration(lengths=torch.tensor([24, 24]))
    read: dict = {}
    for linear in linears(find_blocks(model)[1][0]):
        linear.module.register_forward_pre_hook(lambda m, a, name=linear.name: read.__setitem__(name, a[0]))
    with torch.no_grad():
        model(data.tokens)
    inputs = {name: x.reshape(-1, x.shape[-1]) for name, x in read.items()}
    found = next(iter(walk(model, data))).collect("gram")
    assert set(found) == set(inputs)
    for name, x in inputs.items():
        torch.testing.assert_close(found[name].gram, x.T @ x, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(found[name].sum_x, x.sum(0), rtol=1e-4, atol=1e-4)


def test_a_token_of_weight_zero_is_seen_by_others_and_not_counted():
    model = tiny_model("llama")
    weights = torch.ones(5, 24)
    weights[:, :2] = 0
    found = statistics(model, calibration(weights=weights))
    assert found["model.layers.0.mlp.down_proj"].tokens == (LENGTHS - 2).sum()
    longer = calibration().tokens[:1]
    cut = statistics(model, CalibrationSet.from_tokens(longer, weights=weights[:1]))
    name = "model.layers.1.mlp.down_proj"
    whole, head = (
        statistics(model, CalibrationSet.from_tokens(longer)),
        statistics(model, CalibrationSet.from_tokens(longer[:, :2])),
    )
    torch.testing.assert_close(cut[name].gram, whole[name].gram - head[name].gram, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("family", "groups"),
    [
        ("llama", [["q_proj", "k_proj", "v_proj"], ["o_proj"], ["gate_proj", "up_proj"], ["down_proj"]]),
        ("opt", [["k_proj", "v_proj", "q_proj"], ["out_proj"], ["fc1"], ["fc2"]]),
        ("phi3", [["o_proj"], ["qkv_proj"], ["gate_up_proj"], ["down_proj"]]),
    ],
)
def test_linears_that_read_the_same_tensor_share_their_statistics(family, groups):
    stats = next(iter(walk(tiny_model(family), calibration(), batch_size=2))).collect("moments")
    shared: dict = {}
    for name, of in stats.items():
        shared.setdefault(id(of), set()).add(name.rsplit(".", 1)[-1])
    assert sorted(map(sorted, shared.values())) == sorted(map(sorted, groups))


def test_a_block_sees_the_changed_outputs_of_the_one_before_or_the_dense_ones():
    def second_block_norms(propagate):
        model, norms = tiny_model("llama"), []
        for block in walk(model, calibration(), propagate=propagate):
            norms.append(block.collect("moments")["mlp.down_proj"].norm)
            for linear in block.linears():
                linear.write(linear.weight * 0.5)
        return norms[1]

    untouched = statistics(tiny_model("llama"), calibration())["model.layers.1.mlp.down_proj"].norm
    assert torch.equal(second_block_norms("dense"), untouched) or torch.allclose(second_block_norms("dense"), untouched)
    assert not torch.allclose(second_block_norms("pruned"), untouched, rtol=0.01)


def test_collecting_for_pruned_propagation_does_not_run_the_last_linear():
    model, ran = tiny_model("llama"), []
    down = find_blocks(model)[1][0].mlp.down_proj
    down.register_forward_hook(lambda *a: ran.append(1))
    block = next(iter(walk(model, calibration(), batch_size=5)))
    ran.clear()  # the arguments of the blocks are caught with one real run of the first
    block.collect("moments")
    assert not ran


def test_the_walk_leaves_the_model_as_it_was():
    model = tiny_model("llama").train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    for block in walk(model, calibration()):
        block.collect("moments")
    assert model.training and all("forward" not in m.__dict__ for m in model.modules())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not any(m._forward_pre_hooks for m in model.modules())


def test_dropout_is_off_while_walking():
    model = tiny_model("gpt2").train()
    a, b = statistics(model, calibration()), statistics(model, calibration())
    assert all(torch.equal(a[n].gram, b[n].gram) for n in a)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_models_are_walked_as_they_are_and_summed_in_float32(dtype):
    found = statistics(tiny_model("llama").to(dtype), calibration())
    reference = statistics(tiny_model("llama"), calibration())
    for name, stats in found.items():
        assert stats.gram.dtype == torch.float32
        assert (stats.gram - reference[name].gram).norm() < 0.05 * reference[name].gram.norm()


def test_nan_activations_name_their_linear():
    model = tiny_model("llama")
    model.model.layers[1].mlp.up_proj.weight.data[0, 0] = float("nan")
    with pytest.raises(StatsError, match="input channels"):
        for block in walk(model, calibration()):
            for stats in block.collect("moments").values():
                stats.check()


def test_a_model_without_a_list_of_blocks_is_refused():
    with pytest.raises(ModelError, match="no list of blocks"):
        find_blocks(torch.nn.Sequential(torch.nn.Linear(2, 2)))


def test_hidden_states_in_several_streams_are_walked_and_no_block_of_them_is_trained():
    model, data = tiny_model("gemma3n"), calibration()
    found = statistics(model, data)
    one_by_one = statistics(model, data, 1)
    assert next(iter(walk(model, data))).batches[0].hidden.shape[0] == 4
    for name, stats in found.items():
        assert stats.tokens % LENGTHS.sum() == 0, "some linears read several rows of each token"
        torch.testing.assert_close(stats.gram, one_by_one[name].gram, rtol=1e-3, atol=1e-3)
    with pytest.raises(ModelError, match=r"training blocks is of hidden states .*choose another"):
        targets_of(next(iter(walk(model, data))), "block")


@pytest.mark.parametrize("family", WRAPPERS)
def test_the_blocks_of_a_wrapper_are_those_of_its_text_decoder(family):
    model = tiny_model(family)
    name, blocks = find_blocks(model)
    towers = [m for m in model.modules() if isinstance(m, torch.nn.ModuleList) and m is not blocks]
    assert "language_model" in name and len(blocks) == 2
    sizes = [sum(p.numel() for p in m.parameters()) for m in (blocks, *towers)]
    assert max(sizes) > sizes[0], "the tower of images is the larger"
