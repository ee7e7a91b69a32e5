"""Walk a decoder-only model one block at a time, with the hidden states carried by hand.

    for block in walk(model, calibration):
        stats = block.collect("moments")     # the calibration data through the block, up to its last linear
        ...change the block's weights...
        # as the loop comes round, the block runs with its new weights: the next one sees what they give

Only one block's inputs are held at a time (sequences · T · hidden numbers), where the model's embeddings are; with
`device`, each block is moved there for its turn, so that a model larger than the device can be walked.

No attention mask is given to the model: padding stands on the right, and causal attention never looks right. So a
padded batch gives real tokens what they would get alone, and padding is left out of the statistics. The one exception
is a quirk: padding on the left that counts and that no token attends to (`arguments.mask_of`).
"""

from collections.abc import Container, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Literal, Protocol, TypedDict, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from calprune.base.checks import Count, checked
from calprune.base.values import UserError
from calprune.layers.agreement import check_agreement
from calprune.layers.arguments import (
    Caught,
    by_token,
    given_to_all,
    handing_on,
    held_once,
    hidden_of,
    mask_of,
    masked_of,
    to_device,
)
from calprune.layers.collect import Collector, Counted, Counting, Enough
from calprune.layers.inputs import InputStats, Needs
from calprune.layers.linears import Linear, ModelError, find_blocks, linears
from calprune.layers.products import faster_products
from calprune.layers.readable import check_ids, check_length
from calprune.layers.together.processes import Processes, processes_of

Propagate = Literal["pruned", "dense"]

TOKENS_PER_BATCH = {"cpu": 1024, "cuda": 16384}  # where `batch_size` is None: what a cache, or a GPU, is well filled by


class Walking(TypedDict, total=False):
    """Options of `walk`, as what calls it hands them on."""

    batch_size: int | None
    propagate: Propagate
    device: torch.device | str | None
    counting: Counting


@runtime_checkable
class Sequences(Protocol):
    """What `walk` reads of a calibration set."""

    @property
    def tokens(self) -> Int[Tensor, "n T"]: ...
    @property
    def lengths(self) -> Int[Tensor, "n"]: ...
    @property
    def weights(self) -> Float[Tensor, "n T"] | None: ...


def usual_batch_size(calibration: Sequences, device: torch.device) -> int:
    """Sequences at a time where nobody says how many."""
    return max(1, TOKENS_PER_BATCH.get(device.type, 16384) // calibration.tokens.shape[1])


@dataclass
class Batch:
    """Some sequences of the calibration set, trimmed to the longest, on their way through the model."""

    sequences: Int[Tensor, "b"]  # which rows of the set
    lengths: Int[Tensor, "b"]  # without padding
    hidden: Float[Tensor, "*_ hidden"]  # (b, T, hidden); in some families with an axis of streams besides
    arguments: tuple[tuple, dict]  # what the model gave each block besides the hidden states
    rows: Int[Tensor, "counted"] | None  # the tokens that count, of b · T; None: all
    weight: Float[Tensor, "counted"] | None  # how often each of them counts; None: once

    @property
    def shape(self) -> tuple[int, int]:
        """(b, T): sequences, and tokens of the longest."""
        return len(self.lengths), int(self.lengths.max())

    def by_token(self, given: Float[Tensor, "*_"]) -> Float[Tensor, "b T *_"]:
        """Hidden states with sequences and tokens first."""
        return by_token(given, self.shape)

    def check_plain(self, what: str) -> None:
        """Raise ModelError where the hidden states are not (b, T, hidden), which `what` looks at."""
        if tuple(self.hidden.shape[:-1]) != self.shape:
            raise ModelError(f"{what} is of hidden states (sequences, tokens, width), but this model's blocks hand on "
                             f"{tuple(self.hidden.shape)}; choose another")  # fmt: skip

    def counts(self) -> Float[Tensor, "b T"]:
        """How often each token counts; 0: not at all."""
        b, length = self.shape
        if self.rows is None:
            return torch.ones(b, length, device=self.hidden.device)
        counted = torch.zeros(b * length, device=self.rows.device)
        counted[self.rows] = 1.0 if self.weight is None else self.weight
        return counted.reshape(b, length)


@dataclass
class Block:
    """One decoder block together with the inputs that reach it."""

    name: str  # "model.layers.3"
    module: nn.Module
    batches: list[Batch]
    device: torch.device  # where it runs while it is the walk's turn
    home: torch.device  # where it is otherwise
    propagate: Propagate
    counting: Counting
    passed: bool = False  # the batches already hold what leaves the block
    processes: Processes | None = None  # that share the data: sums are of all of them, batches of this one

    def linears(self, only: Container[str] | None = None) -> list[Linear]:
        """The block's linears; of those, where given, that `only` holds by full names."""
        return [s for s in linears(self.module) if only is None or f"{self.name}.{s.name}" in only]

    @torch.no_grad()
    def collect(self, needs: Needs, only: Container[str] | None = None) -> dict[str, InputStats]:
        """The input statistics of each linear (of `only`), shared by those that read the same tensor.

        A linear that no token reaches is left out.
        With `propagate="pruned"` the block is left as soon as its last linear's input is known. With "dense" it runs
        to its end and its outputs are kept, so collect before you change the weights.
        """
        dense = self.propagate == "dense"
        sites = self.linears(only)
        if not sites and not dense:
            return {}
        with faster_products(self.module):
            weights = [self.weight_of(batch) for batch in self.batches]
        watching = Collector(sites, needs, self.counting, stop_early=not dense, processes=self.processes)
        with watching as collector, faster_products(self.module):
            for batch, weight in zip(self.batches, weights, strict=True):
                collector.start(Counted(batch.rows, weight, batch.shape))
                try:
                    output = self.forward(batch)
                except Enough:
                    continue
                if dense:
                    batch.hidden = output
        self.passed = dense
        return collector.stats

    def weight_of(self, batch: Batch) -> Float[Tensor, "counted"] | None:
        """How often each token that counts does so in this block; None: once."""
        weigh = self.counting.token_weights
        if weigh is None:
            return batch.weight
        weight = weigh(self.name, lambda: self.forward(batch), batch.lengths, batch.counts()).flatten().to(self.device)
        return weight if batch.rows is None else weight[batch.rows]

    @torch.no_grad()
    def run(self) -> None:
        """Carry every batch through the block as it now is."""
        with faster_products(self.module):
            for batch in self.batches:
                batch.hidden = self.forward(batch)
        self.passed = True

    def forward(self, batch: Batch) -> Float[Tensor, "*_ hidden"]:
        """What the block as it now is gives for the batch; the batch is not changed."""
        args, kwargs = batch.arguments
        output = self.module(batch.hidden.to(self.device), *args, **kwargs)
        return hidden_of(output).to(batch.hidden.device)


@checked
def walk(
    model: nn.Module,
    calibration: Sequences,
    *,
    batch_size: Count | None = None,
    propagate: Propagate = "pruned",
    device: torch.device | str | None = None,
    counting: Counting = Counting(),
) -> Iterator[Block]:
    """Yield the blocks in order, each with the hidden states that reach it.

    batch_size: sequences at a time; None chooses by the device. device: where the blocks run; None: where they are.
    With propagate "pruned" a block sees the outputs of the blocks before it as changed so far, with "dense" as they
    were. The last block's outputs are not computed: nothing reads them. counting: which tokens count in whose
    statistics, and how often. The model is entered at once, and not when the first block is asked for: two walks can
    go side by side, and neither finds a block away from home.
    """
    name, modules = find_blocks(model)
    training = model.training  # as the caller has it: another walk may be under way when the first block is asked for
    if masked_of(calibration) is not None and counting.token_weights is not None:
        raise UserError("tokens cannot be weighted by attention where padding counts that none attends to; leave "
                        "--token-weights or count_padding: masked out")  # fmt: skip
    with _evaluating(model, training):
        check_agreement(model, name, modules)
        homes = [next(module.parameters()).device for module in modules]
        target = torch.device(device) if device else homes[0]
        batches, arguments = _enter(model, modules, calibration, batch_size, target)

    def visit() -> Iterator[Block]:
        with _evaluating(model, training):
            for i, (module, home) in enumerate(zip(modules, homes, strict=True)):
                for batch, given in zip(batches, arguments, strict=True):
                    batch.arguments = given[i]
                block = Block(f"{name}.{i}", module, batches, target, home, propagate, counting)
                block.processes = processes_of(calibration)
                with _lent(block):
                    yield block
                    if not block.passed and i + 1 < len(modules):
                        block.run()

    return visit()


@contextmanager
def _evaluating(model: nn.Module, training: bool) -> Iterator[None]:
    """In evaluation mode inside, in the one that is said afterwards."""
    model.eval()
    try:
        yield
    finally:
        model.train(training)


@contextmanager
def _lent(block: Block) -> Iterator[None]:
    block.module.to(block.device)
    try:
        yield
    finally:
        block.module.to(block.home)


@torch.no_grad()
def _enter(model, modules: nn.ModuleList, calibration: Sequences, batch_size: int | None, device) -> tuple[list, list]:
    """The batches that reach the first block, and what each of its blocks is given besides, batch by batch.

    The arguments are caught for each block, because models such as Gemma give sliding-window and full-attention
    blocks different ones. While they are caught, the blocks hand their input on unchanged, so no arithmetic is spent.
    """
    check_ids(model, calibration.tokens, "the calibration set")
    check_length(model, int(calibration.lengths.max()))
    home = model.get_input_embeddings().weight.device
    order = calibration.lengths.argsort(descending=True, stable=True)  # like lengths together: little padding
    size = batch_size or usual_batch_size(calibration, device)
    batches: list[Batch] = []
    arguments: list[list[tuple]] = []
    with handing_on(modules) as calls:
        for sequences in order.split(size):
            calls.clear()
            longest = int(calibration.lengths[sequences].max())
            mask = mask_of(model, calibration, sequences, longest)
            with suppress(Caught), given_to_all(mask, calls):
                model(input_ids=calibration.tokens[sequences, :longest].to(home), use_cache=False, **mask)
            hidden = calls[0][0]
            given = [to_device(call[1:], device) for call in calls]
            arguments.append(held_once(given, arguments[-1] if arguments else None))
            counted = _counted(calibration, sequences, longest, device)
            batches.append(Batch(sequences, calibration.lengths[sequences], hidden, arguments[-1][0], *counted))
    return batches, arguments


def _counted(calibration: Sequences, sequences: Tensor, longest: int, device) -> tuple[Tensor | None, Tensor | None]:
    """Which tokens of a batch count in the statistics, and how often; (None, None): each once."""
    weight = (torch.arange(longest) < calibration.lengths[sequences, None]).float()
    if calibration.weights is not None:
        weight = weight * calibration.weights[sequences, :longest]
    if bool((weight == 1).all()):
        return None, None
    rows = weight.flatten().nonzero().flatten()
    counted = weight.flatten()[rows]
    return rows.to(device), None if bool((counted == 1).all()) else counted.to(device)
