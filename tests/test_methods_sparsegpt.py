"""SparseGPT's compiled kernels, for a CPU and for a GPU, and its plain torch form are one method."""

import importlib
import warnings

import pytest
import torch

from calprune.methods.kernels import solve as solving
from calprune.methods.kernels.solve import compiled
from calprune.methods.sparsegpt import SparseGPT
from calprune.pattern import parse_pattern
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
