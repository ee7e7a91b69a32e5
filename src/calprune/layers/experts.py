"""Fused experts: modules of transformers 5 that hold the matrices of all experts in two three-dimensional tensors.

    gate_up_proj (experts, 2 · inner, hidden)      up_proj (experts, inner, hidden) where there is no gate
    down_proj    (experts, hidden, inner)

and are called with the tokens' hidden states and, for each token, the experts that it is sent to. transformers marks
such a module (`use_experts_implementation`) with how it is laid out: GPT-OSS stores its matrices transposed, gate and
up row by row in turn, with biases. A hook on linears sees none of this, so what an expert's linears read is worked out.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from calprune.layers.products import linear

MARKS = ("has_gate", "has_bias", "is_transposed", "is_concatenated")


@dataclass(frozen=True)
class ExpertMatrix:
    """One expert's matrix in a fused tensor."""

    parameter: str  # "gate_up_proj", "up_proj" or "down_proj"
    expert: int
    rows: slice  # of the expert's (out, in) matrix in the tensor: gate_up_proj holds two

    @property
    def reads_inner(self) -> bool:
        """Whether it reads what the gate gives, and not the hidden states."""
        return self.parameter == "down_proj"

    def inside(self, module: Any, tensor: Tensor) -> Shaped[Tensor, "out in"]:
        """Its place in a tensor of the shape of the module's `parameter`."""
        return (tensor[self.expert].T if module.is_transposed else tensor[self.expert])[self.rows]

    def bias(self, module: Any) -> Float[Tensor, "out"] | None:
        return _bias(module, self.parameter, self.expert, self.rows)


def is_fused(module: nn.Module) -> bool:
    return all(hasattr(module, mark) for mark in MARKS) and hasattr(module, "down_proj")


def parts(module: Any) -> dict[str, ExpertMatrix]:
    """The matrices of a fused module by the names that they would have alone: "3.gate_proj"."""
    found = {}
    for expert in range(len(module.down_proj)):
        if module.has_gate:
            inner = len(_matrix(module, "gate_up_proj", expert)) // 2
            one_by_one = (slice(0, inner), slice(inner, None))
            gate, up = one_by_one if module.is_concatenated else (slice(0, None, 2), slice(1, None, 2))
            found[f"{expert}.gate_proj"] = ExpertMatrix("gate_up_proj", expert, gate)
            found[f"{expert}.up_proj"] = ExpertMatrix("gate_up_proj", expert, up)
        else:
            found[f"{expert}.up_proj"] = ExpertMatrix("up_proj", expert, slice(None))
        found[f"{expert}.down_proj"] = ExpertMatrix("down_proj", expert, slice(None))
    return found


def inner_inputs(module: Any, expert: int, x: Float[Tensor, "tokens hidden"]) -> Float[Tensor, "tokens inner"]:
    """What the expert's down_proj reads where its gate and up read x."""
    first = "gate_up_proj" if module.has_gate else "up_proj"
    return _gated(module, linear(x, _matrix(module, first, expert), _bias(module, first, expert, slice(None))))


def backward(
    module: Any, expert: int, x: Float[Tensor, "tokens hidden"], delta: Float[Tensor, "tokens hidden"]
) -> dict[str, tuple[Float[Tensor, "tokens _"], Float[Tensor, "tokens _"]]]:
    """Of each of the expert's matrices, by its parameter: what it reads, and the gradient in what it gives.

    x: what the expert reads. delta: the gradient in what it gives, before the router's weight.
    """
    first = "gate_up_proj" if module.has_gate else "up_proj"
    given = linear(x, _matrix(module, first, expert), _bias(module, first, expert, slice(None))).detach()
    with torch.enable_grad():
        inner = _gated(module, given.requires_grad_())
        (change,) = torch.autograd.grad(inner, given, delta @ _matrix(module, "down_proj", expert))
    return {first: (x, change), "down_proj": (inner.detach(), delta)}


def _gated(module: Any, given: Float[Tensor, "tokens _"]) -> Float[Tensor, "tokens inner"]:
    return module._apply_gate(given) if module.has_gate else module.act_fn(given)


def sent_to(expert: int, chosen: Int[Tensor, "tokens k"]) -> Int[Tensor, "sent"]:
    """The tokens that are sent to the expert."""
    return (chosen == expert).any(1).nonzero().flatten()


def _matrix(module: Any, parameter: str, expert: int) -> Float[Tensor, "out in"]:
    held = getattr(module, parameter).data[expert]
    return held.T if module.is_transposed else held


def _bias(module: Any, parameter: str, expert: int, rows: slice) -> Float[Tensor, "out"] | None:
    return getattr(module, f"{parameter}_bias").data[expert][rows] if module.has_bias else None
