"""ALPS: ADMM finds the mask, conjugate gradients the weights that stay.

Meng, Behdin, Wang, Mazumder, "ALPS: Improved Optimization for Highly Sparse One-Shot Pruning for Large Language
Models", NeurIPS 2024, arXiv:2406.07831, Algorithms 1 and 2. Weights are scaled by the roots of H's diagonal, so that H
has a diagonal of ones: that is also the preconditioner of the conjugate gradients. Letters:

    H = X Xᵀ / tokens + damping · mean(diag) · I, scaled;   H = Q Λ Qᵀ
    W (in, out)  weights     D  those of them that stay     V  the dual     ρ  the penalty

    W ← (H + ρ I)⁻¹ (H Ŵ - V + ρ D)      D ← the largest of W + V / ρ      V ← V + ρ (W - D)

Q and Λ make each new ρ cheap. They are worked out in float64 and kept in float32, as all else is; the released code
rounds (H + ρ I)⁻¹ instead. Every third iteration ρ grows, by how many weights changed sides since the last time: more
than 10 % of those kept, by 1.3; 0.5 %, by 1.2; any, by 1.1; and it ends when none did, or after the first 30 when fewer
than 0.03 % did. While the mask has not moved at all, ρ is too large: it is divided by 5. Then the largest weights of W
are the mask, and conjugate gradients on them alone, from W, minimise the error; each row has its own steps, as in the
released code, where Algorithm 2 has one length for all. All weights of the matrix compete.
"""

from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from calprune.base.checks import options
from calprune.base.values import ConfigError
from calprune.layers.inputs import InputStats, Needs
from calprune.layers.products import matmul
from calprune.methods.contract import check_above_0, check_damping
from calprune.pattern import Pattern, check_width, competing, keep_mask, masked

EVERY = 3  # iterations between two looks at the mask
SETTLING = 30  # iterations after which a mask that hardly moves is good enough
GROWTH = (1.3, 1.2, 1.1)  # of ρ, the less of the mask moves


@options
class ALPS:
    damping: float = 0.01
    penalty: float = 0.1  # the first ρ
    iterations: int = 300  # of ADMM, at most
    gradient_steps: int = 10  # of conjugate gradients

    tag: ClassVar[str] = "ALPS"
    needs: ClassVar[Needs] = "gram"
    version: ClassVar[int] = 1

    def __post_init__(self):
        check_damping(self.damping)
        check_above_0(self, "penalty")
        for name in ("iterations", "gradient_steps"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must be at least 0, got {getattr(self, name)}")

    def __call__(self, weight: Float[Tensor, "out in"], stats: InputStats, pattern: Pattern) -> Float[Tensor, "out in"]:
        check_width(weight.shape[1], pattern)
        pattern = competing(pattern, "matrix")
        H = stats.covariance
        H.diagonal().add_(self.damping * H.diagonal().mean())
        n = H.diagonal().sqrt() + 1e-8
        H = H / n / n[:, None]
        dense = (weight.float() * n).T.contiguous()
        W = self._alternate(dense, H, pattern)
        keep = largest(W, pattern)
        W = conjugate_gradients(H, matmul(H, dense), W * keep, keep, self.gradient_steps)
        return masked((W.T / n).to(weight.dtype), keep.T)

    def _alternate(
        self, dense: Float[Tensor, "in out"], H: Float[Tensor, "in in"], pattern: Pattern
    ) -> Float[Tensor, "in out"]:
        """W after ADMM."""
        values, vectors = (t.to(dense.dtype) for t in torch.linalg.eigh(H.double()))
        W, V, keep, Hdense = dense, torch.zeros_like(dense), largest(dense, pattern), matmul(H, dense)
        D, penalty = dense * keep, Penalty(self.penalty, keep, SETTLING, GROWTH)
        for t in range(1, self.iterations + 1):
            rho = penalty.rho
            W = matmul(vectors, matmul(vectors.T, Hdense - V + rho * D) / (values + rho)[:, None])
            D = W + V / rho
            keep = largest(D, pattern)
            D = D * keep
            V = V + rho * (W - D)
            if t % EVERY == 0:
                found = penalty.look(t, keep)
                if found == "end":
                    break
                if found == "again":
                    W, V, D = dense, torch.zeros_like(dense), dense * largest(dense, pattern)
        return W


class Penalty:
    """ρ, higher as the mask settles, and when ADMM is to end: by how much of the mask changed since the last look."""

    def __init__(self, first: float, keep: Tensor, settling: int, growth: tuple[float, float, float]) -> None:
        """first: the first ρ. keep: the first mask. settling: iterations after which a mask that hardly moves is good
        enough. growth: of ρ, where more than a tenth, more than a 200th, and less of the mask changed."""
        self.rho, self._before, self._moved = first, keep, False
        self._settling, self._growth = settling, growth

    def look(self, iteration: int, keep: Tensor) -> Literal["go on", "again", "end"]:
        """What is to be done after an iteration; "again": from the start, with a smaller ρ."""
        changed = int((keep != self._before).sum())
        share = changed / max(int(keep.sum()), 1)
        self._before = keep
        if (changed == 0 and self._moved) or (iteration > self._settling and share < 0.0003):
            return "end"
        if share <= 0.005 and not self._moved:  # too small to begin with
            self.rho /= 5
            return "again" if changed else "go on"
        fast, medium, slow = self._growth
        self.rho *= fast if share > 0.1 else medium if share > 0.005 else slow
        self._moved = True
        return "go on"


def largest(V: Float[Tensor, "in out"], pattern: Pattern) -> Bool[Tensor, "in out"]:
    return keep_mask(V.abs().T.contiguous(), pattern).T


def conjugate_gradients(
    H: Float[Tensor, "in in"],
    target: Float[Tensor, "in out"],
    W: Float[Tensor, "in out"],
    keep: Bool[Tensor, "in out"],
    steps: int,
) -> Float[Tensor, "in out"]:
    """From W, towards H W = target on the kept weights alone; every column (a row of the matrix) has its own steps."""
    R = (target - matmul(H, W)) * keep
    P, size = R, R.square().sum(0)  # (out,)
    for _ in range(steps):
        HP = matmul(H, P)
        step = size / (P * HP).sum(0).clamp_min(1e-30)
        W = W + step * P
        R = R - step * HP * keep
        new_size = R.square().sum(0)
        P = R + new_size / size.clamp_min(1e-30) * P
        size = new_size
    return W
