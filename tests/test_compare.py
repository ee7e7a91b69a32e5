"""Two calibration sets beside each other: distances, overlaps and halves against mathematics."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from calprune.base.values import UserError
from calprune.calibration.set import CalibrationSet
from calprune.layers.inputs import InputStats
from calprune.likeness.distance import Energy, bures, coverage, frobenius
from calprune.likeness.sets import Overlap, SetComparison, compare_input, enough, halve
from calprune.likeness.verdict import ComparisonSummary, summarise
from calprune.methods import parse_method
from calprune.methods.contract import Method
from calprune.pattern import parse_pattern
from calprune.pruning.job import Pruning
from tests.families import VOCABULARY, tiny_model
from tests.test_cli import run, text, tiny_folder  # noqa: F401  (fixtures)


def energy(n: int, seed: int, rank: int | None = None) -> Energy:
    x = torch.randn(rank or 3 * n, n, generator=torch.Generator().manual_seed(seed))
    return Energy.of(x.T @ x)


def stats_of(x: torch.Tensor) -> InputStats:
    stats = InputStats(x.shape[1], "gram")
    stats.observe(x)
    return stats


def sequences(n: int, seed: int, length: int = 24, kinds: int = VOCABULARY) -> CalibrationSet:
    stream = torch.Generator().manual_seed(seed)
    return CalibrationSet.from_tokens(torch.randint(3, kinds, (n, length), generator=stream))


def job(method: str = "wanda", pattern: str = "60%") -> Pruning:
    return Pruning(parse_method(method), parse_pattern(pattern))


def test_the_effective_rank_of_the_identity_is_its_width_and_of_one_direction_is_one():
    assert Energy.of(torch.eye(7)).effective_rank == pytest.approx(7)
    assert Energy.of(torch.outer(torch.arange(1.0, 6.0), torch.arange(1.0, 6.0))).effective_rank == pytest.approx(1)
    # shares 1/2, 1/4, 1/4: entropy 1.5 ln 2
    assert Energy.of(torch.diag(torch.tensor([4.0, 2.0, 2.0]))).effective_rank == pytest.approx(2**1.5)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 9), st.integers(0, 99))
def test_the_bures_distance_is_that_of_scipys_square_roots(n, seed):
    a, b = energy(n, seed), energy(n, seed + 100)
    root = sqrtm(a.gram.numpy())
    wanted = 2 - 2 * np.trace(sqrtm(root @ b.gram.numpy() @ root)).real
    assert bures(a, b) ** 2 == pytest.approx(wanted, abs=1e-6)
    assert bures(a, b) == pytest.approx(bures(b, a), abs=1e-6)


@pytest.mark.parametrize("rank", [2, 30])
def test_a_set_beside_itself_is_at_no_distance_and_covered(rank):
    one, again = energy(8, 0, rank), energy(8, 0, rank)
    assert frobenius(one, again) == 0 and bures(one, again) < 1e-4
    assert coverage(one, again, 0.95) == pytest.approx(1)


def test_inputs_orthogonal_to_each_other_are_as_far_as_can_be():
    x = torch.zeros(40, 6).index_put_((torch.arange(40), torch.arange(40) % 3), torch.rand(40) + 1)
    a, b = Energy.of(x.T @ x), Energy.of((x.T @ x).flip(0, 1))
    assert frobenius(a, b) == pytest.approx(1) and bures(a, b) == pytest.approx(math.sqrt(2))
    assert coverage(a, b, 0.95) == pytest.approx(0, abs=1e-12)


def test_how_much_data_there_is_is_no_distance():
    x = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    found = compare_input("q", stats_of(x), stats_of(torch.cat([x, x, 3 * x])))
    assert found.frobenius < 1e-6 and found.bures < 1e-3 and found.tokens == (50, 150)
    assert found.diagonal_correlation == pytest.approx(1) and found.coverage == pytest.approx(1)


def test_coverage_by_hand():
    # A's one direction that holds 95 % is the first axis, where B has 0.3; one direction of B holds 0.5 at most
    a, b = Energy.of(torch.diag(torch.tensor([97.0, 2.0, 1.0]))), Energy.of(torch.diag(torch.tensor([3.0, 5.0, 2.0])))
    assert a.top(0.95) == 1 and coverage(a, b, 0.95) == pytest.approx(0.6)
    assert a.top(1.0) == 3 and coverage(a, b, 1.0) == pytest.approx(1)


def test_channels_are_correlated_by_rank():
    scale = torch.tensor([1.0, 2.0, 3.0, 1000.0])
    a, b = stats_of(torch.eye(4) * scale), stats_of(torch.eye(4) * scale.flip(0))
    assert compare_input("q", a, b).diagonal_correlation == pytest.approx(-1)


@pytest.mark.parametrize("method", ["wanda", "ria", "sparsegpt"])
def test_the_overlap_is_that_of_what_pruning_with_each_set_keeps(method):
    sets = {"a": sequences(6, 1), "b": sequences(6, 2)}
    comparison = SetComparison(job(method), sets, halves=False)
    model = tiny_model("llama")
    before = {name: p.clone() for name, p in model.named_parameters()}
    told = summarise(comparison, list(comparison.blocks(model))).record()
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters()), "the model was changed"
    kept = []
    for one in sets.values():
        pruned = tiny_model("llama")
        Pruning(job(method).method, job().pattern, propagate="dense").run(pruned, one)
        linears = [m.weight for n, m in pruned.named_modules() if isinstance(m, torch.nn.Linear) and "layers" in n]
        kept.append(torch.cat([(weight != 0).flatten() for weight in linears]))
    wanted = (kept[0] & kept[1]).sum() / (kept[0] | kept[1]).sum()
    assert told["kept_iou"] == pytest.approx(
        float(wanted), abs=0.002
    )  # sums of another order: a tie may fall elsewhere
    pruned_iou = (~kept[0] & ~kept[1]).sum() / (~kept[0] | ~kept[1]).sum()
    assert told["pruned_iou"] == pytest.approx(float(pruned_iou), abs=0.002)
    assert told["kept_iou_by_chance"] == pytest.approx(0.4 / 1.6, abs=0.01)


def test_a_set_beside_its_own_copy_keeps_the_same_weights():
    sets = {"a": sequences(4, 1), "copy": sequences(4, 1)}
    comparison = SetComparison(job(), sets, halves=False)
    told = summarise(comparison, list(comparison.blocks(tiny_model("llama")))).record()
    assert told["kept_iou"] == told["pruned_iou"] == 1 and told["frobenius"] == 0 and told["bures"] < 1e-3
    assert told["coverage"] == pytest.approx(1) and told["diagonal_correlation"] == pytest.approx(1)


def test_halving_changes_nothing_of_the_whole():
    sets = {"a": sequences(11, 1), "b": sequences(8, 2)}
    found = [list(SetComparison(job(), sets, halves=h).blocks(tiny_model("llama"))) for h in (True, False)]
    for halved, whole in zip(*found, strict=True):
        assert halved.kept.iou == pytest.approx(whole.kept.iou, abs=0.002)
        for one, other in zip(halved.inputs, whole.inputs, strict=True):
            assert one.tokens == other.tokens and one.frobenius == pytest.approx(other.frobenius, rel=1e-3)
        assert [len(of_set) for of_set in halved.halves] == [3, 3] and whole.halves == ()


@given(st.integers(4, 300))
def test_halves_share_no_sequence_and_every_sequence_is_somewhere(n):
    whole = CalibrationSet.from_tokens(torch.arange(n)[:, None])
    cut = halve(whole, "set")
    halves = [torch.cat([rows.tokens for rows in half]).flatten().tolist() for half in (cut.first, cut.second)]
    rest = cut.rest.tokens.flatten().tolist() if cut.rest else []
    assert sorted([*halves[0], *halves[1], *rest]) == list(range(n))
    assert [len(half) for half in halves] == [cut.budgets[-1]] * 2 and cut.budgets[-1] > n // 4
    assert all(b == 2 * a for a, b in zip(cut.budgets, cut.budgets[1:], strict=False))


def test_two_halves_of_equal_sequences_agree_and_one_was_enough():
    row = torch.randint(3, VOCABULARY, (1, 24), generator=torch.Generator().manual_seed(0))
    sets = {"a": CalibrationSet.from_tokens(row.repeat(8, 1)), "b": sequences(8, 2)}
    comparison = SetComparison(job(), sets)
    told = summarise(comparison, list(comparison.blocks(tiny_model("llama")))).record()
    assert [step["kept_iou"] for step in told["sets"][0]["halves"]] == pytest.approx([1, 1, 1], abs=0.002)
    assert told["sets"][0]["enough"] == 1 and "a is large enough: 1 sequence" in told["verdict"]


def test_the_overlap_of_halves_grows_with_the_budget():
    sets = {"a": sequences(64, 1), "b": sequences(64, 2)}
    comparison = SetComparison(job(), sets)
    told = summarise(comparison, list(comparison.blocks(tiny_model("llama")))).record()
    for one in told["sets"]:
        grown = [step["kept_iou"] for step in one["halves"]]
        assert [step["sequences"] for step in one["halves"]] == [2, 4, 8, 16, 32] and grown == sorted(grown)


def summary_of(a: CalibrationSet, b: CalibrationSet) -> ComparisonSummary:
    comparison = SetComparison(job(), {"a": a, "b": b})
    return summarise(comparison, list(comparison.blocks(tiny_model("llama"))))


def test_a_true_difference_smaller_than_what_a_doubling_adds_is_found_and_two_draws_of_one_kind_do_not_differ():
    wide = [sequences(64, seed) for seed in range(4)]
    found = [summary_of(one, sequences(64, 50 + i, kinds=57)) for i, one in enumerate(wide)]
    assert all(one.plain.startswith("Yes") and "makes a difference" in one.verdict for one in found)
    # the overlap of the whole sets is above that of halves, which are noisier: it shows nothing
    assert sum(one.kept_iou >= min(x.within(32) for x in one.sets) for one in found) >= 3
    alike = [summary_of(one, sequences(64, 50 + i)) for i, one in enumerate(wide)]
    assert sum(one.plain.startswith("Yes") for one in alike) <= 1, "by chance one in 15"


@given(st.integers(4, 300), st.integers(4, 300))
def test_two_sets_of_any_sizes_have_halves_of_one_size(m, n):
    sets = {name: CalibrationSet.from_tokens(torch.arange(k)[:, None]) for name, k in (("a", m), ("b", n))}
    comparison = SetComparison(job(), sets)
    assert all(comparison.shared in halving.budgets for halving in comparison.halvings)
    assert comparison.shared > min(m, n) // 4
    assert [halving.budgets[-1] > k // 4 for halving, k in zip(comparison.halvings, (m, n), strict=True)] == [True] * 2


@pytest.mark.parametrize(
    ("overlaps", "wanted"),
    [
        ((0.5, 0.7, 0.8), None),
        ((0.5, 0.7, 0.705), 2),
        ((0.7, 0.705, 0.709), 1),
        ((0.7, 0.705, 0.8), None),
        ((0.9,), None),
        ((0.8, 0.75, 0.71), None),  # as SparseGPT's do where there are fewer tokens than inputs
        ((0.8, 0.75, 0.745), None),  # it may turn there
        ((0.8, 0.75, 0.745, 0.743), 2),
    ],
)
def test_enough_is_where_no_later_doubling_changes_a_hundredth(overlaps, wanted):
    assert enough([1, 2, 4, 8][: len(overlaps)], overlaps) == wanted


def test_few_tokens_for_each_input_are_warned_of():
    few, many = {"a": sequences(4, 1), "b": sequences(4, 2)}, {"a": sequences(40, 1), "b": sequences(4, 2)}
    notes = []
    for sets in (few, many):
        comparison = SetComparison(job(), sets, halves=False)
        notes.append(summarise(comparison, list(comparison.blocks(tiny_model("llama")))).record()["notes"])
    # 4 sequences of 24 tokens are 1.5 for each of down_proj's 64 inputs
    assert [len(found) for found in notes] == [2, 1] and "1.5 tokens for each of the 64 inputs" in notes[0][0]


def test_an_overlap_of_nothing_is_whole():
    assert Overlap(0, 0).iou == 1 and Overlap(1, 4).plus(Overlap(2, 2)).iou == 0.5


def test_a_method_that_reads_no_data_is_refused():
    with pytest.raises(UserError, match="reads no data"):
        SetComparison(job("magnitude"), {"a": sequences(4, 1), "b": sequences(4, 2)})
    assert isinstance(parse_method("wanda"), Method)


SHORT = ("--num-samples", 8, "--max-seq-length", 32)


def test_the_command_prints_a_table_a_verdict_and_json(run, tiny_folder, text):  # noqa: F811
    Path("other.txt").write_text("\n\n".join(f"{i} quick brown foxes jump over lazy dogs" * 4 for i in range(20)))
    asked = ("calib", "compare", text, "other.txt", "--model", tiny_folder, "--pattern", "2:4", *SHORT)
    status, out, err = run(*asked)
    assert status == 0, err
    assert "model.layers.1" in out and "kept in common" in out and "large enough" in out.splitlines()[-1]
    status, out, _ = run(*asked, "--no-halves", "--json")
    told = json.loads(out)
    assert status == 0 and told["format"] == 1 and told["method"] == "sparsegpt" and told["pattern"] == "2:4"
    assert len(told["blocks"]) == 2 and 0.3 < told["kept_iou"] < 1 and told["sets"][0]["halves"] is None
    assert "leave --no-halves out" in run(*asked, "--no-halves")[1] and "leave --no-halves" not in out


def test_a_block_that_is_left_out_has_nothing_in_common(run, tiny_folder, text):  # noqa: F811
    Path("other.txt").write_text("\n\n".join(f"{i} quick brown foxes jump over lazy dogs" * 4 for i in range(20)))
    asked = ("calib", "compare", text, "other.txt", "--model", tiny_folder, "--pattern", "2:4", *SHORT)
    asked += ("--ignore", "re:.*layers.0.*")
    status, out, err = run(*asked, "--json")
    assert status == 0, err
    left_out, pruned = json.loads(out)["blocks"]
    assert left_out["kept_iou"] is left_out["pruned_iou"] is None and 0 < pruned["kept_iou"] < 1
    assert "100.0 %" not in run(*asked)[1].split("\n\n")[0]


def test_without_sizes_small_ones_are_taken_and_said_and_a_built_set_gives_its_own(run, tiny_folder, text):  # noqa: F811
    words = " ".join(f"{i} quick brown foxes jump over lazy dogs" for i in range(900))
    Path("long.txt").write_text(words)
    Path("other.txt").write_text(words.replace("fox", "hare"))
    asked = ("calib", "compare", "long.txt", "other.txt", "--model", tiny_folder, "--no-halves", "--json")
    status, out, err = run(*asked, "--max-seq-length", 32)
    assert status == 0, err
    assert "16 sequences of 32 tokens" in err and "takes about" in err
    assert [one["sequences"] for one in json.loads(out)["sets"]] == [16, 16]
    sizes = ("--num-samples", 5, "--max-seq-length", 24)
    run("calib", "build", "other.txt", "--model", tiny_folder, *sizes, "--out", "set")
    status, out, err = run("calib", "compare", "long.txt", "set", *asked[4:])
    assert status == 0 and "long.txt: 5 sequences of 24 tokens, as set" in err, err
    assert [(one["sequences"], one["tokens"]) for one in json.loads(out)["sets"]] == [(5, 120), (5, 120)]
    Path("own.yaml").write_text("parts: other.txt\nnum_samples: 20\nmax_seq_length: 12\n")
    status, out, err = run("calib", "compare", "long.txt", "own.yaml", *asked[4:])
    assert status == 0 and "long.txt: 16 sequences of 256 tokens, small" in err, err
    assert [one["sequences"] for one in json.loads(out)["sets"]] == [16, 20], "the recipe's are its own"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("notes.txt", "nosuch"), "unknown source 'nosuch'"),
        (("notes.txt", "notes.txt"), "named twice"),
        (("notes.txt", "pydoc_topics", "--num-samples", 3), "cannot be halved"),
        (("notes.txt", "pydoc_topics", "--method", "magnitude"), "reads no data"),
        (("notes.txt", "pydoc_topics", "--pattern", "3:5"), "multiple of 5"),
        (("notes.txt", "pydoc_topics", "--energy", 0), "share of the energy"),
        (("notes.txt", "other_tokenizer"), "another tokenizer"),
        (("notes.txt", "sums"), "saved statistics"),
        (("other_tokenizer", "another"), "num_samples (--num-samples): each of the two sets is made already"),
    ],
)
def test_what_the_user_can_mend_is_one_line(run, tiny_folder, text, words, said):  # noqa: F811
    from dataclasses import replace

    replace(sequences(4, 0), tokenizer="0" * 16, recipe={}).save("other_tokenizer")
    sequences(4, 1).save("another")
    Path("sums").mkdir()
    Path("sums/statistics.json").write_text("{}")
    sizes = () if "--num-samples" in words else ("--num-samples", 4)
    status, _, err = run("calib", "compare", *words, *sizes, "--max-seq-length", 32, "--model", tiny_folder)
    assert status == 1 and said in err and err.count("\n") == 1
