"""Held-out text that is watched while a model is trained: of the set's own sources, and of another one."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedModel

from calprune.base.values import UserError
from calprune.calibration.set import CalibrationSet
from calprune.evaluation.divergence import DenseReference

SAME = "held-out sequences of the set"
FEWEST, SHARE, MOST = 4, 8, 8  # sequences of a set; one of so many is held out; so many are at most


@dataclass(frozen=True, eq=False)
class Watched:
    """A text with what the dense model makes of it."""

    name: str
    references: tuple[DenseReference, ...]  # one for each length of its sequences

    @classmethod
    def of(cls, name: str, dense: PreTrainedModel, rows: list[Int[Tensor, "n T"]], batch_size: int) -> "Watched":
        """rows: sequences, those of one length together."""
        return cls(name, tuple(DenseReference(dense, each, batch_size=batch_size) for each in rows))

    def kl(self, pruned: PreTrainedModel) -> float:
        """KL(dense || pruned), nats a token: the mean over sequences."""
        nats = torch.cat([reference.divergence(pruned).nats for reference in self.references])
        return nats.mean().item()


def held_out(data: CalibrationSet) -> tuple[list[int], list[int]]:
    """Which sequences are trained on, and which, evenly over the set, are watched. Raises UserError for a set that is
    too small to be cut."""
    long = [i for i, length in enumerate(data.lengths.tolist()) if length > 1]
    if len(long) < FEWEST:
        raise UserError(f"a set to recover on needs {FEWEST} sequences of 2 tokens or more, of which one in {SHARE} is "
                        f"held out; got {len(long)}")  # fmt: skip
    count = min(MOST, max(1, len(long) // SHARE))
    watched = {long[(2 * i + 1) * len(long) // (2 * count)] for i in range(count)}
    return [i for i in long if i not in watched], sorted(watched)


def rows_of(data: CalibrationSet, sequences: list[int]) -> list[Int[Tensor, "n T"]]:
    """Sequences without padding, those of one length together."""

    def together() -> Iterator[Tensor]:
        lengths = data.lengths[sequences]
        for length in sorted(set(lengths.tolist())):
            yield data.tokens[torch.tensor(sequences)[lengths == length], :length]

    return list(together())
