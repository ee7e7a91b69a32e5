"""Fused experts: modules that hold the matrices of all experts in a few tensors.

    gate_up_proj (experts, 2 · inner, hidden)      up_proj (experts, inner, hidden) where there is no gate
    down_proj    (experts, hidden, inner)

and are called with the tokens' hidden states and, for each token, the experts that it is sent to. transformers marks
such a module (`use_experts_implementation`) with how it is laid out: GPT-OSS stores its matrices transposed, gate and
up row by row in turn, with biases. Of a module without marks (Llama 4, LongCat) the shapes of the two tensors say
whether they are transposed. DBRX holds its matrices in three tensors of two dimensions: `LAYOUTS`.

Most are called with (hidden, chosen, share): the tokens' hidden states, the experts that each is sent to and the
router's weight for each. Llama 4's are *dispatched*: called with one tensor (experts · tokens, hidden) of the hidden
states times the router's weight, zero where a token is not sent.

A hook on linears sees none of this, so what an expert's linears read is worked out.
"""

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from calprune.layers.products import linear

MARKS = ("has_gate", "has_bias", "is_transposed", "is_concatenated")


@dataclass(frozen=True)
class ExpertLayout:
    """How a fused module holds its experts' matrices."""

    first: tuple[str, ...]  # the tensors of what reads the hidden states: gate and up in one, gate then up, or up
    down: str = "down_proj"  # the tensor of what reads the inner states
    gated: bool = True
    biased: bool = False
    transposed: bool = False  # each expert's matrix is held as (in, out)
    down_transposed: bool = False  # so is that of `down`
    in_turn: bool = False  # gate and up row by row in turn
    dispatched: bool = False  # called with each expert's own input
    experts: str = ""  # the attribute that says how many there are, where tensors hold (experts · rows, columns)
    act: str = "act_fn"


LAYOUTS = {  # by the class's name: those that nothing about the module says
    "DbrxExperts": ExpertLayout(("mlp.w1", "mlp.v1"), "mlp.w2", down_transposed=True, experts="num_experts",
                          act="mlp.activation_fn"),
}  # fmt: skip


def layout(module: Any) -> ExpertLayout | None:
    """How the module holds its experts; None: it is not of fused experts, or of a layout that we do not know."""
    if type(module).__name__ in LAYOUTS:
        return LAYOUTS[type(module).__name__]
    if not isinstance(down := getattr(module, "down_proj", None), nn.Parameter) or down.dim() != 3:
        return None
    if all(hasattr(module, mark) for mark in MARKS):
        first = ("gate_up_proj",) if module.has_gate else ("up_proj",)
        return ExpertLayout(first, gated=module.has_gate, biased=module.has_bias, transposed=module.is_transposed,
                      down_transposed=module.is_transposed, in_turn=not module.is_concatenated)  # fmt: skip
    return _by_shapes(module, down)


def _by_shapes(module: Any, down: Tensor) -> ExpertLayout | None:
    """The layout of a module without marks, whose gate and up are in one tensor without biases."""
    both = getattr(module, "gate_up_proj", None)
    others = [name for name, _ in module.named_parameters() if name not in ("gate_up_proj", "down_proj")]
    if not isinstance(both, nn.Parameter) or both.dim() != 3 or others:
        return None
    if not (hasattr(module, "_apply_gate") or hasattr(module, "act_fn")):
        return None
    (_, a, b), (_, c, d) = both.shape, down.shape
    if (a, b) == (2 * d, c):
        transposed = False
    elif (a, b) == (d, 2 * c):
        transposed = True
    else:
        return None
    alone = len(inspect.signature(module.forward).parameters) == 1  # with the hidden states
    return ExpertLayout(("gate_up_proj",), transposed=transposed, down_transposed=transposed, dispatched=alone)


@dataclass(frozen=True)
class ExpertMatrix:
    """One expert's matrix in a fused tensor."""

    parameter: str  # "gate_up_proj", "up_proj", "down_proj", "mlp.w1"
    expert: int
    rows: slice  # of the expert's (out, in) matrix in the tensor: gate_up_proj holds two
    outputs: slice  # of what the expert's first product gives, where it reads the hidden states
    reads_inner: bool  # whether it reads what the gate gives, and not the hidden states

    def inside(self, module: Any, tensor: Tensor) -> Shaped[Tensor, "out in"]:
        """Its place in a tensor of the shape of the module's `parameter`."""
        return _expert(module, self.parameter, self.expert, tensor)[self.rows]

    def bias(self, module: Any) -> Float[Tensor, "out"] | None:
        return _bias(module, self.parameter, self.expert, self.rows)


def is_fused(module: nn.Module) -> bool:
    return layout(module) is not None


def parts(module: Any) -> dict[str, ExpertMatrix]:
    """The matrices of a fused module by the names that they would have alone: "3.gate_proj"."""
    held = layout(module)
    assert held
    found = {}
    for expert in range(experts_in(module)):
        inner = _matrix(module, held.down, expert).shape[1]
        if len(held.first) == 2:
            for name, parameter, start in zip(("gate_proj", "up_proj"), held.first, (0, inner), strict=True):
                outputs = slice(start, start + inner)
                found[f"{expert}.{name}"] = ExpertMatrix(parameter, expert, slice(None), outputs, False)
        elif held.gated:
            one_by_one = (slice(0, inner), slice(inner, None))
            gate, up = (slice(0, None, 2), slice(1, None, 2)) if held.in_turn else one_by_one
            found[f"{expert}.gate_proj"] = ExpertMatrix(held.first[0], expert, gate, gate, False)
            found[f"{expert}.up_proj"] = ExpertMatrix(held.first[0], expert, up, up, False)
        else:
            found[f"{expert}.up_proj"] = ExpertMatrix(held.first[0], expert, slice(None), slice(None), False)
        found[f"{expert}.down_proj"] = ExpertMatrix(held.down, expert, slice(None), slice(None), True)
    return found


def experts_in(module: Any) -> int:
    """How many experts a fused module holds matrices of."""
    held = layout(module)
    assert held
    return getattr(module, held.experts) if held.experts else len(module.get_parameter(held.down))


def inner_inputs(module: Any, expert: int, x: Float[Tensor, "tokens hidden"]) -> Float[Tensor, "tokens inner"]:
    """What the expert's down_proj reads where its gate and up read x."""
    return _gated(module, _first(module, expert, x))


def outputs(module: Any, expert: int, x: Float[Tensor, "tokens hidden"]) -> Float[Tensor, "tokens hidden"]:
    """What the expert gives where it reads x, before the router's weight."""
    held = layout(module)
    assert held
    bias = _bias(module, held.down, expert, slice(None))
    return linear(inner_inputs(module, expert, x), _matrix(module, held.down, expert), bias)


def backward(
    module: Any, expert: int, x: Float[Tensor, "tokens hidden"], delta: Float[Tensor, "tokens hidden"]
) -> dict[bool, tuple[Float[Tensor, "tokens _"], Float[Tensor, "tokens _"]]]:
    """Of the expert's matrices, by whether they read the inner states: what they read, and the gradient in what they
    give.

    x: what the expert reads. delta: the gradient in what it gives, before the router's weight.
    """
    held = layout(module)
    assert held
    given = _first(module, expert, x).detach()
    with torch.enable_grad():
        inner = _gated(module, given.requires_grad_())
        (change,) = torch.autograd.grad(inner, given, delta @ _matrix(module, held.down, expert))
    return {False: (x, change), True: (inner.detach(), delta)}


def _first(module: Any, expert: int, x: Float[Tensor, "tokens hidden"]) -> Float[Tensor, "tokens _"]:
    """What the products with the hidden states give: gate and up side by side as the module holds them."""
    held = layout(module)
    assert held
    given = [linear(x, _matrix(module, n, expert), _bias(module, n, expert, slice(None))) for n in held.first]
    return given[0] if len(given) == 1 else torch.cat(given, dim=-1)


def _gated(module: Any, given: Float[Tensor, "tokens _"]) -> Float[Tensor, "tokens inner"]:
    held = layout(module)
    assert held
    if held.gated and hasattr(module, "_apply_gate"):
        return module._apply_gate(given)
    parent, _, name = held.act.rpartition(".")
    act = getattr(module.get_submodule(parent), name)
    if not held.gated:
        return act(given)
    gate, up = given.chunk(2, dim=-1)
    return act(gate) * up


def sent_to(expert: int, chosen: Int[Tensor, "tokens k"]) -> Int[Tensor, "sent"]:
    """The tokens that are sent to the expert."""
    return (chosen == expert).any(1).nonzero().flatten()


def _matrix(module: Any, parameter: str, expert: int) -> Float[Tensor, "out in"]:
    return _expert(module, parameter, expert, module.get_parameter(parameter).data)


def _expert(module: Any, parameter: str, expert: int, tensor: Tensor) -> Shaped[Tensor, "out in"]:
    """The expert's matrix in a tensor of the shape of the module's `parameter`: a view."""
    held = layout(module)
    assert held
    if held.experts:
        tensor = tensor.unflatten(0, (experts_in(module), -1))
    one = tensor[expert]
    return one.T if (held.down_transposed if parameter == held.down else held.transposed) else one


def _bias(module: Any, parameter: str, expert: int, rows: slice) -> Float[Tensor, "out"] | None:
    held = layout(module)
    assert held
    return getattr(module, f"{parameter}_bias").data[expert][rows] if held.biased else None
