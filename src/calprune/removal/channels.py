"""Neurons and heads: which input channels of a feed-forward's down projection, or of attention's output, go.

A neuron is one input channel of the linear that reads the feed-forward's inner states, a head (with all heads that
share its keys and values) a run of them. Each channel j of that linear's weight W (out, in) has a score, a unit the sum
of its channels', and the lowest go:

    magnitude   Σ_i |W_ij|                           Wanda's score with all inputs alike
    wanda       Σ_i |W_ij| · ‖X_j‖                   as FLAP's released code has it for comparison (WIFN)
    flap        Σ_i W_ij² · Var(X_j)                 An et al., "Fluctuation-based Adaptive Structured Pruning for Large
                                                     Language Models", AAAI 2024, arXiv:2312.11983 (WIFV); of a head the
                                                     squares of its channels' are summed, as in released code 9bbad71
    obs         what the output loses when the others make up for it, a few units at a time: `local_pruner` of Týr
                (released code f4466ea), from the Gram matrix H = X Xᵀ / tokens + damping · mean(diag) · I

What goes can be made up for: flap adds what the removed channels give on average, W mean(X), to the bias. With `update`
any method gives the weights that stay their least-squares optimum, Ŵ_S = (W H)_S H_SS⁻¹; obs always does.
"""

from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from calprune.base.checks import options
from calprune.base.patterns import UnitKind
from calprune.layers.inputs import InputStats
from calprune.methods.contract import check_damping
from calprune.removal.contract import KeptUnits, Reads, highest

CHANNELS: tuple[UnitKind, ...] = ("neurons", "heads")
DAMPING = 0.01  # of the mean diagonal, as in Týr's released code


@options
class MagnitudeOfUnits:
    """Σ |W_ij| over a unit's columns: reads no data."""

    update: bool = False  # give what stays its least-squares optimum

    tag: ClassVar[str] = "MagnitudeOfUnits"
    kinds: ClassVar[tuple[UnitKind, ...]] = CHANNELS
    version: ClassVar[int] = 1

    @property
    def needs(self) -> Reads:
        return "gram" if self.update else "nothing"

    def __call__(self, weight: Float[Tensor, "out in"], stats: InputStats | None, units: int, stay: int) -> KeptUnits:
        return _chosen(weight.float().abs().sum(0), weight, stats, units, stay, self.update)


@options
class WandaOfUnits:
    """Σ |W_ij| ‖X_j‖ over a unit's columns."""

    update: bool = False

    tag: ClassVar[str] = "WandaOfUnits"
    kinds: ClassVar[tuple[UnitKind, ...]] = CHANNELS
    version: ClassVar[int] = 1

    @property
    def needs(self) -> Reads:
        return "gram" if self.update else "moments"

    def __call__(self, weight: Float[Tensor, "out in"], stats: InputStats, units: int, stay: int) -> KeptUnits:
        return _chosen(weight.float().abs().sum(0) * stats.norm, weight, stats, units, stay, self.update)


@options
class FLAP:
    """Σ W_ij² Var(X_j) over a unit's columns: what varies little is replaced by its mean, in the bias."""

    update: bool = False
    bias: bool = True  # add what the removed channels give on average to the bias, where the family has one

    tag: ClassVar[str] = "FLAP"
    kinds: ClassVar[tuple[UnitKind, ...]] = CHANNELS
    version: ClassVar[int] = 1

    @property
    def needs(self) -> Reads:
        return "gram" if self.update else "moments"

    def __call__(self, weight: Float[Tensor, "out in"], stats: InputStats, units: int, stay: int) -> KeptUnits:
        fluctuation = weight.float().square().sum(0) * stats.variance
        scores = fluctuation if units == len(fluctuation) else fluctuation.square()
        found = _chosen(scores, weight, stats, units, stay, self.update)
        if not self.bias:
            return found
        kept = channels(found.stay, units, weight.shape[1]).to(weight.device)
        after = weight[:, kept] if found.weight is None else found.weight
        lost = weight.float() @ stats.mean - after.float() @ stats.mean[kept]
        return KeptUnits(found.stay, found.scores, found.weight, lost)


@options
class OBS:
    """The units whose loss the others can best make up for, a few at a time; what stays is updated."""

    rounds: int = 16  # units are chosen in so many parts, the Gram matrix's inverse taken anew after each
    damping: float = DAMPING

    tag: ClassVar[str] = "OBS"
    kinds: ClassVar[tuple[UnitKind, ...]] = CHANNELS
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check_damping(self.damping)

    @property
    def needs(self) -> Reads:
        return "gram"

    def __call__(self, weight: Float[Tensor, "out in"], stats: InputStats, units: int, stay: int) -> KeptUnits:
        H = _damped(stats, self.damping)
        W, inverse, width = weight.double().clone(), torch.linalg.inv(H), len(H) // units
        scores = torch.full((units,), torch.inf, dtype=torch.double)
        left = torch.ones(units, dtype=torch.bool)
        for count in _rounds(units - stay, max(self.rounds, 1)):
            there = left.nonzero().flatten()
            losses = _losses(W, inverse, there, width).cpu()
            going = there[losses.argsort(stable=True)[:count]]
            scores[going] = losses[losses.argsort(stable=True)[:count]]
            left[going] = False
            gone = channels(going, units, len(H)).to(W.device)
            others = torch.linalg.solve(inverse[gone][:, gone], inverse[gone])  # (gone, in)
            W -= W[:, gone] @ others
            inverse -= inverse[:, gone] @ others
            W[:, gone] = 0
            inverse[gone], inverse[:, gone] = 0, 0
        kept = left.nonzero().flatten()
        return KeptUnits(kept, scores, _refitted(weight, H, channels(kept, units, len(H))))


def channels(units: Int[Tensor, "n"], of: int, width: int) -> Int[Tensor, "channels"]:
    """The input channels of these units, where there are `of` in `width`."""
    each = width // of
    return (units[:, None] * each + torch.arange(each)).flatten()


def _chosen(
    scores: Float[Tensor, "in"], weight: Tensor, stats: InputStats | None, units: int, stay: int, update: bool
) -> KeptUnits:
    of_units = scores.reshape(units, -1).sum(1)
    kept = highest(of_units, stay)
    if not update:
        return KeptUnits(kept, of_units)
    assert stats is not None
    H = _damped(stats, DAMPING)
    return KeptUnits(kept, of_units, _refitted(weight, H, channels(kept, units, len(H))))


def _damped(stats: InputStats, damping: float) -> Float[Tensor, "in in"]:
    """The Gram matrix of one token with so much of its mean diagonal on the diagonal; of what was always zero, 1."""
    H = stats.covariance.double()
    average = H.diagonal().mean()
    H.diagonal().add_(damping * average if damping * average > 0 else 1e-6 * (average + 1e-30))
    return H


def _rounds(gone: int, rounds: int) -> list[int]:
    """How many go in each round: the first ones take what is left over."""
    rounds = min(rounds, gone)
    return [gone // rounds + (i < gone % rounds) for i in range(rounds)]


def _losses(
    W: Float[Tensor, "out in"], inverse: Float[Tensor, "in in"], units: Int[Tensor, "n"], width: int
) -> Float[Tensor, "n"]:
    """½ tr(W_g [H⁻¹]_gg⁻¹ W_gᵀ) of each unit g: the least that the output loses without it."""
    if width == 1:
        at = units.to(W.device)
        return W[:, at].square().sum(0) / inverse.diagonal()[at] / 2
    found = []
    for unit in units.tolist():
        own = slice(unit * width, (unit + 1) * width)
        found.append((W[:, own].T * torch.linalg.solve(inverse[own, own], W[:, own].T)).sum() / 2)
    return torch.stack(found)


def _refitted(weight: Tensor, H: Float[Tensor, "in in"], kept: Int[Tensor, "k"]) -> Float[Tensor, "out k"]:
    kept = kept.to(H.device)
    target = weight.double() @ H[:, kept]
    return torch.linalg.solve(H[kept][:, kept], target.T).T.to(weight.dtype)
