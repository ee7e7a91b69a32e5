"""Which experts of each bank stay: by sums over what they give, by gradients, by running the model, or without data."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from calprune.layers.experts import layout
from calprune.layers.gradients import loss_gradients
from calprune.layers.linears import ModelError, find_blocks
from calprune.removal.choices.choice import Looking, UnitChoice
from calprune.removal.condensing import condensed_ranks
from calprune.removal.config import GROUPS, first_number
from calprune.removal.coverage import Coverage
from calprune.removal.methods.contract import RemovalMethod
from calprune.removal.methods.depth import RandomUnits
from calprune.removal.methods.experts import SoftFrequency, in_groups, super_experts
from calprune.removal.methods.suite import ExpertWeights
from calprune.removal.outputs import ExpertSums, expert_sums
from calprune.removal.smaller import UnitPlace, expert_matrices, router_of
from calprune.removal.sums import held_experts

Places = Mapping[str, UnitPlace]


def choose_experts(method: RemovalMethod, look: Looking, places: Places) -> list[UnitChoice]:
    """Which experts of each bank stay."""
    model = look.model
    _check_gates(method, model, places)
    if method.needs == "nothing":
        return [_of_scores(model, name, place, _blind(method, model, name, place)) for name, place in places.items()]
    if method.needs == "gradients":
        return _by_gradients(method, look, places)
    if method.needs == "model":
        running: Any = method
        found = condensed_ranks(model, look.sequences, dict(places), running.sequences, **look.knobs)
        return [_of_scores(model, name, places[name], ranks) for name, ranks in found]
    if look.saved is not None:
        halves = held_experts(look.saved, dict(places))
    else:
        walked = expert_sums(model, look.sequences, dict(places), **look.knobs)
        halves = {name: both for _, found in walked for name, both in found.items()}
    protected = {name: torch.zeros(places[name].units, dtype=torch.bool) for name in halves}
    if getattr(method, "protect_super", False):
        largest = [torch.maximum(a.largest, b.largest) for a, b in halves.values()]
        protected = dict(zip(halves, super_experts(largest), strict=True))

    def scores(name: str, sums: ExpertSums) -> Tensor:
        return method(sums).double().masked_fill(protected[name], torch.inf)

    return [_by_sums(model, name, places[name], both, [scores(name, one) for one in (both[0] + both[1], *both)])
            for name, both in halves.items()]  # fmt: skip


def _check_gates(method: RemovalMethod, model: nn.Module, places: Places) -> None:
    """Raise ModelError where the router's weights are read and are not given to the experts apart from the states."""
    for name in places if isinstance(method, SoftFrequency) else ():
        if (held := layout(model.get_submodule(name))) and held.dispatched:
            raise ModelError(f"{name}: the router's weights are in what these experts read, so soft_frequency would be "
                             "frequency: take that, or ean, which sees them in what experts give")  # fmt: skip


def _by_sums(
    model: nn.Module, name: str, place: UnitPlace, halves: tuple[ExpertSums, ExpertSums], scores: list[Tensor]
) -> UnitChoice:
    """Of one bank, with whether each half of the data would have chosen the same. scores: of all, then of each half."""
    stay = [in_groups(one, place.stay, _groups(model)).tolist() for one in scores[1:]]
    total = halves[0] + halves[1]
    coverage = Coverage.of(total, scores[1:], stay, min(float(half.tokens.sum()) for half in halves))
    tokens = float(total.tokens.sum())
    return replace(_of_scores(model, name, place, scores[0]), tokens=tokens, coverage=coverage)


def _by_gradients(method: RemovalMethod, look: Looking, places: Places) -> list[UnitChoice]:
    """By Σ g² of each weight of an expert, g the gradient of the loss: 8 bytes a weight, one backward pass."""
    model, data = look.model, look.sequences
    matrices = {name: expert_matrices(model, name, place.units) for name, place in places.items()}
    blocks = find_blocks(model)[0]
    full = {name: f"{blocks}.{name.removeprefix(f'{blocks}.').partition('.')[0]}" for name in places}
    only = {f"{full[name]}.{site.name}" for name, banks in matrices.items() for one in banks for site in one}
    sums = loss_gradients(model, data, look.batch_size, look.device, only)
    choices = []
    for name, place in places.items():
        squares = [torch.cat([sums[f"{full[name]}.{site.name}"].squares.flatten() for site in one])
                   for one in matrices[name]]  # fmt: skip
        scores = method(ExpertWeights(matrices[name], None, squares))
        choices.append(replace(_of_scores(model, name, place, scores), tokens=float(data.lengths.sum())))
    return choices


def _blind(method: RemovalMethod, model: nn.Module, name: str, place: UnitPlace) -> Tensor:
    """Scores that read no data."""
    if isinstance(method, RandomUnits):
        return method.draw(name, place.units)
    return method(ExpertWeights(expert_matrices(model, name, place.units), router_of(model, name, place.units)))


def _of_scores(model: nn.Module, name: str, place: UnitPlace, scores: Tensor) -> UnitChoice:
    stay = in_groups(scores, place.stay, _groups(model))
    return UnitChoice(name, place.units, tuple(stay.tolist()), tuple(scores.tolist()))


def _groups(model: nn.Module) -> int:
    """Of a group-limited router: the same number stays in each."""
    return first_number(cast(Any, model).config, GROUPS) or 1
