"""What says how tokens count: each option changes what is chosen by, or is refused where it could not."""

import pytest
import torch

import calprune
from calprune.base.patterns import parse_any
from calprune.base.values import UserError
from calprune.calibration.set import CalibrationSet
from calprune.layers.attention import parse_token_weights
from calprune.layers.collect import Counting
from calprune.removal.job import removing
from tests.removal_families import tiny
from tests.test_removal import data, job, own_cache  # noqa: F401

FEW = Counting(1)  # an expert to which one token was sent has its own statistics
KINDS = {
    "blocks:1": ["block_influence", "kl(sequences=2)"],
    "experts:1": ["frequency", "reap", "cd(sequences=3)"],
    "neurons:25%": ["wanda"],
    "heads:50%": ["wanda"],
}
OPTIONS = {
    "token_weights": Counting(1, token_weights=parse_token_weights("attention")),
    "all_experts": Counting(1, all_experts=True),
}


def scores(method: str, pattern: str, sets, counting: Counting = FEW) -> torch.Tensor:
    made = removing(method, parse_any(pattern), propagate="dense", counting=counting)
    done = made.run(tiny("mixtral"), sets)
    return torch.tensor([one for choice in done.choices for one in choice.scores])


def is_one_line_or_other(method: str, pattern: str, before: torch.Tensor, sets, counting: Counting = FEW):
    try:
        after = scores(method, pattern, sets, counting)
    except UserError as e:
        assert "\n" not in str(e)
    else:
        assert len(after) and not torch.equal(before, after)


@pytest.mark.parametrize("option", sorted(OPTIONS))
@pytest.mark.parametrize(("pattern", "method"), [(p, m) for p, ms in KINDS.items() for m in ms])
def test_an_option_of_counting_changes_the_scores_or_is_refused(pattern, method, option):
    sets = data(rows=3)
    is_one_line_or_other(method, pattern, scores(method, pattern, sets), sets, OPTIONS[option])


@pytest.mark.parametrize(("pattern", "method"), [(p, m) for p, ms in KINDS.items() for m in ms])
def test_weights_of_a_set_change_the_scores_or_are_refused(pattern, method):
    sets = data(rows=3)
    weights = 1.0 + torch.arange(24).expand(3, 24) % 3
    weighted = CalibrationSet.from_tokens(sets.tokens, sets.lengths, weights)
    is_one_line_or_other(method, pattern, scores(method, pattern, sets), weighted)
    even = CalibrationSet.from_tokens(sets.tokens, sets.lengths, torch.ones(3, 24))
    assert torch.equal(scores(method, pattern, even), scores(method, pattern, sets))


@pytest.mark.parametrize("pattern", KINDS)
def test_a_share_of_linears_is_refused_where_units_go(pattern):
    with pytest.raises(UserError, match="min_coverage is of zeros"):
        calprune.prune("no_such_folder", method="random", pattern=pattern, min_coverage=0.9, progress=False)
