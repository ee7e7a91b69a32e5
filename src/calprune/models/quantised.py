"""Whether a checkpoint's weights are quantised, and how: codes must never be taken for weights.

It is looked for in config.json, at any depth; in the files that tools write beside it; and in the tensors' names and
dtypes, for many a checkpoint says nothing else. `KINDS` is all that is known of the kinds: what is recognised, what is
refused and docs/checkpoints.md are made from it.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from calprune.base.values import UserError, first_line
from calprune.models.checkpoint import FLOATS, Checkpoint, StoredTensor

BLOCK_FP8, FP8, MXFP4 = "block FP8", "FP8", "MXFP4"

SECTIONS = ("quantization_config", "compression_config", "quantization", "quant_config", "quantize_config")

BESIDE = ("hf_quant_config.json", "quantize_config.json", "quant_config.json", "quantization_config.json")

# Buffers that hold integers and are no weights: positions, token types, masks, counters, tables of indices.
BUFFER = re.compile(r"(ids|mask|bias|index|idx|step|tracked|eid)$")

INTEGERS = ("I8", "U8", "I16", "U16", "I32", "U32", "I64", "U64")

EIGHT_BIT_FLOATS = ("F8_E4M3", "F8_E5M2")


@dataclass(frozen=True)
class QuantisedKind:
    """A way of quantising, and what it is known by. Names of tensors are written as for a shell: `*.qweight`."""

    name: str
    made_by: str
    methods: tuple[str, ...] = ()  # what a config calls it: quant_method, quant_algo, format
    keys: tuple[str, ...] = ()  # of its section, where that does not name it
    tensors: tuple[str, ...] = ()
    dequantised: bool = False  # by --dequantize


KINDS = (
    QuantisedKind(BLOCK_FP8, "DeepSeek-V3, Qwen3-FP8: a scale for each 128 x 128 weights", ("fp8",),
                  ("weight_block_size",), ("*_scale_inv",), True),
    QuantisedKind(FP8, "one scale a matrix or row: FBGEMM, llm-compressor, ModelOpt", ("fbgemm_fp8",),
                  ("activation_scale_ub",), (), True),
    QuantisedKind(MXFP4, "gpt-oss: a power of two for each 32 weights", ("mxfp4",), (), ("*_blocks",), True),
    QuantisedKind("GPTQ", "GPTQModel, AutoGPTQ", ("gptq", "marlin", "gptq_marlin"), ("desc_act", "damp_percent"),
                  ("*.g_idx",)),
    QuantisedKind("AWQ", "AutoAWQ, llm-awq", ("awq", "awq_marlin"), ("zero_point", "w_bit"),
                  ("*.qweight", "*.qzeros")),
    QuantisedKind("AutoRound", "auto-round", ("auto-round", "auto_round", "intel/auto-round"), ("autoround_version",)),
    QuantisedKind("bitsandbytes", "4 and 8 bits", ("bitsandbytes", "bitsandbytes_4bit", "bitsandbytes_8bit"),
                  ("load_in_4bit", "load_in_8bit", "bnb_4bit_quant_type"),
                  ("*.absmax", "*.nested_absmax", "*.quant_map", "*.quant_state.*", "*.SCB", "*.weight_format")),
    QuantisedKind("NVFP4", "ModelOpt, llm-compressor", ("nvfp4", "modelopt", "modelopt_fp4", "fouroversix"),
                  ("quant_algo",), ("*weight_scale_2", "*.weight_global_scale", "*.pre_quant_scale")),
    QuantisedKind("compressed-tensors", "llm-compressor", ("compressed-tensors", "compressed_tensors", "sparseml"),
                  ("config_groups", "sparsity_config"),
                  ("*.weight_packed", "*.weight_zero_point", "*.bitmask", "*.compressed")),
    QuantisedKind("torchao", "torchao", ("torchao",), ("quant_type",), ("*_qdata", "*.qdata", "*:tensor_data")),
    QuantisedKind("HQQ", "hqq", ("hqq",), ("skip_modules",), ("*.W_q", "*.W_q.*")),
    QuantisedKind("EETQ", "8 bits", ("eetq",), (), ("*.weight_scales",)),
    QuantisedKind("AQLM", "additive codebooks", ("aqlm",), ("nbits_per_codebook",), ("*.codebooks", "*.codes")),
    QuantisedKind("VPTQ", "codebooks of vectors", ("vptq",), ("config_for_layers",), ("*.centroids.*",)),
    QuantisedKind("QuIP#", "lattice codebooks", ("quip", "quip_sharp"), ("codebook",), ("*.Qidxs", "*.Qidxs_*")),
    QuantisedKind("SpQR", "3 bits and outliers", ("spqr",), ("beta1",), ("*.dense_weights", "*.row_offsets")),
    QuantisedKind("HIGGS", "grids of vectors", ("higgs",), ("hadamard_size",), ("*.tables2",)),
    QuantisedKind("FP-Quant", "MXFP4 and NVFP4 with rotations", ("fp_quant",), ("hadamard_group_size",),
                  ("*.dqweight",)),
    QuantisedKind("Quanto", "optimum-quanto", ("quanto",), (), ("*.weight._data", "*.weight._scale")),
    QuantisedKind("Quark", "AMD Quark", ("quark",), ("global_quant_config", "layer_quant_config"),
                  ("*.weight_quantizer.*",)),
    QuantisedKind("BitNet", "1.58 bits", ("bitnet",), ("linear_class",)),
    QuantisedKind("EXL2, EXL3", "ExLlama", ("exl2", "exl3"), (), ("*.q_weight", "*.trellis")),
    QuantisedKind("MXFP8", "a power of two for each 32 weights", ("mxfp8",)),
    QuantisedKind("SINQ", "two scales a matrix", ("sinq",)),
    QuantisedKind("MLX", "Apple MLX, Metal", ("metal", "affine"), ("group_size", "bits")),
)  # fmt: skip

UNKNOWN = QuantisedKind("of an unknown kind", "")


@dataclass(frozen=True)
class Quantisation:
    """How a checkpoint is quantised."""

    kind: QuantisedKind
    evidence: str  # where it was seen
    packed: tuple[StoredTensor, ...]  # tensors of codes; none: the config alone says so
    beside: tuple[StoredTensor, ...] = ()  # tensors that only quantised checkpoints have: scales, zeros, maps


def find_quantisation(checkpoint: Checkpoint) -> Quantisation | None:
    """How the checkpoint is quantised; None: it is not.

    Raises UserError where a header or a file beside config.json cannot be read.
    """
    tensors = checkpoint.tensors
    packed = tuple(one for one in tensors.values() if _holds_codes(one, tensors))
    beside = tuple(one for one in tensors.values() if one not in packed and _is_beside(one, tensors))
    sections = [*sections_of(checkpoint.config, "config.json"), *_sections_beside(checkpoint)]
    if not (packed or beside or sections):
        return None
    where, kind = "", UNKNOWN
    if sections:
        where, section = sections[0]
        kind = _kind_of_section(section) or UNKNOWN
        where += f" says {named}" if (named := _named(section)) else " speaks of it"
    if packed or beside:
        one = next((t for t in packed if any(fnmatchcase(t.name, p) for k in KINDS for p in k.tensors)), None)
        one = one or (*packed, *beside)[0]
        where += f"{', ' if where else ''}{one.name} is {one.dtype}"
        simple = _simple_kind(packed, beside, sections, tensors)
        kind = simple or (kind if kind is not UNKNOWN else _kind_of_names([*packed, *beside]))
        if kind.dequantised and not simple:
            kind = replace(kind, name=f"{kind.name} in a layout of its own", dequantised=False)
    return Quantisation(kind, where, packed, beside)


def refuse_quantised(checkpoint: Checkpoint, name: str, dequantize: bool = False) -> Quantisation | None:
    """Raise UserError, in one line with what to do, where the checkpoint is quantised; None: it is not.

    dequantize: what can be dequantised is given back, not refused.
    """
    found = find_quantisation(checkpoint)
    if found is None:
        return None
    what = f"model {name}: it is quantised ({found.kind.name}: {found.evidence})"
    if not found.packed and not found.beside:
        raise UserError(f"{what}, but its tensors are plain; if they are its weights, take quantization_config out of "
                        "config.json")  # fmt: skip
    if not found.kind.dequantised:
        can = ", ".join(kind.name for kind in KINDS if kind.dequantised)
        no = f", which --dequantize does not know (it knows {can})" if dequantize else ""
        raise UserError(f"{what}{no}; prune the model it was made from, then quantise that")
    if not dequantize:
        raise UserError(f"{what}; write --dequantize (Python: dequantize=True) to prune it as bfloat16; studies "
                        "take the folder that this names")  # fmt: skip
    return found


def sections_of(config: Mapping[str, Any], where: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What a config says of quantising, at any depth, with where it is: ("config.json, text_config", {...})."""
    for key, value in config.items():
        if not isinstance(value, Mapping):
            continue
        if key in SECTIONS:
            yield where, value
        else:
            yield from sections_of(value, f"{where}, {key}")


def scale_of(tensor: StoredTensor, tensors: Mapping[str, StoredTensor]) -> StoredTensor | None:
    """The tensor with its scales, by name."""
    for ending in ("_scale_inv", "_scale"):
        if found := tensors.get(tensor.name + ending):
            return found
    return None


def _sections_beside(checkpoint: Checkpoint) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name in BESIDE:
        if not (path := checkpoint.folder / name).is_file():
            continue
        try:
            value = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError) as e:
            raise UserError(f"{path} cannot be read: {first_line(e)}; it says how a model is quantised") from None
        found = list(sections_of(value, name)) if isinstance(value, Mapping) else []
        yield from found or ([(name, value)] if isinstance(value, Mapping) and value else [])


def _named(section: Mapping[str, Any]) -> str:
    """The word by which a section names its kind."""
    for key in ("quant_method", "quant_algo", "quantization", "format", "mode"):
        if isinstance(value := section.get(key), str):
            return value
    return ""


def _kind_of_section(section: Mapping[str, Any]) -> QuantisedKind | None:
    named = _named(section).lower()
    if named:
        exact = [kind for kind in KINDS if named in kind.methods]
        if exact and exact[0].name == BLOCK_FP8 and not section.get("weight_block_size"):
            return next(kind for kind in KINDS if kind.name == FP8)
        if exact or "quant_method" in section:
            return exact[0] if exact else None
    return next((kind for kind in KINDS if any(key in section for key in kind.keys)), None)


def _kind_of_names(tensors: list[StoredTensor]) -> QuantisedKind:
    for kind in KINDS:
        if not kind.dequantised and any(fnmatchcase(one.name, pattern) for one in tensors for pattern in kind.tensors):
            return kind
    return UNKNOWN


def _simple_kind(
    packed: tuple[StoredTensor, ...],
    beside: tuple[StoredTensor, ...],
    sections: list[tuple[str, Mapping[str, Any]]],
    tensors: Mapping[str, StoredTensor],
) -> QuantisedKind | None:
    """FP8 or MXFP4, where that is all that the tensors are, whatever the config calls it."""
    known = {kind.name: kind for kind in KINDS}
    if packed and all(is_mxfp4(one, tensors) for one in packed):
        return known[MXFP4]
    if not packed or any(one.dtype not in EIGHT_BIT_FLOATS or scale_of(one, tensors) is None for one in packed):
        return None
    if any(section.get("transform_config") or section.get("sparsity_config") for _, section in sections):
        return None  # rotated, or without its zeros
    scales = {one.name: scale for one in packed if (scale := scale_of(one, tensors))}
    others = {one.name for one in beside} - {scale.name for scale in scales.values()}
    if not all(map(of_activations, others)):
        return None
    blocks = any(section.get("weight_block_size") for _, section in sections)
    return known[FP8 if not blocks and all(_is_whole(one, scales[one.name]) for one in packed) else BLOCK_FP8]


def _is_whole(codes: StoredTensor, scale: StoredTensor) -> bool:
    """Whether it is one scale for the matrix, or for each of its rows or columns."""
    if len(scale.shape) != len(codes.shape):
        return True
    return all(n in (1, full) for n, full in zip(scale.shape, codes.shape, strict=True))


def is_mxfp4(tensor: StoredTensor, tensors: Mapping[str, StoredTensor]) -> bool:
    """Whether it is half of gpt-oss's pair, X_blocks (experts, rows, groups, 16) and X_scales, without the 16."""
    stem = tensor.name.removesuffix("_blocks").removesuffix("_scales")
    blocks, scales = tensors.get(f"{stem}_blocks"), tensors.get(f"{stem}_scales")
    if blocks is None or scales is None:
        return False
    return (blocks.dtype == scales.dtype == "U8" and len(blocks.shape) == 4 and blocks.shape[-1] == 16
            and blocks.shape[:-1] == scales.shape)  # fmt: skip


def of_activations(name: str) -> bool:
    """Whether it is a scale of activations or of the cache of keys and values, which no weight needs."""
    return name.rpartition(".")[2] in ("input_scale", "output_scale", "activation_scale", "act_scale", "k_scale",
                                       "v_scale", "q_scale", "kv_scale", "prob_scale")  # fmt: skip


def _holds_codes(tensor: StoredTensor, tensors: Mapping[str, StoredTensor]) -> bool:
    """Whether it holds codes in the place of weights: narrow floats, or integers that are no buffer's."""
    if tensor.dtype == "F8_E8M0":
        return not tensor.name.rpartition(".")[2].endswith(("scale", "scale_inv", "scales"))
    if tensor.dtype not in INTEGERS:
        return tensor.dtype not in (*FLOATS, "BOOL", "C64")
    last = tensor.name.rpartition(".")[2]
    if not tensor.shape:
        return False
    if last.endswith("weight") or is_mxfp4(tensor, tensors):
        return True
    if any(fnmatchcase(tensor.name, pattern) for kind in KINDS for pattern in kind.tensors):
        return True
    return (
        len(tensor.shape) > 1 and tensor.shape[0] > 1 and tensor.dtype not in ("I64", "U64") and not BUFFER.search(last)
    )


def _is_beside(tensor: StoredTensor, tensors: Mapping[str, StoredTensor]) -> bool:
    """Whether only a quantised checkpoint has such a tensor."""
    name = tensor.name
    if any(fnmatchcase(name, pattern) for kind in KINDS for pattern in kind.tensors) or tensor.dtype == "F8_E8M0":
        return True
    if name.endswith(("weight_scale", "weight_scale_inv", "weight_shape", "input_scale")):
        return True
    stem, found, _ = name.rpartition("_scale")
    return bool(found) and (stem in tensors or f"{stem}_blocks" in tensors or f"{stem}_packed" in tensors)
