"""Faster float32 products on a CPU.

torch hands a float32 product to MKL, which on a CPU that is not Intel's runs at about half the speed of oneDNN from the
same torch build (457 against 220 GFLOP/s on an AMD Zen 5 with 2 cores); on Intel's, MKL is the faster (209 against 165
on a Cascade Lake with 2 cores). torch has no public way to ask for oneDNN on plain tensors: its private operator stands
behind `linear` alone, is checked once in each process, and is replaced by `F.linear` wherever it does not serve.
"""

import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

UNSET = "none"  # of torch's switch of precision
_switching = threading.Lock()
_products: ContextVar[Literal["faster", "onednn", "torch"]] = ContextVar("products", default="faster")


@contextmanager
def torch_products() -> Iterator[None]:
    """Inside the block every product is torch's own, so that results can be compared to the bit."""
    with _set("torch"):
        yield


@contextmanager
def onednn_products() -> Iterator[None]:
    """Inside the block oneDNN is used wherever torch has it, faster or not: to measure and to test."""
    with _set("onednn"):
        yield


@contextmanager
def _set(which: Literal["onednn", "torch"]) -> Iterator[None]:
    token = _products.set(which)
    try:
        yield
    finally:
        _products.reset(token)


def linear(x: Float[Tensor, "*n i"], weight: Float[Tensor, "o i"], bias: Float[Tensor, " o"] | None = None) -> Tensor:
    """`F.linear`, by oneDNN where that is the faster: then within rounding (1e-5 relative), else to the bit."""
    if _wanted() and _serves(x, weight, bias) and (product := _checked_onednn()):
        return product(x, weight, bias)
    return F.linear(x, weight, bias)


@contextmanager
def faster_products(module: nn.Module) -> Iterator[None]:
    """Inside the block the `nn.Linear`s of `module` compute by `linear`; afterwards they are as they were."""
    # only plain ones: a subclass, or one whose forward somebody has already replaced, computes something else
    plain = [child for child in module.modules() if type(child) is nn.Linear and "forward" not in child.__dict__]
    try:
        for child in plain if _wanted() else ():
            child.forward = partial(_forward, child)  # type: ignore[method-assign]
        yield
    finally:
        for child in plain:
            child.__dict__.pop("forward", None)


def _forward(child: nn.Linear, x: Tensor) -> Tensor:
    return linear(x, child.weight, child.bias)


def _wanted() -> bool:
    match _products.get():
        case "faster":
            return _mkl_is_slow()
        case which:
            return which == "onednn"


def _serves(*tensors: Tensor | None) -> bool:
    there = [t for t in tensors if t is not None]
    plain = all(
        t.device.type == "cpu" and t.dtype == torch.float32 and t.layout == torch.strided and t.numel() for t in there
    )
    return plain and not (torch.is_grad_enabled() and any(t.requires_grad for t in there))


@lru_cache
def _mkl_is_slow() -> bool:
    # by make and not by a stopwatch, so that two runs on one machine give the same bits
    return torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available() and not _made_by_intel()


def _made_by_intel() -> bool:
    info = Path("/proc/cpuinfo")
    return "GenuineIntel" in (info.read_text() if info.exists() else platform.processor())


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


@lru_cache
def _checked_onednn(product=_onednn):
    """`product`, or None where it is missing, raises or does not agree with `F.linear`."""
    numbers = torch.Generator().manual_seed(0)
    x, weight, bias = (torch.randn(shape, generator=numbers) for shape in ((2, 33, 48), (40, 48), (40,)))
    with torch.no_grad():
        for b in (bias, None):
            expected = F.linear(x, weight, b)
            try:
                found = product(x, weight, b)
            except (AttributeError, RuntimeError, TypeError):
                return None
            if found.shape != expected.shape or not torch.allclose(found, expected, rtol=1e-5, atol=1e-4):
                return None
    return product


def matmul(a: Float[Tensor, "m k"], b: Float[Tensor, "k n"]) -> Float[Tensor, "m n"]:
    """a @ b by the faster library."""
    return linear(a, b.T)


def gram(x: Float[Tensor, "tokens i"]) -> Float[Tensor, "i i"]:
    """xᵀ x in float32, by the faster library. Halves are multiplied as such where the device can: their products are
    exact in float32."""
    if x.device.type == "cuda" and x.dtype in (torch.bfloat16, torch.float16) and _sums_halves_in_float32():
        return torch.mm(x.T, x, out_dtype=torch.float32)
    if x.device.type == "cpu" and x.dtype == torch.bfloat16 and _products.get() != "torch" and _multiplies_halves():
        return _gram_of_halves(x.float())
    x = x.float()
    return linear(x.T, x.T)


def _gram_of_halves(x: Float[Tensor, "tokens i"]) -> Float[Tensor, "i i"]:
    """xᵀ x of float32 numbers that are bfloat16's: by the processor's bfloat16 units, whose sums are float32.

    torch's only way to ask for them is a switch of the whole process, which is back as it was before this returns: a
    thread of the user's own that multiplies float32 numbers in that moment has them rounded. Where the user has set
    the switch, it is left alone.
    """
    switch = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    with _switching:
        if (before := switch.fp32_precision) != UNSET:
            return linear(x.T, x.T)
        try:
            switch.fp32_precision = "bf16"
            return torch.mm(x.T, x)
        finally:
            switch.fp32_precision = before


@lru_cache
def _multiplies_halves() -> bool:
    """Whether torch has the switch, and the sums that come of it are as good as float32's."""
    x = torch.randn(512, 256, generator=torch.Generator().manual_seed(0)).bfloat16().float()
    try:
        found = _gram_of_halves(x)
    except (AttributeError, RuntimeError):
        return False
    return torch.allclose(found.double(), x.double().T @ x.double(), rtol=1e-5, atol=1e-3)


@lru_cache
def _sums_halves_in_float32() -> bool:
    """Whether torch has a product of halves with a float32 result (2.8 and later, on a GPU)."""
    one = torch.ones(16, 16, dtype=torch.bfloat16, device="cuda")
    try:
        return torch.mm(one, one, out_dtype=torch.float32).dtype == torch.float32
    except (TypeError, RuntimeError):
        return False
