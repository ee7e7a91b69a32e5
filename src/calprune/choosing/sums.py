"""The sums that mixtures are decided and judged by: of each source, and of each capability's text.

DIR/statistics/<name>/     as `calprune stats` writes them: whole or absent, read a block at a time

A capability's text to search on is cut into windows that go in turn to two parts: `own` calibrates, as data of just
this kind would, and `held` judges. Both are of the dense model, so that any mixture of sources is a sum of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from calprune.blocks import Sequences
from calprune.calibration.halves import Rows
from calprune.linears import find_blocks
from calprune.models import Model
from calprune.statistics import BlockStats, Statistics, save_statistics
from calprune.stats import Needs

Shares = Mapping[str, float]  # source -> its share of the tokens; they add up to 1


@dataclass(frozen=True)
class Sums:
    """Collected sums by name. A share is of all tokens of a set, as a recipe's is, also of those that weigh less."""

    of: Mapping[str, Statistics]

    def mixed(self, shares: Shares, block: str) -> BlockStats:
        """The sums at a block's inputs of a mixture whose tokens have these shares."""
        parts = [
            share / self.of[name].about["tokens"] * self._block(name, block)
            for name, share in shares.items()
            if share > 0
        ]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total.blocks[block]

    def _block(self, name: str, block: str) -> Statistics:
        return Statistics(self.of[name].needs, {}, {block: self.of[name].of_block(block)})

    def statistics(self, shares: Shares, needs: Needs) -> Statistics:
        """The whole model's sums of a mixture, in memory."""
        names = next(iter(self.of.values())).names()
        return Statistics(needs, {"shares": dict(shares)}, {name: self.mixed(shares, name) for name in names})


def collected(folder: Path, model: Model, sequences: Sequences, needs: Needs, **knobs: Any) -> Statistics:
    """The sums in `folder`; collected by one dense pass where they are not there yet."""
    if not (folder / "statistics.json").is_file():
        about = {"model": {"name": model.name, "id": model.id}, "calibration": {"id": getattr(sequences, "id", None)},
                 "tokens": int(sequences.lengths.sum())}  # fmt: skip
        made = Statistics(needs, about)
        save_statistics(folder, needs, about, made.collecting(model.model, sequences, **knobs))
    return Statistics.load(folder)


def in_turn(windows: Int[Tensor, "n T"]) -> tuple[Rows, Rows]:
    """A text's windows as two parts: the first, third, ... and the second, fourth, ..."""
    first, second = windows[0::2], windows[1::2]
    return tuple(Rows(part, torch.full((len(part),), part.shape[1]), None) for part in (first, second))  # type: ignore


def block_names(model: Model) -> list[str]:
    name, modules = find_blocks(model.model)
    return [f"{name}.{i}" for i in range(len(modules))]
