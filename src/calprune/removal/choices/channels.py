"""Which neurons and heads stay: of each linear that reads them, block by block."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import cast

import torch
from torch import Tensor

from calprune.base.progress import tracking
from calprune.layers.blocks import Propagate
from calprune.layers.gradients import walk_sums
from calprune.layers.inputs import InputStats, Needs, StatsError
from calprune.layers.linears import Linear, find_blocks, linears
from calprune.removal.choices.choice import Looking, UnitChoice
from calprune.removal.methods.channels import channels
from calprune.removal.methods.contract import KeptUnits, RemovalMethod, highest
from calprune.removal.methods.depth import RandomUnits
from calprune.removal.smaller import UnitPlace

Places = Mapping[str, UnitPlace]


def choose_channels(
    method: RemovalMethod, kind: str, look: Looking, places: Places, propagate: Propagate
) -> tuple[list[UnitChoice], dict[str, KeptUnits]]:
    """Which units of a kind stay at each place, and the new weights of what stays where the method works them out."""
    choices: list[UnitChoice] = []
    new: dict[str, KeptUnits] = {}
    for name, sites, stats, undo in _visits(method, kind, look, places, propagate):
        for site in sites:
            full, sums = f"{name}.{site.name}", stats.get(site.name)
            kept = keep_units(method, kind, full, site, sums, places[full])
            new[full] = kept
            tokens = sums.tokens if sums is not None else None
            choices.append(UnitChoice(full, places[full].units, tuple(kept.stay.tolist()),
                                      tuple(kept.scores.tolist()), tokens))  # fmt: skip
            if propagate == "pruned":  # later blocks see what a smaller one gives; then it is as it was
                site.write(_masked_weight(site.weight, kept, places[full].units))
                if kept.bias is not None and places[full].biased:
                    undo.enter_context(_with_bias(site, kept.bias))
    return choices, new


def keep_units(
    method: RemovalMethod, kind: str, name: str, site: Linear, sums: InputStats | None, place: UnitPlace
) -> KeptUnits:
    """What stays at one place. Raises StatsError where no token reached it, or the sums are of another model."""
    if isinstance(method, RandomUnits):
        scores = method.draw(name, place.units)
        return KeptUnits(highest(scores, place.stay), scores)
    if method.needs == "nothing":
        return method(site.weight, None, place.units, place.stay)
    if sums is None:
        raise StatsError(f"{name}: no token reached it, so its {kind} cannot be chosen by data; take magnitude, or "
                         "more data")  # fmt: skip
    sums.check()
    weight = site.weight.to(sums.sum_x.device)
    if len(sums.sum_x) != weight.shape[1]:
        raise StatsError(f"{name}: the statistics are of {len(sums.sum_x)} inputs: of another model")
    return method(weight, sums, place.units, place.stay)


def phase_of(kind: str, model: str) -> str:
    """What the progress calls it."""
    return f"choosing {kind} of {model}"


def _visits(
    method: RemovalMethod, kind: str, look: Looking, places: Places, propagate: Propagate
) -> Iterator[tuple[str, list[Linear], Mapping[str, InputStats], ExitStack]]:
    """Each block with its places' linears and their sums: none, saved, or collected on the way; and what is undone when
    the block has run."""
    name, modules = find_blocks(look.model)
    saved = look.saved if method.needs != "nothing" else None
    if method.needs == "nothing" or saved is not None:
        for i, module in enumerate(modules):
            sites = [s for s in linears(module) if f"{name}.{i}.{s.name}" in places]
            with ExitStack() as undo, _as_it_was(sites):
                yield f"{name}.{i}", sites, saved.of_block(f"{name}.{i}") if saved and sites else {}, undo
        return
    needs = cast(Needs, method.needs)
    walked = walk_sums(look.model, look.sequences, needs, places, propagate=propagate, **look.knobs)
    for block, stats in tracking(walked, len(modules), phase_of(kind, name)):
        sites = [s for s in block.linears() if f"{block.name}.{s.name}" in places]
        with ExitStack() as undo, _as_it_was(sites):
            yield block.name, sites, stats, undo
            if propagate == "pruned":
                block.run()


@contextmanager
def _as_it_was(sites: list[Linear]) -> Iterator[None]:
    """What is written to the linears inside is undone."""
    dense = [site.weight.clone() for site in sites]
    try:
        yield
    finally:
        for site, weight in zip(sites, dense, strict=True):
            site.write(weight)


@contextmanager
def _with_bias(site: Linear, bias: Tensor) -> Iterator[None]:
    """Inside, the linear gives what it will with this bias added to its own."""
    handle = site.module.register_forward_hook(lambda module, args, out: out + bias.to(out))
    try:
        yield
    finally:
        handle.remove()


def _masked_weight(weight: Tensor, chosen: KeptUnits, units: int) -> Tensor:
    """The dense matrix with what stays as chosen, and zero columns for what goes."""
    kept = channels(chosen.stay, units, weight.shape[1]).to(weight.device)
    made = torch.zeros_like(weight)
    made[:, kept] = weight[:, kept] if chosen.weight is None else chosen.weight.to(weight)
    return made
