"""3BASiL: a sparse and a low-rank matrix whose sum is nearest to the weights for these inputs, solved together.

Makni, Meng, Mazumder, "3BASiL: An Algorithmic Framework for Sparse plus Low-Rank Compression of LLMs", NeurIPS 2025,
arXiv:2603.01376: ADMM of three blocks, S, its copy D that holds the pattern, and L. The steps are those of the released
code (mazumder-lab/3BASiL, compress.py, `threebasil`), for the paper's text was not at hand. It minimises

    tr((W - S - L) H (W - S - L)ᵀ)     S in the pattern, rank(L) <= r

Weights are scaled by the roots of H's diagonal, so that H has a diagonal of ones. Letters, all (in, out):

    H = X Xᵀ / tokens + damping · mean(diag) · I, scaled;   V  the dual     ρ  the penalty

    S ← (H + ρ I)⁻¹ (H (W - L) - V + ρ D)      D ← the largest of S + V / ρ      V ← V + ρ (S - D)
    L ← the best fit of rank r to W - S in H's norm: M U Uᵀ for M = W - S and the first r eigenvectors U of Mᵀ H M

Every tenth iteration ρ grows, by how many weights changed sides since the last look: more than 10 % of those kept, by
1.1; 0.5 %, by 1.05; any, by 1.02; and it ends when none did, or after the first 100 when fewer than 0.03 % did. While
the mask has not moved at all, ρ is too large: it is divided by 5 (as ALPS, with other numbers).

Otherwise than in the released code: U follows from the U before by two steps of subspace iteration, not from a random
start; H is damped by one number, as in ALPS; and after the last iteration, where the mask is the largest of S, rounds
of conjugate gradients on the kept weights and of L's best fit lower the error further; it never rises in them.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from calprune.base.checks import options
from calprune.base.values import ConfigError
from calprune.layers.inputs import InputStats, Needs
from calprune.layers.products import matmul
from calprune.methods.alps import Penalty, conjugate_gradients, largest
from calprune.methods.contract import check_above_0, check_damping
from calprune.pattern import Pattern, check_width, competing, masked
from calprune.recovery.compensation import low_rank

EVERY = 10  # iterations between two looks at the mask
SETTLING = 100  # iterations after which a mask that hardly moves is good enough
GROWTH = (1.1, 1.05, 1.02)  # of ρ, the less of the mask moves
EXTRA = 8  # directions that are followed beside the r of L, so that these are found soon
GRADIENT_STEPS = 3  # of a round after the last iteration


@dataclass(frozen=True, eq=False)
class SparseLowRank:
    """W ≈ sparse + B A."""

    sparse: Float[Tensor, "out in"]  # of the weights' dtype
    B: Float[Tensor, "out rank"]  # float64
    A: Float[Tensor, "rank in"]


@options
class Basil:
    """As a method it gives the sparse matrix alone, whose error is only small with the other one."""

    rank: int = 64  # of the low-rank matrix, at most; 0: none
    iterations: int = 300  # of ADMM, at most
    rounds: int = 10  # after them, with the mask held
    damping: float = 0.01
    penalty: float = 0.1  # the first ρ

    tag: ClassVar[str] = "Basil"
    needs: ClassVar[Needs] = "gram"
    version: ClassVar[int] = 1

    def __post_init__(self):
        check_damping(self.damping)
        check_above_0(self, "penalty")
        for name in ("rank", "iterations", "rounds"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must be at least 0, got {getattr(self, name)}")

    def __call__(self, weight: Float[Tensor, "out in"], stats: InputStats, pattern: Pattern) -> Float[Tensor, "out in"]:
        return self.solve(weight, stats, pattern).sparse

    def solve(self, weight: Float[Tensor, "out in"], stats: InputStats, pattern: Pattern) -> SparseLowRank:
        """Both matrices, in float32, or in float64 where the weights have it. L is fitted last, to what S is when it is
        rounded to the weights' dtype. Raises PatternError where the pattern does not fit the width."""
        check_width(weight.shape[1], pattern)
        pattern = competing(pattern, "matrix")
        dtype = torch.promote_types(weight.dtype, torch.float32)
        gram = stats.covariance.to(dtype)
        gram.diagonal().add_(self.damping * gram.diagonal().mean())
        n = gram.diagonal().sqrt() + 1e-8
        H = gram / n / n[:, None]
        W = (weight.to(dtype) * n).T.contiguous()
        fit = _Fit(H, W.shape[1], self.rank)
        S = self._alternate(W, H, pattern, fit)
        keep = largest(S, pattern)
        S, HW = S * keep, matmul(H, W)
        for _ in range(self.rounds):
            S = conjugate_gradients(H, HW - fit.HL, S, keep, GRADIENT_STEPS)
            fit.to(W - S)
        sparse = masked((S.T / n).to(weight.dtype), keep.T)
        return SparseLowRank(sparse, *low_rank(weight.double() - sparse.double(), gram, self.rank))

    def _alternate(
        self, W: Float[Tensor, "in out"], H: Float[Tensor, "in in"], pattern: Pattern, fit: "_Fit"
    ) -> Float[Tensor, "in out"]:
        """S after ADMM; `fit` then has the L beside it."""
        values, vectors = (t.to(W.dtype) for t in torch.linalg.eigh(H.double()))
        S, V, keep, HW = W, torch.zeros_like(W), largest(W, pattern), matmul(H, W)
        D = start = W * keep
        penalty = Penalty(self.penalty, keep, SETTLING, GROWTH)
        for t in range(1, self.iterations + 1):
            rho = penalty.rho
            S = matmul(vectors, matmul(vectors.T, HW - fit.HL - V + rho * D) / (values + rho)[:, None])
            D = S + V / rho
            keep = largest(D, pattern)
            D = D * keep
            V = V + rho * (S - D)
            fit.to(W - S)
            if t % EVERY == 0:
                found = penalty.look(t, keep)
                if found == "end":
                    break
                if found == "again":
                    S, V, D = W, torch.zeros_like(W), start
        return S


class _Fit:
    """The low-rank matrix L, (in, out), and H L, which is cheap while L is two factors."""

    def __init__(self, H: Float[Tensor, "in in"], outputs: int, rank: int) -> None:
        self.H, self.rank = H, min(rank, *H.shape, outputs)
        count = min(self.rank + EXTRA, outputs)
        self.U = torch.randn(outputs, count, generator=torch.Generator().manual_seed(0), dtype=H.dtype).to(H.device)
        self.HL = torch.zeros(len(H), outputs, dtype=H.dtype, device=H.device)
        self.L = self.HL

    def to(self, M: Float[Tensor, "in out"]) -> None:
        """L becomes the best fit of its rank to M in H's norm."""
        if not self.rank:
            return
        for _ in range(2):
            self.U = torch.linalg.qr(M.T @ matmul(self.H, M @ self.U)).Q
        P = M @ self.U
        HP = matmul(self.H, P)
        turn = torch.linalg.eigh(P.T @ HP).eigenvectors.flip(1)
        self.U = self.U @ turn
        first = turn[:, : self.rank]
        self.L, self.HL = ((each @ first) @ self.U[:, : self.rank].T for each in (P, HP))
