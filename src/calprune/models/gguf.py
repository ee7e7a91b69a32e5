"""A GGUF file as a plain checkpoint: float32 safetensors, made once in calprune's cache.

transformers reads the file and dequantises what is quantised; float32 holds all of its values exactly. So the weights
are those that llama.cpp works with. The whole model is held in memory while it is made.
"""

import contextlib
import importlib.util
import io
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from calprune.base.progress import current
from calprune.base.store import cache_folder, once, read_json, whole_folder, write_json
from calprune.base.values import UserError, first_line
from calprune.models.digests import known_digest

PACKAGES = ("gguf", "accelerate")  # that transformers needs to read one

PLAIN = ("F32", "F16", "BF16", "F64")  # tensor types that are not quantised

SPLIT = re.compile(r"-\d{5}-of-\d{5}\.gguf$")

ABOUT = "about.json"  # beside the folder of the checkpoint, whose files are all copied where it is pruned


def find_gguf(path: Path, name: str) -> Path | None:
    """The GGUF file that `path` is, or that is all the weights a folder has; None: it has others.

    Raises UserError where the folder has several and nothing else, or the file is one part of several.
    """
    if path.is_dir():
        if not (files := sorted(path.glob("*.gguf"))) or any(
            next(path.glob(kind), None) for kind in ("*.safetensors", "*.bin", "*.pt", "*.pth")
        ):
            return None
        if len(files) > 1:
            raise UserError(f"model {name}: the folder holds {len(files)} GGUF files; name one: {files[0]}")
        path = files[0]
    elif path.suffix != ".gguf" and not _begins_as_gguf(path):
        return None
    if not _begins_as_gguf(path):
        raise UserError(f"model {name}: {path.name} is no GGUF file: it does not begin with the letters GGUF")
    if SPLIT.search(path.name):
        raise UserError(f"model {name}: {path.name} is one part of several; merge them first: llama-gguf-split --merge")
    return path


def gguf_folder(file: Path, name: str) -> Path:
    """The folder of the plain checkpoint, made if it is absent; named by the file's digest.

    Raises UserError where transformers cannot read the file, a package is missing or the disk is full.
    """
    place = cache_folder() / "gguf" / known_digest(file)[:16]

    def write(place: Path, types: dict[str, int]) -> None:
        current().say(f"making a plain checkpoint of {name} in {place}, once")
        with whole_folder(place) as beside:
            (beside / "model").mkdir()
            convert(file, beside / "model", name)
            write_json(beside / ABOUT, {"format": 1, "file": file.name, "types": types})

    once(place, lambda: tensor_types(file, name), read=_read_types, write=write, report=current().say)
    return place / "model"


def gguf_notes(folder: Path) -> tuple[str, ...]:
    """What is to be said of a folder that `gguf_folder` gave; nothing of another."""
    if folder.parent.parent != cache_folder() / "gguf" or not (folder.parent / ABOUT).is_file():
        return ()
    about = read_json(folder.parent / ABOUT, "what is known of a GGUF file")
    quantised = {kind: count for kind, count in about["types"].items() if kind not in PLAIN}
    how = f"quantised ({', '.join(quantised)}), so pruning began from rounded weights" if quantised else "not quantised"
    return (f"the weights come from the GGUF file {about['file']}, where they are {how}",)


def tensor_types(file: Path, name: str) -> dict[str, int]:
    """How many numbers are stored as what, the most first: {"Q4_K": 100, "F32": 1}."""
    refuse_without(PACKAGES, name)
    from gguf import GGUFReader

    counts: Counter[str] = Counter()
    try:
        for tensor in GGUFReader(file).tensors:
            counts[tensor.tensor_type.name] += int(tensor.n_elements)
    except Exception as e:  # the package raises what numpy raises
        raise UserError(f"model {name}: {file.name} cannot be read as GGUF: {first_line(e)}") from e
    return dict(counts.most_common())


def refuse_without(packages: Sequence[str], name: str) -> None:
    """Raise UserError where one of the packages is not installed."""
    if missing := [one for one in packages if importlib.util.find_spec(one) is None]:
        raise UserError(f"model {name}: to read GGUF files, packages are missing: pip install {' '.join(missing)}")


def convert(file: Path, folder: Path, name: str) -> None:
    """Write the file's model and tokenizer as float32 safetensors. Raises UserError where transformers cannot."""
    import torch  # a made checkpoint is found without them
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    classes: Any = AutoModelForCausalLM
    place = {"gguf_file": file.name, "trust_remote_code": False}
    with contextlib.redirect_stderr(io.StringIO()):  # progress bars that no switch of transformers turns off
        try:
            read, report = classes.from_pretrained(file.parent, **place, dtype=torch.float32, output_loading_info=True)
            tokenizer = AutoTokenizer.from_pretrained(file.parent, **place)
        except Exception as e:  # of a file that is damaged or unknown, anything
            raise UserError(f"model {name}: transformers cannot read {file.name}: {first_line(e)}") from e
        if missing := sorted(report["missing_keys"]):
            raise UserError(f"model {name}: {file.name} lacks {len(missing)} tensors of its model ({missing[0]})")
        # transformers will not save a model it read from GGUF, so the weights move to a plain one
        written = read.config.to_dict()
        plain = {k: v for k, v in written.items() if k not in ("quantization_config", "_name_or_path", "model_type")}
        config = AutoConfig.for_model(written["model_type"], **plain)
        model = classes.from_config(config, trust_remote_code=False)
        model.load_state_dict(read.state_dict())
        model.generation_config = read.generation_config
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def _begins_as_gguf(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) == b"GGUF"
    except OSError:
        return False


def _read_types(place: Path) -> dict[str, int]:
    return dict(read_json(place / ABOUT, "what is known of a GGUF file")["types"])
