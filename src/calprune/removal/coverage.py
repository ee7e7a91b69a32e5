"""How many tokens the experts of a block saw, and whether half the data would have chosen the same.

The correlation r of the ranks by the two halves says how far the ranking stands still: with k times the data it would
be k r / (1 + (k - 1) r) (Spearman, Brown, 1910), for both halves together k = 2.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from calprune.base.patterns import Removal
from calprune.layers.collect import Counting
from calprune.layers.inputs import StatsError
from calprune.removal.outputs import ExpertSums
from calprune.removal.smaller import UnitPlace
from calprune.uncertainty.ranks import rank_correlation

STILL = 0.95  # the correlation of ranks at which a ranking is said to stand still
SHOWN = 12  # units that a line names


@dataclass(frozen=True)
class Coverage:
    """Of one bank of experts."""

    tokens: tuple[float, ...]  # sent to each expert
    agree: float | None  # share of the removed experts that both halves remove; None: there were no two halves
    correlation: float | None  # of the ranks by the two halves

    @classmethod
    def of(cls, total: ExpertSums, scores: Sequence[Tensor], stay: Sequence[Sequence[int]], least: float) -> "Coverage":
        """scores, stay: by each half. least: tokens of the smaller half; 0: there is one half only."""
        sent = tuple(total.tokens.tolist())
        if not least:
            return cls(sent, None, None)
        every = set(range(len(sent)))
        gone = [every - set(one) for one in stay]
        finite = torch.isfinite(scores[0]) & torch.isfinite(scores[1])
        first, second = (one[finite].tolist() for one in scores)
        found = rank_correlation(first, second)
        return cls(sent, len(gone[0] & gone[1]) / max(1, len(gone[0])), None if found is None else found.value)

    @property
    def reliability(self) -> float | None:
        """The correlation that all of the data would have with as much again."""
        r = self.correlation
        return None if r is None else max(0.0, 2 * r / (1 + r)) if r > -1 else 0.0

    @property
    def more(self) -> float | None:
        """How many times the data it takes until the ranking stands still; None: not known."""
        r = self.reliability
        if r is None or r <= 0.05:
            return None
        return max(1.0, STILL * (1 - r) / (r * (1 - STILL)))

    def few(self, least: int) -> list[int]:
        """Experts that saw fewer tokens than `least`."""
        return [i for i, count in enumerate(self.tokens) if count < least]


def check_reached(name: str, coverage: Coverage, place: UnitPlace, pattern: Removal) -> None:
    """Raise StatsError where more experts saw no token than go: which of them go would be chance."""
    unseen = [i for i, tokens in enumerate(coverage.tokens) if tokens <= 0]
    if len(unseen) > place.units - place.stay:
        raise StatsError(f"{name}: no token reached {len(unseen)} of its {place.units} experts "
                         f"({first_of(unseen)}), and {pattern} takes {place.units - place.stay}: which of them, the "
                         "data do not say; give more data")  # fmt: skip


def coverage_notes(found: Mapping[str, Coverage], counting: Counting) -> list[str]:
    """What is to be said of experts that saw little, and of a ranking that does not stand still."""
    notes = []
    least = counting.min_expert_tokens
    unseen = {name: one.few(1) for name, one in found.items() if one.few(1)}
    few = sum(len(one.few(least)) for one in found.values())
    for name, experts in list(unseen.items())[:3]:
        notes.append(f"{name}: no token reached experts {first_of(experts)}")
    if len(unseen) > 3:
        notes.append(f"no token reached experts of {len(unseen)} blocks; calprune.json has the tokens of each")
    if few:
        total = sum(len(one.tokens) for one in found.values())
        notes.append(f"{few:,} of {total:,} experts saw fewer than {least} tokens; take more data")
    agree = [one.agree for one in found.values() if one.agree is not None]
    if agree:
        ranks = [one.reliability for one in found.values() if one.reliability is not None]
        more = [one.more for one in found.values() if one.more is not None]
        line = (f"two halves of the data remove {sum(agree) / len(agree):.0%} the same experts; ranks by as much data "
                f"again would correlate by {sum(ranks) / max(1, len(ranks)):.2f}")  # fmt: skip
        if more and (times := sorted(more)[len(more) // 2]) > 1:
            line += f", and by {STILL} with {times:.1f} times the data"
        notes.append(line)
    return notes


def first_of(units: Sequence[int]) -> str:
    """Their numbers, the first SHOWN of them."""
    return ", ".join(map(str, units[:SHOWN])) + (", ..." if len(units) > SHOWN else "")
