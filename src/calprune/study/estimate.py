"""How long trials may take here: their products, counted, by the speed that this machine has for one now."""

import math
import time
from collections.abc import Iterable, Mapping, Sequence

import torch

from calprune.study.evaluations import Evaluation, OnText
from calprune.study.trial import Trial

REST = 1.6  # of what a forward pass takes beside its products, measured on the demo model (LOG.md)
TASK_TOKENS = 100  # of an item of a task, its choices together: a guess


def estimate(trials: Sequence[Trial], evaluations: Iterable[Evaluation], sizes: Mapping[str, int]) -> float:
    """Seconds, roughly: forward passes of the sets and of the texts judged on, with the pass for each set shared.
    `sizes`: the parameters of each model."""
    judged = sum(_tokens(one) for one in evaluations)
    operations = math.fsum(2.0 * sizes[trial.model] * judged for trial in trials)
    collected = {(t.model, t.set_id): t for t in trials if t.recipe}
    alone = [t for t in trials if t.recipe and t.propagate == "pruned"]
    for trial in [*collected.values(), *alone, *alone]:
        assert trial.recipe is not None
        operations += 2.0 * sizes[trial.model] * trial.recipe.num_samples * trial.recipe.max_seq_length
    return REST * operations / _speed()


def _tokens(one: Evaluation) -> int:
    if isinstance(one, OnText):
        return one.tokens
    return (one.examples or 1000) * TASK_TOKENS


def _speed() -> float:
    """Operations a second of a product as a block has it."""
    a, b = torch.ones(1024, 1024), torch.ones(1024, 1024)
    a @ b
    started, n = time.perf_counter(), 0
    while time.perf_counter() - started < 0.3:
        a @ b
        n += 1
    return n * 2.0 * 1024**3 / (time.perf_counter() - started)
