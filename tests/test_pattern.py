"""Patterns: exact counts, stated ties, text read once."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from calprune.base.tensors import is_finite, most_left
from calprune.pattern import KeepNofM, PatternError, Unstructured, competing, keep_mask, masked, parse_pattern


@st.composite
def scores(draw):
    """Matrices with many equal values, so that ties are the rule."""
    rows, groups, of = draw(st.integers(1, 6)), draw(st.integers(1, 5)), draw(st.sampled_from([2, 4, 8, 20]))
    levels = draw(st.integers(1, 4))
    seed = draw(st.integers(0, 10_000))
    numbers = torch.Generator().manual_seed(seed)
    return torch.randint(levels, (rows, groups * of), generator=numbers).float(), of


@settings(max_examples=150, deadline=None)
@given(scores(), st.floats(0, 0.999), st.data())
def test_what_survives_is_the_tail_of_a_stable_sort(given_scores, sparsity, data):
    """The definition, written plainly: sort each group by score, lower index first among equals, drop the head."""
    score, of = given_scores
    keep = data.draw(st.integers(1, of - 1))
    for pattern, groups, drop in (
        (Unstructured(sparsity, "row"), score, round(score.shape[1] * sparsity)),
        (Unstructured(sparsity, "matrix"), score.reshape(1, -1), round(score.numel() * sparsity)),
        (KeepNofM(keep, of), score.reshape(-1, of), of - keep),
    ):
        expected = torch.ones_like(groups, dtype=torch.bool)
        for group, row in enumerate(groups.tolist()):
            for _, index in sorted((value, i) for i, value in enumerate(row))[:drop]:
                expected[group, index] = False
        assert torch.equal(keep_mask(score, pattern), expected.reshape(score.shape)), pattern


@pytest.mark.parametrize("pattern", ["50%/row", "37.5%/matrix", "2:4", "1:4", "6:8", "8:16", "17:32"])
def test_counts_are_exact_when_every_score_ties(pattern):
    keep = keep_mask(torch.ones(3, 64), parse_pattern(pattern))
    assert keep.float().mean() == 1 - parse_pattern(pattern).sparsity


def test_the_n_of_n_to_m_is_what_is_kept():
    assert keep_mask(torch.tensor([[4.0, 1.0, 3.0, 2.0]]), parse_pattern("1:4")).tolist() == [
        [True, False, False, False]
    ]


def test_scores_of_half_precision_are_compared_as_they_are():
    score = torch.tensor([[3.0, 1.0, 2.0, 4.0]], dtype=torch.bfloat16)
    assert keep_mask(score, parse_pattern("50%/row")).tolist() == [[True, False, False, True]]


@pytest.mark.parametrize("text", ["50%", "62.5%/row", "50%/matrix", "2:4", "0%"])
def test_a_pattern_reads_back_as_it_is_written(text):
    assert str(parse_pattern(text)) == text


@pytest.mark.parametrize("text", ["", "50", "0.5", "2-4", "4:2", "0:4", "4:4", "100%", "-1%", "50%/column", "120%"])
def test_a_pattern_that_cannot_be_is_refused_in_one_line(text):
    with pytest.raises(PatternError) as error:
        parse_pattern(text)
    assert "\n" not in str(error.value)


def test_a_pattern_that_leaves_open_what_competes_is_decided_by_the_method():
    score = torch.arange(8.0).reshape(2, 4)
    with pytest.raises(PatternError, match="50%/row"):
        keep_mask(score, parse_pattern("50%"))
    assert keep_mask(score, competing(parse_pattern("50%"), "matrix")).sum(1).tolist() == [0, 4]
    assert competing(parse_pattern("50%/row"), "matrix").within == "row", "what the user wrote goes first"


def test_a_width_that_does_not_fit_is_named():
    with pytest.raises(PatternError, match="multiple of 4, got 6"):
        keep_mask(torch.ones(2, 6), parse_pattern("2:4"))


def test_zeros_are_written_as_plus_zero():
    zeros = masked(torch.tensor([[-1.0, 2.0]]), torch.tensor([[False, True]]))
    assert not torch.signbit(zeros).any()


DTYPES = (torch.bfloat16, torch.float16, torch.float32, torch.float64)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("turned", [False, True])
def test_what_survives_keeps_its_bits_and_the_rest_is_zero_to_the_bit(dtype, turned):
    numbers = torch.Generator().manual_seed(0)
    weight = torch.randn(6, 10, generator=numbers).to(dtype)
    weight[0, :4] = torch.tensor([math.nan, math.inf, -math.inf, -0.0])
    keep = torch.rand(6, 10, generator=numbers) > 0.5
    keep[0, :4] = torch.tensor([True, True, False, True])
    if turned:
        weight, keep = weight.T, keep.T
    after = masked(weight, keep)
    bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[weight.itemsize]
    for i in range(len(weight)):
        for j in range(weight.shape[1]):
            wanted = weight[i, j].view(bits).item() if keep[i, j] else 0
            assert after[i, j].view(bits).item() == wanted, (i, j)
    assert after.dtype == dtype


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_number_that_is_not_finite_is_seen_wherever_it_stands(dtype):
    largest = torch.finfo(dtype).max
    for odd in (math.nan, math.inf, -math.inf):
        for place in (0, 7, 64, 199):
            tensor = torch.full((200,), -largest, dtype=dtype)
            tensor[1::2] = largest
            assert is_finite(tensor)
            tensor[place] = odd
            assert not is_finite(tensor), (odd, place)
    assert is_finite(torch.empty(0, dtype=dtype))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_most_that_is_left_of_a_group_is_counted_by_hand(dtype):
    numbers = torch.Generator().manual_seed(1)
    for of in (2, 4, 8):
        for share in (0.1, 0.5, 0.9):
            tensor = torch.randn(3, 4 * of, generator=numbers).to(dtype)
            gone = torch.rand(tensor.shape, generator=numbers) < share
            tensor = torch.where(
                gone, torch.where(torch.rand(tensor.shape, generator=numbers) < 0.5, 0.0, -0.0).to(dtype), tensor
            )
            groups = [row[i : i + of] for row in tensor.tolist() for i in range(0, len(row), of)]
            assert most_left(tensor, of) == max(sum(number != 0 for number in group) for group in groups)
