"""What was chosen at one place, and what is looked at to choose."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from calprune.layers.blocks import Sequences
from calprune.layers.collect import Counting
from calprune.layers.saved import Statistics
from calprune.removal.coverage import Coverage


@dataclass(frozen=True)
class UnitChoice:
    """What a method chose at one place, or of the blocks."""

    place: str  # "model.layers.3.mlp.down_proj"; "" where blocks go
    units: int  # how many there were
    stay: tuple[int, ...]
    scores: tuple[float, ...]  # of each unit, the higher the more worth keeping; (): the method gives none
    tokens: float | None = None  # that its sums are of; None: it read none
    coverage: Coverage | None = None  # of experts that were chosen by data

    @property
    def gone(self) -> list[int]:
        """The units that went."""
        return sorted(set(range(self.units)) - set(self.stay))


@dataclass(frozen=True)
class Looking:
    """A model, the data by which its units are chosen, and how the data go through it."""

    model: nn.Module
    data: Sequences | Statistics | None = None
    counting: Counting = field(default_factory=Counting)
    batch_size: int | None = None
    device: torch.device | str | None = None

    @property
    def saved(self) -> Statistics | None:
        """Sums that were collected before."""
        return self.data if isinstance(self.data, Statistics) else None

    @property
    def sequences(self) -> Sequences:
        """The data of a method that runs the model."""
        assert self.data is not None and not isinstance(self.data, Statistics)
        return self.data

    @property
    def knobs(self) -> dict[str, Any]:
        """Arguments of every pass over the data."""
        return {"batch_size": self.batch_size, "device": self.device, "counting": self.counting}
