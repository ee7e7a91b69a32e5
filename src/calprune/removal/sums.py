"""Sums that blocks and experts are chosen by, beside those of linears' inputs: kept, added and saved with them.

They are tensors by names in `Statistics.units`:

    states/tokens, states/cosine, states/sequences, states/angle     over hidden states: `states.StateSums`
    <bank>/0/tokens, <bank>/1/gates, ...                             of each bank of experts, of the even and the odd
                                                                     batches: `outputs.ExpertSums`
"""

from typing import Any

import torch
from torch import nn

from calprune.base.values import UserError
from calprune.layers.blocks import Sequences
from calprune.layers.saved import Statistics
from calprune.removal.methods.contract import Reads
from calprune.removal.outputs import ExpertSums, expert_sums
from calprune.removal.smaller import UnitPlace, banks
from calprune.removal.states import StateSums, state_sums

STATES = ("tokens", "cosine", "sequences", "angle")


@torch.no_grad()
def add_units(sums: Statistics, model: nn.Module, data: Sequences, units: Reads, **knobs: Any) -> None:
    """Add to `sums` what "blocks" or "experts" are chosen by, where it is not there yet: one pass. Nothing for others.

    Raises UserError where the model has no experts.
    """
    if units == "blocks" and "states/cosine" not in sums.units:
        found = state_sums(model, data, **knobs)
        for name in STATES:
            sums.units[f"states/{name}"] = torch.as_tensor(getattr(found, name), dtype=torch.double)
    elif units == "experts" and not any(name.endswith("/gates") for name in sums.units):
        for _, found_banks in expert_sums(model, data, banks(model), **knobs):
            for bank, halves in found_banks.items():
                for half, one in enumerate(halves):
                    sums.units |= {f"{bank}/{half}/{name}": tensor for name, tensor in one.tensors().items()}


def held_states(sums: Statistics) -> StateSums:
    """Raises UserError where there are none."""
    if "states/cosine" not in sums.units:
        raise UserError("these statistics hold no sums over blocks: collect them with --units blocks, or give a "
                        "calibration set")  # fmt: skip
    tokens, cosine, sequences, angle = (sums.units[f"states/{name}"] for name in STATES)
    return StateSums(float(tokens), cosine, float(sequences), angle)


def held_experts(sums: Statistics, places: dict[str, UnitPlace]) -> dict[str, tuple[ExpertSums, ExpertSums]]:
    """Of each bank, of even and of odd batches. Raises UserError where there are none."""
    if any(f"{place}/0/gates" not in sums.units for place in places):
        raise UserError("these statistics hold no sums over experts: collect them with --units experts, or give a "
                        "calibration set")  # fmt: skip
    names = ExpertSums.empty(0, 0, "cpu").tensors()

    def of(bank: str, half: int) -> ExpertSums:
        return ExpertSums(**{name: sums.units[f"{bank}/{half}/{name}"] for name in names})

    return {bank: (of(bank, 0), of(bank, 1)) for bank in places}
