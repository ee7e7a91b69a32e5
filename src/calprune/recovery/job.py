"""Recover a pruned model, from two loaded models and a set to what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers import PreTrainedModel

from calprune.base.memory import free_memory
from calprune.base.progress import current, waiting
from calprune.base.values import UserError
from calprune.calibration.set import CalibrationSet
from calprune.layers.linears import find_blocks
from calprune.layers.together.processes import Processes
from calprune.models.head import Head
from calprune.models.load import Model
from calprune.recovery.adapter import check_takes
from calprune.recovery.kept import KeptTraining
from calprune.recovery.targets import Dense
from calprune.recovery.trained import LowRank, Trained, masks, trained_of
from calprune.recovery.training import TOKENS, Recovering, Trainer, TrainingRun, named
from calprune.recovery.watched import SAME, Watched, held_out, rows_of
from calprune.text.encode import tokenizer_hash

_Shapes = dict[str, tuple[int, ...]]
BATCH = 4  # sequences of a watched text that are read at a time


@dataclass(frozen=True, eq=False)
class OtherText:
    """Windows of a text of another source, which is watched."""

    name: str
    windows: Int[Tensor, "n T"]


@dataclass(frozen=True, eq=False)
class Recovered:
    """What a run did to a model. The model has the best weights."""

    how: Recovering
    run: TrainingRun
    other: str  # the name of the other text that was watched; "": none
    zeros: int  # of the linears, before and after: the mask is the same
    trained: int  # numbers that the optimiser changed
    sequences: int  # of the set that were trained on
    narrow: bool  # products were made in bfloat16
    adapter: LowRank | None = None  # kept beside the weights

    @property
    def before(self) -> Mapping[str, float]:
        """KL to the dense model on each text before training, nats a token."""
        return self.run.looks[0].kl

    @property
    def after(self) -> Mapping[str, float]:
        """The same of the best weights."""
        return self.run.looks[self.run.best].kl


def recover(
    how: Recovering,
    models: tuple[Model, Model],
    data: CalibrationSet,
    other: OtherText | None,
    resume: Path | None,
    processes: Processes | None = None,
) -> Recovered:
    """Train the first model towards the second, dense one; it ends with the best weights. With `keep_adapter` it ends
    with the weights that it had, and the adapter is in what comes back.

    resume: a folder in which the state is kept, so that the same call goes on where it was. processes: those that share
    each step; all of them make this call and end with the same weights. Raises UserError where the set is too small, or
    the memory does not suffice. The two models are a pair (`check_pair`).
    """
    pruned, dense = models
    given, how = how.batch, how.settled(data, Head(dense.model).device)
    if processes and (how.batch or 0) < processes.size:
        if given is not None:
            raise UserError(f"--batch {given}: {processes.size} processes share the sequences of a step; give "
                            f"{processes.size} or more, or start fewer")  # fmt: skip
        how = replace(how, batch=processes.size)
    sequences, watching = held_out(data)
    if how.keep_adapter:
        check_takes(
            pruned.model, masks(pruned.model), "leave keep_adapter out, so that the change goes into the weights"
        )
    trained = trained_of(pruned.model, how.what, how.rank, how.keep_adapter)
    check_memory(trained, pruned.model, Head(dense.model).device)
    before = masks(pruned.model)
    trainer = Trainer(how, pruned.model, data, sequences, processes)
    with waiting("asking the dense model about the watched texts"):
        watched = [Watched.of(SAME, dense.model, rows_of(data, watching), BATCH)]
        watched += [Watched.of(other.name, dense.model, [other.windows], BATCH)] if other else []
    kept = KeptTraining(resume, run_name(how, models, data, other)) if resume else None
    run = trainer.run(trained, Dense(Head(dense.model), data, how.top), watched, kept)
    adapter = trained if isinstance(trained, LowRank) and how.keep_adapter else None
    if adapter:
        adapter.without()
    zeros = check_masks(before, masks(pruned.model))
    count = sum(leaf.numel() for leaf in trained.leaves.values())
    return Recovered(how, run, other.name if other else "", zeros, count, len(sequences), trainer.narrow, adapter)


def run_name(how: Recovering, models: tuple[Model, Model], data: CalibrationSet, other: OtherText | None) -> str:
    """16 characters for all that a run's numbers depend on."""
    pruned, dense = models
    watched = {"other": [other.name, other.windows.tolist()]} if other else {}
    ids = {"pruned": pruned.id, "dense": dense.id, "data": data.id, "watched": str(watched)}
    return named(how, ids | {"dtype": str(next(pruned.model.parameters()).dtype)})


def check_pair(pruned: Model, dense: Model) -> None:
    """Raise UserError unless the first can be what pruning left of the second: of one class, one shape outside the
    blocks and one tokenizer, with no more parameters. Blocks may be fewer and smaller: parts were taken out."""
    if type(pruned.model) is not type(dense.model):
        raise UserError(f"{pruned.name} is a {type(pruned.model).__name__} and {dense.name} a "
                        f"{type(dense.model).__name__}; --dense wants the model that was pruned")  # fmt: skip
    _refuse_differing(pruned, dense, *(_outside(one.model) for one in (pruned, dense)))
    if pruned.model.num_parameters() > dense.model.num_parameters():
        raise UserError(
            f"{pruned.name} has more parameters than {dense.name} ({pruned.model.num_parameters():,} and "
            f"{dense.model.num_parameters():,}); --dense wants the model that was pruned"
        )
    if tokenizer_hash(pruned.tokenizer) != tokenizer_hash(dense.tokenizer):
        raise UserError(f"the tokenizer of {dense.name} is another than that of {pruned.name}; --dense wants the model "
                        "that was pruned")  # fmt: skip


def check_same_shapes(pruned: Model, dense: Model) -> None:
    """Raise UserError where a parameter of one is not in the other, or of another shape."""
    _refuse_differing(pruned, dense, *(_shapes(one.model) for one in (pruned, dense)))


def _shapes(model: PreTrainedModel) -> _Shapes:
    """The shape of each parameter, by its name."""
    return {name: tuple(p.shape) for name, p in model.named_parameters()}


def _outside(model: PreTrainedModel) -> _Shapes:
    """The shapes of the parameters that are in no block."""
    blocks = f"{find_blocks(model)[0]}."
    return {name: shape for name, shape in _shapes(model).items() if not name.startswith(blocks)}


def _refuse_differing(pruned: Model, dense: Model, first: _Shapes, second: _Shapes) -> None:
    if differing := [name for name in first.keys() | second.keys() if first.get(name) != second.get(name)]:
        name = min(differing)
        raise UserError(
            f"{pruned.name} and {dense.name} are of different shapes: {name} is {first.get(name)} in the "
            f"first and {second.get(name)} in the second; --dense wants the model that was pruned"
        )


def check_masks(before: Mapping[str, Bool[Tensor, "out in"]], after: Mapping[str, Bool[Tensor, "out in"]]) -> int:
    """The number of zeros. Raises UserError where a pruned weight is no zero any more."""
    for name, kept in before.items():
        if bool((after[name] & ~kept).any()):
            raise UserError(f"{name}: weights that were pruned are no zeros any more: this is a fault of calprune")
    lost = sum(int((kept & ~after[name]).sum()) for name, kept in before.items())
    if lost:
        current().note(f"{lost} weights more are zero than before: they became too small for their type")
    return sum(int((~kept).sum()) for kept in after.values())


def check_memory(trained: Trained, model: PreTrainedModel, device: torch.device) -> None:
    """Raise UserError where what is held for training alone is more than there is."""
    state = sum(leaf.numel() for leaf in trained.leaves.values()) * 4 * 5  # leaf, gradient, two moments, the best
    state += sum(p.numel() * p.element_size() for p in trained.parameters)  # gradients of the model's parameters
    config = model.config.get_text_config()
    numbers = TOKENS.get(device.type, 8192) * (config.num_hidden_layers * config.hidden_size * 40 + config.vocab_size)
    need, free = state + 4 * numbers, free_memory(device)
    if free is not None and need > free:
        raise UserError(f"training takes about {need / 1e9:.1f} GB beside the two models, and {free / 1e9:.1f} GB are "
                        "free; --what norms or --what lora takes less")  # fmt: skip
