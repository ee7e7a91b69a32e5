"""A dense model on the bench: pruned, judged against what it was, and its weights put back.

bench = Bench(load("demo"))
evaluations = [parse_evaluation("perplexity(c4)"), parse_evaluation("kl(c4)")]
bench.prepare(evaluations)
with bench.pruned(Pruning(Wanda(), parse_pattern("2:4")), data) as pruned:
    found = list(bench.judge(evaluations))
"""

import math
import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from calprune.calibration.build import open_source
from calprune.calibration.set import CalibrationSet
from calprune.evaluation.divergence import DenseReference
from calprune.evaluation.evaluation import EVALUATIONS, Evaluation, OnText
from calprune.evaluation.windows import windows_of
from calprune.layers.collect import Counting
from calprune.layers.inputs import LADDER, Needs
from calprune.layers.linears import find_blocks
from calprune.layers.saved import Statistics
from calprune.models.load import Model
from calprune.pruning.job import Pruned, Pruning
from calprune.studies.records import EvaluationRecord
from calprune.text.given import Given


@dataclass(frozen=True)
class Knobs:
    """How to run, never what to compute."""

    device: str = "auto"
    batch_size: int | None = None
    data_root: Path | None = None


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
        self._references: dict[Hashable, DenseReference] = {}
        self._sums: tuple[tuple[str, Counting], Statistics] | None = None

    @contextmanager
    def pruned(self, job: Pruning, data: Any = None, *, refine_on: Any = None) -> Iterator[Pruned]:
        """The model pruned while the block runs; its weights are put back however the block, or the pruning, ends.

        data: a calibration set, saved sums, or None for a job that reads none. refine_on: as for `Pruning.blocks`.
        """
        self._check()
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

    def sums(self, data: CalibrationSet, needs: Needs, counting: Counting = Counting()) -> Statistics:
        """The dense model's sums on a set, collected in one pass; those of the last set are kept for the next job."""
        key = (data.id, counting)
        if self._sums is None or self._sums[0] != key or LADDER.index(self._sums[1].needs) < LADDER.index(needs):
            self._check()
            self._sums = None
            with self._timed("collect"):
                found = Statistics.collect(self.model.model, data, needs, batch_size=self.batch_size,
                                           counting=counting)  # fmt: skip
            self._sums = (key, found)
        return self._sums[1]

    def reference(self, key: Hashable, windows: Tensor | Callable[[], Tensor]) -> DenseReference:
        """What the dense model makes of windows (n, T), or of those that a function opens, kept under `key`. New ones
        are made of the dense model alone: ask for them before `pruned`."""
        if key not in self._references:
            self._check()
            read = windows if isinstance(windows, Tensor) else windows()
            with self._timed("dense"):
                self._references[key] = DenseReference(self.model.model, read)
        return self._references[key]

    def prepare(self, evaluations: Iterable[Evaluation]) -> None:
        """Read the texts that a pruned model will be judged on, while the weights are dense."""
        for one in evaluations:
            if isinstance(one, OnText):
                self._reference_of(one)

    def dense(self, evaluation: Evaluation) -> EvaluationRecord:
        """What the dense model has."""
        if isinstance(evaluation, OnText):
            reference = self._reference_of(evaluation)
            if evaluation.metric == "kl":
                return _kl(evaluation, [0.0] * sum(len(batch) for batch, _ in reference.batches))
            found = reference.perplexity()
            return _perplexity(evaluation, found.estimate().value, found.nats.tolist())
        self._check()
        with self._timed("dense"):
            return self._on_task(evaluation)

    def judge(self, evaluations: Iterable[Evaluation]) -> Iterator[EvaluationRecord]:
        """What the model as it now is has, one after another; perplexity and KL on one text share a pass, whose seconds
        are those of the first."""
        compared: dict[Hashable, Any] = {}
        for one in evaluations:
            started = time.perf_counter()
            if isinstance(one, OnText):
                if one.text not in compared:
                    compared[one.text] = self._reference_of(one).compare(self.model.model)
                kl, perplexity = compared[one.text]
                if one.metric == "kl":
                    yield _kl(one, kl.nats.tolist(), time.perf_counter() - started)
                else:
                    value = perplexity.estimate().value
                    yield _perplexity(one, value, perplexity.nats.tolist(), time.perf_counter() - started)
            else:
                yield self._on_task(one, started)

    def _reference_of(self, evaluation: OnText) -> DenseReference:
        def windows() -> Tensor:
            text = open_source(evaluation.of, Given(self.model, data_root=self.data_root), "evaluation")
            sizes = (evaluation.length, evaluation.tokens, evaluation.skip)
            return windows_of(text.documents(), self.model.tokenizer, *sizes)

        return self.reference(evaluation.text, windows)

    def _on_task(self, task: Any, started: float | None = None) -> EvaluationRecord:
        found = task.run(self.model, self.data_root)
        seconds = None if started is None else time.perf_counter() - started
        return EvaluationRecord(EVALUATIONS.write(task), task.capability, found.metric, found.value, tuple(found.items),
                                found.chance, seconds)  # fmt: skip

    def _check(self) -> None:
        if not self.usable:
            raise BenchError("the weights of this bench could not be put back: load the model anew")
        if self._is_pruned:
            raise BenchError("the model is pruned now: what is to be known of the dense one is asked for before")

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - started


def _perplexity(of: OnText, value: float, nats: list[float], seconds: float | None = None) -> EvaluationRecord:
    return EvaluationRecord(EVALUATIONS.write(of), of.capability, "perplexity", value, tuple(nats), None, seconds)


def _kl(of: OnText, nats: list[float], seconds: float | None = None) -> EvaluationRecord:
    return EvaluationRecord(
        EVALUATIONS.write(of), of.capability, "kl", math.fsum(nats) / len(nats), tuple(nats), None, seconds
    )
