"""Sums over what experts give: one pass of the dense model keeps, of each bank of experts and each expert e,

    tokens          n_e       how many tokens were sent to it
    gates           Σ g       the router's weights of it
    norms           Σ ‖f‖     what it gave, before that weight; and squared_norms Σ ‖f‖²
    weighted        Σ g ‖f‖   and weighted_squares Σ g ‖f‖²
    outputs         Σ f       (experts, hidden); and output_squares Σ f ∘ f
    largest         max |f|   over tokens and channels
    together        (experts, experts): tokens that were sent to both

Padding is left out and a token counts as often as the calibration set says. All but `largest` add, so the sums of a
mixture of data are the weighted sum of those of its parts, and every score of `experts` is worked out from them.

Even and odd batches are summed apart, so that it is seen whether half the data chooses the same.

While a bank is watched its forward is ours: each expert is run once, for its output and for the sums. It is held to
the family's own on the first batch.
"""

import dataclasses
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from calprune.base.progress import tracking
from calprune.layers.blocks import Batch, Sequences, usual_batch_size, walk
from calprune.layers.experts import experts_in, is_fused, layout, outputs
from calprune.layers.inputs import StatsError
from calprune.layers.linears import ModelError, find_blocks

CLOSE = 1e-2  # of an output's norm: how far our forward may be from the family's own, in any precision


@dataclass
class ExpertSums:
    """Of one bank of experts."""

    tokens: Float[Tensor, "experts"]
    gates: Float[Tensor, "experts"]
    norms: Float[Tensor, "experts"]
    squared_norms: Float[Tensor, "experts"]
    weighted: Float[Tensor, "experts"]
    weighted_squares: Float[Tensor, "experts"]
    outputs: Float[Tensor, "experts hidden"]
    output_squares: Float[Tensor, "experts hidden"]
    largest: Float[Tensor, "experts"]
    together: Float[Tensor, "experts experts"]

    @classmethod
    def empty(cls, experts: int, hidden: int, device: Any) -> "ExpertSums":
        shapes = {"outputs": (experts, hidden), "output_squares": (experts, hidden), "together": (experts, experts)}
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(**{name: torch.zeros(shapes.get(name, (experts,)), device=device) for name in names})

    def tensors(self) -> dict[str, Tensor]:
        """All of them by names."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def __add__(self, other: "ExpertSums") -> "ExpertSums":
        if len(self.tokens) != len(other.tokens):
            raise StatsError(f"cannot add sums over {len(self.tokens)} and {len(other.tokens)} experts")
        theirs = other.tensors()
        added = {name: tensor + theirs[name] for name, tensor in self.tensors().items()}
        return ExpertSums(**added | {"largest": torch.maximum(self.largest, other.largest)})

    def __rmul__(self, share: float) -> "ExpertSums":
        return ExpertSums(**{n: share * t for n, t in self.tensors().items()} | {"largest": self.largest})

    def to(self, device: Any) -> "ExpertSums":
        return ExpertSums(**{name: tensor.to(device) for name, tensor in self.tensors().items()})

    @property
    def sent(self) -> Float[Tensor, "experts"]:
        """`tokens`, at least a little: a mean over none is 0."""
        return self.tokens.clamp_min(1e-30)

    def observe(
        self, expert: int, f: Float[Tensor, "sent hidden"], g: Float[Tensor, "sent"], count: Float[Tensor, "sent"]
    ) -> None:
        """Add what an expert gave for the tokens sent to it. g: the router's weights. count: how often each counts."""
        f = f.float()
        squares = f.square()
        square = squares.sum(-1)
        norm = square.sqrt()
        weighted = count * g.float()
        self.tokens[expert] += count.sum()
        self.gates[expert] += weighted.sum()
        self.norms[expert] += count @ norm
        self.squared_norms[expert] += count @ square
        self.weighted[expert] += weighted @ norm
        self.weighted_squares[expert] += weighted @ square
        self.outputs[expert] += count @ f
        self.output_squares[expert] += count @ squares
        if bool((counted := count > 0).any()):
            self.largest[expert] = torch.maximum(self.largest[expert], f[counted].abs().max())

    def meet(self, chosen: Int[Tensor, "tokens k"], count: Float[Tensor, "tokens"]) -> None:
        """Add which experts tokens were sent to together."""
        experts = len(self.tokens)
        hot = torch.zeros(len(chosen), experts, device=chosen.device)
        inside = (chosen >= 0) & (chosen < experts)  # others are no experts: a token passes by
        rows = torch.arange(len(chosen), device=chosen.device)[:, None].expand_as(chosen)[inside]
        hot[rows, chosen[inside]] = 1
        self.together += hot.T @ (count[:, None] * hot)


def expert_sums(
    model: nn.Module, data: Sequences, places: Collection[str], **knobs: Any
) -> Iterator[tuple[str, dict[str, tuple[ExpertSums, ExpertSums]]]]:
    """Each block's sums, by places, of even and of odd batches, as the dense model is walked. Keywords as for `walk`.

    Raises ModelError for experts that are not held in fused tensors.
    """
    _, modules = find_blocks(model)
    seen: set[type] = set()
    usual = usual_batch_size(data, torch.device(knobs.get("device") or "cpu"))
    half = max(1, min(usual, len(data.tokens) // 2))  # two batches, where there can be
    knobs["batch_size"] = knobs.get("batch_size") or half
    for block in tracking(walk(model, data, propagate="dense", **knobs), len(modules), WATCHING):
        inside = {name: model.get_submodule(name) for name in places if name.startswith(f"{block.name}.")}
        with ExitStack() as stack:
            watches = {name: _Bank(name, module, seen) for name, module in inside.items()}
            for watch in watches.values():
                stack.enter_context(watch.watching())
            for i, batch in enumerate(block.batches):
                for watch in watches.values():
                    watch.start(batch, i % 2)
                batch.hidden = block.forward(batch)
            block.passed = True
        yield block.name, {name: watch.halves() for name, watch in watches.items()}


WATCHING = "experts' outputs"  # what the progress calls it


class _Bank:
    """One bank, whose forward also adds up the sums."""

    def __init__(self, name: str, module: Any, seen: set[type]) -> None:
        if not is_fused(module):
            raise ModelError(f"{name}: {type(module).__name__} holds its experts in a list, and what they give is not "
                             "looked at there; take aimer or random, which read no data")  # fmt: skip
        self.name, self.module, self.seen, self.held = name, module, seen, layout(module)
        self.all: dict[int, ExpertSums] = {}  # of even batches, of odd ones
        self.half = 0
        self.count: Tensor = torch.empty(0)

    @contextmanager
    def watching(self) -> Iterator[None]:
        original = self.module.forward

        def forward(*args, **kwargs):
            given = [*args, *kwargs.values()]
            found = self._dispatched(given[0]) if self.held and self.held.dispatched else self._routed(*given[:3])
            if type(self.module) not in self.seen:
                self.seen.add(type(self.module))
                self._compare(found, original(*args, **kwargs))
            return found

        self.module.forward = forward
        try:
            yield
        finally:
            del self.module.forward

    def halves(self) -> tuple[ExpertSums, ExpertSums]:
        """Of even and of odd batches, on the CPU."""
        made = {half: sums.to("cpu") for half, sums in self.all.items()}
        if not made:
            raise StatsError(f"{self.name}: no token reached this bank of experts; give other data, or take aimer or "
                             "random, which read none")  # fmt: skip
        none = 0.0 * next(iter(made.values()))
        return made.get(0, none), made.get(1, none)

    @property
    def sums(self) -> ExpertSums:
        """Of the batch's half."""
        return self.all[self.half]

    def start(self, batch: Batch, half: int) -> None:
        """Announce a batch."""
        self.half = half
        self.count = batch.counts().flatten().to(next(self.module.parameters()).device)

    def _routed(self, hidden: Tensor, chosen: Tensor, share: Tensor) -> Tensor:
        x = hidden.reshape(-1, hidden.shape[-1])
        chosen = chosen.reshape(len(x), -1)
        share = share.reshape(len(x), -1)
        share = share if share.shape == chosen.shape else share.gather(1, chosen)  # a weight for every expert
        self._check(len(x), x.shape[-1], x.device)
        given = torch.zeros_like(x)
        for expert in range(experts_in(self.module)):
            rows, at = (chosen == expert).nonzero(as_tuple=True)
            if len(rows):
                f, g = outputs(self.module, expert, x[rows]), share[rows, at]
                given.index_add_(0, rows, (f * g[:, None]).to(x.dtype))
                self.sums.observe(expert, f, g, self.count[rows])
        self.sums.meet(chosen, self.count)
        return given.reshape(hidden.shape)

    def _dispatched(self, hidden: Tensor) -> Tensor:
        """Each expert reads the tokens times the router's weight, which is so in f; g is 1."""
        each = hidden.reshape(experts_in(self.module), -1, hidden.shape[-1])
        self._check(each.shape[1], hidden.shape[-1], hidden.device)
        given, sent = torch.zeros_like(each), each.norm(dim=-1) > 0
        for expert, x in enumerate(each):
            rows = sent[expert].nonzero().flatten()
            if len(rows):
                given[expert, rows] = outputs(self.module, expert, x[rows])
                self.sums.observe(expert, given[expert, rows], torch.ones_like(self.count[rows]), self.count[rows])
        self.sums.together += sent.float() @ (self.count[:, None] * sent.T.float())
        return given.reshape(hidden.shape)

    def _check(self, rows: int, width: int, device: Any) -> None:
        if rows != len(self.count):
            raise StatsError(f"{self.name} sees {rows} rows where the batch has {len(self.count)} tokens, so padding "
                             "cannot be told apart; take aimer or random, which read no data")  # fmt: skip
        if self.half not in self.all:
            self.all[self.half] = ExpertSums.empty(experts_in(self.module), width, device)

    def _compare(self, found: Tensor, own: Tensor) -> None:
        off = (found.float() - own.reshape(found.shape).float()).norm() / own.float().norm().clamp_min(1e-30)
        if not off <= CLOSE:
            raise ModelError(f"{self.name}: {type(self.module).__name__} does more with experts' outputs than weigh "
                             f"and add them (off by {off:.2g}); take aimer or random, which read no data")  # fmt: skip
