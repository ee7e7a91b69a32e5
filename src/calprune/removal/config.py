"""A model's config with fewer blocks, neurons, heads or experts: which fields say how many there are.

No code for a family: the fields by the names that transformers' configs have for them. Whether a field has the effect
that its name promises is seen by the model that is made of the changed config (`smaller`).
"""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from calprune.base.patterns import PatternError, Removal, UnitKind
from calprune.base.store import to_json
from calprune.layers.linears import ModelError

FIELDS: dict[UnitKind, tuple[str, ...]] = {
    "blocks": ("num_hidden_layers",),
    "neurons": (
        "intermediate_size",
        "ffn_dim",
        "n_inner",
        "ffn_hidden_size",
        "intermediate_size_mlp",
        "moe_intermediate_size",
        "shared_expert_intermediate_size",
        "shared_intermediate_size",
        "prefix_dense_intermediate_size",
    ),
    "heads": ("num_key_value_heads", "num_attention_heads"),
    "experts": ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", "num_routed_experts"),
}  # fmt: skip
# how many experts each token is sent to
CHOSEN = ("num_experts_per_tok", "moe_top_k", "moe_topk", "moe_k", "top_k_experts", "experts_per_token")
GROUPS = ("n_group", "num_expert_group", "n_groups")  # of experts, in group-limited routers
COUNTED = ("first_k_dense_replace", "max_window_layers", "num_dense_layers")  # blocks from the first on
LISTED = ("mlp_only_layers", "moe_layers", "attn_layer_indices", "full_attn_idxs")  # numbers of blocks
PREDICTING = "num_nextn_predict_layers"  # blocks after the last that predict further tokens: they are not kept


@dataclass(frozen=True)
class Field:
    """One number in a config, or in a part of it."""

    holder: str  # the part's attribute in the text's config; "": that itself
    name: str
    value: Any


def text_config(config: Any) -> Any:
    return config.get_text_config() if hasattr(config, "get_text_config") else config


def holder(config: Any, field: Field) -> Any:
    """What of a config holds the field."""
    text = text_config(config)
    return getattr(text, field.holder) if field.holder else text


def fields(config: Any, names: tuple[str, ...]) -> list[Field]:
    """Those of the names that the text's config, or a part of it, has with a number; an alias counts once."""
    text, found = text_config(config), []
    parts = {"": text} | {k: v for k, v in vars(text).items() if hasattr(v, "to_dict")}
    for at, part in parts.items():
        alias = getattr(type(part), "attribute_map", {})
        for name in dict.fromkeys(alias.get(name, name) for name in names):
            value = getattr(part, name, None)
            if name == "n_inner" and value is None and hasattr(part, "n_inner"):
                value = 4 * part.hidden_size  # GPT-2's None
            if _is_count(value):
                found.append(Field(at, name, value))
    return found


def _is_count(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return bool(value) and all(_is_count(one) for one in value)
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def first_number(config: Any, names: tuple[str, ...]) -> int | None:
    """The value of the first of these fields that is there."""
    return next((one.value for one in fields(config, names) if isinstance(one.value, int)), None)


def changed(config: Any, changes: list[Field]) -> Any:
    """A copy of the config with these values."""
    made = copy.deepcopy(config)
    for field in changes:
        setattr(holder(made, field), field.name, field.value)
    return made


def narrower(config: Any, removal: Removal) -> list[Field]:
    """The changes for fewer neurons, heads or experts, the same in every block. Raises PatternError or ModelError."""
    found = fields(config, FIELDS[removal.kind])
    if not found:
        raise ModelError(f"{removal}: the model's config says nothing of {removal.kind}; {_others(config)}")
    if removal.kind == "heads":
        return _fewer_heads(config, removal, found)
    if removal.kind == "experts":
        return [Field(one.holder, one.name, one.value - _experts(config, removal, one.value)) for one in found]
    return [Field(one.holder, one.name, _less(removal, one.value)) for one in found]


def _others(config: Any) -> str:
    """What a model can lose, as far as its config says."""
    there = [kind for kind, names in FIELDS.items() if fields(config, names)]
    return f"of {', '.join(there)} it does" if there else "nor of any other units"


def _less(removal: Removal, value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_less(removal, one) for one in value]
    return value - removal.of(value)


def _fewer_heads(config: Any, removal: Removal, found: list[Field]) -> list[Field]:
    """Whole key-value groups go, with their query heads; a head stays as wide as it is."""
    text = text_config(config)
    values = {one.name: one.value for one in found}
    queries = next((value for name, value in values.items() if "key" not in name and "kv" not in name), None)
    groups = next((value for name, value in values.items() if "key" in name or "kv" in name), queries)
    if not isinstance(queries, int) or not isinstance(groups, int) or queries % groups:
        raise ModelError(f"{removal}: the model's heads are not in groups of one size")
    width = getattr(text, "head_dim", None) or text.hidden_size // queries  # some families read one that is there

    def without(gone: int) -> list[Field]:
        fewer = [Field(one.holder, one.name, one.value // groups * (groups - gone)) for one in found]
        return [*fewer, Field("", "head_dim", width)]

    wanted = without(removal.of(groups))
    if (why := _unreadable(config, wanted)) and not _unreadable(config, []):
        fit = [gone for gone in range(1, groups) if not _unreadable(config, without(gone))]
        write = f"write heads:{' or heads:'.join(map(str, fit))}" if fit else "no number of heads fits; take neurons"
        raise ModelError(f"{removal} is {removal.of(groups)} of {groups}, and transformers would not read the smaller "
                         f"model's config.json ({why}): {write}")  # fmt: skip
    return wanted


def _unreadable(config: Any, changes: list[Field]) -> str:
    """Why transformers would not read the config with these changes; "": it would."""
    try:
        type(config).from_dict(changed(config, changes).to_dict())
    except Exception as e:  # a config's class looks at its values as it likes
        return next(line.strip() for line in reversed(str(e).splitlines() or [type(e).__name__]) if line.strip())
    return ""


def _experts(config: Any, removal: Removal, total: int) -> int:
    """How many of `total` experts go."""
    gone, chosen = removal.of(total), first_number(config, CHOSEN) or 1
    if total - gone < chosen:
        raise PatternError(f"{removal} leaves {total - gone} experts, and the router sends each token to {chosen}: "
                           f"remove at most {total - chosen} of {total}")  # fmt: skip
    groups = first_number(config, GROUPS) or 1
    if gone % groups:
        raise PatternError(f"{removal} is {gone} experts, and the router has {groups} groups that stay equal: write a "
                           f"multiple of {groups}")  # fmt: skip
    return gone


def biases(config: Any, removal: Removal) -> list[Field]:
    """The change that gives the linears which read neurons or heads a bias, where they have none and can have one."""
    name = {"neurons": "mlp_bias", "heads": "attention_bias"}.get(removal.kind, "")
    return [Field("", name, True)] if getattr(text_config(config), name, None) is False else []


def fewer_blocks(config: Any, stay: list[int]) -> list[Field]:
    """The changes where only these blocks stay: their number, and each list that has a value for each block."""
    text = text_config(config)
    total = fields(config, FIELDS["blocks"])[0]
    changes = [Field("", total.name, len(stay))]
    for name, value in vars(text).items():
        if isinstance(value, (list, tuple)) and name in LISTED:
            changes.append(Field("", name, [stay.index(i) for i in value if i in stay]))
        elif isinstance(value, (list, tuple)) and len(value) == total.value:
            changes.append(Field("", name, [value[i] for i in stay]))
        elif name in COUNTED and isinstance(value, int):
            changes.append(Field("", name, sum(i < value for i in stay)))
    return changes


def written(raw: Mapping[str, Any], config: Any, changes: list[Field]) -> str:
    """The text of config.json as it was, with the changes where it has these numbers: it is read as before."""
    made = copy.deepcopy(dict(raw))
    for field in changes:
        part = _part(made, config)
        if field.holder:
            part = part.setdefault(field.holder, {})
        part[_key(part, holder(config, field), field.name)] = field.value
    return to_json(made, sort=False)


def _part(raw: dict[str, Any], config: Any) -> dict[str, Any]:
    """Where config.json describes the text decoder."""
    text = text_config(config)
    if text is config:
        return raw
    return next((raw.setdefault(name, {}) for name, value in vars(config).items() if value is text), raw)


def _key(part: Mapping[str, Any], described: Any, name: str) -> str:
    """What config.json calls the field: its own name, or an alias that is there."""
    alias = getattr(type(described), "attribute_map", {})
    return next((one for one in _names(alias, name) if one in part), name)


def _names(alias: Mapping[str, str], name: str) -> Iterator[str]:
    yield name
    yield from (other for other, own in alias.items() if own == name)
