"""Gradients, sequence by sequence: those of plain autograd; and the methods that score by them."""

import itertools

import pytest
import torch
from torch import Tensor

from calprune.base.values import ConfigError
from calprune.calibration.set import CalibrationSet
from calprune.layers.blocks import walk
from calprune.layers.gradients import loss_gradients, output_gradients
from calprune.layers.inputs import GradientSums, InputStats, StatsError
from calprune.layers.linears import find_blocks, linears
from calprune.layers.saved import Statistics
from calprune.methods import parse_method
from calprune.methods.gblm import GBLM
from calprune.methods.pruner_zero import PrunerZero
from calprune.methods.wanda_plus_plus import WandaPlusPlus
from calprune.pattern import KeepNofM, PatternError, Unstructured
from calprune.pruning.job import Pruning
from tests.families import tiny_model
from tests.test_blocks import calibration

HALF, TWO_FOUR = Unstructured(0.5), KeepNofM(2, 4)
SCORED = [GBLM(), GBLM(norm="l1"), PrunerZero(), WandaPlusPlus()]


def weighted(seed: int = 0) -> CalibrationSet:
    """Sequences of unlike lengths whose tokens count unlike often, one of them not at all."""
    plain = calibration(seed)
    weights = torch.rand(plain.tokens.shape, generator=torch.Generator().manual_seed(seed))
    weights[0] = 0
    weights[:, 3] = 0
    return CalibrationSet.from_tokens(plain.tokens, plain.lengths, weights)


def counts(data: CalibrationSet, row: int) -> Tensor:
    length = int(data.lengths[row])
    return torch.ones(length) if data.weights is None else data.weights[row, :length]


def loss_by_autograd(model, data: CalibrationSet) -> dict[str, tuple[Tensor, Tensor, int]]:
    """Σ g², Σ |g| and their number by the plainest loop: one sequence, one backward, every weight's own .grad."""
    name, modules = find_blocks(model)
    sites = {f"{name}.{i}.{s.name}": s for i, b in enumerate(modules) for s in linears(b)}
    sums = {n: (torch.zeros(s.weight.shape), torch.zeros(s.weight.shape)) for n, s in sites.items()}
    sequences = 0
    for row in range(len(data.tokens)):
        weight = counts(data, row)[1:]
        if not weight.sum() > 0:
            continue
        ids = data.tokens[row : row + 1, : int(data.lengths[row])]
        model.zero_grad()
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, :-1]
        each = -logits.log_softmax(1)[torch.arange(len(logits)), ids[0, 1:]]
        ((each * weight).sum() / weight.sum()).backward()
        sequences += 1
        for n, s in sites.items():
            g = s.module.weight.grad.T if s.stored.transposed else s.module.weight.grad
            sums[n][0].add_(g.square())
            sums[n][1].add_(g.abs())
    model.zero_grad(set_to_none=True)
    return {n: (*both, sequences) for n, both in sums.items()}


def assert_sums(found: dict[str, GradientSums], expected: dict[str, tuple[Tensor, Tensor, int]]) -> None:
    assert found.keys() == expected.keys()
    for name, (squares, sizes, sequences) in expected.items():
        scale = squares.max()
        assert found[name].sequences == sequences
        torch.testing.assert_close(found[name].squares, squares, rtol=1e-3, atol=1e-5 * scale.item(), msg=name)
        torch.testing.assert_close(found[name].sizes, sizes, rtol=1e-3, atol=1e-5 * scale.sqrt().item(), msg=name)


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "gemma2"])
@pytest.mark.parametrize("data", [calibration, weighted], ids=["plain", "weighted"])
def test_the_sums_of_the_loss_are_those_of_plain_autograd(family, data):
    model = tiny_model(family)
    assert_sums(loss_gradients(model, data(), batch_size=3), loss_by_autograd(model, data()))


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt"])
@pytest.mark.parametrize("data", [calibration, weighted], ids=["plain", "weighted"])
def test_the_sums_of_a_blocks_output_are_those_of_plain_autograd(family, data):
    """The norm of what the second block gives, sequence by sequence, alone and without padding."""
    model, data = tiny_model(family), data()
    *_, last = (output_gradients(block) for block in walk(model, data, batch_size=3))
    modules = find_blocks(model)[1]
    outputs: list[Tensor] = []

    def keep(module, args, output):
        outputs[:] = [output[0] if isinstance(output, tuple) else output]

    modules[1].register_forward_hook(keep)
    sites = linears(modules[1])
    expected = {s.name: [torch.zeros(s.weight.shape), torch.zeros(s.weight.shape), 0] for s in sites}
    for row in range(len(data.tokens)):
        weight = counts(data, row)
        if not weight.sum() > 0:
            continue
        model.zero_grad()
        model(input_ids=data.tokens[row : row + 1, : len(weight)])
        (outputs[0][0] * weight.sqrt()[:, None]).norm().backward()
        for s in sites:
            g = s.module.weight.grad.T if s.stored.transposed else s.module.weight.grad
            expected[s.name][0] += g.square()
            expected[s.name][1] += g.abs()
            expected[s.name][2] += 1
    assert_sums(last, {n: tuple(v) for n, v in expected.items()})


@pytest.mark.parametrize("kind", ["loss", "output"])
def test_batching_does_not_change_them(kind):
    model = tiny_model("llama")

    def sums(size: int) -> dict[str, GradientSums]:
        if kind == "loss":
            return loss_gradients(model, weighted(), batch_size=size)
        return {n: g for b in walk(model, weighted(), batch_size=size) for n, g in output_gradients(b).items()}

    one, all_at_once = sums(1), sums(100)
    assert_sums(all_at_once, {n: (g.squares, g.sizes, int(g.sequences)) for n, g in one.items()})


def test_the_model_is_left_as_it_was():
    model = tiny_model("llama").train()
    model.lm_head.weight.requires_grad_(False)
    asked = {n: p.requires_grad for n, p in model.named_parameters()}
    before = {n: p.clone() for n, p in model.named_parameters()}
    with torch.no_grad():
        loss_gradients(model, calibration())
    assert model.training and {n: p.requires_grad for n, p in model.named_parameters()} == asked
    assert all(p.grad is None and torch.equal(p, before[n]) for n, p in model.named_parameters())


def test_gradients_that_are_not_finite_are_refused_by_name():
    model = tiny_model("llama")
    model.model.layers[1].mlp.up_proj.weight.data[0, 0] = float("inf")
    with pytest.raises(StatsError, match=r"the gradients in model\.layers\.\d\.\S+ hold NaN"):
        loss_gradients(model, calibration())


@pytest.mark.parametrize("method", SCORED, ids=str)
def test_saved_sums_serve_the_methods_as_the_data_do(method, tmp_path):
    model, data = tiny_model("llama"), calibration()
    Statistics.collect(model, data, method.needs, batch_size=2).save(tmp_path / "sums")
    from_saved, from_data = tiny_model("llama"), tiny_model("llama")
    Pruning(method, TWO_FOUR).run(from_saved, Statistics.load(tmp_path / "sums"))
    Pruning(method, TWO_FOUR, propagate="dense").run(from_data, data, batch_size=2)
    for (name, a), b in zip(from_saved.named_parameters(), from_data.parameters(), strict=True):
        assert torch.equal(a, b), name


@pytest.mark.parametrize(("needs", "method", "of"), [
    ("gram", WandaPlusPlus(), "output; collect them with --needs regional"),
    ("regional", GBLM(), "loss; collect them with --needs gradients"),
    ("gram", PrunerZero(), "loss; collect them with --needs gradients"),
])  # fmt: skip
def test_sums_without_them_are_refused_before_a_weight_is_touched(needs, method, of):
    model = tiny_model("llama")
    before = {n: p.clone() for n, p in model.named_parameters()}
    with pytest.raises(StatsError, match=f"no gradients of the {of}"):
        Pruning(method, HALF).run(model, Statistics.collect(model, calibration(), needs))
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())


def test_sums_with_gradients_add_scale_and_still_share_their_inputs():
    model, a, b = tiny_model("llama"), calibration(0), calibration(1)
    both = CalibrationSet.from_tokens(torch.cat([a.tokens, b.tokens]), torch.cat([a.lengths, b.lengths]))
    added = (Statistics.collect(model, a, "gradients") + Statistics.collect(model, b, "gradients")).of_block(
        "model.layers.1"
    )
    whole = Statistics.collect(model, both, "gradients").of_block("model.layers.1")
    for of, name in itertools.product(("loss", "output"), whole):
        assert added[name].gradient(of).sequences == whole[name].gradient(of).sequences
        torch.testing.assert_close(
            added[name].gradient(of).squares, whole[name].gradient(of).squares, rtol=1e-3, atol=1e-5
        )
    assert added["self_attn.q_proj"].gram is added["self_attn.k_proj"].gram
    assert not torch.equal(
        added["mlp.up_proj"].gradients["loss"].squares, added["mlp.gate_proj"].gradients["loss"].squares
    )
    half = (0.5 * Statistics.collect(model, a, "gradients")).of_block("model.layers.0")["mlp.up_proj"]
    once = Statistics.collect(model, a, "gradients").of_block("model.layers.0")["mlp.up_proj"]
    torch.testing.assert_close(2 * half.gradient("loss").sizes, once.gradient("loss").sizes)


def graded(rows: int = 12, width: int = 16, sequences: int = 5) -> tuple[Tensor, InputStats, Tensor, Tensor]:
    """A weight, its sums, the inputs X (tokens, in) and the gradients (sequences, out, in) that they are of."""
    numbers = torch.Generator().manual_seed(0)
    weight = torch.randn(rows, width, generator=numbers)
    X = torch.randn(200, width, generator=numbers) * torch.logspace(-1, 1, width)
    G = torch.randn(sequences, rows, width, generator=numbers) * torch.rand(width, generator=numbers)
    stats = InputStats(width, "moments")
    stats.observe(X)
    sums = GradientSums(float(sequences), G.square().sum(0), G.abs().sum(0))
    return weight, stats.of_linear({"loss": sums, "output": sums}), X, G


def keeps(score: Tensor, count: int) -> Tensor:
    """The highest of each row, by sorting."""
    return torch.zeros_like(score, dtype=torch.bool).scatter_(1, score.sort(1).indices[:, -count:], True)


@pytest.mark.parametrize(
    ("method", "equation"),
    [
        (GBLM(3.0), lambda W, X, G: W.abs() * ((X.square().sum(0) / 5).sqrt() + 3 * G.square().sum(0).sqrt())),
        (GBLM(3.0, "l1"), lambda W, X, G: W.abs() * ((X.square().sum(0) / 5).sqrt() + 3 * G.abs().sum(0))),
        (
            WandaPlusPlus(9.0),
            lambda W, X, G: (9 * G.square().mean(0).sqrt() + (X.square().sum(0) / 5).sqrt()) * W.abs(),
        ),
        (
            PrunerZero(),
            lambda W, X, G: (
                (W * W).abs()
                * (G.square().sum(0).sqrt() - G.square().sum(0).sqrt().min())
                / (G.square().sum(0).sqrt().max() - G.square().sum(0).sqrt().min())
            ),
        ),
    ],
    ids=["gblm", "gblm l1", "wanda++", "pruner-zero"],
)
def test_what_survives_is_what_the_papers_equation_says_in_float64(method, equation):
    weight, stats, X, G = graded()
    expected = weight * keeps(equation(weight.double(), X.double(), G.double()), 10)
    assert torch.equal(method(weight, stats, Unstructured(6 / 16)), expected)


def test_without_their_gradient_gblm_and_wanda_plus_plus_are_wanda():
    weight, stats, _, _ = graded()
    wanda = parse_method("wanda")(weight, stats, TWO_FOUR)
    assert torch.equal(GBLM(alpha=0.0)(weight, stats, TWO_FOUR), wanda)
    assert torch.equal(WandaPlusPlus(alpha=0.0)(weight, stats, TWO_FOUR), wanda)


def test_pruner_zero_does_not_see_the_scale_of_the_gradients():
    weight, stats, _, _ = graded()
    larger = stats.of_linear({"loss": 100.0 * stats.gradient("loss")})
    assert torch.equal(PrunerZero()(weight, stats, HALF), PrunerZero()(weight, larger, HALF))


@pytest.mark.parametrize("text", ["gblm(alpha=-1)", "wanda_plus_plus(alpha=-0.5)", "gblm(norm='l3')"])
def test_options_outside_their_range_are_refused(text):
    with pytest.raises((ConfigError, PatternError), match=r"alpha|norm"):
        parse_method(text)
