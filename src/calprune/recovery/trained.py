"""What of a pruned model is trained: float32 copies of the numbers that are left, or a low-rank change of them.

A zero of a linear that was pruned stays zero to the bit, whatever the optimiser does: its gradient is 0, so Adam's
step is 0, and weight decay takes a share of 0. `lora` is W + M ∘ (B A) · scale with the mask M (Hu et al., "LoRA", ICLR
2022, arXiv:2106.09685; under the mask: Zimmer et al., "PERP", 2023, arXiv:2312.15230); with `free` M is left out, and
the change is an ordinary adapter beside the pruned weights. `norms` are all parameters of the blocks with one
dimension: norms and biases.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from calprune.base.values import UserError, rng
from calprune.layers.linears import Linear, find_blocks, linears

What = Literal["weights", "lora", "norms"]
WHAT: tuple[What, ...] = ("weights", "lora", "norms")


@runtime_checkable
class Trained(Protocol):
    """What is trained of a model."""

    leaves: dict[str, Tensor]  # float32: what the optimiser changes
    parameters: list[nn.Parameter]  # of the model, which hold what comes of them

    def gather(self) -> None:
        """Move the gradients of the model's parameters to the leaves, added to those that are there."""
        ...

    def write(self) -> None:
        """Write what comes of the leaves into the model."""
        ...


class Unpruned:
    """Parameters, where they are not zero."""

    def __init__(self, model: nn.Module, matrices: bool) -> None:
        """matrices: the linears' weights too, beside norms and biases."""
        self._held: dict[str, tuple[nn.Parameter, Bool[Tensor, "*_"] | None]] = {}
        names: dict[int, str] = {}  # a parameter that several blocks share is trained once, by its first name
        for name, block in _blocks(model):
            own = dict(block.named_parameters())
            for key, p in own.items():
                if p.dim() == 1:
                    self._held[names.setdefault(id(p), f"{name}.{key}")] = (p, None)
            for site in linears(block) if matrices else ():
                p = own[site.parameter]
                at = names.setdefault(id(p), f"{name}.{site.parameter}")
                _, keep = self._held.setdefault(at, (p, torch.zeros_like(p, dtype=torch.bool)))
                assert keep is not None
                site.inside(keep).copy_(site.weight != 0)
        self.parameters = [p for p, _ in self._held.values()]
        # float32 parameters are their own leaves, where nothing would be trained that must stay: no copy to and fro
        self._own = {name for name, (p, keep) in self._held.items()
                     if p.dtype == torch.float32 and (keep is None or not bool((p[~keep] != 0).any()))}  # fmt: skip
        self.leaves = {name: p.detach() if name in self._own else p.detach().float().clone()
                       for name, (p, _) in self._held.items()}  # fmt: skip

    def gather(self) -> None:
        for name, (p, keep) in self._held.items():
            if p.grad is not None:
                grad = p.grad if keep is None else torch.where(keep, p.grad, 0.0)  # not a product: 0 · inf is NaN
                _add(self.leaves[name], grad)
                p.grad = None

    @torch.no_grad()
    def write(self) -> None:
        for name, (p, keep) in self._held.items():
            if name not in self._own:
                p.copy_(self.leaves[name] if keep is None else torch.where(keep, self.leaves[name], p.float()))


@dataclass(frozen=True)
class _Adapted:
    """One matrix that gets a low-rank change."""

    site: Linear
    parameter: nn.Parameter
    before: Float[Tensor, "out in"]
    keep: Bool[Tensor, "out in"] | None  # None: the change is everywhere


class LowRank:
    """A low-rank change of every linear, under the mask of those that hold zeros."""

    def __init__(self, model: nn.Module, rank: int, scale: float, free: bool = False) -> None:
        self.rank, self.scale = rank, scale
        self.adapted: dict[str, _Adapted] = {}
        seen = set()  # a matrix that several blocks share has one change, by its first name
        for name, block in _blocks(model):
            own = dict(block.named_parameters())
            for site in linears(block):
                if site.matrix in seen:
                    continue
                seen.add(site.matrix)
                keep = None if free else site.weight != 0
                self.adapted[f"{name}.{site.name}"] = _Adapted(site, own[site.parameter], site.weight.clone(), keep)
        if free and any(one.site.part for one in self.adapted.values()):
            raise UserError("--keep-adapter: experts that are stored as one tensor have no adapter of their own; leave "
                            "it out, and the change is merged under the mask")  # fmt: skip
        self.transposed = any(one.site.stored.transposed for one in self.adapted.values())
        self.parameters = list(dict.fromkeys(one.parameter for one in self.adapted.values()))
        self.leaves = {}
        for name, one in self.adapted.items():
            generator = torch.Generator().manual_seed(_number(name))
            width = one.before.shape[1]
            first = torch.randn(rank, width, generator=generator) / math.sqrt(width)
            self.leaves[f"{name}.A"] = first.to(one.before.device)
            self.leaves[f"{name}.B"] = torch.zeros(one.before.shape[0], rank, device=one.before.device)

    def gather(self) -> None:
        for name, one in self.adapted.items():
            if one.parameter.grad is None:
                continue
            grad = one.site.inside(one.parameter.grad).float()
            grad = grad if one.keep is None else torch.where(one.keep, grad, 0.0)
            A, B = self.leaves[f"{name}.A"], self.leaves[f"{name}.B"]
            _add(A, self.scale * (B.detach().T @ grad))
            _add(B, self.scale * (grad @ A.detach().T))
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def write(self) -> None:
        for name, one in self.adapted.items():
            change = self.scale * (self.leaves[f"{name}.B"] @ self.leaves[f"{name}.A"])
            after = one.before.float() + change
            one.site.write(after if one.keep is None else torch.where(one.keep, after, one.before.float()))

    @torch.no_grad()
    def without(self) -> None:
        """Write the weights as they were: what an adapter is kept beside."""
        for one in self.adapted.values():
            one.site.write(one.before)


def trained_of(model: nn.Module, what: What, rank: int, free: bool) -> Trained:
    """What is trained of the model's blocks."""
    if what == "lora":
        return LowRank(model, rank, 2.0, free)
    return Unpruned(model, matrices=what == "weights")


def masks(model: nn.Module) -> dict[str, Bool[Tensor, "out in"]]:
    """Where each linear's weights are not zero, by its full name."""
    return {f"{name}.{site.name}": site.weight != 0 for name, block in _blocks(model) for site in linears(block)}


def _blocks(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    name, modules = find_blocks(model)
    yield from ((f"{name}.{i}", module) for i, module in enumerate(modules))


def _add(leaf: Tensor, grad: Tensor) -> None:
    leaf.grad = grad.float() if leaf.grad is None else leaf.grad + grad.float()


def _number(name: str) -> int:
    """A seed of a name: the same on every machine."""
    return rng(0, f"recovery/{name}").getrandbits(48)
