"""ADMM: a weight update by alternating directions, while the mask grows to its sparsity.

Boža, "Fast and Effective Weight Update for Pruned Large Language Models", TMLR 2024, arXiv:2401.02938, Algorithm 1 and
section 3.3. All is done on weights scaled by the norms of their inputs, n_j = ‖X_j‖₂. Letters:

    H = X Xᵀ / (n nᵀ) + damping · mean(diag) · I
    W (in, out)  the weights · n, dense at first     Z  those that stay     U  the scaled dual     ρ = penalty

    Z ← mask(W + U) · (W + U)      U ← U + W - Z      W ← (H + ρ I)⁻¹ (H W₀ + ρ (Z - U))

During the first `schedule` of `iterations` the mask is chosen anew, by |W + U|, at the sparsity s_t = s - s (1 - t/T)³;
then it stays. All weights of the matrix compete. n:m: each group's n best are safe, and of the others the share that is
gone grows by the same schedule. Unlike the released code, which has it for rows and 2:4 alone, in every pattern.
"""

from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from calprune.base.checks import options
from calprune.base.values import ConfigError
from calprune.layers.inputs import InputStats, Needs
from calprune.layers.products import matmul
from calprune.methods.contract import check_above_0, check_damping
from calprune.pattern import KeepNofM, Pattern, Unstructured, check_width, competing, keep_mask, masked


@options
class ADMM:
    iterations: int = 20
    schedule: int = 15  # of them; 0: the mask of magnitude times norm (Wanda's score), at once
    damping: float = 0.1
    penalty: float = 1.0

    tag: ClassVar[str] = "ADMM"
    needs: ClassVar[Needs] = "gram"
    version: ClassVar[int] = 1

    def __post_init__(self):
        check_damping(self.damping)
        check_above_0(self, "penalty")
        if not 0 <= self.schedule <= self.iterations or self.iterations < 1:
            raise ConfigError(
                f"schedule must be 0 to iterations, and that 1 at least, got schedule {self.schedule} "
                f"and iterations {self.iterations}"
            )

    def __call__(self, weight: Float[Tensor, "out in"], stats: InputStats, pattern: Pattern) -> Float[Tensor, "out in"]:
        check_width(weight.shape[1], pattern)
        pattern = competing(pattern, "matrix")
        n = stats.norm + 1e-8  # an input that was always zero has a norm as well
        H = stats.covariance / n / n[:, None]
        H.diagonal().add_(self.damping * H.diagonal().mean())
        W = (weight.float() * n).T.contiguous()
        HW0 = matmul(H, W)
        inverse = torch.linalg.inv(H + self.penalty * torch.eye(len(H), device=H.device))
        U = torch.zeros_like(W)
        keep = _keep(W, pattern, 1.0)
        for t in range(1, self.iterations + 1):
            if t <= self.schedule:
                keep = _keep(W + U, pattern, 1 - (1 - t / self.schedule) ** 3)
            Z = (W + U) * keep
            U += W - Z
            W = matmul(inverse, HW0 + self.penalty * (Z - U))
        return masked(((W + U).T / n).to(weight.dtype), keep.T)


def _keep(V: Float[Tensor, "in out"], pattern: Pattern, share: float) -> Bool[Tensor, "in out"]:
    """The mask at `share` of the pattern's sparsity, by the sizes of V."""
    score = V.abs().T.contiguous()
    if share == 1:
        return keep_mask(score, pattern).T
    if isinstance(pattern, KeepNofM):
        score.masked_fill_(keep_mask(score, pattern), torch.inf)
    within = pattern.within if isinstance(pattern, Unstructured) else "matrix"
    return keep_mask(score, Unstructured(share * pattern.sparsity, within)).T
