"""Two calibration sets, by what they do to a model: the weights they would keep, and the statistics behind that.

Sums are collected with dense propagation, so that each set meets the same blocks; the model is not changed. A method's
mask is read from the weights that it returns: what is not zero was kept. Of both sets one block's sums are held at a
time; the hidden states of all their sequences are, as in `walk`.

Is a calibration set large enough? Two halves of it that share no sequence, of a budget that doubles.

Where the masks that the two lead to agree nearly as well as at half the budget, more data of the kind would hardly
change them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise, product
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from calprune.base.values import UserError, rng
from calprune.layers.arguments import masked_of
from calprune.layers.blocks import Sequences
from calprune.layers.inputs import LADDER, InputStats, Needs
from calprune.layers.linears import Linear, find_blocks, linears
from calprune.layers.saved import BlockStats, Statistics
from calprune.likeness.distance import Energy, bures, coverage, diagonal_correlation, frobenius
from calprune.pruning.job import Pruning
from calprune.removal.job import Removing
from calprune.removal.sums import add_units

DOUBLINGS = 4  # from the smallest budget to the largest: at most 16 times


FLAT = 0.01  # the overlap is flat where a doubling changes it by less


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
    masked: Int[Tensor, "n"] | None = None

    @classmethod
    def of(cls, given: Any, which: Sequence[int]) -> "Rows":
        at = torch.tensor(which)
        weights, masked = (None if one is None else one[at] for one in (given.weights, masked_of(given)))
        return cls(given.tokens[at], given.lengths[at], weights, masked)


@dataclass(frozen=True)
class GrowingHalves:
    """A set cut at random into what each doubling adds to its first half and to its second, and the rest."""

    budgets: tuple[int, ...]  # sequences of a half: each twice the one before
    first: tuple[Rows, ...]  # what makes a budget of the one before
    second: tuple[Rows, ...]
    rest: Rows | None  # in neither half


def halve(given: Any, name: str, beside: int | None = None) -> GrowingHalves:
    """`beside`: sequences of a smaller set that it is compared with, whose largest budget it is to have too. Raises
    UserError where `given` has too few sequences."""
    n = len(given.tokens)
    if n < FEWEST:
        raise UserError(f"{name}: {n} sequence{'s' * (n > 1)} cannot be halved and doubled; give {FEWEST} or more "
                        "(better 32), or leave the halves out with --no-halves")  # fmt: skip
    budgets = _budgets(n, beside)
    order = list(range(n))
    rng(0, "compare/halves").shuffle(order)  # a mixture's sequences stand source by source
    half = budgets[-1]
    steps = list(pairwise([0, *budgets]))
    first, second = (tuple(Rows.of(given, order[start + a : start + b]) for a, b in steps) for start in (0, half))
    return GrowingHalves(tuple(budgets), first, second, Rows.of(given, order[2 * half :]) if n > 2 * half else None)


def _budgets(n: int, beside: int | None = None) -> list[int]:
    """Doublings up to half of `n`. Those of a larger set pass through the largest of a smaller one (`beside`)."""
    smallest = max(1, n // 2 >> DOUBLINGS)
    if beside is not None and FEWEST <= beside < n:
        own = _budgets(beside)
        smallest = max((one for one in own if one <= smallest), default=own[0])
    found = [smallest]
    while found[-1] * 2 <= n // 2:
        found.append(found[-1] * 2)
    return found


def enough(budgets: Sequence[int], overlaps: Sequence[float]) -> int | None:
    """The smallest budget from which on no doubling changes the overlap by FLAT or more; None: it still changes.

    A falling overlap is not flat: where there are fewer tokens than inputs, what reads a Gram matrix decides by its
    damping, which all sets share. It hardly changes where it turns, so after a fall two doublings have to be flat.
    """
    changes = [b - a for a, b in pairwise(overlaps)]
    for i, budget in enumerate(budgets[:-1]):
        fell = min(changes[:i], default=0) <= -FLAT
        if all(abs(change) < FLAT for change in changes[i:]) and len(changes[i:]) > fell:
            return budget
    return None


AGAIN = ("model", "gradients")  # what is read of a set by running the model, and not by sums of one pass
Keep = dict[str, Tensor]  # linear -> (out, in) boolean; or a place where units go -> (units,)


@dataclass(frozen=True)
class InputComparison:
    """Two sets at one input of a block."""

    name: str  # the first linear that reads it
    width: int
    tokens: tuple[float, float]  # of each set
    diagonal_correlation: float
    frobenius: float
    bures: float
    coverage: float
    effective_rank: tuple[float, float]


@dataclass(frozen=True)
class BlockComparison:
    """Two sets at one block."""

    name: str
    kept: Overlap  # of the weights that both, or either, would keep
    pruned: Overlap
    inputs: tuple[InputComparison, ...]
    halves: tuple[tuple[Overlap, ...], ...]  # for each set and budget, of what its halves keep; () if not asked for
    across: tuple[Overlap, ...] = ()  # of each half of the first with each of the second, at the budget of both

    @property
    def decided(self) -> bool:
        """Whether the method decides on anything in it: all of it may be left out (`ignore`)."""
        return self.kept.either + self.pruned.either > 0


@dataclass
class SetComparison:
    """Two sets, and what to compare them by. `sets`: by name."""

    job: Pruning | Removing
    sets: dict[str, Sequences]
    share: float = 0.95  # of the first's energy: its top directions
    halves: bool = True
    halvings: list[GrowingHalves] = field(init=False)

    def __post_init__(self) -> None:
        if self.job.reads in AGAIN:
            raise UserError(f"{self.job.method_text} runs the model again and again, too often for halves of a "
                            "set; name block_influence or angular")  # fmt: skip
        if self.job.method.needs == "nothing":
            raise UserError(f"{self.job.method} reads no data, so every set leads to the same mask; name a method that "
                            "does, such as wanda")  # fmt: skip
        if not 0 < self.share <= 1:
            raise UserError(f"the share of the energy is above 0 and at most 1; got {self.share:g}")
        fewest = min(len(given.tokens) for given in self.sets.values())
        self.halvings = [halve(given, name, fewest) for name, given in self.sets.items()] if self.halves else []

    @property
    def shared(self) -> int | None:
        """The largest budget, in sequences, that halves of both sets have; None without halves."""
        return min(halving.budgets[-1] for halving in self.halvings) if self.halvings else None

    def blocks(self, model: nn.Module, batch_size: int | None = None) -> Iterator[BlockComparison]:
        """Each block's comparison as it is known. Raises UserError where the job does not fit the model."""
        chosen = self.job.plan(model)
        needs = max("gram", self.job.needs, key=LADDER.index)
        collect = partial(_collected, self.job, model, needs, batch_size)
        training = model.training
        halved = [_Halves(halving, collect, self.shared) for halving in self.halvings]
        whole = [] if halved else [collect(given) for given in self.sets.values()]
        name, modules = find_blocks(model)
        try:
            for i, module in enumerate(modules):
                block = f"{name}.{i}"
                keep = _keeping(self.job, model, block, module, chosen)
                met = [one.meet(keep) for one in halved] or [(next(sums), []) for sums in whole]
                a, b = (sums for sums, _ in met)
                kept, pruned = _overlaps(keep(a), keep(b))
                inputs = tuple(_compare_inputs(a.of_block(block), b.of_block(block), self.share))
                pairs = product(*(one.kept for one in halved)) if halved else ()
                yield BlockComparison(block, kept, pruned, inputs, tuple(tuple(found) for _, found in met if found),
                                      tuple(_overlaps(*pair)[0] for pair in pairs))  # fmt: skip
        finally:
            model.train(training)


def _collected(
    job: Pruning | Removing, model: nn.Module, needs: Needs, batch_size: int | None, rows: Sequences
) -> Iterator[Statistics]:
    """The sums of one block after the other; with each, those that whole blocks or experts are chosen by."""
    units = Statistics("nothing", {})
    if isinstance(job, Removing):
        add_units(units, model, rows, job.reads, batch_size=batch_size)
    for name, stats in Statistics(needs, {}).collecting(model, rows, batch_size=batch_size):
        yield Statistics(needs, {}, {name: stats}, units=dict(units.units))


def _keeping(
    job: Pruning | Removing, model: nn.Module, block: str, module: nn.Module, chosen: Any
) -> Callable[[Statistics], Keep]:
    """What of a block stays, by sums. chosen: as the job's `plan` gives."""
    if isinstance(job, Removing):
        return lambda sums: job.marks(model, block, sums, chosen)
    return partial(_keep, job, block, [site for site in linears(module) if f"{block}.{site.name}" in chosen])


def _keep(job: Pruning, block: str, sites: Sequence[Linear], sums: Statistics) -> Keep:
    stats, kept = sums.of_block(block), {}
    for site in (one for one in sites if one.name in stats or job.method.needs == "nothing"):
        try:
            stats[site.name].check()
            kept[site.name] = job.method(site.weight, stats[site.name].named(site.name), job.pattern) != 0
        except Exception as e:
            e.add_note(f"while pruning {block}.{site.name} to {job.pattern} with {job.method}")
            raise
    return kept


def agreement(
    job: Pruning | Removing, model: nn.Module, given: Sequences, batch_size: int | None = None
) -> tuple[tuple[int, ...], list[float]]:
    """Budgets in sequences, and how far two halves of so many agree on what is kept (intersection over union, all
    linears together). Raises UserError where the set has too few sequences."""
    if job.reads in AGAIN:
        raise UserError(f"{job.method_text} runs the model again and again, which halves of a set are too many for")
    chosen, halving = job.plan(model), halve(given, "the set")
    collect = partial(_collected, job, model, max("moments", job.needs, key=LADDER.index), batch_size)
    halves, total = _Halves(halving, collect), [Overlap(0, 0) for _ in halving.budgets]
    name, modules = find_blocks(model)
    for i, module in enumerate(modules):
        block = f"{name}.{i}"
        _, found = halves.meet(_keeping(job, model, block, module, chosen))
        total = [a.plus(b) for a, b in zip(total, found, strict=True)]
    return halving.budgets, [overlap.iou for overlap in total]


class _Halves:
    """The sums of a set's growing halves, block by block."""

    def __init__(
        self, halving: GrowingHalves, collect: Callable[[Rows], Iterator[Statistics]], remember: int | None = None
    ) -> None:
        """`remember`: the budget at which what the halves keep is held until the next block."""
        self.budgets, self.remember = halving.budgets, remember
        self.kept: list[Keep] = []  # of the last block that was met, the first half's and the second's
        self.steps = [(collect(a), collect(b)) for a, b in zip(halving.first, halving.second, strict=True)]
        self.rest = collect(halving.rest) if halving.rest is not None else None

    def meet(self, keep: Callable[[Statistics], Keep]) -> tuple[Statistics, list[Overlap]]:
        """The next block: the sums of the whole set, and how far the halves agree at each budget."""
        halves: list[Statistics] = []
        found = []
        for budget, step in zip(self.budgets, self.steps, strict=True):
            added = [next(sums) for sums in step]
            halves = [sums + more for sums, more in zip(halves, added, strict=True)] if halves else added
            kept = [keep(one) for one in halves]
            found.append(_overlaps(*kept)[0])
            if budget == self.remember:
                self.kept = kept
        total = halves[0] + halves[1]
        return (total + next(self.rest) if self.rest else total), found


def _overlaps(a: Keep, b: Keep) -> tuple[Overlap, Overlap]:
    """Of the weights kept, and of those pruned, over all linears."""
    kept = pruned = Overlap(0, 0)
    for name in (one for one in a if one in b):
        both, either = int((a[name] & b[name]).sum()), int((a[name] | b[name]).sum())
        kept = kept.plus(Overlap(both, either))
        pruned = pruned.plus(Overlap(a[name].numel() - either, a[name].numel() - both))
    return kept, pruned


def _compare_inputs(a: BlockStats, b: BlockStats, share: float) -> Iterator[InputComparison]:
    """Each input once, though several linears read it."""
    seen = set()
    for name, own in a.items():
        if id(own.sum_x) in seen or name not in b:
            continue
        seen.add(id(own.sum_x))
        yield compare_input(name, own, b[name], share)


@torch.no_grad()
def compare_input(name: str, a: InputStats, b: InputStats, share: float = 0.95) -> InputComparison:
    """Raises StatsError where the sums hold no Gram matrix."""
    first, second = Energy.of(a.covariance), Energy.of(b.covariance)
    return InputComparison(
        name, len(a.sum_x), (a.tokens, b.tokens), diagonal_correlation(a, b), frobenius(first, second),
        bures(first, second), coverage(first, second, share), (first.effective_rank, second.effective_rank),
    )  # fmt: skip
