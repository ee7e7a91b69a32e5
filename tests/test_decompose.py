"""Decomposition: the pattern and the rank hold, both parts together are nearer than one after the other, and the saved
folders give what the model in memory gives."""

import json
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import calprune
from calprune.base.values import ConfigError, UserError
from calprune.layers.inputs import InputStats
from calprune.methods.admm import ADMM
from calprune.methods.magnitude import Magnitude
from calprune.pattern import PatternError, keep_mask, parse_pattern
from calprune.pruning.job import Pruning
from calprune.recovery.basil import Basil, _Fit
from calprune.recovery.compensation import low_rank
from calprune.recovery.decomposition import decompose
from tests.families import CONFIGS, FUSED_EXPERTS, random_model
from tests.test_cli import run  # noqa: F401
from tests.test_compensate import adapted, error
from tests.test_recover import SIZES, place  # noqa: F401
from tests.tiny import save, toy_tokenizer

PAGE = Path(__file__).parents[1] / "docs" / "recover.md"
PATTERNS = ("2:4", "60%", "50%/row")


def problem(seed: int, out: int = 20, width: int = 32) -> tuple[torch.Tensor, InputStats]:
    """Weights, and the sums of inputs of very different sizes that depend on each other."""
    g = torch.Generator().manual_seed(seed)
    mix = torch.randn(width, width, generator=g) / width**0.5 * torch.logspace(-1, 0.5, width)
    stats = InputStats(width, "gram")
    stats.observe(torch.randn(5 * width, width, generator=g) @ (mix + 0.3 * torch.eye(width)))
    return torch.randn(out, width, generator=g), stats


def left(weight, solved, stats) -> float:
    """The share of the outputs' squares that the two parts do not give."""
    W, gram = weight.double(), stats.covariance.double()
    return error(W, solved.sparse.double() + solved.B @ solved.A, gram) / error(W, 0 * W, gram)


# --- one matrix


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("rank", [0, 1, 5])
def test_the_pattern_holds_exactly_and_the_rank_is_not_above_the_wanted(pattern, rank):
    weight, stats = problem(0)
    before = weight.clone()
    solved = Basil(rank=rank, iterations=60).solve(weight, stats, parse_pattern(pattern))
    zero = solved.sparse == 0
    match pattern:
        case "2:4":
            assert bool((zero.reshape(-1, 4).sum(1) == 2).all())
        case "60%":
            assert int(zero.sum()) == round(0.6 * weight.numel())
        case _:
            assert bool((zero.sum(1) == 16).all())
    assert not (zero & solved.sparse.signbit()).any(), "no -0.0"
    assert solved.B.shape == (20, rank) and solved.A.shape == (rank, 32)
    assert rank == 0 or int(torch.linalg.matrix_rank(solved.B @ solved.A)) == rank
    assert torch.equal(weight, before)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("seed", range(4))
def test_together_is_nearer_than_a_mask_first_and_an_adapter_afterwards(pattern, seed):
    weight, stats = problem(seed)
    wanted, found = parse_pattern(pattern), {}
    for method in (Magnitude(), ADMM()):
        sparse = method(weight, stats, wanted)
        B, A = low_rank(weight.double() - sparse.double(), stats.covariance, 4)
        found[method.tag] = left(weight, type("Both", (), {"sparse": sparse, "B": B, "A": A}), stats)
    joint = left(weight, Basil(rank=4).solve(weight, stats, wanted), stats)
    assert joint < 0.5 * min(found.values()), found


def test_more_rank_is_nearer_and_a_full_rank_leaves_nothing():
    weight, stats = problem(1)
    errors = [left(weight, Basil(rank=r, iterations=100).solve(weight, stats, parse_pattern("2:4")), stats)
              for r in (0, 2, 4, 8, 20)]  # fmt: skip
    assert errors == sorted(errors, reverse=True) and errors[0] > 3 * errors[2]
    assert errors[-1] < 1e-12


def test_the_rounds_after_the_iterations_only_lower_what_is_minimised():
    weight, stats = problem(2)
    gram = stats.covariance.double()
    gram.diagonal().add_(0.01 * gram.diagonal().mean())

    def objective(rounds: int) -> float:
        solved = Basil(rank=4, iterations=30, rounds=rounds).solve(weight.double(), stats, parse_pattern("60%"))
        return error(weight.double(), solved.sparse + solved.B @ solved.A, gram)

    found = [objective(rounds) for rounds in (0, 1, 3, 10, 30)]
    assert all(later <= earlier * (1 + 1e-9) for earlier, later in pairwise(found)), found
    assert found[-1] < 0.99 * found[0]


def test_the_last_fit_takes_what_rounding_left_too():
    weight, stats = problem(3)
    narrow = weight.bfloat16()
    solved = Basil(rank=20, iterations=30).solve(narrow, stats, parse_pattern("2:4"))
    assert solved.sparse.dtype == torch.bfloat16 and left(narrow, solved, stats) < 1e-12


def keep_of(score: np.ndarray, pattern: str) -> np.ndarray:
    """(in, out): True where the score is among the highest: two of four inputs in a row, or 40 % of all."""
    if pattern == "2:4":
        groups = score.T.reshape(-1, 4)
        kept = np.zeros_like(groups, bool)
        np.put_along_axis(kept, groups.argsort(1)[:, 2:], True, 1)
        return kept.reshape(score.T.shape).T
    flat = np.zeros(score.size, bool)
    flat[score.T.reshape(-1).argsort()[round(0.6 * score.size) :]] = True
    return flat.reshape(score.T.shape).T


def transcription(weight: np.ndarray, gram: np.ndarray, pattern: str, rank: int, iterations: int, rho: float = 0.1):
    """The released iteration, float64: S, its copy D, the dual V and L by a whole SVD; in the weights' own scale."""
    H = gram + 0.01 * np.trace(gram) / len(gram) * np.eye(len(gram))
    n = np.sqrt(np.diag(H)) + 1e-8
    scaled, W = H / np.outer(n, n), (weight * n).T
    values, vectors = np.linalg.eigh(H)
    root, back = (vectors * values**0.5) @ vectors.T, (vectors * values**-0.5) @ vectors.T
    B, V, kept = W.copy(), np.zeros_like(W), keep_of(np.abs(W), pattern)
    D, start, L, moved = W * kept, W * kept, np.zeros_like(weight), False
    for t in range(1, iterations + 1):
        right = scaled @ ((weight - L) * n).T - V + rho * D
        B = np.linalg.solve(scaled + rho * np.eye(len(n)), right)
        D = B + V / rho
        now = keep_of(np.abs(D), pattern)
        D = np.where(now, D, 0.0)
        V = V + rho * (B - D)
        U, s, Vt = np.linalg.svd((weight - B.T / n) @ root)
        L = (U[:, :rank] * s[:rank]) @ Vt[:rank] @ back
        if t % 10 == 0:
            changed, kept = int((now != kept).sum()), now
            share = changed / now.sum()
            if (changed == 0 and moved) or (t > 100 and share < 0.0003):
                break
            if changed and share > 0.005:
                rho, moved = rho * (1.1 if share > 0.1 else 1.05), True
            elif moved:
                rho *= 1.02
            else:
                rho /= 5
                if changed:
                    B, D, V = W.copy(), start.copy(), np.zeros_like(W)
    return np.where(keep_of(np.abs(B), pattern), B, 0.0).T / n, L, t


@pytest.mark.parametrize("pattern", ["2:4", "60%"])
@pytest.mark.parametrize(("out", "width", "rank"), [(8, 12, 2), (12, 8, 3), (6, 16, 0)])
def test_it_is_the_released_iteration_with_a_whole_decomposition(pattern, out, width, rank):
    weight, stats = problem(7, out, width)
    weight, stats.gram = weight.double(), stats.gram.double()
    for iterations in (1, 9, 10, 35, 90):
        S, _, _ = transcription(weight.numpy(), stats.covariance.numpy(), pattern, rank, iterations)
        found = Basil(rank=rank, iterations=iterations, rounds=0).solve(weight, stats, parse_pattern(pattern))
        assert np.allclose(found.sparse.numpy(), S, rtol=1e-8, atol=1e-8), iterations


def test_it_stops_where_the_released_iteration_stops():
    weight, stats = problem(7, 12, 8)
    weight, stats.gram = weight.double(), stats.gram.double()
    S, _, steps = transcription(weight.numpy(), stats.covariance.numpy(), "2:4", 3, 1000)
    assert 10 < steps < 1000
    found = Basil(rank=3, iterations=1000, rounds=0).solve(weight, stats, parse_pattern("2:4"))
    assert np.allclose(found.sparse.numpy(), S, rtol=1e-8, atol=1e-8)


def test_followed_directions_come_to_those_of_a_whole_decomposition_and_H_of_L_is_with_them():
    weight, stats = problem(5, 48, 40)
    H, M = stats.covariance.double(), weight.T.double()
    fit, errors = _Fit(H, 48, 4), []
    for _ in range(8):
        fit.to(M)
        errors.append(error(M.T, fit.L.T, H))
        assert torch.allclose(H @ fit.L, fit.HL) and int(torch.linalg.matrix_rank(fit.L)) == 4
    best = error(M.T, torch.matmul(*low_rank(M.T, H, 4)), H)
    assert fit.U.shape == (48, 12) and best < errors[0] < 1.1 * best and errors[-1] < (1 + 1e-6) * best


def test_without_a_low_rank_part_it_is_the_sparse_solve():
    """The iteration of the sparse part alone, then the least squares of the kept weights, which the rounds go to."""
    weight, stats = problem(4, 12, 16)
    weight, stats.gram = weight.double(), stats.gram.double()
    solved = Basil(rank=0, iterations=50, rounds=200).solve(weight, stats, parse_pattern("2:4"))
    gram = stats.covariance
    S, _, _ = transcription(weight.numpy(), gram.numpy(), "2:4", 0, 50)
    gram.diagonal().add_(0.01 * gram.diagonal().mean())
    for row, kept, w in zip(solved.sparse, torch.from_numpy(S != 0), weight, strict=True):
        expected = torch.zeros_like(w)
        expected[kept] = torch.linalg.solve(gram[kept][:, kept], (gram @ w)[kept])
        assert torch.allclose(row, expected, atol=1e-6)


@pytest.mark.parametrize("options", [{"rank": -1}, {"iterations": -1}, {"rounds": -1}, {"damping": 2.0},
                                     {"penalty": 0.0}])  # fmt: skip
def test_wrong_options_are_one_line(options):
    with pytest.raises(ConfigError, match=next(iter(options))) as e:
        Basil(**options)
    assert "\n" not in str(e.value)


def test_a_width_that_the_pattern_does_not_divide_is_one_line():
    weight, stats = problem(0, 8, 10)
    with pytest.raises(PatternError, match="10"):
        Basil(rank=1).solve(weight, stats, parse_pattern("2:4"))


# --- a model


def dense_model(folder, family: str):
    config = (CONFIGS | FUSED_EXPERTS)[family]()
    config.vocab_size = len(toy_tokenizer())
    torch.manual_seed(1)
    save(random_model(config), toy_tokenizer(), folder)
    return folder


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("propagate", ["pruned", "dense"])
def test_base_and_adapter_loaded_plainly_give_the_logits_of_the_model_in_memory(family, propagate, place, tmp_path):  # noqa: F811
    dense, out = dense_model(tmp_path / "dense", family), tmp_path / "parts"
    loaded = calprune.load(dense)
    report = calprune.decompose(loaded, place / "text.txt", pattern="2:4", rank=3, iterations=40, propagate=propagate,
                                watch=str(place / "other.txt"), watch_tokens=96, **SIZES).save(out)  # fmt: skip
    tokens = torch.arange(24).reshape(1, 24) % loaded.model.config.vocab_size
    base = loaded.model(tokens).logits.detach()
    leaves, modules = report.done.adapter.leaves, dict(loaded.model.named_modules())
    for name in {key[:-2] for key in leaves}:
        change = leaves[f"{name}.B"] @ leaves[f"{name}.A"]
        modules[name].weight.data += change.T if family == "gpt2" else change
    both = loaded.model(tokens).logits.detach()
    model = adapted(out / "base", out / "adapter")
    assert torch.allclose(model(tokens).logits, both, atol=1e-5) and not torch.allclose(base, both, atol=1e-3)
    with model.disable_adapter():
        assert torch.allclose(model(tokens).logits, base, atol=1e-5)
    told = json.loads((out / "adapter/adapter_config.json").read_text())
    assert told["base_model_name_or_path"] == str((out / "base").resolve()) and told["r"] == 3


def test_the_pages_lines_put_base_and_adapter_together(place, tmp_path, monkeypatch):  # noqa: F811
    [code] = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    dense = dense_model(tmp_path / "dense", "llama")
    calprune.decompose(dense, place / "text.txt", pattern="2:4", rank=2, iterations=5, **SIZES).save(tmp_path / "parts")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(f"import peft, transformers\n{code}", names)
    assert names["model"](torch.arange(8).reshape(1, 8)).logits.isfinite().all()


def test_only_pruned_tensors_change_and_the_errors_are_those_of_the_two_parts(place, tmp_path, run):  # noqa: F811
    out = tmp_path / "parts"
    given = ("--calibration", str(place / "text.txt"), "--num-samples", "16", "--max-seq-length", "24",
             "--watch", str(place / "other.txt"), "--watch-tokens", "96", "--pattern", "2:4", "--rank", "4",
             "--iterations", "40", "--ignore", "*.down_proj")  # fmt: skip
    status, text, err = run("decompose", str(place / "dense"), *given, "--out", str(out))
    assert status == 0 and "with the adapter" in text and "peft.PeftModel" in text, err
    before, after = (load_file(folder / "model.safetensors") for folder in (place / "dense", out / "base"))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    adapter = load_file(out / "adapter/adapter_model.safetensors")
    named = {key.removeprefix("base_model.model.").replace(".lora_A", "") for key in adapter if ".lora_A" in key}
    assert changed == named and not any("down_proj" in name for name in changed) and len(changed) == 12
    for name in changed:
        assert bool(((after[name] == 0).reshape(-1, 4).sum(1) == 2).all())
    told = json.loads((out / "adapter/calprune.json").read_text())["decomposition"]
    assert all(one["both"] < 0.5 * one["base"] for one in told["linears"])
    (kl,) = told["kl"].values()
    assert kl["both"] < kl["base"]
    about = json.loads((out / "base/calprune.json").read_text())
    assert about["sparsity"]["pruned_linears"] == 0.5 and len(about["linears"]) == 12
    status, text, _ = run("diff", str(place / "dense"), str(out / "base"))
    assert status == 0 and "12 changed" in text


def test_blocks_see_what_both_parts_of_those_before_them_give(place, tmp_path):  # noqa: F811
    """With a full rank nothing is lost, so pruned inputs are the dense ones; of the base alone they would not be."""
    data = calprune.build(place / "text.txt", model=place / "dense", num_samples=48, max_seq_length=48)
    errors = {}
    for propagate in ("pruned", "dense"):
        loaded = calprune.load(place / "dense")
        job = Pruning(Basil(rank=64, iterations=10), parse_pattern("2:4"), propagate=propagate)
        errors[propagate] = [
            one.before for one in decompose(loaded.model, data, job, torch.device("cpu")).adapter.linears
        ]
        expected = calprune.load(place / "dense").model
        with torch.no_grad():
            assert not torch.allclose(loaded.model(data.tokens[:2]).logits, expected(data.tokens[:2]).logits, atol=0.05)
    assert errors["pruned"] == pytest.approx(errors["dense"], rel=1e-2)


def test_more_rank_diverges_less(place, tmp_path):  # noqa: F811
    given = {"pattern": "2:4", "iterations": 40, "watch": str(place / "other.txt"), "watch_tokens": 96, **SIZES}
    found = [calprune.decompose(place / "dense", place / "text.txt", rank=rank, **given) for rank in (1, 8)]
    small, large = (next(iter(one.kl.values()))[1] for one in found)
    assert large < small


BAD = [
    ({"pattern": "neurons:25%"}, "pattern"),
    ({"pattern": "2:5"}, "multiple of 5|divisible|5"),
    ({"rank": 0}, "rank"),
    ({"damping": 3.0}, "damping"),
    ({"propagate": "sequential"}, "propagate"),
    ({"ignore": ["nothing_like_it"]}, "ignore"),
    ({"watch": "no_such_source"}, "no_such_source"),
]


@pytest.mark.parametrize(("options", "word"), BAD, ids=[next(iter(each)) + str(i) for i, (each, _) in enumerate(BAD)])
def test_bad_input_is_one_line_and_changes_nothing(options, word, place):  # noqa: F811
    loaded = calprune.load(place / "dense")
    before = {name: p.clone() for name, p in loaded.model.named_parameters()}
    with pytest.raises(UserError, match=word) as e:
        calprune.decompose(loaded, place / "text.txt", **{"pattern": "2:4", "rank": 2, **SIZES} | options)
    assert "\n" not in str(e.value)
    assert all(torch.equal(p, before[name]) for name, p in loaded.model.named_parameters())


def test_saved_sums_and_fused_experts_are_refused(place, tmp_path):  # noqa: F811
    calprune.collect(place / "dense", place / "text.txt", needs="gram", **SIZES).save(tmp_path / "sums")
    with pytest.raises(UserError, match="sums"):
        calprune.decompose(place / "dense", tmp_path / "sums", pattern="2:4")
    with pytest.raises(UserError, match="experts that are stored as one tensor"):
        calprune.decompose(dense_model(tmp_path / "moe", "qwen3_moe"), place / "text.txt", pattern="2:4", **SIZES)


def test_without_peft_it_says_how_to_get_it_before_any_work(place, monkeypatch):  # noqa: F811
    from calprune.recovery import adapter

    monkeypatch.setattr(adapter.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'calprune\[recover\]'"):
        calprune.decompose(place / "no such model", place / "text.txt", pattern="2:4")


def test_as_a_method_it_gives_the_sparse_part():
    weight, stats = problem(0)
    solver = Basil(rank=2, iterations=20)
    sparse = solver(weight, stats, parse_pattern("2:4"))
    assert torch.equal(sparse, solver.solve(weight, stats, parse_pattern("2:4")).sparse)
    assert int((sparse != 0).sum()) == int(keep_mask(weight.abs(), parse_pattern("2:4")).sum())
