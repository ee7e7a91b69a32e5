"""Is a calibration set large enough? Two halves of it that share no sequence, of a budget that doubles.

Where the masks that the two lead to hardly agree better than at half the budget, more data of the kind would hardly
change them either.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from calprune.config import UserError, rng

DOUBLINGS = 4  # from the smallest budget to the largest: at most 16 times
FLAT = 0.01  # the overlap is flat where a doubling adds less
FEWEST = 4  # sequences: two halves, and one doubling of each


class Overlap(NamedTuple):
    """Two sets of weights: how many are in both, and in either."""

    both: int
    either: int

    @property
    def iou(self) -> float:
        """Intersection over union; 1 for two empty sets."""
        return self.both / self.either if self.either else 1.0

    def plus(self, other: "Overlap") -> "Overlap":
        return Overlap(self.both + other.both, self.either + other.either)


@dataclass(frozen=True)
class Rows:
    """Some sequences of a calibration set, as `walk` reads them."""

    tokens: Int[Tensor, "n T"]
    lengths: Int[Tensor, "n"]
    weights: Float[Tensor, "n T"] | None

    @classmethod
    def of(cls, given: Any, which: Sequence[int]) -> "Rows":
        at = torch.tensor(which)
        return cls(given.tokens[at], given.lengths[at], None if given.weights is None else given.weights[at])


@dataclass(frozen=True)
class Halving:
    """A set cut at random into what each doubling adds to its first half and to its second, and the rest."""

    budgets: tuple[int, ...]  # sequences of a half: each twice the one before
    first: tuple[Rows, ...]  # what makes a budget of the one before
    second: tuple[Rows, ...]
    rest: Rows | None  # in neither half


def halve(given: Any, name: str) -> Halving:
    """Raises UserError where `given` has too few sequences."""
    n = len(given.tokens)
    if n < FEWEST:
        raise UserError(f"{name}: {n} sequence{'s' * (n > 1)} cannot be halved and doubled; give {FEWEST} or more "
                        "(better 32), or leave the halves out with --no-halves")  # fmt: skip
    smallest = max(1, n // 2 >> DOUBLINGS)
    budgets = [smallest]
    while budgets[-1] * 2 <= n // 2:
        budgets.append(budgets[-1] * 2)
    order = list(range(n))
    rng(0, "compare/halves").shuffle(order)  # a mixture's sequences stand source by source
    half = budgets[-1]
    steps = list(pairwise([0, *budgets]))
    first, second = (tuple(Rows.of(given, order[start + a : start + b]) for a, b in steps) for start in (0, half))
    return Halving(tuple(budgets), first, second, Rows.of(given, order[2 * half :]) if n > 2 * half else None)


def enough(budgets: Sequence[int], overlaps: Sequence[float]) -> int | None:
    """The smallest budget from which on every doubling adds less than FLAT to the overlap; None: still rising."""
    gains = [b - a for a, b in pairwise(overlaps)]
    for i, budget in enumerate(budgets[:-1]):
        if all(gain < FLAT for gain in gains[i:]):
            return budget
    return None
