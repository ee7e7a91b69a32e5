"""A dense model on the bench: pruned, judged against what it was, and its weights put back.

bench = Bench(load("demo"))
evaluations = [parse_evaluation("perplexity(c4)"), parse_evaluation("kl(c4)")]
bench.prepare(evaluations)
with bench.pruned(Pruning(Wanda(), parse_pattern("2:4")), data) as pruned:
    found = list(bench.judge(evaluations))
"""

import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from calprune.base.values import ConfigError
from calprune.calibration.set import CalibrationSet
from calprune.evaluation.contract import BY_TOKEN, AgainstDense, Direct, Evaluation, as_outcomes, shared_by
from calprune.evaluation.divergence import DenseReference
from calprune.evaluation.evaluation import EVALUATIONS
from calprune.evaluation.metric import KL
from calprune.layers.collect import Counting
from calprune.layers.inputs import LADDER, Needs
from calprune.layers.linears import find_blocks
from calprune.layers.saved import Statistics
from calprune.models.load import Model
from calprune.pruning.job import Pruned, Pruning
from calprune.removal.job import Removed, Removing
from calprune.removal.methods.contract import Reads
from calprune.removal.sums import add_units
from calprune.studies.records import EvaluationRecord


@dataclass(frozen=True)
class Knobs:
    """How to run, never what to compute."""

    device: str = "auto"
    batch_size: int | None = None
    data_root: Path | None = None
    gpus_per_trial: float | None = None  # on a Ray cluster; None: 1 where there are any

    def __post_init__(self) -> None:
        if self.gpus_per_trial is not None and not 0 < self.gpus_per_trial <= 1:
            raise ConfigError("gpus-per-trial: expected a share of one GPU, above 0 and at most 1, for a trial uses no "
                              f"second; got {self.gpus_per_trial:g}")  # fmt: skip


class BenchError(RuntimeError):
    """The bench was used where its weights are not the dense ones: an error of the program."""


class Bench:
    """One model; between two prunings its weights are the dense ones."""

    def __init__(self, model: Model, *, batch_size: int | None = None, data_root: Path | None = None) -> None:
        self.model = model
        self.batch_size, self.data_root = batch_size, data_root
        self.seconds: dict[str, float] = {}  # spent on what prunings share: dense, collect; for who asks to clear
        self.usable = True  # False: its weights could not be put back, so nothing can be compared with it any more
        self._is_pruned = False
        self._dense: list[Tensor] | None = None  # of the blocks, from the first pruning on
        self._references: dict[Hashable, Any] = {}
        self._sums: tuple[tuple[str, Counting], Statistics] | None = None

    @contextmanager
    def pruned(self, job: Pruning | Removing, data: Any = None, *, refine_on: Any = None) -> Iterator[Pruned | Removed]:
        """The model pruned while the block runs; its weights are put back however the block, or the pruning, ends.
        Where units are taken out, the smaller model stands in its place meanwhile: no weight of the dense one changes.

        data: a calibration set, saved sums, or None for a job that reads none. refine_on: as for `Pruning.blocks`.
        """
        self._check()
        if isinstance(job, Removing):
            done, dense = job.run(self.model.model, data, refine_on=refine_on, batch_size=self.batch_size), self.model
            self.model, self._is_pruned = replace(dense, model=done.smaller, origin=None), True
            try:
                yield done
            finally:
                self.model, self._is_pruned = dense, False
            return
        blocks = find_blocks(self.model.model)[1]
        if self._dense is None:
            self._dense = [p.detach().clone() for p in blocks.parameters()]
        self._is_pruned = True
        try:
            yield job.run(self.model.model, data, refine_on=refine_on, batch_size=self.batch_size)
        finally:
            self.usable = False
            with torch.no_grad():
                for parameter, value in zip(blocks.parameters(), self._dense, strict=True):
                    parameter.copy_(value)
            self.usable, self._is_pruned = True, False

    def sums(
        self, data: CalibrationSet, needs: Needs, counting: Counting = Counting(), *, units: Reads = "nothing"
    ) -> Statistics:
        """The dense model's sums on a set, collected in one pass; those of the last set are kept for the next job.
        units: "blocks" or "experts": with the sums that these are chosen by, of a pass of their own."""
        key = (data.id, counting)
        if self._sums is None or self._sums[0] != key or LADDER.index(self._sums[1].needs) < LADDER.index(needs):
            self._check()
            self._sums = None
            with self._timed("collect"):
                found = Statistics.collect(self.model.model, data, needs, batch_size=self.batch_size,
                                           counting=counting)  # fmt: skip
            self._sums = (key, found)
        sums = self._sums[1]
        if units not in ("blocks", "experts"):
            return sums
        with self._timed("collect"):
            add_units(sums, self.model.model, data, units, batch_size=self.batch_size, counting=counting)
        return sums

    def reference(self, key: Hashable, windows: Tensor) -> DenseReference:
        """What the dense model makes of windows (n, T), kept under `key`. New ones are made of the dense model alone:
        ask for them before `pruned`."""
        return self._kept(key, lambda: DenseReference(self.model.model, windows))

    def prepare(self, evaluations: Iterable[Evaluation]) -> None:
        """Keep what pruned models will be compared with, while the weights are dense."""
        for one in evaluations:
            if isinstance(one, AgainstDense):
                self._reference_of(one)

    def dense(self, evaluation: Evaluation) -> EvaluationRecord:
        """What the dense model has."""
        if isinstance(evaluation, AgainstDense) and hasattr(evaluation, "of_dense"):
            return self._record(evaluation, evaluation.of_dense(self._reference_of(evaluation)))
        self._check()
        with self._timed("dense"):
            return self._record(evaluation, self._look(evaluation))

    def judge(self, evaluations: Iterable[Evaluation]) -> Iterator[EvaluationRecord]:
        """What the model as it now is has, one after another; evaluations that share a pass (perplexity and KL on one
        text) are of one, whose seconds are those of the first."""
        passes: dict[Hashable, Any] = {}
        for one in evaluations:
            started, key = time.perf_counter(), shared_by(one)
            if key not in passes:
                passes[key] = self._look(one)
            yield self._record(one, passes[key], started)

    def _look(self, evaluation: Evaluation) -> Any:
        """What the model as it now is gives: outcomes or values, or of what compares those of several metrics."""
        if isinstance(evaluation, AgainstDense):
            return evaluation.compare(self.model, self._reference_of(evaluation))
        assert isinstance(evaluation, Direct), "as parse_evaluation checks"
        return evaluation.run(self.model, self.data_root)

    def _reference_of(self, evaluation: AgainstDense) -> Any:
        return self._kept(shared_by(evaluation), lambda: evaluation.reference(self.model, self.data_root))

    def _kept(self, key: Hashable, make: Callable[[], Any]) -> Any:
        if key not in self._references:
            self._check()
            with self._timed("dense"):
                self._references[key] = make()
        return self._references[key]

    def _record(self, evaluation: Evaluation, found: Any, started: float | None = None) -> EvaluationRecord:
        by_token = found.get(BY_TOKEN, {}) if isinstance(evaluation, AgainstDense) and evaluation.measures == KL else {}
        found = found[evaluation.measures.name] if isinstance(evaluation, AgainstDense) else found
        made = as_outcomes(evaluation, EVALUATIONS.write(evaluation), found)
        seconds = None if started is None else time.perf_counter() - started
        return EvaluationRecord(made.task, made.capability, made.measures, made.value, tuple(made.items), made.chance,
                                seconds, by_token)  # fmt: skip

    def _check(self) -> None:
        if not self.usable:
            raise BenchError("the weights of this bench could not be put back: load the model anew")
        if self._is_pruned:
            raise BenchError("the model is pruned now: ask for results of the dense model before pruning")

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - started
