"""Train the kept weights of a window towards its targets: by an optimiser, on batches; the best epoch is kept."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from calprune.base.values import rng
from calprune.layers.blocks import Block
from calprune.layers.linears import Linear
from calprune.refine.windows import WHOLE, Outputs, outputs_of

Optimiser = Callable[[list[Tensor]], torch.optim.Optimizer]


FACTORS: dict[str, Callable[[float], float]] = {  # of the learning rate, by how much of the training is done
    "linear": lambda done: 1 - done,
    "fifth": lambda done: 0.2 + 0.4 * (1 + math.cos(math.pi * done)),
    "none": lambda done: 1.0,
}


@dataclass(frozen=True)
class Refined:
    """What refining did to one window: the mean squared difference to its targets, over tokens that count."""

    window: str  # "": the whole block
    before: float
    after: float


@dataclass(frozen=True)
class Training:
    """How a window is trained."""

    optimiser: Optimiser
    epochs: int
    batches: int | None = None  # so many of them in an epoch; None: all
    decay: Literal["linear", "fifth", "none"] = "linear"  # the learning rate falls to 0, or by a cosine to a fifth
    clip: float = 1000.0  # the largest norm of a gradient
    seed: int = 0  # of the order of the batches
    norms: bool = False  # the block's parameters of one dimension are trained too: norms and biases

    def __call__(
        self,
        block: Block,
        window: tuple[str, list[Linear]],
        targets: list[Outputs],
        keep: dict[str, Bool[Tensor, "_ _"]],
    ) -> Refined:
        """Train the linears of one window in place. What is pruned stays zero, and the error never ends higher.

        Weights are held in float32 meanwhile, and written in their own dtype; the error is of what is written.
        """
        name, sites = window
        sites = [site for site in sites if site.name in keep]
        state = _Weights(block, sites, keep, self.norms)
        before = best = error_of(block, name, targets)
        if not sites:
            return Refined(name, before, before)
        parameters = list(state.trained.values())
        optimiser = self.optimiser(parameters)
        count = min(self.batches or len(block.batches), len(block.batches))
        steps = self.epochs * count
        rate = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: FACTORS[self.decay](step / steps))
        order = list(range(len(block.batches)))
        shuffling = rng(self.seed, f"refine/{block.name}/{name}")  # of the block, so that a resumed run is the same
        for _ in range(self.epochs):
            shuffling.shuffle(order)
            for i in order[:count]:
                with torch.enable_grad():
                    given = outputs_of(block, block.batches[i], [name], state.effective())[name]
                    error = _error(given, targets[i][name], block.batches[i].counts())
                # not backward(), which would leave gradients in the block's other weights
                for parameter, g in zip(
                    parameters, torch.autograd.grad(error, parameters, allow_unused=True), strict=True
                ):
                    parameter.grad = g
                torch.nn.utils.clip_grad_norm_(parameters, self.clip)
                optimiser.step()
                rate.step()
            state.write()
            reached = error_of(block, name, targets)
            if reached < best:
                best = reached
                state.remember()
        state.restore()
        return Refined(name, before, best)


class _Weights:
    """The parameters of some linears while they are trained, in float32, and the best so far.

    What is not kept stays as it is: zero where it was pruned; in a fused tensor also what belongs to other linears.
    """

    def __init__(self, block: Block, sites: list[Linear], keep: dict[str, Bool[Tensor, "_ _"]], norms: bool = False):
        own = dict(block.module.named_parameters())
        self.held = {site.parameter: own[site.parameter].data for site in sites}
        self.keep = {name: torch.zeros_like(tensor, dtype=torch.bool) for name, tensor in self.held.items()}
        for site in sites:
            site.inside(self.keep[site.parameter]).copy_(keep[site.name])
        if norms:
            beside = {name: p.data for name, p in own.items() if p.dim() == 1}
            self.held |= beside
            self.keep |= {name: torch.ones_like(tensor, dtype=torch.bool) for name, tensor in beside.items()}
        self.trained = {name: tensor.float().clone().requires_grad_() for name, tensor in self.held.items()}
        self.remember()

    def effective(self) -> dict[str, Tensor]:
        """The parameters by name: gradients reach kept weights alone."""
        return {name: torch.where(self.keep[name], self.trained[name].to(tensor.dtype), tensor)
                for name, tensor in self.held.items()}  # fmt: skip

    @torch.no_grad()
    def write(self) -> None:
        for name, tensor in self.effective().items():
            self.held[name].copy_(tensor)

    def remember(self) -> None:
        self._best = {name: tensor.clone() for name, tensor in self.held.items()}

    def restore(self) -> None:
        for name, tensor in self._best.items():
            self.held[name].copy_(tensor)


@torch.no_grad()
def error_of(block: Block, window: str, targets: list[Outputs]) -> float:
    """The mean over all tokens that count of the mean squared difference to the window's targets."""
    total = counted = 0.0
    for batch, target in zip(block.batches, targets, strict=True):
        weight = batch.counts()
        given = outputs_of(block, batch, [window])[window]
        total += _error(given, target[window], weight).item() * weight.sum().item()
        counted += weight.sum().item()
    return total / max(counted, 1e-30)


def _error(given: Tensor, target: Tensor, weight: Float[Tensor, "b T"]) -> Tensor:
    each = (given.float() - target.to(given.device).float()).square().mean(2)  # (b, T)
    return (each * weight.to(each.device)).sum() / weight.sum().clamp_min(1e-30)


def refine_windows(
    training: Training,
    block: Block,
    windows: dict[str, list[Linear]],
    targets: list[Outputs],
    keep: dict[str, Bool[Tensor, "_ _"]],
) -> list[Refined]:
    """Train window after window, each with those before it as they now are.

    A window's own error never rises; that of the block could, and then all its windows stay as they were.
    """
    sites = [site for linears in windows.values() for site in linears if site.name in keep]
    start = _Weights(block, sites, keep)
    before = error_of(block, WHOLE, targets)
    done = [training(block, window, targets, keep) for window in windows.items()]
    if list(windows) == [WHOLE]:
        return done
    after = error_of(block, WHOLE, targets)
    if after > before:
        start.restore()
        return [Refined(WHOLE, before, before)]
    return [*done, Refined(WHOLE, before, after)]
