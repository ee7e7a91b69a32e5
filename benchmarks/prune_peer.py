"""llm-compressor's prune step on given tokens, timed. Runs in a virtual environment of its own (make bench makes it).

python benchmarks/prune_peer.py MODEL TOKENS.safetensors METHOD PATTERN OUT
"""

import json
import resource
import sys
import time

import torch
from datasets import Dataset
from llmcompressor import oneshot
from llmcompressor.modifiers.pruning import SparseGPTModifier, WandaPruningModifier
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

MODIFIERS = {"sparsegpt": SparseGPTModifier, "wanda": WandaPruningModifier}


def main(model_folder: str, tokens_file: str, method: str, pattern: str, out: str) -> None:
    torch.set_num_threads(2)
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    tokens = load_file(tokens_file)["tokens"].tolist()
    data = Dataset.from_dict({"input_ids": tokens, "attention_mask": [[1] * len(t) for t in tokens]})
    structure = {"mask_structure": pattern} if ":" in pattern else {}
    recipe = MODIFIERS[method](sparsity=0.5, ignore=["re:.*lm_head"], targets=["Linear"], **structure)
    started = time.perf_counter()
    oneshot(
        model=model,
        dataset=data,
        recipe=recipe,
        pipeline="sequential",
        num_calibration_samples=len(tokens),
        max_seq_length=len(tokens[0]),
        shuffle_calibration_samples=False,
    )
    seconds = [time.perf_counter() - started]
    save_file({n: p.data.contiguous() for n, p in model.named_parameters() if "layers" in n and p.dim() == 2}, out)
    print(json.dumps({"seconds": seconds, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


main(*sys.argv[1:])
