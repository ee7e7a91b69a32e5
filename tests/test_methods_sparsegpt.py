"""SparseGPT's compiled kernels, for a CPU and for a GPU, and its plain torch form are one method."""

import importlib
import warnings

import pytest
import torch

from calprune.allocation import parse_allocation
from calprune.allocation.owl import OWL
from calprune.methods import parse_method
from calprune.methods.kernels import solve as solving
from calprune.methods.kernels.solve import compiled
from calprune.methods.rose import ROSE
from calprune.methods.sparsegpt import SparseGPT, _mask
from calprune.pattern import Unstructured, parse_pattern
from calprune.pruning.job import Pruning
from tests.families import tiny_model
from tests.test_blocks import calibration
from tests.test_methods import plain_sparsegpt, random_inputs, random_weight
from tests.test_stats import stats_of

PATTERNS = ["50%", "50%/row", "70%", "2:4", "1:4", "6:8", "3:20"]


@pytest.fixture
def without_numba(monkeypatch):
    monkeypatch.setattr(solving, "compiled", lambda device: None)


@pytest.fixture
def by_triton(monkeypatch):
    """The GPU's kernel, on a CPU by Triton's interpreter (conftest.py asks for it)."""
    pytest.importorskip("triton", reason="comes with torch's builds for CUDA; here: pip install 'calprune[dev]'")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU, and test_device.py runs it there")
    kernel = importlib.import_module("calprune.methods.kernels.triton")
    monkeypatch.setattr(solving, "compiled", lambda device: kernel.solve_columns)


def test_here_the_kernel_compiles():
    pytest.importorskip("numba", reason="the compiled kernel is an extra: pip install 'calprune[fast]'")
    assert compiled("cpu") is not None


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("rows", [1, 24, 300])  # 300: more than one tile
def test_compiled_and_plain_torch_prune_the_same_weights(pattern, rows, request):
    pytest.importorskip("numba", reason="the compiled kernel is an extra: pip install 'calprune[fast]'")
    weight, stats = random_weight(rows, 160), stats_of(random_inputs(1000, 160))
    fast = SparseGPT()(weight, stats, parse_pattern(pattern))
    request.getfixturevalue("without_numba")
    plain = SparseGPT()(weight, stats, parse_pattern(pattern))
    assert ((fast == 0) == (plain == 0)).float().mean() > 0.999, "but for near ties"
    same = ((fast == 0) == (plain == 0)).all(dim=1)
    torch.testing.assert_close(fast[same], plain[same], rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_kernel_of_a_gpu_and_plain_torch_prune_the_same_weights(pattern, by_triton, monkeypatch):
    weight, stats = random_weight(13, 80), stats_of(random_inputs(400, 80))  # 13: not whole programs
    parsed, method = parse_pattern(pattern), SparseGPT(column_block=48)  # 48, then 32: not only powers of two
    fast = method(weight, stats, parsed)
    monkeypatch.setattr(solving, "compiled", lambda device: None)
    plain = method(weight, stats, parsed)
    assert torch.equal(fast == 0, plain == 0)
    torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-4)


def test_no_kernel_is_offered_for_a_gpu_that_is_not_there():
    if torch.cuda.is_available():
        pytest.skip("there is one")
    compiled.cache_clear()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert compiled("cuda") is None
    assert all("without its kernel" in str(warning.message) for warning in said)
    assert compiled("mps") is None


@pytest.mark.parametrize("pattern", ["50%", "2:4", "3:20"])
def test_without_numba_it_equals_its_algorithm_written_out(pattern, without_numba):
    weight, x = random_weight(24, 160), random_inputs(1000, 160)
    expected = plain_sparsegpt(weight, x, parse_pattern(pattern))
    found = SparseGPT()(weight, stats_of(x), parse_pattern(pattern))
    assert ((found == 0) == (expected == 0)).float().mean() > 0.995


def test_of_equal_scores_the_first_goes_in_all(request):
    weight, x = torch.ones(3, 8), torch.eye(8)
    for fixture in (None, "without_numba", "by_triton"):
        if fixture:
            request.getfixturevalue(fixture)
        found = SparseGPT()(weight, stats_of(x), parse_pattern("2:4"))
        assert (found != 0).tolist() == [[False, False, True, True] * 2] * 3


@pytest.mark.parametrize("method", [SparseGPT(), SparseGPT(column_block=7), ROSE()])
@pytest.mark.parametrize("width", [576, 1536])
def test_where_a_row_competes_each_row_loses_the_share_to_the_weight(method, width):
    numbers = torch.Generator().manual_seed(5)
    weight, x = (torch.randn(n, width, generator=numbers) for n in (3, 8))
    stats = stats_of(x * torch.linspace(0.1, 3, width))
    for percent in (45, 50, 55, 65, 75):
        zeros = (method(weight, stats, parse_pattern(f"{percent}%/row")) == 0).sum(1)
        assert zeros.tolist() == [round(width * percent / 100)] * 3


@pytest.mark.parametrize("block", [1, 7, 128])
@pytest.mark.parametrize("width", [576, 1536, 4096])
def test_of_the_first_columns_a_row_loses_the_share_to_the_weight_wherever_a_block_ends(width, block):
    """The counts alone: a Gram matrix of 4096 takes too long to factorise."""
    for percent in (45, 55, 65):
        pattern, lost = Unstructured(percent / 100, "row"), torch.zeros(2)
        for start in range(0, width, block):
            here = min(block, width - start)
            lost += _mask(torch.rand(here, 2), torch.ones(here), pattern, start).sum(0)
            assert lost.tolist() == [round((start + here) * pattern.sparsity)] * 2


def test_where_rows_compete_owl_zeros_as_many_weights_as_it_gave_each_linear():
    found = Pruning(SparseGPT(column_block=1), parse_pattern("50%/row"), allocation=OWL(m=2.0)).run(
        tiny_model("llama"), calibration()
    )
    for report in found.reports:
        share = parse_pattern(report.pattern).sparsity
        assert report.zeros == round(share * report.shape[1]) * report.shape[0]
    assert len({report.pattern for report in found.reports}) > 1


def test_a_job_has_another_name_where_its_rows_have_other_zeros_and_no_other_has():
    def revision(method: str, pattern: str, allocation="uniform") -> int:
        return Pruning(parse_method(method), parse_pattern(pattern), allocation=parse_allocation(allocation)).revision

    changed = [("sparsegpt", "60%/row"), ("rose", "55%/row"), ("sparsegpt", "50%/row", "owl"),
               ("refit(start=sparsegpt)", "60%/row"), ("sparsegpt(column_block=1)", "50%/row")]  # fmt: skip
    same = [("sparsegpt", "50%/row"), ("sparsegpt", "60%"), ("sparsegpt", "2:4"), ("wanda", "60%/row"),
            ("rose", "75%/row"), ("sparsegpt", "50%", "owl")]  # fmt: skip
    assert [revision(*job) for job in changed] == [1] * len(changed)
    assert [revision(*job) for job in same] == [0] * len(same)
