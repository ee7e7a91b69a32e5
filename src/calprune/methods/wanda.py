"""Wanda: keep the largest |w_ij| · ‖X_j‖₂.

Sun, Liu, Bair, Kolter, "A Simple and Effective Pruning Approach for Large Language Models", ICLR 2024,
arXiv:2306.11695, eq. 1. A row's weights compete; those that stay are not changed.
"""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from calprune.base.checks import options
from calprune.layers.inputs import InputStats, Needs
from calprune.pattern import KeepNofM, Pattern, PatternError, competing, keep_mask, masked


@options
class Wanda:
    tag: ClassVar[str] = "Wanda"
    needs: ClassVar[Needs] = "moments"
    version: ClassVar[int] = 1

    def __call__(self, weight: Float[Tensor, "out in"], stats: InputStats, pattern: Pattern) -> Float[Tensor, "out in"]:
        score = weight.abs().float() * stats.norm  # (out, in) · (in,)
        return masked(weight, keep_mask(score, competing(pattern, "row")))


@options
class WandaVariant:
    """Each row loses its lowest scores up to the same share α of its total score (the paper's code, not its text).

    α is found by bisection on [0, 0.8], from 0.4, until the sparsity is within 0.001 of what was asked or the interval
    is narrower than 0.001: rows differ, and the count is near, not exact. Raises PatternError where even 0.8 leaves
    too many weights.
    """

    tag: ClassVar[str] = "WandaVariant"
    needs: ClassVar[Needs] = "moments"
    version: ClassVar[int] = 1
    exact_count: ClassVar[bool] = False

    def __call__(self, weight: Float[Tensor, "out in"], stats: InputStats, pattern: Pattern) -> Float[Tensor, "out in"]:
        if isinstance(pattern, KeepNofM) or pattern.within is not None:
            raise PatternError(f'wanda_variant chooses each row\'s sparsity itself and takes "50%", got {pattern}')
        if pattern.sparsity == 0:
            return weight.clone()
        score = weight.abs().float() * stats.norm
        ordered, order = score.sort(dim=1, stable=True)
        cumulative = ordered.cumsum(1)
        low, high, share = 0.0, 0.8, 0.4
        while True:
            dropped = cumulative <= share * cumulative[:, -1:]  # in the order of the scores
            sparsity = dropped.float().mean().item()
            if abs(sparsity - pattern.sparsity) <= 0.001 or high - low < 0.001:
                if share > 0.799 and sparsity < pattern.sparsity - 0.005:
                    raise PatternError(f"wanda_variant takes up to 80 % of a row's score, here {sparsity:.1%} of the "
                                       f"matrix, and {pattern} is asked for; take wanda")  # fmt: skip
                return masked(weight, ~torch.zeros_like(dropped).scatter_(1, order, dropped))
            low, high = (share, high) if sparsity < pattern.sparsity else (low, share)
            share = (low + high) / 2
