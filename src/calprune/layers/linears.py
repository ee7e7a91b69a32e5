"""What of a model can be pruned: its decoder blocks, and the linears inside them.

No code per family: what a family has that differs is one entry of `stored_as` (docs/add-a-family.md).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, cast

from jaxtyping import Float, Shaped
from torch import Tensor, nn

from calprune.base.values import UserError
from calprune.layers.experts import ExpertMatrix, is_fused, layout, parts
from calprune.layers.routers import routers


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
    def matrix(self) -> tuple[int, str]:
        """The same for two linears that read one matrix: its parameter, and which of the parameter's matrices it is."""
        parameter = self.part.parameter if self.part else self.stored.weight
        return id(self.module.get_parameter(parameter)), str(self.part)

    @property
    def dispatched(self) -> bool:
        """Whether it is of experts that are called with the tokens of each by themselves."""
        held = layout(self.module)
        return held is not None and held.dispatched

    @property
    def weight(self) -> Float[Tensor, "out in"]:
        return self.inside(self.module.get_parameter(self.part.parameter if self.part else self.stored.weight).data)

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
    """The block's linears, in the order in which the module names them, without what routes tokens to experts.

    Raises ModelError for one of a class whose entry does not fit it.
    """
    found: list[Linear] = []
    routing = set(routers(block))
    for name, module in block.named_modules():
        if name in routing:
            continue
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
    """The decoder blocks and their name: of the lists in the text decoder, the one that holds the most parameters.

    The text decoder is what the model's `get_decoder` gives, where it has one; else the whole model is looked through,
    but for towers of images or sounds inside it.
    """
    prefix, decoder = _text_decoder(model)
    lists = [(name, m) for name, m in decoder.named_modules() if isinstance(m, nn.ModuleList) and len(m)]
    of_text = [(name, m) for name, m in lists if not _of_a_tower(model, decoder, name)]
    if not lists:
        raise ModelError(f"{type(model).__name__} has no list of blocks (no ModuleList), so it cannot be walked")
    name, blocks = max(of_text or lists, key=lambda item: sum(p.numel() for p in item[1].parameters()))
    return (f"{prefix}.{name}" if prefix else name), blocks


def _of_a_tower(model: nn.Module, decoder: nn.Module, name: str) -> bool:
    """Whether a list is inside a part of the decoder that has a config of another class than the text's: a tower of
    images or sounds, where a family's `get_decoder` gives what holds both."""
    configs = [getattr(part, "config", None) for part in (model, decoder)]
    configs += [c.get_text_config() for c in configs if c is not None and hasattr(c, "get_text_config")]
    parts = name.split(".")
    above = [decoder.get_submodule(".".join(parts[:i])) for i in range(1, len(parts))]
    others = [type(c) for c in (getattr(module, "config", None) for module in above) if hasattr(c, "to_dict")]
    return bool(set(others) - {type(c) for c in configs})


def _text_decoder(model: nn.Module) -> tuple[str, nn.Module]:
    """The module that holds the text decoder's blocks, and its name: with "" the model itself."""
    get_decoder = getattr(model, "get_decoder", None)
    found = get_decoder() if callable(get_decoder) else None
    names = {id(module): name for name, module in model.named_modules()}
    if not isinstance(found, nn.Module) or not any(isinstance(m, nn.ModuleList) and len(m) for m in found.modules()):
        return "", model
    return (names[id(found)], found) if id(found) in names else ("", model)


def check_coverage(name: str, block: nn.Module, least: float) -> None:
    """Refuse a block most of whose parameters are no linears: fused experts in a layout that we do not know."""
    total = sum(p.numel() for p in block.parameters())
    routing = [module for n, module in block.named_modules() if n in set(routers(block))]
    held = {id(p): p.numel() for module in routing for p in module.parameters(recurse=False)}  # known, if not pruned
    inside = sum(site.weight.numel() for site in linears(block)) + sum(held.values())
    if inside >= least * total:
        return
    covered = {site.parameter for site in linears(block)}
    left = [(n, p) for n, p in block.named_parameters() if n not in covered and p.dim() >= 3 and "conv" not in n]
    fused = [f"{n} {tuple(p.shape)}" for n, p in left]
    what = f"fused expert tensors ({', '.join(fused[:2])})" if fused else "parameters that are no linears"
    raise ModelError(
        f"{name}: only {inside / total:.0%} of its parameters are in linears, the rest in {what}, not pruned; "
        f"expected at least {least:.0%} (min_coverage)"
    )
