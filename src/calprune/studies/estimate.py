"""How long trials may take here: their products, counted, by the speed that this machine has for one now."""

import math
import time
from collections.abc import Iterable, Mapping, Sequence

import torch

from calprune.calibration.recipe import Recipe
from calprune.evaluation.evaluation import Evaluation, OnText
from calprune.refine import Refinement
from calprune.studies.trial import Trial

REST = 1.6  # of what a forward pass takes beside its products, measured on the demo model (LOG.md)

TASK_TOKENS = 100  # of an item of a task, its choices together: a guess


def estimate(trials: Sequence[Trial], evaluations: Iterable[Evaluation], sizes: Mapping[str, int]) -> float:
    """Seconds, roughly: forward passes of the sets and of the texts judged on, with the pass for each set shared, and
    the training of blocks. What methods solve, and text that a model writes, is not in it.
    `sizes`: the parameters of each model."""
    asked = {one.text if isinstance(one, OnText) else one: _tokens(one) for one in evaluations}  # a text is read once
    judged = sum(asked.values())
    operations = math.fsum(2.0 * sizes[trial.model] * judged for trial in trials)
    collected = {(t.model, t.set_id): t for t in trials if t.recipe}
    alone = [t for t in trials if t.recipe and not t.shares_sums]
    for trial in [*collected.values(), *alone, *alone]:
        assert trial.recipe is not None
        operations += 2.0 * sizes[trial.model] * _length(trial.recipe)
    operations += math.fsum(2.0 * sizes[trial.model] * _trained(trial) for trial in trials)
    return REST * operations / _speed()


def _tokens(one: Evaluation) -> int:
    if isinstance(one, OnText):
        return one.tokens
    return (getattr(one, "examples", None) or 1000) * TASK_TOKENS


def _length(recipe: Recipe) -> int:
    return recipe.num_samples * recipe.max_seq_length


def _trained(trial: Trial) -> float:
    """Tokens that go through blocks while they are refined: an epoch has a forward and a backward pass, worth two, and
    one to see the error; blocks that are refined in pairs are trained twice. Targets take another."""
    recipe = trial.refine_on or trial.recipe
    if recipe is None or not isinstance(trial.method, Refinement):
        return 0.0
    epochs = getattr(trial.method, "epochs", 1)  # others than block_reconstruction take few batches
    return _length(recipe) * (1 + 4.0 * epochs * (2 if trial.method.cross_block else 1))


def _speed() -> float:
    """Operations a second of a product as a block has it."""
    a, b = torch.ones(1024, 1024), torch.ones(1024, 1024)
    a @ b
    started, n = time.perf_counter(), 0
    while time.perf_counter() - started < 0.3:
        a @ b
        n += 1
    return n * 2.0 * 1024**3 / (time.perf_counter() - started)
