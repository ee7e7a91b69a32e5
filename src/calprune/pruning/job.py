"""Prune a model in place, one block at a time.

A block's statistics come from what the blocks before it give: as already pruned (the default: errors made early are
seen, and can be compensated, later), or dense, in one pass instead of two; or they were saved, and no pass is run.
Sequential is one pass, too: each linear sees what all before it give as pruned, those of its own block included.
"""

import time
from collections.abc import Container, Iterator, Mapping
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import nn

from calprune.allocation import Allocation
from calprune.allocation.budget import DenseBlock, DenseLinear
from calprune.allocation.uniform import Uniform
from calprune.base.checks import options
from calprune.base.memory import leave_to_file
from calprune.base.output import filled_folder
from calprune.base.pace import TimeLeft
from calprune.base.progress import tracking, whole
from calprune.base.tensors import is_finite
from calprune.base.values import ConfigError, UserError, identity, plain
from calprune.layers.blocks import Propagate, Sequences, Walking, walk
from calprune.layers.collect import Counting
from calprune.layers.gradients import walk_sums
from calprune.layers.inputs import LADDER, InputStats, Needs, StatsError
from calprune.layers.linears import Linear, ModelError, check_coverage, find_blocks, linears
from calprune.layers.saved import BlockStats, Statistics
from calprune.layers.together.sequential import check_in_turn, few_batches, in_turn
from calprune.methods import METHODS
from calprune.methods.contract import Method, check_given
from calprune.pattern import KeepNofM, Pattern, PatternError, check_width
from calprune.pruning.permutation import How, permute
from calprune.pruning.report import LinearReport, Outcome
from calprune.pruning.scope import UNREACHED, scope_of
from calprune.refine import Refinement
from calprune.refine.beside import Beside
from calprune.refine.kept import KeptBlocks, digest_beside
from calprune.refine.overlapping import Overlapping

KEPT = 2  # in the name of a job: raise it when blocks that were kept no longer serve
SOLVED = 4096  # tokens whose forward pass takes as long as solving by the Gram matrices of all linears; measured on the
# demo model (LOG.md)


@dataclass(frozen=True)
class Pruned:
    """What a job did to a model. `checkpoint.describe` makes its description."""

    job: "Pruning"
    reports: tuple[LinearReport, ...]  # a matrix each
    seconds: float
    dense: Mapping[str, str] = field(default_factory=dict)  # what stayed dense though no rule named it -> why
    notes: tuple[str, ...] = ()  # of `ignore`

    @property
    def tokens(self) -> float | None:
        """The most that any matrix's statistics are of; None: none were read."""
        return max((report.tokens for report in self.reports if report.tokens is not None), default=None)

    def as_needed(self) -> "Pruned":
        """Without what only sums tell that the job did not ask for: the same whatever else was collected."""
        if LADDER.index(self.job.needs) >= LADDER.index("gram"):
            return self
        bare = tuple(replace(report, relative_error=None, damping=None) for report in self.reports)
        return replace(self, reports=bare)


@options
class Pruning:
    """A job: what to do to a model, checked against it before a weight is touched."""

    tag: ClassVar[str] = "Pruning"

    method: Method
    pattern: Pattern
    ignore: tuple[str, ...] = ()  # linears left dense: "*.down_proj", a block "model.layers.0", "re:.*[qk]_proj"
    propagate: Propagate | Literal["sequential"] = "pruned"
    min_coverage: float = 0.5  # of each block's parameters, in linears; below it the job is refused
    allocation: Allocation = field(default_factory=Uniform)  # which linear gets how much of the pattern's sparsity
    counting: Counting = field(default_factory=Counting)  # which tokens count in an expert's statistics
    permute: How | None = None  # before all else, order channels so that n:m keeps more: the dense model stays the same

    @property
    def needs(self) -> Needs:
        """The most that any part of the job reads of the data."""
        return max(self.method.needs, self.allocation.needs, key=LADDER.index)

    @property
    def revision(self) -> int:
        """Above 0 where the method, or one that it begins from, now gives other numbers for this pattern alone: part of
        a name, so that results for other patterns keep theirs."""
        even, found = self.allocation == Uniform(), 0
        method: Any = self.method
        while method is not None:
            if hasattr(method, "revision"):
                found = max(found, method.revision(self.pattern, even))
            method = getattr(method, "start", None)
        return found

    @property
    def method_text(self) -> str:
        """The method as it is written."""
        return METHODS.write(self.method)

    @property
    def reads(self) -> Needs:
        """The same: a job that takes units out may read what is no sum at a linear's input."""
        return self.needs

    def __post_init__(self) -> None:
        if not 0 <= self.min_coverage <= 1:
            raise ConfigError(f"min_coverage is a share of a block's parameters, 0 to 1, got {self.min_coverage:g}")
        if self.propagate == "sequential":
            check_one_pass(self.method)

    @torch.no_grad()
    def run(
        self,
        model: nn.Module,
        data: Sequences | Statistics | None = None,
        *,
        refine_on: Sequences | Statistics | None = None,
        resume: str | Path | None = None,
        batch_size: int | None = None,
        device: torch.device | str | None = None,
    ) -> Pruned:
        """Prune `model` in place and say what happened to each matrix; blocks are reported to the current progress.

        `data` is a calibration set, saved `Statistics` (then no forward pass is run), or None for a method that reads
        none. The other arguments are those of `blocks`.
        """
        started, (name, modules) = time.perf_counter(), find_blocks(model)
        chosen = scope_of(model, self.ignore)
        blocks = self.blocks(model, data, refine_on=refine_on, resume=resume, batch_size=batch_size, device=device)
        left = TimeLeft(self.phases(model, data))
        with filled_folder(resume, "--resume") if resume is not None else nullcontext(), whole(left):
            reports = tuple(report for block in tracking(blocks, len(modules), f"pruning {name}") for report in block)
        unreached = dict.fromkeys(chosen.linears.keys() - {report.name for report in reports}, UNREACHED)
        dense = {linear: why for linear, why in sorted((chosen.dense | unreached).items())}
        return Pruned(self, reports, time.perf_counter() - started, dense, chosen.notes)

    def phases(self, model: nn.Module, data: Sequences | Statistics | None) -> dict[str, float]:
        """What the phases of `run` cost, by their names, in tokens that go through the model once."""
        tokens = 0.0 if data is None or isinstance(data, Statistics) else float(data.lengths.sum())
        return self.costs(f"pruning {find_blocks(model)[0]}", tokens)

    def costs(self, pruning: str, tokens: float, trained: float | None = None) -> dict[str, float]:
        """The same. pruning: what the phase of the blocks is called. tokens: of the data; 0: its sums are there, or the
        job reads none. trained: of what blocks are refined on; None: the same."""
        reads, costs = LADDER.index(self.method.needs), {pruning: 0.0}
        if tokens and self.permute:
            costs["permuting channels"] = tokens
        if tokens and self.allocation.needs != "nothing":
            costs["allocating"] = tokens
        if tokens and reads >= LADDER.index("gradients"):
            costs["gradients of the loss"] = 3.0 * tokens
        if reads:
            costs[pruning] += tokens * (2.0 if self.propagate == "pruned" else 1.0)
        if isinstance(self.method, Refinement):  # an epoch: forward and backward, worth two, and one to see the error
            epochs = getattr(self.method, "epochs", 1)  # others than block_reconstruction take few batches
            passes = 1 + 4.0 * epochs * (2 if self.method.cross_block else 1)
            costs[pruning] += passes * (tokens if trained is None else trained)
        costs[pruning] += SOLVED if reads >= LADDER.index("gram") else SOLVED / 8
        return costs

    def blocks(
        self,
        model: nn.Module,
        data: Sequences | Statistics | None,
        *,
        refine_on: Sequences | Statistics | None = None,
        resume: str | Path | None = None,
        batch_size: int | None = None,
        device: torch.device | str | None = None,
    ) -> Iterator[tuple[LinearReport, ...]]:
        """Prune block after block; each block's reports as they are known. batch_size and device as for `walk`.

        refine_on: what a method that refines blocks trains on; None: `data`. resume: a folder in which done blocks
        are kept, so that the same call goes on where it was stopped.
        """
        knobs: Walking = {"batch_size": batch_size, "device": device}
        channels = self._permute(model, data, knobs) if self.permute else {}
        patterns = self.allocate(model, data, batch_size=batch_size, device=device)
        beside = self._beside(model, data, refine_on, device)
        waiting: Outcome | None = None  # the block before, where its weights change with this one's
        about = self._named(data, refine_on) | {"beside the linears": digest_beside(model, patterns)} if resume else {}
        kept = KeptBlocks(resume, about) if resume else None
        training = model.training
        leave_to_file(model.parameters())  # what was read of them until now; each block is read when its turn comes
        try:
            for name, done in self._outcomes(model, data, knobs, patterns, channels):
                here = done.sites
                changing = waiting.sites if waiting else []
                if beside:
                    beside.enter(here)

                def prune_block(name: str = name, done: Outcome = done) -> list[dict[str, Any]]:
                    self._prune_block(name, done, patterns, beside)
                    return [asdict(report) for report in done.reports]

                norms = beside.norms() if beside else {}
                reports = kept.block(name, here, changing, prune_block, norms) if kept else prune_block()
                done.reports = tuple(LinearReport(**{**r, "shape": tuple(r["shape"])}) for r in reports)
                if waiting:
                    yield waiting.again()
                waiting = done if isinstance(beside, Overlapping) else None
                if not waiting:
                    yield done.reports
                if beside:
                    beside.leave()
            if waiting:
                yield waiting.again()
        finally:
            model.train(training)

    def _permute(self, model: nn.Module, data: Any, knobs: Walking) -> dict[str, str]:
        if not isinstance(self.pattern, KeepNofM):
            raise UserError(f"channels are permuted for a pattern like 2:4, not for {self.pattern}; leave permute out")
        if isinstance(data, Statistics):
            raise UserError("saved statistics are of channels in their old order: to permute, give a calibration set")
        assert self.permute
        given: Walking = {**knobs, "counting": self.counting}
        return permute(model, data, self.pattern, self.permute, self.plan(model), **given)

    def _visits(
        self, model: nn.Module, data: Any, reader: Method | Allocation, propagate: Propagate, knobs: Walking,
        only: Container[str],
    ) -> Iterator[tuple[str, list[Linear], BlockStats]]:  # fmt: skip
        """Each block with the statistics of its inputs: none, saved, or collected on the way for the linears `only`."""
        saved = isinstance(data, Statistics)
        asked = self.counting.summary()
        if saved and asked and asked["counting"] != data.about.get("counting"):
            raise UserError("saved statistics are counted already: collect them with these options, or give a set")
        if reader.needs == "nothing" or saved:
            name, modules = find_blocks(model)
            for i, module in enumerate(modules):
                device, sites = next(module.parameters()).device, linears(module)
                stats = {} if reader.needs == "nothing" else data.of_block(f"{name}.{i}", device)
                if stats and sites and not any(site.name in stats for site in sites):
                    raise StatsError(f"{name}.{i}: the statistics hold none of its linears: they are of another model")
                yield f"{name}.{i}", sites, stats
        elif data is None:
            raise UserError(f"{reader} needs calibration data: give it a calibration set or saved statistics")
        else:
            given: Walking = {**knobs, "propagate": propagate, "counting": self.counting}
            for block, stats in walk_sums(model, data, reader.needs, only, **given):
                yield block.name, block.linears(), stats

    def _outcomes(
        self, model: nn.Module, data: Any, knobs: Walking, patterns: dict[str, Pattern], channels: dict[str, str]
    ) -> Iterator[tuple[str, Outcome]]:
        """Each block's linears that will be pruned, as they still are, with what they are pruned by."""
        blind = self.method.needs == "nothing"
        if self.propagate != "sequential" or blind:
            propagate: Propagate = "pruned" if self.propagate == "sequential" else self.propagate
            for name, sites, stats in self._visits(model, data, self.method, propagate, knobs, patterns):
                here = [s for s in sites if f"{name}.{s.name}" in patterns and (blind or s.name in stats)]
                yield name, Outcome(here, stats, channels)
            return
        if data is None or isinstance(data, Statistics):
            raise UserError("propagate sequential collects statistics while it prunes, so saved ones are no use to it: "
                            "give it a calibration set, or leave propagate out")  # fmt: skip
        device = torch.device(knobs["device"] or next(model.parameters()).device)
        size = knobs["batch_size"] or few_batches(data, device)
        for block in walk(model, data, batch_size=size, device=knobs["device"], counting=self.counting):
            yield block.name, Outcome(block.linears(patterns), {}, channels, block)

    def _beside(self, model: nn.Module, data: Any, refine_on: Any, device: Any) -> Beside | None:
        method, on = self.method, data if refine_on is None else refine_on
        if not isinstance(method, Refinement):
            if refine_on is not None:
                raise UserError(f"{method} refines no block, so it trains on nothing: leave refine_on out")
            return None
        if on is None or isinstance(on, Statistics):
            raise UserError(f"{method} trains on sequences: give it a calibration set, beside saved statistics if any")
        return (Overlapping if method.cross_block else Beside)(model, on, method, device)

    def _named(self, data: Any, refine_on: Any) -> dict[str, Any]:
        """All that the weights depend on beside the model."""
        identities = [d.about if isinstance(d, Statistics) else getattr(d, "id", None) for d in (data, refine_on)]
        revised = {"revision": self.revision} if self.revision else {}
        return revised | {"pruning": plain(self), "data": identities[0], "refine_on": identities[1]}

    def named(self, model: nn.Module, model_id: str, data: Any, refine_on: Any = None) -> str:
        """16 characters for all that the pruned weights depend on. `model_id`: of the dense weights as stored."""
        return identity([KEPT, model_id, str(next(model.parameters()).dtype), self._named(data, refine_on)])

    def allocate(
        self,
        model: nn.Module,
        data: Sequences | Statistics | None,
        *,
        batch_size: int | None = None,
        device: torch.device | str | None = None,
    ) -> dict[str, Pattern]:
        """The pattern of each linear that will be pruned; a dense pass over the data where the allocation reads it."""
        chosen = self.plan(model)
        knobs: Walking = {"batch_size": batch_size, "device": device}

        blind = self.allocation.needs == "nothing"

        def dense() -> Iterator[DenseBlock]:
            visits = self._visits(model, data, self.allocation, "dense", knobs, chosen)
            if not blind:
                visits = tracking(visits, len(find_blocks(model)[1]), "allocating")
            for name, sites, stats in visits:
                named = [(f"{name}.{site.name}", site) for site in sites if blind or site.name in stats]
                found = [DenseLinear(n, site.weight, stats.get(site.name)) for n, site in named if n in chosen]
                if found:
                    yield DenseBlock(name, found)

        return self.allocation(dense(), self.pattern)

    def plan(self, model: nn.Module) -> set[str]:
        """The full names of the linears that will be pruned. Raises UserError where the job does not fit the model."""
        name, modules = find_blocks(model)
        for i, block in enumerate(modules):
            check_coverage(f"{name}.{i}", block, self.min_coverage)
        chosen = scope_of(model, self.ignore).linears
        for linear, site in chosen.items():
            try:
                check_width(site.weight.shape[1], self.pattern)
            except PatternError as e:
                raise PatternError(f"{linear} {tuple(site.weight.shape)}: {e}; leave it out with --ignore") from None
            if not is_finite(site.weight):
                raise ModelError(f"{linear} holds NaN or infinity in its weights")
        if self.propagate == "sequential" and self.method.needs != "nothing":
            check_in_turn(model, chosen)
        return set(chosen)

    def _prune_block(self, name: str, block: Outcome, patterns: dict[str, Pattern], beside: Beside | None) -> None:
        def prune(site: Linear, stats: InputStats | None) -> None:
            self._prune_linear(f"{name}.{site.name}", site, stats, patterns[f"{name}.{site.name}"])

        if block.running:
            with closing(in_turn(block.running, self.method.needs, patterns)) as reached:
                for site, stats in reached:
                    prune(site, stats)
                    block.stats[site.name] = stats
            block.sites = [site for site in block.sites if site.name in block.stats]
        else:
            for site in block.sites:
                prune(site, block.stats.get(site.name))
        if beside:
            beside.refine()
        block.report(name, patterns)

    def _prune_linear(self, name: str, site: Linear, stats: InputStats | None, pattern: Pattern) -> None:
        weight = site.weight
        try:
            if stats is not None:
                weight = weight.to(stats.sum_x.device)  # saved ones are where the block was at first
                if len(stats.sum_x) != weight.shape[1]:
                    raise StatsError(f"the statistics are of {len(stats.sum_x)} inputs: of another model")
                stats.check()
            after = self.method(weight, stats and stats.named(site.name), pattern)
            check_given(self.method, after, weight, pattern)
        except Exception as e:
            e.add_note(f"while pruning {name} {tuple(weight.shape)} to {pattern} with {self.method}")
            raise
        site.write(after)


def check_one_pass(method: Method) -> None:
    """Raise ConfigError for a method that needs more than the sums at a linear's input: `propagate` "sequential"."""
    if isinstance(method, Refinement):
        raise ConfigError(f"{METHODS.write(method)} trains whole blocks, and with propagate sequential the tokens are "
                          'through when a block is whole; write propagate "pruned"')  # fmt: skip
    if LADDER.index(method.needs) > LADDER.index("gram"):
        raise ConfigError(f"{METHODS.write(method)} reads gradients, and propagate sequential has one pass, forward; "
                          'write propagate "pruned"')  # fmt: skip
