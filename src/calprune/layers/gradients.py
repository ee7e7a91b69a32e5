"""Gradients in the weights, sequence by sequence: Σ g² and Σ |g| for the methods that score by them.

Two kinds (`inputs.Of`): of the norm of a block's output, taken while the model is walked, one block at a time; and of a
sequence's loss, a backward pass of the whole dense model before the walk. The gradient of each sequence is needed by
itself, for its square; one backward pass gives those of a whole batch, because a linear's is a sum over tokens,

    g = Σ_t δ_t x_tᵀ        (x_t: the linear's input, δ_t: the gradient in its output)

which can be taken over each sequence's own tokens. So no weight ever holds a `.grad`, and what is held is 8 bytes for
every weight (float32; of one block for "output", of the whole model for "loss") beside the batch's activations.

Of an expert in a fused tensor, what its linears read and δ are worked out again from the tokens that were sent to it,
whatever way the model has of running its experts. They are its own, also where its statistics are of all tokens; for a
sequence that sends it no token, g is zero.
"""

import dataclasses
from collections.abc import Container, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from calprune.base.progress import followed
from calprune.base.tensors import is_finite
from calprune.layers.arguments import mask_of
from calprune.layers.blocks import Block, Sequences, Walking, usual_batch_size, walk
from calprune.layers.experts import backward, sent_to
from calprune.layers.inputs import LADDER, RUNG, GradientSums, InputStats, Needs, Of, StatsError
from calprune.layers.linears import Linear, find_blocks, linears
from calprune.layers.together.processes import Processes, processes_of

ByLinear = dict[str, GradientSums]


def walk_sums(
    model: nn.Module,
    calibration: Sequences,
    needs: Needs,
    only: Container[str] | None = None,
    **knobs: Unpack[Walking],
) -> Iterator[tuple[Block, dict[str, InputStats]]]:
    """`walk`, with each block's sums; the gradients of the loss are of the model as it is when the walk begins.

    only: the linears to collect for, by full names; None: all. One that no token reaches has no sums.
    """
    loss: ByLinear = {}
    if _holds(needs, "loss"):
        loss = loss_gradients(model, calibration, knobs.get("batch_size"), knobs.get("device"), only)
    for block in walk(model, calibration, **knobs):
        output = output_gradients(block, only) if _holds(needs, "output") else {}
        stats = block.collect(needs, only)
        for name in output:
            found: dict[Of, GradientSums] = {"output": output[name]}
            if loss:
                found["loss"] = loss.pop(f"{block.name}.{name}").to(block.device)
            stats[name] = stats[name].of_linear(found, stats[name].routed)
        yield block, stats


def _holds(needs: Needs, of: Of) -> bool:
    return LADDER.index(needs) >= LADDER.index(RUNG[of])


def output_gradients(block: Block, only: Container[str] | None = None) -> ByLinear:
    """Of ‖block(x)‖₂ over each sequence's tokens, √(Σ weight · y²), for each linear of the block (of `only`)."""
    with _Watch({site.name: site for site in block.linears(only)}) as watch, _frozen(block.module):
        for batch in block.batches:
            hidden = batch.hidden.detach().requires_grad_()
            output = block.forward(dataclasses.replace(batch, hidden=hidden)).to(block.device).float()
            weight = batch.counts().to(block.device)
            counted = weight.sum(1) > 0  # the root of nothing has no gradient
            squares = batch.by_token(output).flatten(2).square().sum(2)
            norms = (squares * weight).sum(1)[counted].sqrt()
            watch.start(len(counted), int(counted.sum()))
            norms.sum().backward()
    return watch.sums(block.processes)


def loss_gradients(
    model: nn.Module,
    calibration: Sequences,
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    only: Container[str] | None = None,
) -> ByLinear:
    """Of each sequence's loss, for each linear of the blocks (of `only`), by its full name.

    The loss is the mean over the tokens that count, the first left out, of -log p(token | those before); a token of
    weight r counts r times. The whole model is moved to `device` for it, and back.
    """
    name, modules = find_blocks(model)
    named = {f"{name}.{i}.{site.name}": site for i, block in enumerate(modules) for site in linears(block)}
    sites = {linear: site for linear, site in named.items() if only is None or linear in only}
    home = next(modules.parameters()).device
    target = torch.device(device) if device else home
    tokens, lengths = calibration.tokens, calibration.lengths
    size = batch_size or usual_batch_size(calibration, target)
    counts = (torch.arange(tokens.shape[1]) < lengths[:, None]).float()
    if calibration.weights is not None:
        counts = counts * calibration.weights
    embeddings: Any = model.get_input_embeddings()  # type: ignore[operator]
    training = model.training
    model.to(target).eval()
    try:
        with _Watch(sites) as watch, _frozen(model), _begin_at(embeddings):
            for rows in followed("gradients of the loss")(lengths.argsort(descending=True, stable=True).split(size)):
                longest = int(lengths[rows].max())
                ids, weight = tokens[rows, :longest].to(target), counts[rows, 1:longest].to(target)
                mask = mask_of(model, calibration, rows, longest)
                logits = model(input_ids=ids, use_cache=False, **mask).logits[:, :-1].float()
                lost = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
                total = weight.sum(1)
                losses = (lost.reshape(weight.shape) * weight).sum(1) / total.clamp_min(1e-30)
                watch.start(len(rows), int((total > 0).sum()))
                losses.sum().backward()
    finally:
        model.to(home).train(training)
    return watch.sums(processes_of(calibration))


@contextmanager
def _frozen(module: nn.Module) -> Iterator[None]:
    """Gradients flow, but no weight asks for its own."""
    wanted = [p for p in module.parameters() if p.requires_grad]
    try:
        for p in wanted:
            p.requires_grad_(False)
        with torch.enable_grad():
            yield
    finally:
        for p in wanted:
            p.requires_grad_(True)


@contextmanager
def _begin_at(embeddings: nn.Module) -> Iterator[None]:
    """Gradients begin at the embeddings' output, since no weight asks for one."""
    handle = embeddings.register_forward_hook(lambda module, args, output: output.requires_grad_())
    try:
        yield
    finally:
        handle.remove()


class _Watch:
    """A context in which each linear's gradient is taken apart by sequences and added up."""

    def __init__(self, sites: dict[str, Linear]):
        if odd := [n for n, s in sites.items() if s.part and getattr(s.module, "has_post_expert_norm", False)]:
            raise StatsError(f"{odd[0]} is of an expert whose output is normalised, for which no gradients are "
                             "collected; choose a method that needs none")  # fmt: skip
        if odd := [n for n, s in sites.items() if s.part and s.dispatched]:
            raise StatsError(f"{odd[0]} is of an expert that is called with its own share of the tokens, for which no "
                             "gradients are collected; choose a method that needs none")  # fmt: skip
        self.sites = sites
        self._reached: set[str] = set()
        self._sequences = self._rows = 0
        self._sums: dict[str, tuple[Tensor, Tensor]] = {}

    def __enter__(self) -> "_Watch":
        self._hooks = ExitStack()
        fused: dict[nn.Module, dict[int, dict[str, Linear]]] = {}
        for name, site in self.sites.items():
            if site.part:
                fused.setdefault(site.module, {}).setdefault(site.part.expert, {})[name] = site
            else:
                self._hooks.callback(site.module.register_forward_hook(self._hook(name)).remove)
        for module, experts in fused.items():
            self._hooks.callback(module.register_forward_hook(self._experts_hook(experts)).remove)
        return self

    def __exit__(self, *exception) -> None:
        self._hooks.close()

    def start(self, rows: int, sequences: int) -> None:
        """Announce a backward pass of a batch of `rows` sequences, `sequences` of which have a token that counts."""
        self._rows = rows
        self._sequences += sequences

    def _hook(self, name: str):
        def forward(module, args, output) -> None:
            x = args[0].detach()
            self._reached.add(name)
            output.register_hook(lambda delta: self._add(name, x, delta))

        return forward

    def _experts_hook(self, experts: dict[int, dict[str, Linear]]):
        """A fused module gives Σ over a token's experts of the router's weight · what the expert gives."""

        def forward(module, args, output) -> None:
            # (tokens, width), (tokens, k), (tokens, k)
            hidden, chosen, share = (t.detach().reshape(-1, t.shape[-1]) for t in args[:3])
            self._reached.update(name for sites in experts.values() for name in sites)

            def add(delta: Tensor) -> None:
                delta = delta.reshape(-1, delta.shape[-1])
                for expert, sites in experts.items():
                    self._check_sequences(next(iter(sites)), hidden)
                    sent = sent_to(expert, chosen)
                    weight = (share * (chosen == expert)).sum(1)[sent, None]
                    found = backward(module, expert, hidden[sent], (delta[sent] * weight).to(hidden.dtype))
                    sequence = sent // (len(hidden) // self._rows)
                    each = [sequence == i for i in range(self._rows)]
                    for name, site in sites.items():
                        assert site.part
                        x, change = found[site.part.reads_inner]
                        self._add_each(name, [x[i] for i in each], [change[i][:, site.part.outputs] for i in each])

            output.register_hook(add)

        return forward

    def _add(self, name: str, x: Tensor, delta: Tensor) -> None:
        self._check_sequences(name, x)
        self._add_each(name, *(t.reshape(self._rows, -1, t.shape[-1]) for t in (x, delta)))

    def _check_sequences(self, name: str, x: Tensor) -> None:
        if self._rows > 1 and x.numel() % (self._rows * x.shape[-1]):
            raise StatsError(f"{name} sees only some tokens, so sequences cannot be separated; use batch size 1")

    def _add_each(self, name: str, xs: Iterable[Tensor], deltas: Iterable[Tensor]) -> None:
        """Add each sequence's gradient, δᵀ x over its tokens."""
        for x, delta in zip(xs, deltas, strict=True):
            if name not in self._sums:
                shape = (delta.shape[-1], x.shape[-1])
                self._sums[name] = (torch.zeros(shape, device=x.device), torch.zeros(shape, device=x.device))
            squares, sizes = self._sums[name]
            if len(x):  # an expert may be sent none of a sequence's tokens
                g = delta.float().T @ x.float()  # (out, in)
                squares.addcmul_(g, g)
                sizes.add_(g.abs_())

    def sums(self, processes: Processes | None = None) -> ByLinear:
        """Of the linears that tokens reached. Raises StatsError where a gradient is not finite, or none reached one.

        processes: those whose sums are added to these."""
        if unseen := [name for name in self.sites if name in self._reached and name not in self._sums]:
            raise StatsError(f"no gradient reached {unseen[0]}")
        if processes:
            self._sums = {n: (squares, sizes) for n, (squares, sizes) in processes.added(self._sums).items()}
            self._sequences = sum(processes.each(self._sequences))
        for name, (squares, _) in self._sums.items():
            if not is_finite(squares):
                raise StatsError(f"the gradients in {name} hold NaN or infinity")
        return {name: GradientSums(float(self._sequences), *sums) for name, sums in self._sums.items()}
