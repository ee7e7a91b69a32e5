"""Two calibration sets, by what they do to a model: the weights they would keep, and the statistics behind that.

Sums are collected with dense propagation, so that each set meets the same blocks; the model is not changed. A method's
mask is read from the weights that it returns: what is not zero was kept. Of both sets one block's sums are held at a
time; the hidden states of all their sequences are, as in `walk`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from calprune.blocks import Sequences
from calprune.calibration.distance import Energy, bures, coverage, diagonal_correlation, frobenius
from calprune.calibration.halves import Halving, Overlap, Rows, halve
from calprune.config import UserError
from calprune.linears import Linear, find_blocks, linears
from calprune.pruning import Pruning
from calprune.statistics import BlockStats, Statistics
from calprune.stats import LADDER, InputStats

Keep = dict[str, Tensor]  # linear -> (out, in) boolean


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


@dataclass
class Comparison:
    """Two sets, and what to compare them by. `sets`: by name."""

    job: Pruning
    sets: dict[str, Sequences]
    share: float = 0.95  # of the first's energy: its top directions
    halves: bool = True
    halvings: list[Halving] = field(init=False)

    def __post_init__(self) -> None:
        if self.job.method.needs == "nothing":
            raise UserError(f"{self.job.method} reads no data, so every set leads to the same mask; name a method that "
                            "does, such as wanda")  # fmt: skip
        if not 0 < self.share <= 1:
            raise UserError(f"the share of the energy is above 0 and at most 1; got {self.share:g}")
        self.halvings = [halve(given, name) for name, given in self.sets.items()] if self.halves else []

    def blocks(self, model: nn.Module, batch_size: int | None = None) -> Iterator[BlockComparison]:
        """Each block's comparison as it is known. Raises UserError where the job does not fit the model."""
        chosen = self.job.plan(model)
        needs = max("gram", self.job.method.needs, key=LADDER.index)

        def collect(rows: Sequences) -> Iterator[Statistics]:
            """The sums of one block after the other."""
            for name, stats in Statistics(needs, {}).collecting(model, rows, batch_size=batch_size):
                yield Statistics(needs, {}, {name: stats})

        training = model.training
        halved = [_Halves(halving, collect) for halving in self.halvings]
        whole = [] if halved else [collect(given) for given in self.sets.values()]
        name, modules = find_blocks(model)
        try:
            for i, module in enumerate(modules):
                block = f"{name}.{i}"
                sites = [site for site in linears(module) if f"{block}.{site.name}" in chosen]
                keep = partial(_keep, self.job, block, sites)
                met = [one.meet(keep) for one in halved] or [(next(sums), []) for sums in whole]
                a, b = (sums for sums, _ in met)
                kept, pruned = _overlaps(keep(a), keep(b))
                inputs = tuple(_compare_inputs(a.of_block(block), b.of_block(block), self.share))
                yield BlockComparison(block, kept, pruned, inputs, tuple(tuple(found) for _, found in met if found))
        finally:
            model.train(training)


def _keep(job: Pruning, block: str, sites: Sequence[Linear], sums: Statistics) -> Keep:
    stats, kept = sums.of_block(block), {}
    for site in sites:
        try:
            stats[site.name].check()
            kept[site.name] = job.method(site.weight, stats[site.name].named(site.name), job.pattern) != 0
        except Exception as e:
            e.add_note(f"while pruning {block}.{site.name} to {job.pattern} with {job.method}")
            raise
    return kept


def agreement(
    job: Pruning, model: nn.Module, given: Sequences, batch_size: int | None = None
) -> tuple[tuple[int, ...], list[float]]:
    """Budgets in sequences, and how far two halves of so many agree on what is kept (intersection over union, all
    linears together). Raises UserError where the set has too few sequences."""
    chosen, halving = job.plan(model), halve(given, "the set")

    def collect(rows: Sequences) -> Iterator[Statistics]:
        for name, stats in Statistics(job.method.needs, {}).collecting(model, rows, batch_size=batch_size):
            yield Statistics(job.method.needs, {}, {name: stats})

    halves, total = _Halves(halving, collect), [Overlap(0, 0) for _ in halving.budgets]
    name, modules = find_blocks(model)
    for i, module in enumerate(modules):
        block = f"{name}.{i}"
        sites = [site for site in linears(module) if f"{block}.{site.name}" in chosen]
        _, found = halves.meet(partial(_keep, job, block, sites))
        total = [a.plus(b) for a, b in zip(total, found, strict=True)]
    return halving.budgets, [overlap.iou for overlap in total]


class _Halves:
    """The sums of a set's growing halves, block by block."""

    def __init__(self, halving: Halving, collect: Callable[[Rows], Iterator[Statistics]]) -> None:
        self.steps = [(collect(a), collect(b)) for a, b in zip(halving.first, halving.second, strict=True)]
        self.rest = collect(halving.rest) if halving.rest is not None else None

    def meet(self, keep: Callable[[Statistics], Keep]) -> tuple[Statistics, list[Overlap]]:
        """The next block: the sums of the whole set, and how far the halves agree at each budget."""
        halves: list[Statistics] = []
        found = []
        for step in self.steps:
            added = [next(sums) for sums in step]
            halves = [sums + more for sums, more in zip(halves, added, strict=True)] if halves else added
            found.append(_overlaps(*map(keep, halves))[0])
        total = halves[0] + halves[1]
        return (total + next(self.rest) if self.rest else total), found


def _overlaps(a: Keep, b: Keep) -> tuple[Overlap, Overlap]:
    """Of the weights kept, and of those pruned, over all linears."""
    kept = pruned = Overlap(0, 0)
    for name in a:
        both, either = int((a[name] & b[name]).sum()), int((a[name] | b[name]).sum())
        kept = kept.plus(Overlap(both, either))
        pruned = pruned.plus(Overlap(a[name].numel() - either, a[name].numel() - both))
    return kept, pruned


def _compare_inputs(a: BlockStats, b: BlockStats, share: float) -> Iterator[InputComparison]:
    """Each input once, though several linears read it."""
    seen = set()
    for name, own in a.items():
        if id(own.sum_x) in seen:
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
