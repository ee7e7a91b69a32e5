"""Exact 2:4 linears as torch's semi-structured tensors, for the tensor cores that skip zeros: `calprune.accelerate`.

Whether that is faster depends on the GPU, the matrix and how many rows are multiplied at a time: with few rows the time
goes into reading the weights and starting kernels. So each shape is timed on the GPU that is there, and a linear is
changed only where it gains. Mishra and others, "Accelerating Sparse Deep Neural Networks", 2021, arXiv:2104.08378.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from calprune.base.values import UserError
from calprune.pages.numbers import counted
from calprune.pages.page import HasPage, Page, Section
from calprune.pages.table import Column, Table

CAPABILITY = (8, 0)  # of NVIDIA GPUs with 2:4 tensor cores: Ampere and later
DTYPES = (torch.float16, torch.bfloat16)
FEWEST = (32, 64)  # outputs and inputs of a matrix are multiples of these (torch's CUTLASS kernels)
TURNS = 15  # times that each form is timed
Shape = tuple[int, int]  # outputs, inputs


@dataclass(frozen=True)
class PairTimes:
    """Seconds of one product in both forms: medians of turns."""

    dense: float
    sparse: float

    @property
    def faster(self) -> float:
        """How many times as fast the semi-structured form is."""
        return self.dense / self.sparse


@dataclass(frozen=True, repr=False)
class AccelerateReport(HasPage):
    """What was timed and changed."""

    gpu: str
    rows: int
    times: Mapping[Shape, PairTimes]
    linears: Mapping[Shape, int]  # exact 2:4 linears of each shape

    @property
    def changed(self) -> int:
        """Linears that are semi-structured now."""
        return sum(count for shape, count in self.linears.items() if self.times[shape].faster > 1)

    def page(self) -> Page:
        """How it is read."""
        heads = (Column("outputs x inputs"), Column("linears", "number"), Column("dense, µs", "number"),
                 Column("2:4, µs", "number"), Column("times as fast", "number"), Column("changed"))  # fmt: skip
        rows = tuple(
            (f"{shape[0]:,} x {shape[1]:,}", self.linears[shape], one.dense * 1e6, one.sparse * 1e6, one.faster,
             "yes" if one.faster > 1 else "no: slower") for shape, one in self.times.items()
        )  # fmt: skip
        summary = f"{counted(self.changed, 'linear')} of {sum(self.linears.values()):,} changed"
        table = Table("linears", f"Products of {self.rows:,} rows on {self.gpu}", heads, rows)
        return Page("2:4 linears", (Section("linears", tables=(table,)),), summary=summary)


def is_two_of_four(weight: Tensor) -> bool:
    """Whether of every four weights in a row that follow each other from its first at most two are not zero."""
    return weight.ndim == 2 and weight.shape[1] % 4 == 0 and bool(
        ((weight != 0).view(len(weight), -1, 4).sum(-1) <= 2).all()
    )  # fmt: skip


def exact_linears(model: nn.Module) -> dict[Shape, list[nn.Linear]]:
    """The linears that can be made semi-structured, by shape: exactly 2:4, in half precision, of sizes that the kernels
    take, and of a matrix that nothing else shares."""
    holders: dict[int, int] = {}
    for module in model.modules():
        for p in module.parameters(recurse=False):
            holders[id(p)] = holders.get(id(p), 0) + 1
    found: dict[Shape, list[nn.Linear]] = {}
    for module in model.modules():
        if type(module) is nn.Linear and holders[id(module.weight)] == 1 and module.weight.dtype in DTYPES:
            shape = (module.out_features, module.in_features)
            fits = all(size % least == 0 for size, least in zip(shape, FEWEST, strict=True))
            if fits and is_two_of_four(module.weight):
                found.setdefault(shape, []).append(module)
    return found


def accelerate_linears(model: nn.Module, rows: int) -> AccelerateReport:
    """Change the linears that gain at `rows` rows a product, in place. Raises UserError where there is no GPU for it,
    the model is not on it, or no linear is exactly 2:4."""
    where = _gpu(next(model.parameters()).device)
    exact = exact_linears(model)
    if not exact:
        raise UserError(
            f"no linear is exactly 2:4 in float16 or bfloat16 and of a multiple of {FEWEST[0]} x {FEWEST[1]} weights; "
            "prune with the pattern 2:4 and load with dtype='bfloat16'"
        )
    times = {shape: pair_times(those[0].weight.detach(), rows) for shape, those in exact.items()}
    for shape, those in exact.items():
        if times[shape].faster > 1:
            for linear in those:
                linear.weight = nn.Parameter(semi_structured(linear.weight.detach()), requires_grad=False)
    return AccelerateReport(where, rows, times, {shape: len(those) for shape, those in exact.items()})


def semi_structured(weight: Tensor) -> Tensor:
    """The same matrix in torch's form of 2:4."""
    made: Tensor = torch.sparse.to_sparse_semi_structured(weight.contiguous())
    return made


def pair_times(weight: Tensor, rows: int) -> PairTimes:
    """A product with `rows` random rows in both forms, timed in turns on the GPU that holds the weight."""
    inputs = torch.randn(rows, weight.shape[1], dtype=weight.dtype, device=weight.device)
    forms = [weight, semi_structured(weight)]
    with torch.inference_mode():
        return PairTimes(*in_turns([partial(functional.linear, inputs, form) for form in forms], _seconds))


def in_turns(works: Sequence[Callable[[], Any]], seconds: Callable[[Callable[[], Any]], float]) -> list[float]:
    """The median of TURNS times of each work, taken in turns after two that do not count."""
    taken: list[list[float]] = [[] for _ in works]
    for _ in range(TURNS + 2):
        for times, work in zip(taken, works, strict=True):
            times.append(seconds(work))
    return [median(times[2:]) for times in taken]


def _seconds(work: Callable[[], Any], repeats: int = 8) -> float:
    """Of one call, by the GPU's own clock."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()  # type: ignore[no-untyped-call]
    for _ in range(repeats):
        work()
    end.record()  # type: ignore[no-untyped-call]
    torch.cuda.synchronize()
    return float(begin.elapsed_time(end)) / 1000 / repeats


def _gpu(device: torch.device) -> str:
    """The name of the GPU that the model is on."""
    if not torch.cuda.is_available() or torch.version.cuda is None:
        raise UserError("accelerate needs an NVIDIA GPU of compute capability 8.0 or later; torch sees none here")
    if device.type != "cuda":
        raise UserError("accelerate: the model is on the CPU; load it on the GPU: calprune.load(NAME, device='cuda')")
    name = torch.cuda.get_device_name(device)
    if (found := torch.cuda.get_device_capability(device)) < CAPABILITY:
        raise UserError(f"accelerate needs a GPU of compute capability 8.0 or later; {name} has {found[0]}.{found[1]}")
    return name
