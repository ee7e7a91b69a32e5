"""What a mixture costs where units are taken out: by sums that are added, what a run on the text itself would show."""

import pytest
import torch

from calprune.choosing.transfer import LEAST_SHARE, Sums, UnitTransfer, block_names, collected
from calprune.layers.saved import Statistics
from calprune.models.load import Model
from tests.families import tiny_model
from tests.test_removal import data, job
from tests.tiny import toy_tokenizer

KINDS = {  # pattern -> model, method
    "blocks:1": ("llama", "block_influence"),
    "experts:1": ("olmoe", "reap"),
    "neurons:50%": ("llama", "flap"),
    "heads:50%": ("llama", "wanda"),
}


@pytest.fixture(params=KINDS)
def transfer(request, tmp_path) -> UnitTransfer:
    """Two sources and two capabilities of different tokens, each with as many."""
    family, method = KINDS[request.param]
    model, removing = Model(tiny_model(family), toy_tokenizer(), family, "tiny"), job(method, request.param)
    made = {name: collected(tmp_path / name, model, data(seed), removing.reads) for seed, name in enumerate("abtu")}
    return UnitTransfer(model, removing, Sums({n: made[n] for n in "ab"}), Sums({n: made[n] for n in "tu"}))


def scored(transfer: UnitTransfer, seed: int) -> dict[str, tuple[tuple[int, ...], torch.Tensor]]:
    """By a run on the text itself: what stays, and every unit's score."""
    done = transfer.job.run(transfer.model.model, data(seed))
    return {one.place: (one.stay, torch.tensor(one.scores).double()) for one in done.choices}


def test_a_source_costs_the_share_of_a_capabilitys_scores_that_goes(transfer):
    found = transfer.loss({"b": 1.0}, block_names(transfer.model))
    by_source = scored(transfer, 1)
    for text, seed in (("t", 2), ("u", 3)):
        shares = []
        for place, (_, scores) in scored(transfer, seed).items():
            stay = by_source[place][0]
            shares.append(1 - (scores[list(stay)].sum() / scores.sum()).item())
        assert found[text] == pytest.approx(sum(shares) / len(shares), rel=1e-4)
    assert transfer.evaluations == 1


def test_the_sums_of_a_mixture_decide_as_those_of_all_its_text_together(transfer):
    even = transfer._decide(transfer.sources, {"a": 0.5, "b": 0.5}, block_names(transfer.model))
    together = transfer.sources.of["a"] + transfer.sources.of["b"]
    for one, other in zip(even, transfer.job.decide(transfer.model.model, together, transfer.places), strict=True):
        assert (one.place, one.stay) == (other.place, other.stay)
        assert one.scores == pytest.approx(other.scores, rel=1e-4)


def test_data_of_its_own_kind_lose_no_more_than_others_and_a_share_of_0_is_not_there(transfer):
    names = block_names(transfer.model)
    own = transfer.loss({"t": 1.0}, names, transfer.held)["t"]
    assert own <= min(transfer.loss({name: 1.0}, names)["t"] for name in "ab") + 1e-9
    assert transfer.loss({"a": 1.0, "b": 0.0}, names) == transfer.loss({"a": 1.0}, names)


def test_they_are_collected_once_and_kept(transfer, tmp_path, monkeypatch):
    again = Statistics.load(tmp_path / "a")
    again.check()
    assert again.units.keys() == transfer.sources.of["a"].units.keys()
    monkeypatch.setattr("calprune.choosing.transfer.add_units", lambda *a, **k: pytest.fail("a second pass was run"))
    collected(tmp_path / "a", transfer.model, data(0), transfer.job.reads)


@pytest.mark.parametrize("method", ["reap(protect_super=true)", "mc_suite(criterion=usage, drop=highest)"])
def test_scores_below_zero_and_units_that_must_stay_have_a_share_as_others_have(method, tmp_path):
    model, removing = Model(tiny_model("olmoe"), toy_tokenizer(), "olmoe", "tiny"), job(method, "experts:2")
    made = {name: collected(tmp_path / name, model, data(seed), removing.reads) for seed, name in enumerate("at")}
    transfer = UnitTransfer(model, removing, Sums({"a": made["a"]}), Sums({"t": made["t"]}))
    names = block_names(model)
    assert LEAST_SHARE <= transfer.loss({"a": 1.0}, names)["t"] < 1
    for scores in transfer._scores("t", tuple(names)).values():
        assert scores.isfinite().all() and scores.min() >= 0 and scores.max() > 0


def test_blocks_without_a_place_are_not_looked_at_and_where_there_is_none_all_places_are(transfer):
    names = block_names(transfer.model)
    assert transfer.loss({"a": 1.0}, ["model.layers.99"]) == transfer.loss({"a": 1.0}, names)


def test_what_decides_by_more_than_each_units_own_score_is_not_searched_by_shares_of_scores():
    assert not job("obs", "neurons:25%").by_sums and not job("angular", "blocks:1").by_sums
    assert job("wanda", "neurons:25%").by_sums and job("block_influence", "blocks:1").by_sums
