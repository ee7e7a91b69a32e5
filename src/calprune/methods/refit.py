"""Refit: keep another method's mask, and give the weights that stay their least-squares optimum.

Hassibi, Stork, "Second Order Derivatives for Network Pruning: Optimal Brain Surgeon", NIPS 1992, eq. 5: there for one
weight at a time, here for all that a row w loses at once. With kept weights S it minimises (w - ŵ) H (w - ŵ)ᵀ:

    ŵ_S = H_SS⁻¹ (H w)_S        H = X Xᵀ / tokens + damping · mean(diag) · I

No other weights with this mask have a smaller error: it is the bound that methods with an update are compared with. Of
the start only the zeros are looked at, not its weights. Damping pulls towards the weights that were there.

Rows differ in what they keep, so each has a system of its own; many are solved at a time, padded to the same size.
"""

from collections.abc import Iterator
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from calprune.base.checks import options
from calprune.layers.inputs import InputStats, Needs, StatsError
from calprune.methods.contract import Start, begin_from, check_damping, exact_as_start, with_start
from calprune.pattern import Pattern, masked

CACHE_BYTES, DEVICE_BYTES = 2**24, 2**30  # of the systems that are solved at once: on a CPU, elsewhere


@options
class Refit:
    start: Start = None  # the method whose mask is kept: refit(start=wanda)
    damping: float = 0.0  # fraction of the mean diagonal of H that is added to the diagonal

    tag: ClassVar[str] = "Refit"
    needs: ClassVar[Needs] = with_start("gram")
    exact_count: ClassVar[bool] = exact_as_start()
    version: ClassVar[int] = 1

    def __post_init__(self):
        begin_from(self.start, self)
        check_damping(self.damping)

    def __call__(self, weight: Float[Tensor, "out in"], stats: InputStats, pattern: Pattern) -> Float[Tensor, "out in"]:
        keep = self.start(weight, stats, pattern) != 0
        return least_squares(weight, keep, stats, self.damping)


def least_squares(
    weight: Float[Tensor, "out in"], keep: Bool[Tensor, "out in"], stats: InputStats, damping: float
) -> Float[Tensor, "out in"]:
    """The weights of least damped error on the inputs, zero wherever `keep` is not.

    Where H is not positive definite it gets the damping that factorising it takes, as for SparseGPT; it is reported.
    """
    H = stats.covariance.double()
    factor = stats.factor(damping)
    H.diagonal()[factor.dead] = 1  # an input that was always zero: its weights stay as they are
    H.diagonal().add_(factor.damping * H.diagonal().mean())
    W = weight.double()
    target = W @ H
    refitted = torch.zeros_like(W)
    for rows, kept, there in systems(keep):
        both = there[:, :, None] & there[:, None, :]
        A = torch.where(both, H[kept[:, :, None], kept[:, None, :]], 0.0)  # (rows, k, k)
        A.diagonal(dim1=1, dim2=2).add_(~there)  # padding: 1 · x = 0
        b = torch.where(there, target[rows].gather(1, kept), 0.0)
        lower, failed = torch.linalg.cholesky_ex(A)
        if failed.any():
            raise StatsError(f"the Gram matrix is not positive definite with damping {factor.damping}; give more")
        refitted[rows] = refitted[rows].scatter_add(1, kept, torch.cholesky_solve(b[:, :, None], lower)[:, :, 0])
    return masked(refitted, keep).to(weight.dtype)


def systems(
    keep: Bool[Tensor, "out in"],
) -> Iterator[tuple[Int[Tensor, "rows"], Int[Tensor, "rows k"], Bool[Tensor, "rows k"]]]:
    """Rows that are solved together, the places of their kept weights, and which of those are there (not padding)."""
    count = keep.sum(1)
    order = count.argsort(descending=True)  # rows of like counts together: little padding
    most = CACHE_BYTES if keep.device.type == "cpu" else DEVICE_BYTES
    while len(order):
        size = int(count[order[0]].clamp_min(1))
        rows, order = order.tensor_split([max(1, most // (8 * size * size))])
        kept = keep[rows].to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :size]
        yield rows, kept, keep[rows].gather(1, kept)
