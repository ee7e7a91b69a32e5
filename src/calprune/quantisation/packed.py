"""A quantised checkpoint in the format pack-quantized of compressed-tensors, which transformers and vLLM load.

The library packs the codes and describes them; here they are put in the places of the matrices, file by file. All else
is copied from the checkpoint that was quantised. Zero is the middle code: transformers 5.23 does not load the zero
points of this format as compressed-tensors 0.20 packs them.
"""

import importlib.util
import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from calprune.base.progress import tracking
from calprune.base.store import to_json, whole_folder
from calprune.base.tensors import save_tensors
from calprune.base.values import UserError
from calprune.methods.round_to_nearest import Quantised
from calprune.models.checkpoint import INDEX, open_checkpoint
from calprune.models.load import Model, stored_dtype
from calprune.quantisation.job import QuantisedModel, Quantiser

FORMAT = "pack-quantized"


def check_packing() -> None:
    """Raise UserError where the library is not installed that packs the codes."""
    if importlib.util.find_spec("compressed_tensors") is None:
        raise UserError("codes are packed by compressed-tensors, which is not installed: "
                        "pip install 'calprune[quantize]'")  # fmt: skip


def check_dtype(model: Model) -> None:
    """Raise UserError where the model computes in another dtype than it is stored in: all that is not quantised is
    copied as stored, so what is written would not be what was quantised."""
    if model.origin is None:
        return
    stored, now = stored_dtype(model.origin.checkpoint), next(model.model.parameters()).dtype
    if stored != now:
        raise UserError(f"model {model.name}: it is stored in {_word(stored)} and computes in {_word(now)}, and codes "
                        f"are of a model as it is stored; load it without dtype, or write it in {_word(now)} "
                        "(save_pretrained) and quantise that")  # fmt: skip


def _word(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def save_packed(model: Model, quantised: QuantisedModel, folder: str | Path, files: Mapping[str, str]) -> None:
    """Write the checkpoint with `files`, texts by their name: whole or not at all.

    Raises UserError where the model was not loaded from a checkpoint, or stores a linear in another tensor.
    """
    check_packing()
    if model.origin is None:
        raise UserError(
            f"model {model.name} was not loaded from a checkpoint; save it (save_pretrained), and load that"
        )
    checkpoint, scheme = model.origin.checkpoint, scheme_of(quantised.quantiser)
    stored = {name: _stored_name(model, name) for name in quantised.matrices}
    packed = {stored[name]: made for name, made in quantised.matrices.items()}
    places: dict[str, str] = {}
    dtype = next(model.model.parameters()).dtype
    with whole_folder(folder) as beside:
        for path in checkpoint.other_files()[0]:
            if str(path) not in files and path.name not in ("config.json", INDEX):
                (beside / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(checkpoint.folder / path, beside / path)
        for file in tracking(checkpoint.files, len(checkpoint.files), "writing the codes"):
            tensors: dict[str, Tensor] = {}
            for one in checkpoint.of_file(file):
                linear = one.name.removesuffix(".weight")
                if one.name.endswith(".weight") and linear in packed:
                    tensors |= {f"{linear}.{key}": t for key, t in codes_of(packed[linear], scheme, dtype).items()}
                else:
                    tensors[one.name] = one.read()
            save_tensors(tensors, beside / file.name, {"format": "pt"})
            places |= dict.fromkeys(tensors, file.name)
        if len(checkpoint.files) > 1 or (checkpoint.folder / INDEX).is_file():
            (beside / INDEX).write_text(to_json({"metadata": {}, "weight_map": places}))
        config = dict(checkpoint.config) | {"quantization_config": _described(model, quantised, scheme)}
        (beside / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        for name, text in files.items():
            (beside / name).write_text(text, encoding="utf-8")
        open_checkpoint(beside)


def scheme_of(quantiser: Quantiser) -> Any:
    """How the library describes the codes."""
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme

    size = quantiser.group_size
    weights = QuantizationArgs(num_bits=quantiser.bits, type="int", symmetric=quantiser.symmetric,
                               strategy="group" if size else "channel", group_size=size)  # fmt: skip
    return QuantizationScheme(targets=["Linear"], weights=weights)


def codes_of(made: Quantised, scheme: Any, dtype: torch.dtype) -> dict[str, Tensor]:
    """The tensors that stand in a matrix's place: codes, scales, shape."""
    from compressed_tensors.compressors import PackedQuantizationCompressor

    packed = PackedQuantizationCompressor.compress({"weight": made.weight, "weight_scale": made.scale}, scheme)
    packed["weight_scale"] = packed["weight_scale"].to(dtype)  # which it is a number of
    return packed


def _described(model: Model, quantised: QuantisedModel, scheme: Any) -> dict[str, Any]:
    """The quantization_config of config.json, as the library's own writer has it."""
    import compressed_tensors
    from compressed_tensors.quantization import QuantizationConfig

    dense = [name for name, module in model.model.named_modules()
             if isinstance(module, nn.Linear) and name not in quantised.matrices]  # fmt: skip
    config = QuantizationConfig(config_groups={"group_0": scheme}, format=FORMAT, ignore=dense,
                                quantization_status="compressed")  # fmt: skip
    described = json.loads(config.model_dump_json(exclude={"quant_method"}))
    return {"quant_method": "compressed-tensors", "version": compressed_tensors.__version__, **described}


def check_loadable(model: Model) -> None:
    """Raise UserError where transformers could not load codes into such a model, whatever is quantised: as it loads
    them it merges or splits weights, of experts above all, and loses them where others are codes."""
    if model.origin is not None and (made := model.origin.converted):
        raise UserError(f"model {model.name}: transformers {transformers.__version__} makes {made} of other stored "
                        "weights as it loads them, which it does not do beside codes; a model like this cannot be "
                        "quantised here")  # fmt: skip


def check_stored(model: Model, linears: Iterable[str]) -> None:
    """Raise UserError where one of these is not stored as a tensor of its own, in which codes could be put."""
    for linear in linears if model.origin is not None else ():
        _stored_name(model, linear)


def _stored_name(model: Model, linear: str) -> str:
    """The linear's name in the checkpoint. Raises UserError where its matrix is not stored by itself."""
    assert model.origin is not None
    found = model.origin.places.get(f"{linear}.weight", "")
    if not found.endswith(".weight"):
        raise UserError(f"{linear}: its checkpoint stores it in another tensor, so no codes can be put in its place; "
                        "leave it out with --ignore")  # fmt: skip
    return found.removesuffix(".weight")
