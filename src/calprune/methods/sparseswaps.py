"""SparseSwaps: from any mask, exchange one kept and one pruned weight of a row as long as its error falls.

Zimmer, Roux, Wagner, Hendrych, Pokutta, "SparseSwaps: Tractable LLM Pruning Mask Refinement at Scale", 2025,
arXiv:2512.10922. The weights that stay are not changed. With r the pruned part of a row w (zero where kept),
G = X Xᵀ / tokens and c = G r, the row's error is r G rᵀ, and pruning p in exchange for u changes it by

    ΔE = 2 w_p c_p + w_p² G_pp - 2 w_u c_u + w_u² G_uu - 2 w_p w_u G_pu

Each step makes the best of all exchanges of a row, exactly; a row is done when none lowers its error, or after `swaps`.
Rows keep as many weights as they had; n:m: an exchange is within a group. (Derived from the paper's abstract, which
with its reviews was all we could read of it, and checked by brute force; there is no public code. How many exchanges it
allows is not known: 100 is ours.)
"""

from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from calprune.base.checks import options
from calprune.base.values import ConfigError
from calprune.layers.inputs import InputStats, Needs
from calprune.methods.contract import Start, begin_from, exact_as_start, with_start
from calprune.methods.wanda import Wanda
from calprune.pattern import KeepNofM, Pattern, masked

CACHE_BYTES, DEVICE_BYTES = 2**22, 2**30  # of the pairs that are looked at together: on a CPU, elsewhere
WANDA = Wanda()
ROUNDING = 1e-6  # of the two terms of an exchange: a smaller gain is none


@options
class SparseSwaps:
    start: Start = WANDA
    swaps: int = 100  # of each row, at most

    tag: ClassVar[str] = "SparseSwaps"
    needs: ClassVar[Needs] = with_start("gram")
    exact_count: ClassVar[bool] = exact_as_start()
    version: ClassVar[int] = 1

    def __post_init__(self):
        begin_from(self.start, self)
        if self.swaps < 0:
            raise ConfigError(f"swaps must be at least 0, got {self.swaps}")

    def __call__(self, weight: Float[Tensor, "out in"], stats: InputStats, pattern: Pattern) -> Float[Tensor, "out in"]:
        keep = self.start(weight, stats, pattern) != 0
        W, G = weight.float(), stats.covariance
        of = pattern.of if isinstance(pattern, KeepNofM) else weight.shape[1]
        kept = keep.float().mean(1)
        pairs = (kept * (1 - kept)).max().item() * weight.shape[1] * of  # of a row
        most = CACHE_BYTES if weight.device.type == "cpu" else DEVICE_BYTES
        for rows in kept.argsort().split(max(1, int(most / 4 / max(pairs, 1)))):  # rows of like counts together
            keep[rows] = _Rows(W[rows], G, keep[rows], of).swapped(self.swaps)
        return masked(weight, keep)


class _Rows:
    """Some rows, and for each what each exchange within its groups would cost. K and P: kept and pruned of a group."""

    def __init__(self, W: Float[Tensor, "r in"], G: Float[Tensor, "in in"], keep: Bool[Tensor, "r in"], of: int):
        self.W, self.G, self.keep = W, G, keep.clone()
        self.c = (W * ~keep) @ G  # (r, in)
        groups = keep.view(len(W), -1, of)
        count = groups.sum(2)
        places = groups.to(torch.int8).argsort(dim=2, descending=True, stable=True)
        places += torch.arange(0, W.shape[1], of, device=W.device)[:, None]
        self.kept = places[:, :, : int(count.max())].clone()  # (r, groups, K), with some that are pruned
        self.pruned = places[:, :, int(count.min()) :].clone()  # (r, groups, P), with some that are kept
        self.cross = self._cross(self.kept[..., :, None], self.pruned[..., None, :])  # (r, groups, K, P)

    def _cross(self, p: Int[Tensor, "r ..."], u: Int[Tensor, "r ..."]) -> Float[Tensor, "r ..."]:
        """-2 w_p w_u G_pu; one of p and u may have a dimension of 1 where the other has more."""
        return self.G[p, u] * (-2 * self._of(self.W, p)) * self._of(self.W, u)

    @staticmethod
    def _of(values: Tensor, places: Int[Tensor, "r ..."]) -> Tensor:
        return values.gather(1, places.flatten(1)).view(places.shape)

    def swapped(self, swaps: int) -> Bool[Tensor, "r in"]:
        """The mask after at most so many exchanges in each row."""
        if not self.cross.numel():  # nothing is kept, or nothing pruned
            return self.keep
        rows = torch.arange(len(self.W), device=self.W.device)
        for _ in range(swaps):
            group, k, p, gain, noise = self._best()
            better = gain < -ROUNDING * noise
            if not better.any():
                break
            self._exchange(rows[better], group[better], k[better], p[better])
        return self.keep

    def _best(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """For each row the group and the places of its best exchange, the change, and how large its terms are."""
        square, linear = self.W.square() * self.G.diagonal(), 2 * self.W * self.c
        out = (square + linear).masked_fill(~self.keep, torch.inf)  # what it costs to prune it
        back = (square - linear).masked_fill(self.keep, torch.inf)  # to have it back
        cost, refund = self._of(out, self.kept), self._of(back, self.pruned)
        least = (self.cross + refund[:, :, None, :]).amin(3) + cost  # (r, groups, K)
        gain, at = least.flatten(1).min(1)
        group, k = at // least.shape[2], at % least.shape[2]
        rows = torch.arange(len(at), device=at.device)
        p = (self.cross[rows, group, k] + refund[rows, group]).argmin(1)
        return group, k, p, gain, cost[rows, group, k].abs() + refund[rows, group, p].abs()

    def _exchange(self, row: Tensor, group: Tensor, k: Tensor, p: Tensor) -> None:
        """Prune what is at k, have back what is at p, in these rows."""
        out, back = self.kept[row, group, k], self.pruned[row, group, p]
        self.keep[row, out], self.keep[row, back] = False, True
        self.kept[row, group, k], self.pruned[row, group, p] = back, out
        w_out, w_back = self.W[row, out, None], self.W[row, back, None]
        self.c[row] += w_out * self.G[out] - w_back * self.G[back]
        others_pruned, others_kept = self.pruned[row, group], self.kept[row, group]
        W = self.W[row]
        self.cross[row, group, k] = -2 * w_back * W.gather(1, others_pruned) * self.G[back[:, None], others_pruned]
        self.cross[row, group, :, p] = -2 * w_out * W.gather(1, others_kept) * self.G[out[:, None], others_kept]
