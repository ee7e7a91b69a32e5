"""The smaller model: made of a changed config, and filled with what stays of the dense model's tensors.

No code for a family. The model that transformers makes of the changed config says, by the shapes of its parameters,
which dimensions hold the units: of a linear whose inputs became fewer, those are the units that it reads. Tensors that
keep their shape are the dense model's own, not copies.

    cut = Cut(blocks=(0, 1, 3), stays={})                    the third of four blocks goes
    smaller = Outline.of(model, removal).filled(cut)
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from calprune.base.patterns import Removal
from calprune.base.values import first_line
from calprune.layers.experts import experts_in, is_fused
from calprune.layers.linears import Linear, ModelError, find_blocks, linears
from calprune.layers.routers import routers
from calprune.removal.config import Field, biases, changed, fewer_blocks, fields, first_number, narrower

Kept = Int[Tensor, "stay"]  # the numbers of the units that stay, rising

FUSED = re.compile(r"qkv|query_key_value|c_attn", re.I)  # one matrix: all queries, then all keys, then all values


@dataclass(frozen=True)
class UnitPlace:
    """Where a block holds units: the linear that reads neurons or heads, or what holds a block's experts."""

    name: str  # within the block: "mlp.down_proj", "self_attn.o_proj", "mlp.experts"
    units: int  # how many there are
    stay: int  # how many stay
    biased: bool = False  # whether the linear has a bias in the smaller model


@dataclass(frozen=True)
class Cut:
    """What stays of a model."""

    blocks: tuple[int, ...]  # of the dense model's, rising
    stays: Mapping[str, Kept] = field(default_factory=dict)  # place, "model.layers.3.mlp.down_proj" -> its units


class Outline:
    """The smaller model without its weights, beside the dense one."""

    def __init__(self, dense: Any, removal: Removal, config: Any, changes: list[Field]) -> None:
        self.dense, self.removal, self.config, self.changes = dense, removal, config, changes
        self.name, self.blocks = find_blocks(dense)
        try:
            self.smaller = _empty(dense, config)
        except Exception as e:  # a family's code looks at its config as it likes
            raise ModelError(f"{removal}: there is no smaller {type(dense).__name__} of this shape: "
                             f"{type(e).__name__}: {first_line(e)}") from e  # fmt: skip
        self.fewer = find_blocks(self.smaller)[1]

    @classmethod
    def of(
        cls, dense: Any, removal: Removal, blocks: tuple[int, ...] | None = None, *, biased: bool = False
    ) -> "Outline":
        """blocks: those that stay, where blocks are removed; None: the first ones, to see whether it can be done.
        biased: the linears that read the units get a bias, where the config can say so (Llama).

        Raises PatternError or ModelError where the model has nothing of this kind to remove, or not so many.
        """
        if removal.kind == "blocks":
            total = len(find_blocks(dense)[1])
            stay = list(blocks) if blocks is not None else [*range(total - removal.of(total))]
            if fields(dense.config, ("num_hidden_layers",))[:1] == []:
                raise ModelError(f"{removal}: the model's config does not say how many blocks there are")
            changes = fewer_blocks(dense.config, stay)
        else:
            changes = narrower(dense.config, removal) + (biases(dense.config, removal) if biased else [])
        return cls(dense, removal, changed(dense.config, changes), changes)

    def places(self) -> dict[str, UnitPlace]:
        """Where units go, by full names; empty for blocks. Raises ModelError where there are none."""
        if self.removal.kind == "blocks":
            return {}
        found = {
            f"{self.name}.{i}.{place.name}": place
            for i, (old, new) in enumerate(zip(self.blocks, self.fewer, strict=True))
            for place in self._places(old, new)
        }
        if not found:
            raise ModelError(f"{self.removal}: {type(self.dense).__name__} does not get fewer {self.removal.kind} by "
                             "its config, so no smaller model of it would load; take another pattern")  # fmt: skip
        return found

    def _places(self, old: nn.Module, new: nn.Module) -> Iterator[UnitPlace]:
        if self.removal.kind == "experts":
            yield from _banks(old, new)
            return
        heads = first_number(self.dense.config, ("num_key_value_heads", "kv_n_heads")) or first_number(
            self.dense.config, ("num_attention_heads",)
        )
        for before, after in zip(linears(old), linears(new), strict=True):
            width, narrow = before.weight.shape[1], after.weight.shape[1]
            if width != narrow:
                units = width if self.removal.kind == "neurons" else (heads or width)
                biased = after.part is None and after.bias is not None
                yield UnitPlace(before.name, units, narrow * units // width, biased)

    def filled(self, cut: Cut) -> Any:
        """The smaller model with its weights: in the dense one's precision and where it is. The outline is used up."""
        for i, j in enumerate(cut.blocks):
            prefix = f"{self.name}.{j}."
            stays = {n.removeprefix(prefix): kept for n, kept in cut.stays.items() if n.startswith(prefix)}
            _fill(self.fewer[i], self.blocks[j], _Choice(self.removal, self.dense.config, stays), f"{self.name}.{j}")
        self._fill_rest(cut)
        for attribute in ("generation_config", "_weight_conversions"):
            if hasattr(self.dense, attribute):
                setattr(self.smaller, attribute, getattr(self.dense, attribute))
        return self.smaller.train(self.dense.training)

    def _fill_rest(self, cut: Cut) -> None:
        """What is in no block: the same, but for what is held for each block side by side (Gemma 3n)."""
        choice = _Choice(self.removal, self.dense.config, {"": torch.tensor(cut.blocks)}, len(self.blocks))
        _fill(self.smaller, self.dense, choice, "", inside=f"{self.name}.")


@dataclass(frozen=True)
class _Choice:
    """Which of the entries along a dimension stay, in one block."""

    removal: Removal
    config: Any
    stays: Mapping[str, Kept]  # place within the block -> its units
    total: int = 0  # blocks of the dense model, for what is in none of them

    def nearest(self, name: str) -> str:
        """The place whose module holds the parameter, or is nearest to it."""
        return max(self.stays, key=lambda place: _shared(place.split("."), name.split(".")))

    def of(self, name: str, old: int, new: int, place: str, units: int) -> Int[Tensor, "entries"]:
        """Along a dimension that had `old` entries and has `new`. Raises ModelError where they are no units."""
        kept = self.stays[place]
        sections = [old]
        if self.removal.kind == "neurons" and old == 2 * units and new == 2 * len(kept):
            sections = [units, units]  # gate and up in one
        elif self.removal.kind == "heads" and FUSED.search(name):
            sections = _sections(self.config, old, units)
        if any(section % units for section in sections) or new * units != old * len(kept):
            raise ModelError(f"{self.removal}: {name} goes from {old} to {new} entries, which are no whole "
                             f"{self.removal.kind} ({units} of them, {len(kept)} stay)")  # fmt: skip
        found, start = [], 0
        for section in sections:
            wide = section // units
            found.append((start + kept[:, None] * wide + torch.arange(wide)).flatten())
            start += section
        return torch.cat(found)


def _sections(config: Any, rows: int, groups: int) -> list[int]:
    """The rows of queries, keys and values in one matrix."""
    queries = first_number(config, ("num_attention_heads",)) or groups
    width = rows // (queries + 2 * groups)
    return [queries * width, groups * width, groups * width]


def _shared(a: list[str], b: list[str]) -> int:
    """How many parts of two names are the same, from the first on."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _fill(new: nn.Module, old: nn.Module, choice: _Choice, where: str, inside: str | None = None) -> None:
    """Give `new` the tensors of `old`, cut as chosen. inside: names that begin so are left alone."""
    tensors = dict(old.named_parameters(remove_duplicate=False)) | dict(old.named_buffers(remove_duplicate=False))
    units = {place: choice.total or _units(old, place, choice) for place in choice.stays}
    by_linear = {} if inside is not None else _by_linear(new, old, choice, units, where)
    made: dict[int, Tensor] = {}  # tied tensors stay one
    for name, empty in [*new.named_parameters(remove_duplicate=False), *new.named_buffers(remove_duplicate=False)]:
        if inside is not None and name.startswith(inside):
            continue
        parent, _, last = name.rpartition(".")
        source = tensors.get(_numbered(name, choice))
        if source is None and last.endswith("bias"):  # the config asks for biases, so that one can be given: FLAP
            setattr(new.get_submodule(parent), last, nn.Parameter(_zeros_like(empty, old), False))
            continue
        if source is None:
            raise ModelError(f"{where}: the smaller model has {name}, and the dense one has none")
        if isinstance(empty, nn.Parameter) or last not in new.get_submodule(parent)._non_persistent_buffers_set:
            known = made.get(id(source))
            tensor = by_linear.get(name) if known is None else known
            tensor = _cut(name, source, empty, choice, units) if tensor is None else tensor
            made[id(source)] = tensor
        else:  # worked out from the config: rotary frequencies
            tensor = source if source.shape == empty.shape else empty.to(source.device)
        setattr(new.get_submodule(parent), last, tensor)


def _zeros_like(empty: Tensor, old: nn.Module) -> Tensor:
    return torch.zeros(empty.shape, dtype=empty.dtype, device=next(old.parameters()).device)


def _units(block: nn.Module, place: str, choice: _Choice) -> int:
    """How many units there are at a place of the dense block."""
    if choice.removal.kind == "experts":
        return _count(block.get_submodule(place))
    if choice.removal.kind == "heads":
        config = choice.config
        return first_number(config, ("num_key_value_heads", "kv_n_heads", "num_attention_heads")) or 1
    return next(site.weight.shape[1] for site in linears(block) if site.name == place)


def _by_linear(
    new: nn.Module, old: nn.Module, choice: _Choice, units: Mapping[str, int], where: str
) -> dict[str, Tensor]:
    """The parameters of linears that changed, by names: each expert of a fused tensor has its own units."""
    if choice.removal.kind in ("blocks", "experts"):
        return {}
    found: dict[str, Tensor] = {}
    for before, after in zip(linears(old), linears(new), strict=True):
        if before.weight.shape == after.weight.shape:
            continue
        place = choice.nearest(before.name)
        rows, columns = (
            torch.arange(n) if n == m else choice.of(f"{where}.{before.name}", n, m, place, units[place])
            for n, m in zip(before.weight.shape, after.weight.shape, strict=True)
        )
        source = before.weight
        target = _allocated(found, after, source)
        after.inside(target).copy_(source[rows.to(source.device)][:, columns.to(source.device)])
        if before.part and (bias := before.bias) is not None:
            _fused_bias(found, before, after, bias[rows.to(bias.device)])
    return found


def _allocated(found: dict[str, Tensor], after: Linear, source: Tensor) -> Tensor:
    """The parameter that holds the linear in the smaller block, made where it is not yet."""
    if after.parameter not in found:
        shape = after.module.get_parameter(after.part.parameter if after.part else after.stored.weight).shape
        found[after.parameter] = nn.Parameter(torch.empty(shape, dtype=source.dtype, device=source.device), False)
    return found[after.parameter].data


def _fused_bias(found: dict[str, Tensor], before: Linear, after: Linear, bias: Tensor) -> None:
    """The bias of one expert's matrix in the tensor of all."""
    assert after.part
    name = f"{after.parameter}_bias"
    if name not in found:
        shape = after.module.get_parameter(f"{after.part.parameter}_bias").shape
        found[name] = nn.Parameter(torch.empty(shape, dtype=bias.dtype, device=bias.device), False)
    found[name].data[after.part.expert][after.part.rows] = bias


def _cut(name: str, source: Tensor, empty: Tensor, choice: _Choice, units: Mapping[str, int]) -> Tensor:
    """The tensor without what goes; itself where nothing does."""
    if source.shape == empty.shape:
        return source
    if source.dim() != empty.dim() or not choice.stays:
        raise ModelError(f"{choice.removal}: {name} is {tuple(source.shape)}, and in a smaller model it would be "
                         f"{tuple(empty.shape)}: these blocks are not of one kind; choose others")  # fmt: skip
    if choice.removal.kind in ("neurons", "heads") and "norm" in name:
        raise ModelError(f"{choice.removal}: {name} is a norm over all {choice.removal.kind} together, so those that "
                         "stay depend on those that go; take another pattern")  # fmt: skip
    place, cut = choice.nearest(name), source.detach()
    for dim, (old, now) in enumerate(zip(source.shape, empty.shape, strict=True)):
        if old != now:
            cut = cut.index_select(dim, choice.of(name, old, now, place, units[place]).to(cut.device))
    return nn.Parameter(cut, False) if isinstance(source, nn.Parameter) else cut


def _numbered(name: str, choice: _Choice) -> str:
    """What a parameter of the smaller block is called in the dense one: experts in a list have numbers."""
    if choice.removal.kind == "experts":
        for place, kept in choice.stays.items():
            if m := re.match(rf"{re.escape(place)}\.(\d+)\.", name):
                return f"{place}.{int(kept[int(m[1])])}.{name[m.end() :]}"
    return name


def _banks(old: nn.Module, new: nn.Module) -> Iterator[UnitPlace]:
    """What holds a block's experts, of which the smaller model has fewer."""
    others = dict(new.named_modules())
    for name, module in old.named_modules():
        if name in others and (count := _count(module)) and (stay := _count(others[name])) != count:
            yield UnitPlace(name, count, stay)


def banks(model: nn.Module) -> list[str]:
    """What holds a model's experts, by full names. Raises ModelError where it has none."""
    name, modules = find_blocks(model)
    inside = [(f"{name}.{i}.{at}", one) for i, block in enumerate(modules) for at, one in block.named_modules()]
    found = [at for at, one in inside if is_fused(one) or (at.endswith("experts") and _count(one) > 1)]
    if not found:
        raise ModelError(f"{type(model).__name__} has no experts")
    return found


def expert_matrices(model: nn.Module, place: str, experts: int) -> list[list[Linear]]:
    """The matrices of each expert of a bank."""
    name, modules = find_blocks(model)
    i = place.removeprefix(f"{name}.").partition(".")[0]
    inside = place.removeprefix(f"{name}.{i}.")
    found: list[list[Linear]] = [[] for _ in range(experts)]
    for site in linears(modules[int(i)]):
        if m := re.match(rf"{re.escape(inside)}\.(\d+)\.", f"{site.name}."):
            found[int(m[1])].append(site)
    return found


def router_of(model: nn.Module, place: str, experts: int) -> Tensor | None:
    """The router's matrix of one row for each expert of a bank; None: it has none."""
    name, modules = find_blocks(model)
    block = modules[int(place.removeprefix(f"{name}.").partition(".")[0])]
    found = [p for at in routers(block) for p in block.get_submodule(at).parameters(recurse=False) if p.dim() == 2]
    return next((p.detach() for p in found if len(p) == experts), None)


def _count(module: nn.Module) -> int:
    """How many experts a module holds the matrices of; 0: it holds none."""
    if is_fused(module):
        return experts_in(module)
    if isinstance(module, nn.ModuleList) or "expert" in type(module).__name__.lower():
        return sum(name.isdigit() for name, _ in module.named_children())
    return 0


@torch.no_grad()
def _empty(dense: Any, config: Any) -> Any:
    """A model of the config: its weights are memory that nobody has written to."""
    from transformers.initialization import no_init_weights

    with no_init_weights():
        return type(dense)._from_config(config, dtype=dense.dtype)


def same_kinds(outline: Outline, cut: Cut) -> None:
    """Raise ModelError where a block that stays would be another kind of block in its new place."""
    for i, j in enumerate(cut.blocks):
        new, old = outline.fewer[i], outline.blocks[j]
        kinds = [[type(m) for m in block.modules()] for block in (new, old)]
        shapes = [{n: p.shape for n, p in block.named_parameters()} for block in (new, old)]
        if kinds[0] != kinds[1] or (outline.removal.kind == "blocks" and shapes[0] != shapes[1]):
            raise ModelError(f"{outline.removal}: block {j} would be the {i}th, where the config of "
                             f"{type(outline.dense).__name__} has a block of another kind; choose others")  # fmt: skip
