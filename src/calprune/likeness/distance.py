"""Two calibration sets at one input: how far their second moments are from each other.

G (in, in) is the Gram matrix Σ x xᵀ of a linear's inputs, divided by its trace: which directions carry the energy, not
how much there is. With eigenvalues λ_1 ≥ λ_2 ≥ ..., which add up to 1, and unit eigenvectors v_i:

    effective rank  exp(-Σ λ_i ln λ_i): from 1 to `in`, which it is where all are equal (Roy, Vetterli, EUSIPCO 2007)
    Frobenius       ‖A - B‖_F / √(‖A‖_F² + ‖B‖_F²): 0 the same, 1 inputs orthogonal to each other
    Bures           √(2 - 2 tr (A^½ B A^½)^½): 0 the same, √2 orthogonal (Bhatia, Jain, Lim 2019)
    coverage        Σ_{i≤k} v_iᵀ B v_i / Σ_{i≤k} λ_i(B), v_i of A: the share of B's energy in A's top k directions,
                    beside the most that any k directions can hold (Ky Fan): 1 the same, 0 orthogonal

All in float64.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from calprune.layers.inputs import InputStats, StatsError


@dataclass(frozen=True, eq=False)
class Energy:
    """One set's Gram matrix at one input, its trace 1, with its eigenvectors where they are asked for."""

    gram: Float[Tensor, "in in"]

    @classmethod
    def of(cls, gram: Float[Tensor, "in in"]) -> "Energy":
        """Of a Gram matrix of any trace. Raises StatsError where every input was zero."""
        gram = gram.double()
        if not (trace := gram.trace()) > 0:
            raise StatsError("every input was zero, so there is no energy to compare")
        return cls(gram / trace)

    @cached_property
    def _eigen(self) -> tuple[Tensor, Tensor]:
        values, vectors = torch.linalg.eigh(self.gram)
        return values.flip(0).clamp_min(0), vectors.flip(1)

    @property
    def values(self) -> Float[Tensor, "in"]:
        """Eigenvalues, falling."""
        return self._eigen[0]

    @property
    def directions(self) -> Float[Tensor, "in in"]:
        """Eigenvectors as columns, in the order of the values."""
        return self._eigen[1]

    @property
    def effective_rank(self) -> float:
        return float(torch.special.entr(self.values).sum().exp())

    def top(self, share: float) -> int:
        """How many directions hold `share` of the energy."""
        held = self.values.cumsum(0)
        return min(int((held < share * held[-1]).sum()) + 1, len(held))


def frobenius(a: Energy, b: Energy) -> float:
    """The relative Frobenius distance, 0 to 1."""
    return float((a.gram - b.gram).norm() / torch.hypot(a.gram.norm(), b.gram.norm()))


def bures(a: Energy, b: Energy) -> float:
    """The Bures distance, 0 to √2. Its rounding error is about 1e-4 where the two are the same."""
    root = a.directions * a.values.sqrt()  # A = root rootᵀ, and rootᵀ B root has the eigenvalues of A^½ B A^½
    fidelity = torch.linalg.eigvalsh(root.T @ b.gram @ root).clamp_min(0).sqrt().sum()
    return float((2 - 2 * fidelity).clamp_min(0).sqrt())


def coverage(a: Energy, b: Energy, share: float = 0.95) -> float:
    """Of B's energy, as much as A's top directions (that hold `share` of A's) cover, beside the most that so many
    directions can."""
    k = a.top(share)
    top = a.directions[:, :k]
    return float((top * (b.gram @ top)).sum() / b.values[:k].sum())


def diagonal_correlation(a: InputStats, b: InputStats) -> float:
    """Spearman's rank correlation of the channels' energies Σ x_j²; ranks, because a few channels hold most of it."""
    from scipy.stats import spearmanr

    return float(spearmanr(a.sum_xx.cpu().numpy(), b.sum_xx.cpu().numpy()).statistic)
