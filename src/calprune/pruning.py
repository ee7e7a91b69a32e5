"""Prune a model in place, one block at a time.

A block's statistics come from what the blocks before it give: as already pruned (the default: errors made early are
seen, and can be compensated, later), or dense, in one pass instead of two; or they were saved, and no pass is run.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from calprune.allocation import Allocation, Uniform
from calprune.allocation.budget import DenseBlock, DenseLinear
from calprune.blocks import Block, Propagate, Sequences
from calprune.collect import Counting
from calprune.config import UserError, plain
from calprune.gradients import walk_sums
from calprune.linears import Linear, ModelError, check_coverage, find_blocks, linears, matching
from calprune.methods import Method
from calprune.pattern import KeepNofM, Pattern, PatternError, check_width
from calprune.permutation import How, permute
from calprune.refine import Refinement
from calprune.refine.beside import Beside
from calprune.refine.kept import Kept
from calprune.refine.windows import Outputs
from calprune.statistics import BlockStats, Statistics
from calprune.stats import LADDER, InputStats, Needs, StatsError, relative_error


@dataclass(frozen=True)
class LinearReport:
    """What happened to one matrix."""

    name: str  # "model.layers.3.mlp.down_proj"
    shape: tuple[int, int]  # (out, in)
    pattern: str
    zeros: int  # counted, those that were there before included
    tokens: float | None  # that its statistics are of; None: the method read none
    relative_error: float | None  # ‖(W-Ŵ)X‖² / ‖WX‖² on the calibration inputs; None without a Gram matrix
    damping: float | None  # that its Gram matrix took to be factorised; None where none was
    routed: float | None = None  # tokens sent to its expert, where too few: the statistics are of all tokens instead

    @property
    def sparsity(self) -> float:
        return self.zeros / (self.shape[0] * self.shape[1])


@dataclass(frozen=True)
class Pruning:
    """A job: what to do to a model, checked against it before a weight is touched."""

    method: Method
    pattern: Pattern
    ignore: tuple[str, ...] = ()  # linears left dense: "*.down_proj", a block "model.layers.0", "re:.*[qk]_proj"
    propagate: Propagate = "pruned"
    min_coverage: float = 0.5  # of each block's parameters, in linears; below it the job is refused
    allocation: Allocation = field(default_factory=Uniform)  # which linear gets how much of the pattern's sparsity
    counting: Counting = field(default_factory=Counting)  # which tokens count in an expert's statistics
    permute: How | None = None  # before all else, order channels so that n:m keeps more: the dense model stays the same

    @property
    def needs(self) -> Needs:
        """The most that any part of the job reads of the data."""
        return max(self.method.needs, self.allocation.needs, key=LADDER.index)

    def blocks(
        self,
        model: nn.Module,
        data: Sequences | Statistics | None,
        *,
        refine_on: Sequences | Statistics | None = None,
        resume: str | Path | None = None,
        **knobs: Any,
    ) -> Iterator[tuple[LinearReport, ...]]:
        """Prune block after block; each block's reports as they are known. Knobs: those of `walk`.

        refine_on: what a method that refines blocks trains on; None: `data`. resume: a folder in which done blocks
        are kept, so that the same call goes on where it was stopped.
        """
        if self.permute:
            self._permute(model, data, knobs)
        patterns = self.allocate(model, data, **knobs)
        beside = self._beside(model, data, refine_on, knobs.get("device"))
        kept = Kept(resume, self._named(data, refine_on)) if resume else None
        training = model.training
        try:
            for name, sites, stats in self._visits(model, data, self.method, self.propagate, knobs):
                here = [site for site in sites if f"{name}.{site.name}" in patterns]
                refining = beside.enter() if beside else None
                found = kept.restore(name, here) if kept else None
                if found is None:
                    reports = self._prune_block(name, here, stats, patterns, refining)
                    if kept:
                        kept.keep(name, here, [asdict(report) for report in reports])
                else:
                    reports = tuple(LinearReport(**{**r, "shape": tuple(r["shape"])}) for r in found)
                yield reports
                if beside and refining:
                    beside.leave(refining[0])
        finally:
            model.train(training)

    def _permute(self, model: nn.Module, data: Any, knobs: dict) -> None:
        if not isinstance(self.pattern, KeepNofM):
            raise UserError(f"channels are permuted for a pattern like 2:4, not for {self.pattern}; leave permute out")
        if isinstance(data, Statistics):
            raise UserError("saved statistics are of channels in their old order: to permute, give a calibration set")
        assert self.permute
        self.plan(model)
        permute(model, data, self.pattern, self.permute, counting=self.counting, **knobs)

    def _visits(
        self, model: nn.Module, data: Any, reader: Method | Allocation, propagate: Propagate, knobs: dict
    ) -> Iterator[tuple[str, list[Linear], BlockStats]]:
        """Each block with the statistics of its inputs: none, saved, or collected on the way."""
        saved = isinstance(data, Statistics)
        if saved and self.counting != Counting():
            raise UserError("saved statistics are counted already: collect them with these options, or give a set")
        if reader.needs == "nothing" or saved:
            name, modules = find_blocks(model)
            for i, module in enumerate(modules):
                device = next(module.parameters()).device
                stats = {} if reader.needs == "nothing" else data.of_block(f"{name}.{i}", device)
                yield f"{name}.{i}", linears(module), stats
        elif data is None:
            raise UserError(f"{reader} needs calibration data: give it a calibration set or saved statistics")
        else:
            knobs = {"propagate": propagate, "counting": self.counting} | knobs
            for block, stats in walk_sums(model, data, reader.needs, **knobs):
                yield block.name, block.linears(), stats

    def _beside(self, model: nn.Module, data: Any, refine_on: Any, device: Any) -> Beside | None:
        method, on = self.method, data if refine_on is None else refine_on
        if not isinstance(method, Refinement):
            if refine_on is not None:
                raise UserError(f"{method} refines no block, so it trains on nothing: leave refine_on out")
            return None
        if on is None or isinstance(on, Statistics):
            raise UserError(f"{method} trains on sequences: give it a calibration set, beside saved statistics if any")
        return Beside(model, on, method.windows, dense=method.global_propagation, batch_size=method.batch_size,
                      device=device)  # fmt: skip

    def _named(self, data: Any, refine_on: Any) -> dict[str, Any]:
        """All that the weights depend on beside the model."""
        identities = [d.about if isinstance(d, Statistics) else getattr(d, "id", None) for d in (data, refine_on)]
        return {"pruning": plain(self), "data": identities[0], "refine_on": identities[1]}

    def allocate(self, model: nn.Module, data: Sequences | Statistics | None, **knobs: Any) -> dict[str, Pattern]:
        """The pattern of each linear that will be pruned; a dense pass over the data where the allocation reads it."""
        chosen = self.plan(model)

        def dense() -> Iterator[DenseBlock]:
            for name, sites, stats in self._visits(model, data, self.allocation, "dense", knobs):
                named = [(f"{name}.{site.name}", site) for site in sites]
                found = [DenseLinear(n, site.weight, stats.get(site.name)) for n, site in named if n in chosen]
                if found:
                    yield DenseBlock(name, found)

        return self.allocation(dense(), self.pattern)

    def plan(self, model: nn.Module) -> set[str]:
        """The full names of the linears that will be pruned. Raises UserError where the job does not fit the model."""
        name, modules = find_blocks(model)
        for i, block in enumerate(modules):
            check_coverage(f"{name}.{i}", block, self.min_coverage)
        found = {f"{name}.{i}.{site.name}": site for i, block in enumerate(modules) for site in linears(block)}
        ignored = {linear for rule in self.ignore for linear in matching(rule, found)}
        chosen = {linear: site for linear, site in found.items() if linear not in ignored}
        for linear, site in chosen.items():
            try:
                check_width(site.weight.shape[1], self.pattern)
            except PatternError as e:
                raise PatternError(f"{linear} {tuple(site.weight.shape)}: {e}; leave it out with --ignore") from None
            if not site.weight.isfinite().all():
                raise ModelError(f"{linear} holds NaN or infinity in its weights")
        return set(chosen)

    def _prune_block(
        self, name: str, sites: list[Linear], stats: BlockStats, patterns: dict[str, Pattern],
        refining: tuple[Block, list[Outputs]] | None,
    ) -> tuple[LinearReport, ...]:  # fmt: skip
        before = {site.name: site.weight.clone() for site in sites}
        for site in sites:
            self._prune_linear(f"{name}.{site.name}", site, stats.get(site.name), patterns[f"{name}.{site.name}"])
        if refining and isinstance(self.method, Refinement):
            self.method.refine(*refining, {site.name: site.weight != 0 for site in sites})
        return tuple(
            _report(full, before[site.name], site.weight, stats.get(site.name), patterns[full])
            for site in sites
            for full in [f"{name}.{site.name}"]
        )

    def _prune_linear(self, name: str, site: Linear, stats: InputStats | None, pattern: Pattern) -> None:
        weight = site.weight
        try:
            if stats is not None:
                if len(stats.sum_x) != weight.shape[1]:
                    raise StatsError(f"the statistics are of {len(stats.sum_x)} inputs: of another model")
                stats.check()
            after = self.method(weight, stats, pattern)
            if not after.isfinite().all():
                raise StatsError("the pruned weights hold NaN or infinity")
        except Exception as e:
            e.add_note(f"while pruning {name} {tuple(weight.shape)} to {pattern} with {self.method}")
            raise
        site.write(after)


def _report(name: str, before: Tensor, after: Tensor, stats: InputStats | None, pattern: Pattern) -> LinearReport:
    gram = stats if stats is not None and stats.gram is not None else None
    return LinearReport(
        name,
        (before.shape[0], before.shape[1]),
        str(pattern),
        int((after == 0).sum()),
        stats.tokens if stats is not None else None,
        relative_error(before, after, gram) if gram else None,
        gram.damping_used if gram else None,
        stats.routed if stats is not None else None,
    )


def prune(
    model: nn.Module, data: Sequences | Statistics | None, method: Method, pattern: Pattern, **options: Any
) -> list[LinearReport]:
    """Prune `model` in place and say what happened to each matrix.

    `data` is a calibration set, saved `Statistics` (then no forward pass is run), or None for a method that reads
    none. Options: those of `Pruning` (ignore, propagate, min_coverage, allocation), of its `blocks` (refine_on,
    resume) and of `walk` (batch_size, device).
    """
    knobs = {key: options.pop(key) for key in ("batch_size", "device", "refine_on", "resume") if key in options}
    job = Pruning(method, pattern, **options)
    with torch.no_grad():
        return [report for block in job.blocks(model, data, **knobs) for report in block]
