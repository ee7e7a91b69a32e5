"""Load a model."""

from pathlib import Path
from typing import Literal

from calprune.api.progress import ProgressLike, shown
from calprune.base.checks import checked
from calprune.models import load as loading
from calprune.models.load import Model

Dtype = Literal["float32", "bfloat16", "float16"]


@checked
def load(
    name: str | Path,
    *,
    dtype: Dtype | None = None,
    device: str | None = None,
    dequantize: bool = False,
    progress: ProgressLike | None = None,
) -> Model:
    """Load a causal language model with its tokenizer.

        model = calprune.load("demo")
        model.model, model.tokenizer, model.name, model.id

    name: `demo` (SmolLM2-135M-Instruct), a folder with config.json and *.safetensors, a .gguf file, or a hub name like
    owner/name@revision. dtype: of the weights; None: as they are stored. device: "cpu", "cuda", "cuda:1", or "auto"
    (a GPU where there is one); None: the CPU, from which `prune` moves one block at a time to where it works.

    dequantize: a checkpoint in block FP8, FP8 or MXFP4 is made a bfloat16 one first, once, in the cache; without it,
    and of other kinds, a quantised checkpoint is refused. What the weights come from is then in `model.notes`.
    progress: as for `prune`.

    No code that comes with a checkpoint is run. Raises UserError where there is no such model, it has no safetensors
    weights or not all of them, it is not decoder-only, or its tokenizer gives ids that it has no embedding for.
    """
    with shown(progress):
        return loading.load(str(name), dtype=dtype, device=device, dequantize=dequantize)
