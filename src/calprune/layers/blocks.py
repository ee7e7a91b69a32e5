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

Where memory does not hold a batch, its sequences go through a block in parts, for which the model's arguments are
caught anew; the batches stay as they are.
"""

from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, Protocol, TypedDict, TypeVar, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from calprune.base.checks import Count, checked
from calprune.base.memory import Fitting
from calprune.base.values import UserError
from calprune.layers.agreement import check_agreement
from calprune.layers.arguments import (
    Caught,
    Returns,
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
T = TypeVar("T")

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
    again: "Callable[[Int[Tensor, 'part']], Batch] | None" = None  # some of its sequences, with the model's own hidden

    @property
    def shape(self) -> tuple[int, int]:
        """(b, T): sequences, and tokens of the longest."""
        return _shape(self.lengths)

    def by_token(self, given: Float[Tensor, "*_"]) -> Float[Tensor, "b T *_"]:
        """Hidden states with sequences and tokens first."""
        return by_token(given, self.shape)

    def part(self, rows: slice) -> "Batch":
        """Some of its sequences, as a batch of their own: trimmed to the longest of them."""
        if rows == slice(0, len(self.lengths)) or self.again is None:
            return self
        part = self.again(self.sequences[rows])
        by = self.by_token(self.hidden)
        hidden = by[rows, : part.shape[1]]
        return replace(part, hidden=(hidden if by is self.hidden else hidden.movedim(2, 0)).contiguous())

    def joined(self, parts: list[tuple[slice, Float[Tensor, "*_"]]]) -> Float[Tensor, "*_"]:
        """What its parts gave, or it as a whole, as one; where a part was shorter, zero."""
        if len(parts) == 1:
            return parts[0][1]
        given = {rows.start: by_token(one, _shape(self.lengths[rows])) for rows, one in parts}
        whole = given[0].new_zeros(*self.shape, *given[0].shape[2:])
        for start, one in given.items():
            whole[start : start + one.shape[0], : one.shape[1]] = one
        return whole if given[0] is parts[0][1] else whole.movedim(2, 0).contiguous()

    def check_plain(self, what: str) -> None:
        """Raise ModelError where the hidden states are not (b, T, hidden), which `what` looks at."""
        if tuple(self.hidden.shape[:-1]) != self.shape:
            raise ModelError(f"{what} is of hidden states (sequences, tokens, width), but this model's blocks hand on "
                             f"{tuple(self.hidden.shape)}; choose another")  # fmt: skip

    def counted(self, each: Float[Tensor, "b T"]) -> Float[Tensor, "counted"]:
        """Of a number for each token, those of tokens that count."""
        return each.flatten() if self.rows is None else each.flatten()[self.rows]

    def counts(self) -> Float[Tensor, "b T"]:
        """How often each token counts; 0: not at all."""
        b, length = self.shape
        if self.rows is None:
            return torch.ones(b, length, device=self.hidden.device)
        counted = torch.zeros(b * length, device=self.rows.device)
        counted[self.rows] = 1.0 if self.weight is None else self.weight
        return counted.reshape(b, length)


def _shape(lengths: Int[Tensor, "b"]) -> tuple[int, int]:
    return len(lengths), int(lengths.max())


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
    fitting: Fitting | None = None  # of the walk: how many sequences go at once; None: a batch does, or none

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
            weights = [self._weights(batch) for batch in self.batches]
        watching = Collector(sites, needs, self.counting, stop_early=not dense, processes=self.processes)
        with watching as collector, faster_products(self.module):
            for batch, weight in zip(self.batches, weights, strict=True):
                collector.new_batch()
                outputs = self._fitted(batch, partial(self._watched, collector, weight))
                if dense:
                    batch.hidden = batch.joined(outputs)
        self.passed = dense
        return collector.stats

    def _watched(self, collector: Collector, weights: Float[Tensor, "b T"] | None, batch: Batch, rows: slice) -> Tensor:
        """What the block gives for a batch, or for these rows of it; where it was left early, nothing."""
        weight = batch.weight if weights is None else batch.counted(weights[rows, : batch.shape[1]])
        collector.start(Counted(batch.rows, weight, batch.shape), rows)
        try:
            return self.forward(batch)
        except Enough:
            return torch.empty(0)
        finally:
            collector.end()

    def _fitted(self, batch: Batch, work: Callable[[Batch, slice], T]) -> list[tuple[slice, T]]:
        """What the work gives for the batch, or for parts of it where memory does not hold it; and their rows."""
        if self.fitting is None:
            rows = slice(0, len(batch.lengths))
            return [(rows, work(batch, rows))]
        parts = self.fitting.each(batch.lengths.tolist(), lambda rows: (rows, work(batch.part(rows), rows)))
        return list(parts)

    def weight_of(self, batch: Batch) -> Float[Tensor, "counted"] | None:
        """How often each token that counts does so in this block; None: once."""
        weights = self._weights(batch)
        return batch.weight if weights is None else batch.counted(weights)

    def _weights(self, batch: Batch) -> Float[Tensor, "b T"] | None:
        """How often each token counts by the block's own weights; None: it has none, and the set's are the batch's."""
        if (weigh := self.counting.token_weights) is None:
            return None

        def work(part: Batch, rows: slice) -> Float[Tensor, "part T"]:
            return weigh(self.name, lambda: self.forward(part), part.lengths, part.counts()).to(self.device)

        return batch.joined(self._fitted(batch, work))

    @torch.no_grad()
    def run(self, begin: Callable[[Batch], None] | None = None) -> None:
        """Carry every batch through the block as it now is.

        begin: called with each batch before it goes, and with each part of one that memory does not hold.
        """

        def work(part: Batch, rows: slice) -> Float[Tensor, "*_ hidden"]:
            if begin:
                begin(part)
            return self.forward(part)

        with faster_products(self.module):
            for batch in self.batches:
                batch.hidden = batch.joined(self._fitted(batch, work))
        self.passed = True

    def forward(self, batch: Batch) -> Float[Tensor, "*_ hidden"]:
        """What the block as it now is gives for the batch; the batch is not changed. All of it goes at once."""
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
    go side by side, and neither finds a block away from home. Where memory runs out, half as many sequences go on,
    which is noted. Raises UserError where it does not hold one.
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
        entrance = _Entrance(model, modules, calibration, target)
        batches, fitting = entrance.batches(batch_size), Fitting(target)

    def visit() -> Iterator[Block]:
        with _evaluating(model, training):
            for i, (module, home) in enumerate(zip(modules, homes, strict=True)):
                for batch in batches:
                    batch.arguments = entrance.arguments(batch.sequences)[i]
                    batch.again = partial(entrance.again, i)
                block = Block(f"{name}.{i}", module, batches, target, home, propagate, counting)
                block.processes, block.fitting = processes_of(calibration), fitting
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


class _Entrance:
    """Where a walk's batches come from: what the model gives its blocks for some sequences.

    The arguments are caught for each block, because models such as Gemma give sliding-window and full-attention
    blocks different ones. While they are caught, the blocks hand their input on unchanged, so no arithmetic is spent.
    """

    def __init__(self, model, modules: nn.ModuleList, calibration: Sequences, device: torch.device):
        check_ids(model, calibration.tokens, "the calibration set")
        check_length(model, int(calibration.lengths.max()))
        self.model, self.modules, self.calibration, self.device = model, modules, calibration, device
        self.home = model.get_input_embeddings().weight.device
        self.returns: Returns = {}
        self._caught: dict[tuple[int, int], tuple[Batch, list]] = {}  # by the first sequence, and how many

    @torch.no_grad()
    def batches(self, batch_size: int | None) -> list[Batch]:
        """The batches that reach the first block: smaller ones where memory does not hold so many sequences."""
        lengths = self.calibration.lengths
        order = lengths.argsort(descending=True, stable=True)  # like lengths together: little padding
        fitting, found = Fitting(self.home), list[Batch]()
        with handing_on(self.modules, returns=self.returns) as calls:
            for ids in order.split(batch_size or usual_batch_size(self.calibration, self.device)):
                found += fitting.each(lengths[ids].tolist(), partial(self._catch, ids, calls))
        return found

    def arguments(self, sequences: Int[Tensor, "b"]) -> list[tuple[tuple, dict]]:
        """What each block is given besides the hidden states of these sequences."""
        return self._caught[_key(sequences)][1]

    @torch.no_grad()
    def again(self, i: int, sequences: Int[Tensor, "part"]) -> Batch:
        """These sequences, part of a batch, before block i; the hidden states are another block's."""
        if _key(sequences) not in self._caught:
            with handing_on(self.modules, returns=self.returns) as calls:
                self._catch(sequences, calls)
        batch, given = self._caught[_key(sequences)]
        return replace(batch, arguments=given[i])

    def _catch(self, sequences: Int[Tensor, "_"], calls: list, rows: slice = slice(None)) -> Batch:
        sequences = sequences[rows]
        lengths = self.calibration.lengths[sequences]
        longest = int(lengths.max())
        mask = mask_of(self.model, self.calibration, sequences, longest)
        calls.clear()
        with suppress(Caught), given_to_all(mask, calls):
            self.model(input_ids=self.calibration.tokens[sequences, :longest].to(self.home), use_cache=False, **mask)
        given = [to_device(call[1:], self.device) for call in calls]
        given = held_once(given, next(reversed(self._caught.values()))[1] if self._caught else None)
        counted = _counted(self.calibration, sequences, longest, self.device)
        batch = Batch(sequences, lengths, calls[0][0], given[0], *counted)
        self._caught[_key(sequences)] = replace(batch, hidden=torch.empty(0)), given
        return batch


def _key(sequences: Int[Tensor, "b"]) -> tuple[int, int]:
    """Of a batch or a part of one: no two are alike in both."""
    return int(sequences[0]), len(sequences)


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
