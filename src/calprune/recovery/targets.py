"""What the dense model says of each next token, kept short, and how far a pruned model's logits are from it.

Of a position's distribution p the k most likely tokens are kept, and the mass of all others as one. The loss is

    Σ p_i (ln p_i - ln q_i)  over the k,  + P (ln P - ln Q)      P, Q: what p and q give to all other tokens

the divergence KL(p || q) of the distributions in which the others are one outcome. It is never above the whole
divergence, and 0 exactly where q has the same k + 1 numbers. Hinton, Vinyals, Dean, "Distilling the Knowledge in a
Neural Network", 2015, arXiv:1503.02531, with temperature 1.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from calprune.layers.blocks import Sequences
from calprune.layers.products import faster_products
from calprune.models.head import Head

TOP = 64  # tokens kept of a position


@dataclass(frozen=True, eq=False)
class Targets:
    """The dense model's distributions at n positions, natural logarithms."""

    log_p: Float[Tensor, "n k"]  # of the k most likely tokens; of all of them, in their order, where `tokens` is None
    tokens: Int[Tensor, "n k"] | None = None
    rest: Float[Tensor, "n"] | None = None  # of the mass of all others

    def part(self, piece: slice) -> "Targets":
        """Those at some of the positions."""
        return Targets(*(None if each is None else each[piece] for each in (self.log_p, self.tokens, self.rest)))  # type: ignore[arg-type]


def shortened(logits: Float[Tensor, "n vocabulary"], top: int | None) -> Targets:
    """The distributions of logits; `top`: tokens kept of each, None: all."""
    if top is None:
        return Targets(logits.log_softmax(-1))
    kept, normaliser = logits.topk(min(top, logits.shape[1] - 1), sorted=False), logits.logsumexp(-1)
    others = logits.scatter(1, kept.indices, -torch.inf).logsumexp(-1)
    return Targets(kept.values - normaliser[:, None], kept.indices, others - normaliser)


def divergence(logits: Float[Tensor, "n vocabulary"], targets: Targets) -> Float[Tensor, "n"]:
    """KL(dense || pruned) at each position, nats; through it gradients reach the pruned model's logits."""
    if targets.tokens is None or targets.rest is None:
        return (targets.log_p.exp() * (targets.log_p - logits.log_softmax(-1))).sum(-1)
    return _Divergence.apply(logits, targets.log_p, targets.tokens, targets.rest)


class _Divergence(torch.autograd.Function):
    """The divergence to shortened targets with its gradient worked out by hand: q_i - p_i for the k tokens, and
    q_j (1 - P / Q) for the others. By single operations it takes twice the time and three times the memory."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, log_p: Tensor, tokens: Tensor, rest: Tensor) -> Tensor:
        normaliser = logits.logsumexp(-1)
        p, log_q = log_p.exp(), logits.gather(1, tokens) - normaliser[:, None]
        q = (logits - normaliser[:, None]).exp_()
        others = q.scatter_(1, tokens, 0.0).sum(-1).clamp_min(torch.finfo(q.dtype).tiny)
        gradient = q.mul_((1 - rest.exp() / others)[:, None]).scatter_(1, tokens, log_q.exp() - p)
        ctx.save_for_backward(gradient)
        return (p * (log_p - log_q)).sum(-1) + rest.exp() * (rest - others.log())

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> Any:
        (gradient,) = ctx.saved_tensors
        return gradient * given[0][:, None], None, None, None


class Dense:
    """The dense model, asked once for each sequence of a set: what it says is kept, unless all of it is wanted."""

    def __init__(self, head: Head, sequences: Sequences, top: int | None = TOP) -> None:
        self.head, self.sequences, self.top = head, sequences, top
        self.narrow = computes_in_bfloat16(head)
        self._kept: dict[int, Targets] = {}

    @torch.no_grad()
    def of(self, i: int) -> Targets:
        """At each position of sequence i but its last. A sequence is read alone, so that it is the same whenever it is
        asked for."""
        if (found := self._kept.get(i)) is not None:
            return found
        tokens = self.sequences.tokens[i : i + 1, : int(self.sequences.lengths[i])]
        with products(self.head, self.narrow):
            hidden = self.head.hidden(tokens)[0, :-1].to(self.head.weight.dtype)
        with faster_products(self.head.embeddings):
            pieces = [shortened(self.head.logits(hidden[piece]), self.top) for piece in self.head.pieces(len(hidden))]
        found = _joined(pieces)
        if self.top is not None:
            self._kept[i] = found
        return found


def computes_in_bfloat16(head: Head) -> bool:
    """Whether products of a float32 model are made in bfloat16: where the processor has units for it. The head's, of
    which the divergence is, are not."""
    if head.weight.dtype != torch.float32:
        return False
    if head.device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    has = [getattr(torch.cpu, f"_is_{name}_supported", None) for name in ("avx512_bf16", "amx_tile")]
    return head.device.type == "cpu" and any(one() for one in has if one)


def products(head: Head, narrow: bool) -> AbstractContextManager:
    """How the products before the head are made inside the block."""
    return torch.autocast(head.device.type, torch.bfloat16) if narrow else nullcontext()


def _joined(pieces: list[Targets]) -> Targets:
    parts = zip(*((one.log_p, one.tokens, one.rest) for one in pieces), strict=True)
    return Targets(*(None if part[0] is None else torch.cat(part) for part in parts))  # type: ignore[arg-type]


def joined(targets: list[Targets]) -> Targets:
    """The targets of several sequences, one after another."""
    return _joined(targets)
