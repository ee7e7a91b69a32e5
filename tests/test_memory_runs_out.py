"""Where memory does not hold a batch, half of it goes on: nothing is counted twice, and nothing is left out."""

from contextlib import ExitStack, contextmanager

import pytest
import torch

import calprune.layers.inputs as sums
from calprune.base.memory import Fitting
from calprune.base.progress import Progress, showing
from calprune.base.values import UserError
from calprune.calibration.selections.activations import second_moments
from calprune.calibration.set import CalibrationSet
from calprune.evaluation.divergence import DenseReference
from calprune.evaluation.perplexity import perplexity
from calprune.layers.attention import AttentionConcentration
from calprune.layers.blocks import walk
from calprune.layers.collect import Collector, Counting, Once
from calprune.layers.linears import find_blocks
from calprune.layers.products import torch_products
from calprune.methods.block_reconstruction import BlockReconstruction
from calprune.methods.magnitude import Magnitude
from calprune.models.likelihood import token_nats
from tests.families import VOCABULARY, tiny_model
from tests.several_processes import FEW, written_out
from tests.test_blocks import calibration

HALVED = "note: the memory of cpu does not hold 4 sequences at once: 2 go on"
WEIGHTS = torch.rand(5, 24, generator=torch.Generator().manual_seed(1))
WINDOWS = torch.randint(3, VOCABULARY, (5, 12), generator=torch.Generator().manual_seed(2))


class Said(Progress, list):
    say = list.append


@contextmanager
def limit(module, most: int, after: bool = False):
    """Memory that does not suffice where the module is given, or has given (after), more rows than `most`."""

    def run(module, args, *given) -> None:
        rows, tokens = args[0].shape[:2]
        if rows > most and tokens > 1:  # evaluations first read one token, to see what the head does
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    hooked = module.register_forward_hook(run) if after else module.register_forward_pre_hook(run)
    with hooked:
        yield


def walked(model, data, size: int, *limits, **options) -> tuple[dict, list]:
    """The sums of every linear, and the hidden states of each sequence as they leave the last block.

    limits: of memory, once the model is entered, which runs a block of all sequences by itself.
    """
    found, block = {}, None
    with torch_products(), ExitStack() as stack:
        blocks = walk(model, data, batch_size=size, **options)
        for one in limits:
            stack.enter_context(one)
        for block in blocks:
            found |= {f"{block.name}.{name}": one for name, one in block.collect("gram").items()}
        if not block.passed:
            block.run()
    states = [
        (int(i), state[..., :n, :]) for b in block.batches
        for i, n, state in zip(b.sequences, b.lengths.tolist(), b.by_token(b.hidden).flatten(2), strict=True)
    ]  # fmt: skip
    return found, [state for _, state in sorted(states, key=lambda one: one[0])]


def check_equal(found: tuple[dict, list], expected: tuple[dict, list], exact: bool) -> None:
    near = {"rtol": 0.0, "atol": 0.0} if exact else {"rtol": 1e-4, "atol": 1e-4}
    assert found[0].keys() == expected[0].keys()
    for name, one in expected[0].items():
        assert found[0][name].tokens == pytest.approx(one.tokens, rel=1e-6, abs=0), name
        assert (found[0][name].routed or 0) == pytest.approx(one.routed or 0, rel=1e-6, abs=0), name
        torch.testing.assert_close(found[0][name].gram, one.gram, msg=name, **near)
        torch.testing.assert_close(found[0][name].sum_x, one.sum_x, msg=name, **near)
        torch.testing.assert_close(found[0][name].sum_xx, found[0][name].gram.diagonal(), rtol=0, atol=0)
    for a, b in zip(found[1], expected[1], strict=True):
        torch.testing.assert_close(a, b, **near)


PLACES = {  # where memory runs out, and whether all sums are those of the small batches to the bit
    "self_attn.q_proj": (False, True),
    "self_attn.k_proj": (True, False),
    "mlp.gate_proj": (False, False),
    "mlp.down_proj": (False, False),
}


@pytest.mark.parametrize("propagate", ["pruned", "dense"])
@pytest.mark.parametrize("place", PLACES)
def test_sums_are_those_of_the_smaller_batches_wherever_memory_runs_out(place, propagate):
    after, exact = PLACES[place]
    model, data, said = tiny_model("llama"), calibration(weights=WEIGHTS), Said()
    expected = walked(model, data, 2, propagate=propagate)
    limited = limit(find_blocks(model)[1][0].get_submodule(place), 3, after)
    with showing(said):
        check_equal(walked(model, data, 4, limited, propagate=propagate), expected, exact)
    assert said == [HALVED]


def test_memory_may_run_out_again_and_later():
    model, said = tiny_model("llama"), Said()
    first, second = find_blocks(model)[1]
    expected = walked(model, calibration(), 1)
    limits = limit(first.mlp.gate_proj, 3), limit(first.mlp.down_proj, 1), limit(second, 1)
    with showing(said):
        check_equal(walked(model, calibration(), 5, *limits), expected, exact=False)
    assert [line.partition("hold ")[2] for line in said] == [
        "5 sequences at once: 2 go on",
        "2 sequences at once: 1 go on",
    ]


def test_memory_that_runs_out_before_the_first_block_makes_smaller_batches():
    model, said = tiny_model("llama"), Said()
    expected = walked(model, calibration(), 2)
    with limit(model.get_input_embeddings(), 2), showing(said):
        check_equal(walked(model, calibration(), 4), expected, exact=True)
    assert said == [HALVED]


@pytest.mark.parametrize("failing", [{1, 2}, {4, 11}, {5, 8}])
@pytest.mark.parametrize("make", [tiny_model, written_out])
def test_a_token_is_counted_once_for_its_expert(make, failing, monkeypatch):
    """Memory runs out while the sums are added up, in the midst of the experts, twice."""
    model, data = make("mixtral"), calibration(weights=WEIGHTS)
    if make is written_out:  # its experts are given rows of tokens, of which padding is not told apart
        data = CalibrationSet.from_tokens(data.tokens)
    expected = walked(model, data, 2, counting=FEW)
    product, calls = sums.gram_product, iter(range(10**6))

    def failing_product(x):
        if next(calls) in failing:
            torch.empty(2**60, dtype=torch.uint8)  # as torch says it on a CPU
        return product(x)

    monkeypatch.setattr(sums, "gram_product", failing_product)
    said = Said()
    with showing(said):
        check_equal(walked(model, data, 5, counting=FEW), expected, exact=False)
    assert len(said) == 2


def test_tokens_weighted_by_attention_are_weighted_in_parts():
    counting, said = Counting(token_weights=AttentionConcentration()), Said()
    model, data = tiny_model("llama"), calibration(weights=WEIGHTS)
    expected = walked(model, data, 2, counting=counting)
    limits = limit(find_blocks(model)[1][0], 2), limit(find_blocks(model)[1][1].mlp, 1)
    with showing(said):
        check_equal(walked(model, data, 4, *limits, counting=counting), expected, exact=False)
    assert len(said) == 2


@pytest.mark.parametrize("family", ["bloom", "gemma3n", "gpt2", "gemma2"])
def test_what_the_model_gives_its_blocks_is_that_of_the_part(family):
    """Positions, windows, alibi of (heads · sequences), states with streams first and a part of the input for each."""
    model, said = tiny_model(family), Said()
    expected = walked(model, calibration(), 2, propagate="dense")
    inside = [m for m in find_blocks(model)[1][1].modules() if "Conv1D" in str(type(m)) or type(m) is torch.nn.Linear]
    limited = limit(inside[1], 3)
    with showing(said):
        check_equal(walked(model, calibration(), 4, limited, propagate="dense"), expected, exact=False)
    assert said == [HALVED]


def test_masked_padding_is_masked_in_parts():
    tokens = torch.randint(3, VOCABULARY, (4, 12), generator=torch.Generator().manual_seed(0))
    data = CalibrationSet(tokens, torch.full((4,), 12), masked=torch.tensor([4, 0, 2, 6]))
    model = tiny_model("llama")
    expected = walked(model, data, 2)
    check_equal(walked(model, data, 4, limit(find_blocks(model)[1][0].mlp, 2)), expected, exact=False)


def test_moments_of_each_sequence_are_put_where_it_belongs():
    model, rows = tiny_model("llama"), [row.tolist() for row in WINDOWS]
    expected = second_moments(model, rows, 8)
    with limit(find_blocks(model)[1][1].mlp, 2):
        torch.testing.assert_close(second_moments(model, rows, 8), expected, rtol=1e-4, atol=1e-5)


def test_one_sequence_that_does_not_fit_is_one_line_and_other_errors_are_not_hidden():
    model = tiny_model("llama")
    line = r"^the memory of cpu does not hold one sequence of 24 tokens beside the model: free some, .* \(--device\)$"
    block = next(walk(model, calibration(), batch_size=4))
    with limit(block.module.mlp, 0), pytest.raises(UserError, match=line):
        block.run()
    with pytest.raises(RuntimeError, match="size"):
        list(Fitting(torch.device("cpu")).each([1], lambda rows: torch.zeros(2) @ torch.zeros(3)))
    assert "forward" not in block.module.__dict__, "it is as it was"


def test_perplexity_and_divergence_of_fewer_windows_at_once():
    dense, pruned, said = tiny_model("llama"), tiny_model("llama"), Said()
    with torch.no_grad():
        find_blocks(pruned)[1][0].mlp.down_proj.weight.mul_(0.5)
    with torch_products():
        reference = DenseReference(dense, WINDOWS, batch_size=2)
        expected = [reference.compare(pruned)[0].nats, perplexity(pruned, WINDOWS, batch_size=2).nats]
        with limit(find_blocks(dense)[1][1], 2), limit(find_blocks(pruned)[1][1].mlp, 1), showing(said):
            other = DenseReference(dense, WINDOWS, batch_size=4)
            found = [other.compare(pruned)[0].nats, perplexity(pruned, WINDOWS, batch_size=4).nats]
        assert torch.equal(other.perplexity().nats, reference.perplexity().nats)
        with limit(find_blocks(pruned)[1][1].mlp, 1), showing(said):
            split = reference.compare(pruned)
    for a, b in zip([*found, split[0].nats, split[1].nats], [*expected, *expected], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
    assert (
        said[0] == "note: the memory of cpu does not hold 4 windows at once: 2 go on" and len(said) == 2
    )  # each line once
    with limit(find_blocks(dense)[1][1], 0), pytest.raises(UserError, match="does not hold one window of 12 tokens"):
        perplexity(dense, WINDOWS)


def test_likelihoods_of_fewer_texts_at_once():
    model, said = tiny_model("llama"), Said()
    texts = [WINDOWS[i, : 3 + 2 * i].tolist() for i in range(5)]
    expected = token_nats(model, texts)
    with limit(find_blocks(model)[1][1].mlp, 1), showing(said):
        found = token_nats(model, texts)
    assert len(said) == 2
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_overlapping_pairs_are_walked_whole():
    """Their blocks are given the arguments of two, which are not caught anew: memory that runs out ends the work."""
    from calprune.refine.overlapping import Overlapping

    model = tiny_model("llama")
    on = Overlapping(model, calibration(), BlockReconstruction(Magnitude(), batch_size=5, cross_block=True), None)
    on.enter([])
    on.enter([])
    with limit(find_blocks(model)[1][0].mlp, 2), pytest.raises(torch.OutOfMemoryError):
        on.leave()


def test_a_call_is_added_once_for_rows_that_were_begun_in_vain():
    once, added = Once(), []
    for rows, calls in ((slice(0, 4), "aab"), (slice(0, 2), "aabb"), (slice(0, 1), "aabbc"), (slice(1, 2), "aabbc"),
                        (slice(2, 4), "aabbc")):  # fmt: skip
        once.start(rows)
        for call in calls:
            once.add(call, lambda call=call, rows=rows: added.append((call, rows.start, rows.stop)))
    assert added == [("a", 0, 4), ("a", 0, 4), ("b", 0, 4), ("b", 0, 2), ("c", 0, 1), ("c", 1, 2),
                     ("b", 2, 4), ("c", 2, 4)]  # fmt: skip
    once.new_batch()
    once.start(slice(0, 2))
    once.add("a", lambda: added.append("new"))
    assert added[-1] == "new"


def test_inputs_are_let_go_of_where_memory_ran_out():
    block = next(walk(tiny_model("llama"), calibration(), batch_size=4))
    held = []
    start = Collector.start
    with pytest.MonkeyPatch.context() as patch, limit(block.module.mlp.down_proj, 2):
        patch.setattr(Collector, "start", lambda self, *given: (held.append(len(self._seen)), start(self, *given))[1])
        block.collect("moments")
    assert held == [0] * 4  # 4, 2, 2 and 1 sequences
