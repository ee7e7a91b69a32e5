"""How much attention each token receives, as its weight in the statistics: RSQ's attention concentration.

RSQ (Sung et al., arXiv:2503.01820; its text was not at hand: checked against the released code, 1a7cf31) weights tokens
in a quantiser's Hessian, H = Σ_t r_t x_t x_tᵀ:

    a_t = Σ over heads and queries of the attention that token t receives
    r_t = least + (1 - least) · (a_t - min a) / (max a - min a)       over the tokens of one sequence

divided by its mean. (The released code's default range is 1 to 3; its scripts run 0.005 to 1, as here.)

No code for a family: what a block attends to is read where torch is asked for it, at its call of
`scaled_dot_product_attention`, or at a softmax of shape (sequences, heads, tokens, tokens or more) where the family
writes its attention out (Bloom, Gemma-2); of GPT-OSS, whose softmax has a column that is no token, the others are read.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.overrides import TorchFunctionMode

from calprune.base.calls import Registry
from calprune.base.checks import options
from calprune.base.values import ConfigError, UserError


@options
class AttentionConcentration:
    """A token counts the more, the more attention the tokens of its sequence pay it in this block. In sums of inputs:
    gradients, and the training of blocks, are of all tokens alike."""

    tag: ClassVar[str] = "AttentionConcentration"

    least: float = 0.005  # the weight of the token that receives the least, where that of the most is 1

    def __post_init__(self):
        if not 0 < self.least <= 1:
            raise ConfigError(f"least must be above 0 and at most 1, got {self.least}")

    def __call__(
        self, block: str, run: Callable[[], Any], lengths: Int[Tensor, "b"], counts: Float[Tensor, "b T"]
    ) -> Float[Tensor, "b T"]:
        """How often each token counts: `counts` times its weight; each sequence counts as much as before in all.

        block: its name. run: runs it. lengths: each sequence's tokens without padding. Raises UserError where the block
        attends in no way that can be read.
        """
        reading = _Reading(lengths.tolist(), counts.shape[1])
        with suppress(_Read), reading:
            run()
        if reading.received is None:
            raise UserError(f"{block} has no attention that can be read, so its tokens cannot be weighted by it; "
                            "leave --token-weights out")  # fmt: skip
        weights = counts.clone()
        for row, received in zip(weights, reading.received, strict=True):
            row[: len(received)] *= self._scaled(received).to(row.device)
        return weights * (counts.sum(1) / weights.sum(1).clamp_min(1e-30))[:, None]

    def _scaled(self, received: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
        low, high = received.aminmax()
        if low == high:
            return torch.ones_like(received)
        return self.least + (1 - self.least) * (received - low) / (high - low)


@runtime_checkable
class TokenWeights(Protocol):
    """A frozen dataclass of its options, called as `AttentionConcentration` is."""

    def __call__(
        self, block: str, run: Callable[[], Any], lengths: Int[Tensor, "b"], counts: Float[Tensor, "b T"]
    ) -> Float[Tensor, "b T"]:
        """How often each token of a block's input counts in its sums."""
        ...


EVEN = "even"

TOKEN_WEIGHTS = Registry(
    "token weights", {"attention": AttentionConcentration}, '"even" or "attention(least=0.05)"', TokenWeights
)


def parse_token_weights(text: str) -> TokenWeights | None:
    """What "attention" or "attention(least=0.05)" means; "even" is None: tokens count as the calibration set says."""
    return None if text == EVEN else TOKEN_WEIGHTS.make(text)


POSITIONAL = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")  # of scaled_dot_product_attention


class _Read(Exception):
    """The attention is known: the rest of the block need not run."""


class _Reading(TorchFunctionMode):
    """A context that ends at the first attention, with what each token of each sequence received of it."""

    def __init__(self, lengths: list[int], longest: int):
        super().__init__()
        self.lengths, self.longest = lengths, longest
        self.received: list[Tensor] | None = None  # (n,) each, without padding, which neither pays nor receives

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is F.scaled_dot_product_attention:
            arguments = dict(zip(POSITIONAL, args, strict=False)) | (kwargs or {})
            self._end([_probabilities(arguments, i, n) for i, n in enumerate(self.lengths)])
        given = func(*args, **(kwargs or {}))
        if func in (F.softmax, torch.softmax, Tensor.softmax) and self._is_attention(given):
            self._end([given[i, :, :n, :n] for i, n in enumerate(self.lengths)])
        return given

    def _is_attention(self, given: Tensor) -> bool:
        if given.dim() != 4:
            return False
        sequences, _, queries, keys = given.shape
        return sequences == len(self.lengths) and queries == self.longest <= keys

    def _end(self, attention: list[Float[Tensor, "heads n n"]]) -> None:
        self.received = [one.float().sum((0, 1)) for one in attention]
        raise _Read


def _probabilities(arguments: dict[str, Any], i: int, n: int) -> Float[Tensor, "heads n n"]:
    """What `scaled_dot_product_attention(**arguments)` weights the values of the i-th sequence's n tokens with.

    One sequence at a time: the matrices of a whole batch would be the largest tensors of the walk.
    """
    q, k = (arguments[name][i, :, :n].float() for name in ("query", "key"))  # (heads, n, width)
    k = k.repeat_interleave(len(q) // len(k), 0)  # heads that share their keys
    scale, mask = arguments.get("scale"), arguments.get("attn_mask")
    scores = q @ k.mT * (q.shape[-1] ** -0.5 if scale is None else scale)
    if arguments.get("is_causal"):
        scores = scores.masked_fill(scores.new_ones(n, n, dtype=torch.bool).triu(1), -torch.inf)
    if mask is not None:
        mask = mask.expand(len(arguments["query"]), -1, *mask.shape[-2:])[i, :, :n, :n]
        scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    return scores.softmax(-1)
