"""What sums tell of a mixture, held to the inputs themselves in float64: its sums, and what it costs a capability."""

import math

import pytest
import torch
from torch import nn

from calprune.choosing.transfer import Sums, Transfer, block_names, collected, in_turn, transfer_table
from calprune.layers.linears import find_blocks
from calprune.layers.saved import Statistics
from calprune.likeness.sets import Rows
from calprune.methods import parse_method
from calprune.models.load import Model
from calprune.pattern import parse_pattern
from tests.families import VOCABULARY, tiny_model
from tests.tiny import toy_tokenizer

SHARES = {"a": 0.2, "b": 0.5, "c": 0.3}


def rows(seed: int, low: int, high: int, n: int = 6, length: int = 24) -> Rows:
    """Sequences of several lengths over a part of the vocabulary."""
    stream = torch.Generator().manual_seed(seed)
    tokens = torch.randint(low, high, (n, length), generator=stream)
    return Rows(tokens, torch.randint(length // 3, length + 1, (n,), generator=stream), None)


SOURCES = {"a": rows(1, 3, 40), "b": rows(2, 30, 70), "c": rows(3, 60, VOCABULARY)}
TEXTS = {"t": rows(4, 3, 50), "u": rows(5, 45, VOCABULARY)}


@pytest.fixture(scope="module")
def model() -> Model:
    return Model(tiny_model("llama"), toy_tokenizer(), "tiny", "tiny")


@torch.no_grad()
def inputs(model: Model, given: Rows) -> dict[str, torch.Tensor]:
    """Every real token's input of every linear in a block, (tokens, in) float64, a sequence at a time."""
    seen: dict[str, list[torch.Tensor]] = {}
    name, blocks = find_blocks(model.model)
    hooks = [
        module.register_forward_pre_hook(
            lambda _, args, full=f"{name}.{at}": seen.setdefault(full, []).append(args[0][0].double())
        )
        for at, module in blocks.named_modules()
        if isinstance(module, nn.Linear)
    ]
    try:
        for tokens, length in zip(given.tokens, given.lengths, strict=True):
            model.model(tokens[None, :length])
    finally:
        for hook in hooks:
            hook.remove()
    return {full: torch.cat(parts) for full, parts in seen.items()}


@torch.no_grad()
def expert_inputs(model: Model, block: str, given: Rows) -> list[torch.Tensor]:
    """What a sequence after another sent to each expert of a block reads, (tokens, in) float64."""
    module = model.model.get_submodule(f"{block}.mlp.experts")
    found: list[list[torch.Tensor]] = [[] for _ in range(module.num_experts)]

    def sent(_, args) -> None:
        for x, chosen in zip(args[0].reshape(-1, args[0].shape[-1]).double(), args[1], strict=True):
            for expert in chosen.tolist():
                found[expert].append(x)

    hook = module.register_forward_pre_hook(sent)
    for tokens, length in zip(given.tokens, given.lengths, strict=True):
        model.model(tokens[None, :length])
    hook.remove()
    return [torch.stack(one) if one else torch.zeros(0, model.model.config.hidden_size).double() for one in found]


@pytest.fixture(scope="module")
def seen(model) -> dict[str, dict[str, torch.Tensor]]:
    return {name: inputs(model, given) for name, given in (SOURCES | TEXTS).items()}


@pytest.fixture(scope="module")
def sums(model) -> dict[str, Statistics]:
    return {name: Statistics.collect(model.model, given, "gram") for name, given in (SOURCES | TEXTS).items()}


def of(sums, *names: str) -> Sums:
    return Sums({name: sums[name] for name in names})


def moments(seen, shares, linear: str) -> torch.Tensor:
    """Σ_s λ_s X_sᵀX_s / tokens_s: every token of a source weighs share / tokens."""
    found = 0.0
    for name, share in shares.items():
        x = seen[name][linear]
        weights = torch.full((len(x),), share / len(x), dtype=torch.float64)
        found = found + (x * weights[:, None]).T @ x
    return found


def test_the_sums_of_a_mixture_are_those_of_its_tokens_weighted_by_share(sums, seen, model):
    mixed = of(sums, *SHARES)
    for block in block_names(model):
        for linear, stats in mixed.mixed(SHARES, block).items():
            wanted = moments(seen, SHARES, f"{block}.{linear}")
            scale = wanted.abs().max()
            assert stats.tokens == pytest.approx(1.0)
            assert ((stats.gram.double() - wanted).abs() / scale).max() < 1e-5
            torch.testing.assert_close(stats.sum_xx.double(), wanted.diagonal(), rtol=1e-4, atol=1e-6)
            mean = sum(share * seen[name][f"{block}.{linear}"].mean(0) for name, share in SHARES.items())
            torch.testing.assert_close(stats.sum_x.double(), mean, rtol=1e-3, atol=1e-4)


def test_a_source_of_share_0_is_not_in_a_mixture(sums, model):
    block = block_names(model)[0]
    without, alone = of(sums, *SHARES).mixed({"a": 1.0, "b": 0.0}, block), of(sums, "a").mixed({"a": 1.0}, block)
    assert all(torch.equal(without[linear].gram, alone[linear].gram) for linear in alone)


def test_the_whole_models_sums_of_a_mixture_are_its_blocks(sums, model):
    whole = of(sums, *SHARES).statistics(SHARES, "gram")
    assert whole.names() == block_names(model)
    one = of(sums, *SHARES).mixed(SHARES, whole.names()[1])
    assert all(torch.equal(whole.of_block(whole.names()[1])[linear].gram, one[linear].gram) for linear in one)


def wanda(weight: torch.Tensor, moment: torch.Tensor) -> torch.Tensor:
    """Sun et al., eq. 1, at 50 %: of each row the half with the least |w_ij| · ‖X_j‖₂ goes."""
    score = weight.abs() * moment.diagonal().sqrt()
    threshold = score.sort(dim=1).values[:, weight.shape[1] // 2, None]
    return weight * (score >= threshold)


def ria(weight: torch.Tensor, moment: torch.Tensor) -> torch.Tensor:
    """Zhang et al., eq. 3-4, at 50 %: of the matrix the half with the least score goes."""
    size = weight.abs()
    score = (size / size.sum(0) + size / size.sum(1, keepdim=True)) * moment.diagonal().sqrt() ** 0.5
    threshold = score.flatten().sort().values[weight.numel() // 2]
    return weight * (score >= threshold)


def cost(model: Model, seen, shares, text: str, prune) -> float:
    """‖ΔW X_t‖² / ‖W X_t‖², the mean over linears, from the tokens of t themselves."""
    found = []
    for linear, x in seen[text].items():
        weight = model.model.get_submodule(linear).weight.detach().double()
        moved = weight - prune(weight, moments(seen, shares, linear))
        found.append(((x @ moved.T).square().sum() / (x @ weight.T).square().sum()).item())
    return math.fsum(found) / len(found)


@pytest.mark.parametrize("shares", [{"a": 1.0}, {"c": 1.0}, SHARES], ids=str)
@pytest.mark.parametrize("prune", [wanda, ria])
def test_what_a_mixture_costs_a_capability_is_the_relative_error_on_its_own_tokens(prune, shares, sums, seen, model):
    transfer = Transfer(model, parse_method(prune.__name__), parse_pattern("50%"), of(sums, *SHARES), of(sums, *TEXTS))
    found = transfer.loss(shares, block_names(model))
    assert found == pytest.approx({t: cost(model, seen, shares, t, prune) for t in TEXTS}, rel=1e-4)
    assert transfer.evaluations == 1


def test_the_cost_over_one_block_is_of_its_linears_alone(sums, seen, model):
    block = block_names(model)[1]
    transfer = Transfer(model, parse_method("wanda"), parse_pattern("50%"), of(sums, *SHARES), of(sums, *TEXTS))
    within = {text: {n: x for n, x in seen[text].items() if n.startswith(block)} for text in TEXTS}
    wanted = cost(model, seen | within, SHARES, "t", wanda)
    assert transfer.loss(SHARES, [block])["t"] == pytest.approx(wanted, rel=1e-4)


def test_a_source_that_is_the_capabilitys_own_text_has_no_regret(sums, model):
    sources = Sums({"a": sums["a"], "itself": sums["t"]})
    transfer = Transfer(model, parse_method("wanda"), parse_pattern("60%"), sources, of(sums, "u"))
    said: list[str] = []
    table = transfer_table(transfer, Sums({"u": sums["t"]}), block_names(model), said.append)
    assert table.regret(table.loss["itself"]) == {"u": 0.0}
    assert table.regret(table.loss["a"])["u"] != 0.0
    assert (
        said == [f"from sums: what pruning with {name} would lose of each capability" for name in ("a", "itself")]
        and transfer.evaluations == 3
    )


def test_the_model_is_read_and_never_changed(sums, model):
    before = {name: p.clone() for name, p in model.model.named_parameters()}
    transfer = Transfer(model, parse_method("wanda"), parse_pattern("2:4"),
                        of(sums, *SHARES), of(sums, *TEXTS))  # fmt: skip
    transfer.loss(SHARES, block_names(model))
    assert all(torch.equal(before[name], p) for name, p in model.model.named_parameters())


def test_sums_are_collected_by_one_pass_and_then_read(model, tmp_path, monkeypatch):
    first = collected(tmp_path / "sums", model, SOURCES["a"], "moments")
    monkeypatch.setattr(Statistics, "collecting", lambda *a, **k: pytest.fail("a second pass was run"))
    again = collected(tmp_path / "sums", model, SOURCES["a"], "moments")
    block = block_names(model)[0]
    ours, theirs = first.of_block(block), again.of_block(block)
    assert all(torch.equal(ours[linear].sum_xx, theirs[linear].sum_xx) for linear in ours)


def test_an_expert_has_its_own_tokens_sums_in_a_mixture_however_few_each_source_sends_it(tmp_path):
    model = Model(tiny_model("mixtral"), toy_tokenizer(), "mixtral", "mixtral")
    rare, plenty = rows(6, 3, VOCABULARY, n=1, length=6), rows(7, 3, VOCABULARY, n=40)
    sums = Sums({name: collected(tmp_path / name, model, given, "gram")
                 for name, given in (("rare", rare), ("plenty", plenty))})  # fmt: skip
    n, m = (int(given.lengths.sum()) for given in (rare, plenty))
    for block in block_names(model):
        mixed = sums.mixed({"rare": n / (n + m), "plenty": m / (n + m)}, block)
        reads = [expert_inputs(model, block, given) for given in (rare, plenty)]
        assert min(len(x) for x in reads[0]) < 4, "too few to stand for themselves in a pruned model"
        for expert, parts in enumerate(zip(*reads, strict=True)):
            x = torch.cat(parts)
            found = mixed[f"mlp.experts.{expert}.gate_proj"].gram
            torch.testing.assert_close(found.double(), x.T @ x / (n + m), rtol=1e-4, atol=1e-6)


def test_windows_go_in_turn_to_what_calibrates_and_to_what_judges():
    windows = torch.arange(7 * 4).view(7, 4)
    own, held = in_turn(windows)
    assert own.tokens[:, 0].tolist() == [0, 8, 16, 24] and held.tokens[:, 0].tolist() == [4, 12, 20]
    assert own.lengths.tolist() == [4] * 4 and held.lengths.tolist() == [4] * 3
