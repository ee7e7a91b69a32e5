"""The dense model without its removed units, and the proof that the smaller model is just this.

Neurons and heads: the columns of the linear that reads them are zero. Blocks hand on what they are given. Experts: the
router's scores of them are -inf, wherever in the router a product gives a number for each expert.

No family is known by name, so a smaller model is proved before it is used: on a short text of random tokens it gives
what the masked one gives.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from calprune.base.patterns import Removal
from calprune.base.values import first_line
from calprune.layers.arguments import Caught, first_argument, hidden_of, to_float32
from calprune.layers.linears import ModelError, find_blocks, linears
from calprune.layers.products import torch_products
from calprune.layers.routers import routers
from calprune.removal.methods.channels import channels
from calprune.removal.smaller import Cut, UnitPlace

TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-6}  # of the last hidden states; other precisions: ROUNDED
ROUNDED = 0.1
NO_SUCH = (LookupError, AttributeError, TypeError)  # a family's code looks up what a block that is gone kept for it
PRODUCTS = (F.linear, torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.mm, torch.addmm)


@contextmanager
def masked(model: nn.Module, removal: Removal, cut: Cut, places: dict[str, UnitPlace]) -> Iterator[None]:
    """While open, the dense model is without what is not in `cut`; afterwards it is as it was, to the bit."""
    name, modules = find_blocks(model)
    with ExitStack() as stack:
        if removal.kind == "blocks":
            stack.enter_context(skipping(modules, [i for i in range(len(modules)) if i not in cut.blocks]))
        elif removal.kind == "experts":
            for place, there in places.items():
                stack.enter_context(_unreachable(model, place, there.units, cut.stays[place]))
        else:
            sites = {f"{name}.{i}.{site.name}": site for i, block in enumerate(modules) for site in linears(block)}
            for place, there in places.items():
                stack.enter_context(_zeroed(sites[place].weight, there.units, cut.stays[place]))
        yield


@contextmanager
def skipping(modules: nn.ModuleList, removed: list[int]) -> Iterator[None]:
    """While open, these blocks hand on what they are given."""
    with ExitStack() as stack:
        for i in removed:
            module = modules[i]
            module.forward = _handing_on(module, module.forward)  # type: ignore[method-assign]
            stack.callback(module.__dict__.pop, "forward")
        yield


def _handing_on(module: nn.Module, original: Any) -> Any:
    rest: dict[type, tuple | None] = {}  # what the block gives beside hidden states; None: it gives them alone

    def forward(*args, **kwargs):
        hidden = first_argument(original, args, kwargs)
        if type(module) not in rest:  # once: the real thing
            output = original(*args, **kwargs)
            rest[type(module)] = tuple(output[1:]) if isinstance(output, (tuple, list)) else None
        more = rest[type(module)]
        return hidden if more is None else (hidden, *more)

    return forward


@contextmanager
def _zeroed(weight: Tensor, units: int, stay: Tensor) -> Iterator[None]:
    gone = torch.ones(weight.shape[1], dtype=torch.bool)
    gone[channels(stay, units, weight.shape[1])] = False
    gone = gone.to(weight.device)
    before = weight[:, gone].clone()
    weight[:, gone] = 0
    try:
        yield
    finally:
        weight[:, gone] = before


@contextmanager
def _unreachable(model: nn.Module, place: str, units: int, stay: Tensor) -> Iterator[None]:
    """While open, the router before a bank of experts sends nothing to those that do not stay."""
    gone = torch.ones(units, dtype=torch.bool)
    gone[stay] = False
    _, modules = find_blocks(model)
    block = next(b for b in modules if any(m is model.get_submodule(place) for m in b.modules()))
    with ExitStack() as stack:
        for name in routers(block):
            module = block.get_submodule(name)
            mode = _Routing(gone)
            module.forward = mode.around(module.forward)  # type: ignore[method-assign]
            stack.callback(module.__dict__.pop, "forward")
        for name, tensor in [*block.named_parameters(), *block.named_buffers()]:
            if "correction" in name and tensor.shape[-1:] == (units,):  # what is added to scores to balance experts
                stack.enter_context(_lowered(tensor.data, gone))
        yield


@contextmanager
def _lowered(bias: Tensor, gone: Tensor) -> Iterator[None]:
    """While open, what corrects the choice of experts is -inf for those that go."""
    before = bias.clone()
    bias[..., gone.to(bias.device)] = -torch.inf
    try:
        yield
    finally:
        bias.copy_(before)


class _Routing(TorchFunctionMode):
    """Inside, a product that gives a number for each expert gives -inf for those that go."""

    def __init__(self, gone: Tensor) -> None:
        super().__init__()
        self.gone = gone

    def around(self, forward: Any) -> Any:
        def routed(*args, **kwargs):
            with self:
                return forward(*args, **kwargs)

        return routed

    def __torch_function__(self, func, types, args=(), kwargs=None):
        given = func(*args, **(kwargs or {}))
        if func in PRODUCTS and given.shape[-1] == len(self.gone):
            return given.masked_fill(self.gone.to(given.device), -torch.inf)
        return given


@torch.no_grad()
def prove(dense: Any, smaller: Any, removal: Removal, cut: Cut, places: dict[str, UnitPlace]) -> float:
    """How far the smaller model is from the masked dense one, relative, in the last block's hidden states.

    Of models in half precision that are apart it is asked again with blocks in float32: there a router's scores are
    rounded to so few digits that two experts often have the same, and which of them is chosen is chance.
    Raises ModelError where it is another model: its family makes something else of the units than is thought here.
    """
    off = _apart(dense, smaller, removal, cut, places, exact=False)
    tolerance = TOLERANCE.get(dense.dtype, ROUNDED)
    if off > tolerance and dense.dtype not in TOLERANCE:
        off, tolerance = _apart(dense, smaller, removal, cut, places, exact=True), TOLERANCE[torch.float32]
    if not off <= tolerance:
        raise ModelError(f"{removal}: {type(dense).__name__} without these {removal.kind} is not the smaller model of "
                         f"its config (off by {off:.2g}), so it could not be loaded elsewhere; take another pattern"
                         )  # fmt: skip
    return off


def _apart(dense: Any, smaller: Any, removal: Removal, cut: Cut, places: dict[str, UnitPlace], *, exact: bool) -> float:
    numbers = torch.Generator().manual_seed(0)
    vocabulary = dense.get_input_embeddings().weight.shape[0]
    tokens = torch.randint(vocabulary // 4, vocabulary // 2, (2, 8), generator=numbers)
    with torch_products():
        try:
            with masked(dense, removal, cut, places):
                expected = _last_states(dense, tokens, exact)
        except NO_SUCH as e:
            raise ModelError(f"{removal}: {type(dense).__name__} does not run without these {removal.kind}: "
                             f"{type(e).__name__}: {first_line(e)}") from e  # fmt: skip
        try:
            found = _last_states(smaller, tokens, exact)
        except (RuntimeError, ValueError, *NO_SUCH) as e:
            raise ModelError(f"{removal}: a smaller {type(dense).__name__} of this shape does not run: "
                             f"{type(e).__name__}: {first_line(e)}") from e  # fmt: skip
    return ((found - expected).norm() / expected.norm().clamp_min(1e-30)).item()


def _last_states(model: Any, tokens: Tensor, exact: bool) -> Tensor:
    """What the last block gives. exact: with blocks in float32."""
    found: list[Tensor] = []

    def reached(module: nn.Module, given: Any, out: Any) -> None:
        found.append(hidden_of(out))
        raise Caught  # the head need not run

    modules, training = find_blocks(model)[1], model.training
    model.eval()
    with ExitStack() as stack:
        stack.callback(model.train, training)
        for module in modules if exact else ():
            stack.enter_context(_in_float32(module))
        stack.callback(modules[-1].register_forward_hook(reached).remove)
        with suppress(Caught):
            model(input_ids=tokens.to(model.get_input_embeddings().weight.device), use_cache=False)
    return found[-1].float()


@contextmanager
def _in_float32(module: nn.Module) -> Iterator[None]:
    """While open, the block computes in float32, and holds its weights so while it does."""
    held: list[tuple[Tensor, Tensor]] = []

    def before(module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.is_floating_point():
                held.append((tensor, tensor.data))
                tensor.data = tensor.data.float()
        return to_float32(args), to_float32(kwargs)

    def after(*_: Any) -> None:
        while held:
            tensor, data = held.pop()
            tensor.data = data

    with ExitStack() as stack:
        stack.callback(after)
        stack.callback(module.register_forward_hook(after).remove)
        stack.callback(module.register_forward_pre_hook(before, with_kwargs=True).remove)
        yield
