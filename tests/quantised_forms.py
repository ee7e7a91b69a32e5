"""The smallest checkpoints that look like each kind of quantising: what it says in a config, and tensors of a linear.

Shapes, dtypes and names are those that each tool writes; codes are random, for nothing but FP8 and MXFP4 decodes them.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Tensors = dict[str, Tensor]

LARGEST = 448.0  # of e4m3


def _integers(kind: torch.dtype, *shape: int, below: int = 100) -> Tensor:
    return torch.randint(0, below, shape, generator=torch.Generator().manual_seed(0)).to(kind)


def fp8_blocks(w: Tensor, a: int = 128, b: int = 128) -> tuple[Tensor, Tensor]:
    """Codes and scales: the largest of each block of a x b becomes the largest code. w: (..., rows, columns)."""
    rows, columns = w.shape[-2:]
    grid = torch.empty(*w.shape[:-2], -(-rows // a), -(-columns // b))
    codes = torch.empty(w.shape, dtype=torch.float8_e4m3fn)
    for i in range(grid.shape[-2]):
        for j in range(grid.shape[-1]):
            here = (..., slice(i * a, (i + 1) * a), slice(j * b, (j + 1) * b))
            scale = w[here].float().abs().amax((-2, -1)).clamp(min=1e-12) / LARGEST
            grid[..., i, j] = scale
            codes[here] = (w[here].float() / scale[..., None, None]).to(torch.float8_e4m3fn)
    return codes, grid


def fp8_rows(w: Tensor) -> tuple[Tensor, Tensor]:
    """A scale for each row: (rows, 1)."""
    scale = w.float().abs().amax(1, keepdim=True) / LARGEST
    return (w.float() / scale).to(torch.float8_e4m3fn), scale


def _block_fp8(n: str, w: Tensor) -> Tensors:
    codes, scale = fp8_blocks(w)
    return {f"{n}.weight": codes, f"{n}.weight_scale_inv": scale}


def _row_fp8(n: str, w: Tensor) -> Tensors:
    codes, scale = fp8_rows(w)
    return {f"{n}.weight": codes, f"{n}.weight_scale": scale}


def _tensor_fp8(n: str, w: Tensor) -> Tensors:
    scale = w.float().abs().max() / LARGEST
    return {
        f"{n}.weight": (w.float() / scale).to(torch.float8_e4m3fn),
        f"{n}.weight_scale": scale,
        f"{n}.input_scale": torch.tensor(0.1),
    }


def _gptq(n: str, w: Tensor) -> Tensors:
    rows, columns = w.shape
    return {
        f"{n}.qweight": _integers(torch.int32, columns // 8, rows),
        f"{n}.qzeros": _integers(torch.int32, 1, rows // 8),
        f"{n}.scales": torch.ones(1, rows).half(),
        f"{n}.g_idx": torch.zeros(columns, dtype=torch.int32),
    }


def _awq(n: str, w: Tensor) -> Tensors:
    rows, columns = w.shape
    return {
        f"{n}.qweight": _integers(torch.int32, columns, rows // 8),
        f"{n}.qzeros": _integers(torch.int32, 1, rows // 8),
        f"{n}.scales": torch.ones(1, rows).half(),
    }


def _bnb4(n: str, w: Tensor) -> Tensors:
    return {
        f"{n}.weight": _integers(torch.uint8, w.numel() // 2, 1),
        f"{n}.weight.absmax": torch.ones(w.numel() // 64),
        f"{n}.weight.quant_map": torch.ones(16),
        f"{n}.weight.quant_state.bitsandbytes__nf4": _integers(torch.uint8, 90),
    }


def _bnb8(n: str, w: Tensor) -> Tensors:
    return {
        f"{n}.weight": _integers(torch.int8, *w.shape),
        f"{n}.SCB": torch.ones(w.shape[0]),
        f"{n}.weight_format": torch.tensor(0, dtype=torch.uint8),
    }


def _packed(n: str, w: Tensor) -> Tensors:
    return {
        f"{n}.weight_packed": _integers(torch.int32, w.shape[0], w.shape[1] // 8),
        f"{n}.weight_scale": torch.ones(w.shape[0], 1).bfloat16(),
        f"{n}.weight_shape": torch.tensor(w.shape),
    }


def _nvfp4(n: str, w: Tensor) -> Tensors:
    return {
        f"{n}.weight": _integers(torch.uint8, w.shape[0], w.shape[1] // 2),
        f"{n}.weight_scale": torch.ones(w.shape[0], w.shape[1] // 16).to(torch.float8_e4m3fn),
        f"{n}.weight_scale_2": torch.tensor(1.0),
    }


def _torchao(n: str, w: Tensor) -> Tensors:
    return {f"{n}._weight_qdata": _integers(torch.int8, *w.shape), f"{n}._weight_scale": torch.ones(w.shape[0], 1)}


def _hqq(n: str, w: Tensor) -> Tensors:
    return {f"{n}.W_q": _integers(torch.uint8, w.shape[0] // 2, w.shape[1]), f"{n}.scale": torch.ones(w.shape[0], 1)}


def _eetq(n: str, w: Tensor) -> Tensors:
    return {f"{n}.weight": _integers(torch.int8, *w.T.shape), f"{n}.weight_scales": torch.ones(w.shape[0]).half()}


def _aqlm(n: str, w: Tensor) -> Tensors:
    return {
        f"{n}.codes": _integers(torch.int8, w.shape[0], w.shape[1] // 8, 1),
        f"{n}.codebooks": torch.ones(1, 256, 1, 8),
        f"{n}.scales": torch.ones(w.shape[0], 1, 1, 1),
    }


def _vptq(n: str, w: Tensor) -> Tensors:
    return {f"{n}.indices": _integers(torch.int32, 1, w.shape[0], 4), f"{n}.centroids.weight": torch.ones(1, 256 * 8)}


def _quip(n: str, w: Tensor) -> Tensors:
    return {f"{n}.Qidxs": _integers(torch.int64, w.shape[0], w.shape[1] // 8), f"{n}.SU": torch.ones(w.shape[1]).half()}


def _spqr(n: str, w: Tensor) -> Tensors:
    return {
        f"{n}.dense_weights": _integers(torch.int64, w.numel() // 16),
        f"{n}.row_offsets": _integers(torch.int32, 17),
    }


def _higgs(n: str, w: Tensor) -> Tensors:
    return {f"{n}.weight": _integers(torch.int16, *w.shape), f"{n}.tables2": torch.ones(16, 16, 2)}


def _fp_quant(n: str, w: Tensor) -> Tensors:
    return {
        f"{n}.qweight": _integers(torch.uint8, w.shape[0], w.shape[1] // 2),
        f"{n}.scales": _integers(torch.uint8, w.shape[0], w.shape[1] // 32),
    }


def _quanto(n: str, w: Tensor) -> Tensors:
    return {f"{n}.weight._data": _integers(torch.int8, *w.shape), f"{n}.weight._scale": torch.ones(w.shape[0], 1)}


def _quark(n: str, w: Tensor) -> Tensors:
    return {
        f"{n}.weight": _integers(torch.uint8, w.shape[0], w.shape[1] // 2),
        f"{n}.weight_quantizer.scale": torch.ones(w.shape[0], 1),
    }


def _bitnet(n: str, w: Tensor) -> Tensors:
    return {
        f"{n}.weight": _integers(torch.uint8, w.shape[0] // 4, w.shape[1]),
        f"{n}.weight_scale": torch.ones(1).bfloat16(),
    }


def _exl(n: str, w: Tensor) -> Tensors:
    return {f"{n}.q_weight": _integers(torch.int32, w.shape[1] // 8, w.shape[0]), f"{n}.q_scale": torch.ones(4).half()}


def _mxfp8(n: str, w: Tensor) -> Tensors:
    return {
        f"{n}.weight": w.to(torch.float8_e4m3fn),
        f"{n}.weight_scale_inv": _integers(torch.uint8, w.shape[0], w.shape[1] // 32),
    }


def _unscaled(n: str, w: Tensor) -> Tensors:
    return {f"{n}.weight": w.to(torch.float8_e5m2)}


def _mlx(n: str, w: Tensor) -> Tensors:
    return {
        f"{n}.weight": _integers(torch.uint32, w.shape[0], w.shape[1] // 8),
        f"{n}.scales": torch.ones(w.shape[0], 1),
        f"{n}.biases": torch.ones(w.shape[0], 1),
    }


def _codes(n: str, w: Tensor) -> Tensors:
    return {f"{n}.weight": _integers(torch.int8, *w.shape)}


# name -> the section of its config, the tensors of a linear that is called n, and the kind that it is named as
FORMS: dict[str, tuple[dict, Callable[[str, Tensor], Tensors], str]] = {
    "block FP8": ({"quant_method": "fp8", "weight_block_size": [128, 128]}, _block_fp8, "block FP8"),
    "FBGEMM": ({"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0}, _row_fp8, "FP8"),
    "FP8, a scale a matrix": ({"quant_method": "fp8", "activation_scheme": "static"}, _tensor_fp8, "FP8"),
    "ModelOpt FP8": ({"quant_method": "modelopt", "quant_algo": "FP8"}, _tensor_fp8, "FP8"),
    "llm-compressor FP8": ({"quant_method": "compressed-tensors", "format": "float-quantized"}, _row_fp8, "FP8"),
    "GPTQ": ({"quant_method": "gptq", "bits": 4, "desc_act": False}, _gptq, "GPTQ"),
    "AWQ": ({"quant_method": "awq", "bits": 4, "zero_point": True}, _awq, "AWQ"),
    "AutoRound": ({"quant_method": "auto-round", "bits": 4, "autoround_version": "0.8"}, _awq, "AutoRound"),
    "bitsandbytes 4": ({"quant_method": "bitsandbytes", "load_in_4bit": True}, _bnb4, "bitsandbytes"),
    "bitsandbytes 8": ({"quant_method": "bitsandbytes", "load_in_8bit": True}, _bnb8, "bitsandbytes"),
    "compressed-tensors": ({"quant_method": "compressed-tensors", "config_groups": {"0": {}}}, _packed,
                           "compressed-tensors"),
    "NVFP4": ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, _nvfp4, "NVFP4"),
    "torchao": ({"quant_method": "torchao", "quant_type": {"default": {}}}, _torchao, "torchao"),
    "HQQ": ({"quant_method": "hqq", "skip_modules": ["lm_head"]}, _hqq, "HQQ"),
    "EETQ": ({"quant_method": "eetq", "weights": "int8"}, _eetq, "EETQ"),
    "AQLM": ({"quant_method": "aqlm", "nbits_per_codebook": 8}, _aqlm, "AQLM"),
    "VPTQ": ({"quant_method": "vptq", "config_for_layers": {"a": {}}}, _vptq, "VPTQ"),
    "QuIP#": ({"quant_method": "quip", "codebook": "E8P12"}, _quip, "QuIP#"),
    "SpQR": ({"quant_method": "spqr", "beta1": 16}, _spqr, "SpQR"),
    "HIGGS": ({"quant_method": "higgs", "hadamard_size": 512}, _higgs, "HIGGS"),
    "FP-Quant": ({"quant_method": "fp_quant", "hadamard_group_size": 32}, _fp_quant, "FP-Quant"),
    "Quanto": ({"quant_method": "quanto", "weights": "int8"}, _quanto, "Quanto"),
    "Quark": ({"quant_method": "quark", "global_quant_config": {"weight": {}}}, _quark, "Quark"),
    "BitNet": ({"quant_method": "bitnet", "linear_class": "bitlinear"}, _bitnet, "BitNet"),
    "EXL2": ({"quant_method": "exl2", "bits": 4.0}, _exl, "EXL2, EXL3"),
    "MXFP8": ({"quant_method": "mxfp8"}, _mxfp8, "MXFP8"),
    "SINQ": ({"quant_method": "sinq", "nbits": 4}, _hqq, "SINQ"),
    "MLX": ({"group_size": 64, "bits": 4, "mode": "affine"}, _mlx, "MLX"),
    "a method nobody knows": ({"quant_method": "made_tomorrow"}, _codes, "of an unknown kind"),
    "FP8 without scales": ({"quant_method": "made_tomorrow"}, _unscaled, "of an unknown kind"),
}  # fmt: skip

SIMPLE = {name for name, (_, _, kind) in FORMS.items() if kind in ("block FP8", "FP8")}  # --dequantize knows them
