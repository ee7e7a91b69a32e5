"""What of a model can be pruned: its decoder blocks, and the linears inside them.

No code per family: what a family has that differs is one entry of `stored_as` (docs/add-a-family.md).
"""

import fnmatch
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar, cast

from jaxtyping import Float, Shaped
from torch import Tensor, nn

from calprune.base.values import ConfigError, UserError, did_you_mean
from calprune.layers.experts import ExpertMatrix, is_fused, parts


class ModelError(UserError):
    """A model whose blocks or linears cannot be found or pruned."""


@dataclass(frozen=True)
class Stored:
    """How a class of linears holds its matrix."""

    weight: str = "weight"  # the parameter's name
    bias: str = "bias"  # of the parameter, where there is one
    transposed: bool = False  # held as (in, out)


_STORED: dict[type[nn.Module], Stored] = {nn.Linear: Stored()}
_STORED_BY_NAME = {"Conv1D": Stored(transposed=True)}  # transformers' own class of GPT-2: named here, not imported
Kind = TypeVar("Kind", bound=type[nn.Module])


def stored_as(*, weight: str = "weight", bias: str = "bias", transposed: bool = False) -> Callable[[Kind], Kind]:
    """A decorator of a class of linears that is not `nn.Linear`: its modules, and those of its subclasses, are pruned.

    A linear is called with its input (..., in) alone and gives (..., out): x Wᵀ + b.
    """

    def enter(cls: Kind) -> Kind:
        _STORED[cls] = Stored(weight, bias, transposed)
        return cls

    return enter


@dataclass(frozen=True)
class Linear:
    """One prunable matrix, always seen as (out, in), whatever the module stores."""

    name: str  # within the block: "mlp.down_proj", "mlp.experts.3.down_proj"
    module: nn.Module  # of an expert: the module that holds all of them
    stored: Stored = Stored()
    part: ExpertMatrix | None = None  # of an expert: which of the fused tensors, and where in it

    @property
    def parameter(self) -> str:
        """The name, within the block, of the parameter that holds it."""
        return (
            f"{self.name.rsplit('.', 2)[0]}.{self.part.parameter}" if self.part else f"{self.name}.{self.stored.weight}"
        )

    @property
    def weight(self) -> Float[Tensor, "out in"]:
        return self.inside(getattr(self.module, self.part.parameter if self.part else self.stored.weight).data)

    def inside(self, tensor: Tensor) -> Shaped[Tensor, "out in"]:
        """The matrix's place in a tensor of its parameter's shape: a view."""
        if self.part:
            return self.part.inside(self.module, tensor)
        return tensor.T if self.stored.transposed else tensor

    @property
    def bias(self) -> Float[Tensor, "out"] | None:
        if self.part:
            return self.part.bias(self.module)
        bias = getattr(self.module, self.stored.bias, None)
        return None if bias is None else cast(Tensor, bias).data

    def write(self, weight: Float[Tensor, "out in"]) -> None:
        self.weight.copy_(weight)


def linears(block: nn.Module) -> list[Linear]:
    """The block's linears, in the order in which the module names them.

    Raises ModelError for one of a class whose entry does not fit it.
    """
    found = []
    for name, module in block.named_modules():
        if stored := _stored(module):
            matrix = getattr(module, stored.weight, None)
            if not isinstance(matrix, nn.Parameter) or matrix.dim() != 2:
                raise ModelError(f"{name}: {type(module).__name__} has no matrix {stored.weight!r}; expected a "
                                 "parameter of two dimensions, as stored_as says")  # fmt: skip
            found.append(Linear(name, module, stored))
        elif is_fused(module):
            found += [Linear(f"{name}.{part_name}", module, part=part) for part_name, part in parts(module).items()]
    return found


def _stored(module: nn.Module) -> Stored | None:
    """How the module holds its matrix; None: it is no linear."""
    known = (_STORED[cls] for cls in type(module).__mro__ if cls in _STORED)
    return next(known, None) or _STORED_BY_NAME.get(type(module).__name__)


def find_blocks(model: nn.Module) -> tuple[str, nn.ModuleList]:
    """The decoder blocks and their name: the ModuleList that holds the most parameters."""
    lists = [(name, m) for name, m in model.named_modules() if isinstance(m, nn.ModuleList) and len(m)]
    if not lists:
        raise ModelError(f"{type(model).__name__} has no list of blocks (no ModuleList), so it cannot be walked")
    return max(lists, key=lambda item: sum(p.numel() for p in item[1].parameters()))


def check_coverage(name: str, block: nn.Module, least: float) -> None:
    """Refuse a block most of whose parameters are no linears: fused experts in a layout that we do not know."""
    total = sum(p.numel() for p in block.parameters())
    inside = sum(site.weight.numel() for site in linears(block))
    if inside >= least * total:
        return
    fused = [f"{n} {tuple(p.shape)}" for n, p in block.named_parameters() if p.dim() >= 3]
    what = f"fused expert tensors ({', '.join(fused[:2])})" if fused else "parameters that are no linears"
    raise ModelError(
        f"{name}: only {inside / total:.0%} of its parameters are in linears, the rest in {what}, not pruned; "
        f"expected at least {least:.0%} (min_coverage)"
    )


def matching(rule: str, names: Iterable[str]) -> list[str]:
    """The linears that a rule of `ignore` means: a name, a block, one with *, or "re:" and a regular expression."""
    names = list(names)
    if rule.startswith("re:"):
        try:
            found = [n for n in names if re.fullmatch(rule[3:], n)]
        except re.error as e:
            raise ConfigError(f"ignore: cannot read {rule!r}: {e}") from None
    else:
        found = [n for n in names if any(fnmatch.fnmatch(n, p) for p in (rule, f"*.{rule}", f"{rule}.*"))]
    if not found:
        raise ConfigError(
            f"ignore: {rule!r} matches no linear{did_you_mean(rule, {n.rsplit('.', 1)[1] for n in names})}"
        )
    return found
