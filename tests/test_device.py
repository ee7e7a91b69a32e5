"""A GPU prunes the weights that a CPU prunes, and leaves the same values: matrix by matrix, and a whole model."""

import pytest
import torch

from calprune.allocation.owl import OWL
from calprune.layers.attention import AttentionConcentration
from calprune.layers.collect import Counting
from calprune.layers.inputs import InputStats
from calprune.layers.linears import find_blocks, linears
from calprune.methods import METHODS, parse_method
from calprune.pattern import KeepNofM, Unstructured, parse_pattern
from calprune.pruning.job import Pruning
from tests.families import tiny_model
from tests.test_blocks import calibration
from tests.test_methods import example, full_stats, random_inputs, random_weight

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that torch can use")


CASES = [
    (name, pattern)
    for name, cls in METHODS.items()
    for pattern in (["50%", "2:4"] if getattr(cls, "prunes", True) else ["0%"])
    if pattern != "2:4" or getattr(cls, "exact_count", True)
]


@pytest.mark.parametrize(("name", "pattern"), CASES)
def test_a_method_gives_the_same_weights_on_a_gpu(name, pattern):
    method, parsed = example(name), parse_pattern(pattern)
    # a weight on which no method has a near tie, which rounding would decide
    weight, stats = random_weight(32, 64, seed=4), full_stats(random_inputs(500, 64), 32)
    expected = method(weight, stats, parsed)
    found = method(weight.to("cuda"), stats.to("cuda"), parsed)
    assert found.device.type == "cuda" and found.dtype == expected.dtype
    assert torch.equal(found.cpu() != 0, expected != 0)
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-3, atol=1e-3)


JOBS: dict[str, tuple[str, str, dict]] = {
    "wanda": ("llama", "wanda", {}),
    "sparsegpt": ("gpt2", "sparsegpt", {}),
    "gradients of the loss": ("qwen3", "gblm", {}),
    "gradients of the output": ("llama", "regional(start=wanda_plus_plus)", {}),
    "reconstruction": ("llama", "block_reconstruction(start=wanda)", {}),
    "of two blocks": (
        "llama", "block_reconstruction(start=wanda, cross_block=True, global_propagation=True, epochs=1)", {}
    ),
    "fused experts": ("mixtral", "sparsegpt", {"counting": Counting(min_expert_tokens=4)}),
    "all experts": ("olmoe", "wanda", {"counting": Counting(all_experts=True)}),
    "attention": ("gemma2", "wanda", {"counting": Counting(token_weights=AttentionConcentration())}),
    "allocation": ("llama", "wanda", {"allocation": OWL()}),
    "permutation": ("llama", "wanda", {"permute": "heuristic"}),
}  # fmt: skip


@pytest.mark.parametrize("moved", [True, False], ids=["the model is there", "its blocks visit"])
@pytest.mark.parametrize("job", JOBS)
def test_a_model_is_pruned_to_the_same_weights_on_a_gpu(job, moved):
    """But for near ties, which the rounding of what reaches the second block decides."""
    family, method, options = JOBS[job]
    pattern = KeepNofM(2, 4) if "permute" in options else Unstructured(0.5)
    here, there = tiny_model(family), tiny_model(family)
    Pruning(parse_method(method), pattern, **options).run(here, calibration())
    if moved:
        there.to("cuda")
    Pruning(parse_method(method), pattern, **options).run(there, calibration(), device="cuda")
    assert {p.device.type for p in there.parameters()} == {"cuda" if moved else "cpu"}
    expected, found = (
        torch.cat([site.weight.cpu().flatten() for block in find_blocks(model)[1] for site in linears(block)])
        for model in (here, there)
    )
    same = (found != 0) == (expected != 0)
    assert same.float().mean() >= 0.999
    assert (found - expected)[same].norm() <= 1e-3 * expected.norm()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("weighted", [True, False])
def test_sums_of_any_dtype_are_float32_sums_on_a_gpu(dtype, weighted):
    x = (1 + torch.randn(20_000, 64, generator=torch.Generator().manual_seed(0))).to(dtype)
    weight = torch.rand(20_000, generator=torch.Generator().manual_seed(1)) if weighted else torch.ones(20_000)
    stats = InputStats(64, "gram", "cuda")
    stats.observe(x.to("cuda"), weight.to("cuda") if weighted else None)
    exact = (x.double() * weight[:, None]).T @ x.double()
    assert stats.gram is not None and stats.gram.dtype == torch.float32
    assert (stats.gram.cpu() - exact).norm() <= 1e-5 * exact.norm()
    torch.testing.assert_close(stats.sum_x.cpu(), (x.double() * weight[:, None]).sum(0).float(), rtol=1e-5, atol=1e-2)
