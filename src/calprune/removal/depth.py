"""Blocks: which of a model's decoder blocks go.

block_influence   the lowest 1 - cos(input, output), the mean over tokens: Men et al., "ShortGPT: Layers in Large
                  Language Models are More Redundant Than You Expect", 2024, arXiv:2403.03853, eq. 1
angular           the run of blocks over which the last token's state turns least, arccos(cos)/π: Gromov et al.,
                  "The Unreasonable Ineffectiveness of the Deeper Layers", ICLR 2025, arXiv:2403.17887, eq. 7
kl                one at a time, each time the block without which the model is least far from the dense one, by
                  KL(dense || without) on the calibration text: greedy, n (2L - n + 1) / 2 passes
evolve            an evolutionary search over sets of blocks by the same loss, in as many passes as `kl`: the second
                  part of EvoP, 2025, arXiv:2502.14910 (its parameters were not at hand: those here are our own)
"""

import random as numbers
from collections.abc import Callable
from typing import ClassVar

import torch

from calprune.base.checks import options
from calprune.base.patterns import UnitKind
from calprune.base.values import ConfigError
from calprune.removal.contract import Reads
from calprune.removal.states import StateSums

BLOCKS: tuple[UnitKind, ...] = ("blocks",)
Loss = Callable[[tuple[int, ...]], float]  # of the model without these blocks


@options
class BlockInfluence:
    """The blocks whose output is most like their input."""

    tag: ClassVar[str] = "BlockInfluence"
    kinds: ClassVar[tuple[UnitKind, ...]] = BLOCKS
    version: ClassVar[int] = 1

    @property
    def needs(self) -> Reads:
        return "blocks"

    def __call__(self, sums: StateSums, gone: int) -> list[int]:
        return sorted(sums.influence.argsort(stable=True)[:gone].tolist())

    def scores(self, sums: StateSums) -> list[float]:
        """Of each block: the higher, the more worth keeping."""
        return sums.influence.tolist()


@options
class Angular:
    """The run of consecutive blocks over which the last token's state turns least."""

    tag: ClassVar[str] = "Angular"
    kinds: ClassVar[tuple[UnitKind, ...]] = BLOCKS
    version: ClassVar[int] = 1

    @property
    def needs(self) -> Reads:
        return "blocks"

    def __call__(self, sums: StateSums, gone: int) -> list[int]:
        first = int(sums.distance.diagonal(gone).argmin())
        return [*range(first, first + gone)]

    def scores(self, sums: StateSums) -> list[float]:
        """How far each block alone turns the last token's state."""
        return sums.distance.diagonal(1).tolist()


@options
class Greedy:
    """One block at a time: the one without which the model's divergence from the dense one is least."""

    sequences: int = 8  # of the calibration set, the longest: the loss is of them

    tag: ClassVar[str] = "Greedy"
    kinds: ClassVar[tuple[UnitKind, ...]] = BLOCKS
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        _check_sequences(self.sequences)

    @property
    def needs(self) -> Reads:
        return "model"

    def __call__(self, loss: Loss, total: int, gone: int) -> list[int]:
        removed: tuple[int, ...] = ()
        for _ in range(gone):
            left = [i for i in range(total) if i not in removed]
            removed = min((tuple(sorted((*removed, i))) for i in left), key=loss)
        return [*removed]

    def passes(self, total: int, gone: int) -> int:
        """How often the loss is worked out."""
        return gone * total - gone * (gone - 1) // 2


@options
class Evolve:
    """Sets of blocks that change a block at a time, the better half of which go on."""

    sequences: int = 8
    offspring: int = 8  # sets that are tried in a round
    seed: int = 0

    tag: ClassVar[str] = "Evolve"
    kinds: ClassVar[tuple[UnitKind, ...]] = BLOCKS
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        _check_sequences(self.sequences)
        if self.offspring < 2:
            raise ConfigError(f"offspring must be at least 2, got {self.offspring}")

    @property
    def needs(self) -> Reads:
        return "model"

    def __call__(self, loss: Loss, total: int, gone: int) -> list[int]:
        known: dict[tuple[int, ...], float] = {}
        draw = numbers.Random(self.seed)
        budget = self.passes(total, gone)
        parents = [tuple(sorted(draw.sample(range(total), gone))) for _ in range(self.offspring)]
        for one in parents[:budget]:
            known.setdefault(one, loss(one))
        tries = 0
        while len(known) < budget and tries < 20 * budget:
            tries += 1
            best = sorted(known, key=lambda one: known[one])[: self.offspring // 2]
            child = self._child(draw.choice(best), total, draw)
            if child not in known:
                known[child] = loss(child)
        return [*min(known, key=lambda one: known[one])]

    def _child(self, parent: tuple[int, ...], total: int, draw: numbers.Random) -> tuple[int, ...]:
        """One block back, another out."""
        back = draw.choice(parent)
        out = draw.choice([i for i in range(total) if i not in parent])
        return tuple(sorted({*parent, out} - {back}))

    def passes(self, total: int, gone: int) -> int:
        """As many as greedy's."""
        return Greedy().passes(total, gone)


@options
class RandomUnits:
    """Units drawn at random, for every kind: what a choice is compared with."""

    seed: int = 0

    tag: ClassVar[str] = "RandomUnits"
    kinds: ClassVar[tuple[UnitKind, ...]] = ("blocks", "neurons", "heads", "experts")
    version: ClassVar[int] = 1

    @property
    def needs(self) -> Reads:
        return "nothing"

    def draw(self, place: str, units: int) -> torch.Tensor:
        """A number for each unit of a place, the same whatever else is drawn."""
        return torch.rand(units, generator=torch.Generator().manual_seed(_seed(self.seed, place)), dtype=torch.double)

    def __call__(self, total: int, gone: int) -> list[int]:
        return sorted(self.draw("", total).argsort()[:gone].tolist())


def _seed(seed: int, place: str) -> int:
    import hashlib

    return int(hashlib.sha256(f"{seed} {place}".encode()).hexdigest()[:12], 16)


def _check_sequences(sequences: int) -> None:
    if sequences < 1:
        raise ConfigError(f"sequences must be at least 1, got {sequences}")
