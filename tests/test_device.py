"""A GPU prunes the weights that a CPU prunes, and leaves the same values: matrix by matrix, and a whole model."""

import pytest
import torch

from calprune.methods import METHODS, BlockReconstruction, SparseGPT, Wanda
from calprune.pattern import Unstructured, parse_pattern
from calprune.pruning import prune
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


@pytest.mark.parametrize("moved", [True, False], ids=["the model is there", "its blocks visit"])
@pytest.mark.parametrize("method", [Wanda(), SparseGPT(), BlockReconstruction(Wanda())], ids=lambda m: type(m).__name__)
def test_a_model_is_pruned_to_the_same_weights_on_a_gpu(method, moved):
    """But for near ties, which the rounding of what reaches the second block decides."""
    here, there = tiny_model("llama"), tiny_model("llama")
    reports = prune(here, calibration(), method, Unstructured(0.5))
    if moved:
        there.to("cuda")
    prune(there, calibration(), method, Unstructured(0.5), device="cuda")
    names = [report.name for report in reports]
    expected, found = (
        torch.cat([model.get_submodule(name).weight.detach().cpu().flatten() for name in names])
        for model in (here, there)
    )
    assert {p.device.type for p in there.parameters()} == {"cuda" if moved else "cpu"}
    same = (found != 0) == (expected != 0)
    assert same.float().mean() >= 0.999
    assert (found - expected)[same].norm() <= 1e-3 * expected.norm()
