"""What differs after pruning, on checkpoints of several kinds: `calprune diff` of input and output.

    python benchmarks/checkpoints.py --out DIR [--demo]

Made here, tiny and random, as transformers writes them: a decoder inside a model of images and text, experts that are
stored one by one and fused in memory, float32 norms in a bfloat16 checkpoint in shards, a reward model, MXFP4 weights
(`--dequantize`), and, with --demo, the demo model. Each is pruned by the installed program and compared by it; a model
of MXFP4 is compared with what it was dequantised to. Results: DIR/checkpoints.json, from which docs/checkpoints.md is
made.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
import transformers as t
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers

WORDS = 96
SMALL = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "vocab_size": WORDS, "max_position_embeddings": 128, "pad_token_id": 0,
         "bos_token_id": 1, "eos_token_id": 2}  # fmt: skip


def wrapper(folder: Path) -> None:
    """A vision tower that is larger than the text decoder."""
    vision = {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 3, "num_attention_heads": 4,
              "image_size": 28, "patch_size": 14}  # fmt: skip
    config = t.Gemma3Config(text_config={**SMALL, "head_dim": 16, "model_type": "gemma3_text"}, vision_config=vision,
                            mm_tokens_per_image=4, image_token_index=3, boi_token_index=4,
                            eoi_token_index=5)  # fmt: skip
    write(t.Gemma3ForConditionalGeneration(config), folder)


def experts(folder: Path) -> None:
    """Experts stored one by one; transformers fuses them in memory."""
    config = t.Qwen3MoeConfig(**SMALL, head_dim=16, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32)
    write(t.Qwen3MoeForCausalLM(config).bfloat16(), folder)


def shards(folder: Path) -> None:
    """Several files, bfloat16 but for the norms."""
    write(t.LlamaForCausalLM(t.LlamaConfig(**SMALL)).bfloat16(), folder, max_shard_size="60KB")
    for file in folder.glob("*.safetensors"):
        tensors = {name: x.float() + 1e-6 if "norm" in name else x for name, x in load_file(file).items()}
        save_file(tensors, file, metadata={"format": "pt"})


def reward(folder: Path) -> None:
    """A head that a language model does not load, and no output embeddings."""
    write(t.LlamaForSequenceClassification(t.LlamaConfig(**SMALL, num_labels=1)), folder)


def mxfp4(folder: Path) -> None:
    """gpt-oss with experts as two 4-bit codes a byte, and a power of two for each 32."""
    config = t.GptOssConfig(**SMALL, head_dim=16, num_local_experts=4, num_experts_per_tok=2, sliding_window=32)
    write(t.GptOssForCausalLM(config).bfloat16(), folder)
    tensors = load_file(folder / "model.safetensors")
    numbers = torch.Generator().manual_seed(0)
    for name in [name for name in tensors if re.search(r"experts\.(gate_up|down)_proj$", name)]:
        count, inside, out = tensors.pop(name).shape  # stored transposed: (experts, out, groups, 16)
        shape = (count, out, inside // 32)
        tensors[f"{name}_blocks"] = torch.randint(0, 256, (*shape, 16), generator=numbers, dtype=torch.uint8)
        tensors[f"{name}_scales"] = torch.randint(118, 122, shape, generator=numbers, dtype=torch.uint8)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "mxfp4"}
    (folder / "config.json").write_text(json.dumps(config, indent=2))


def write(model: t.PreTrainedModel, folder: Path, **options: str) -> None:
    """Its checkpoint, with weights that do something, and a tokenizer of words."""
    numbers = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=numbers) * 0.1 + (1.0 if p.dim() == 1 else 0.0))
    model.save_pretrained(folder, **options)
    backend = Tokenizer(models.WordLevel({f"w{i}": i for i in range(WORDS)}, unk_token="w0"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    t.PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="w0").save_pretrained(folder)


KINDS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "images and text": ("Gemma 3, its vision tower larger than its decoder", wrapper),
    "experts one by one": ("Qwen3-MoE, fused in memory", experts),
    "shards, norms in float32": ("Llama in bfloat16", shards),
    "a reward model": ("Llama with `score.weight`, without `lm_head`", reward),
    "MXFP4": ("gpt-oss, `--dequantize`; compared with what it was dequantised to", mxfp4),
}


def main() -> None:
    """Make, prune and compare each kind."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to work in, absent or empty")
    parser.add_argument("--demo", action="store_true", help="the demo model too")
    given = parser.parse_args()
    given.out.mkdir(parents=True)
    t.utils.logging.disable_progress_bar()
    rows = []
    for number, (kind, (what, make)) in enumerate(KINDS.items()):
        folder = given.out / str(number) / "model"
        make(folder)
        rows.append({"kind": kind, "what": what, **pruned(folder, given.out / str(number), make is mxfp4)})
        print(json.dumps(rows[-1]), flush=True)
    if given.demo:
        rows.append({"kind": "the demo model", "what": "SmolLM2-135M-Instruct",
                     **pruned("demo", given.out / "demo", False)})  # fmt: skip
    (given.out / "checkpoints.json").write_text(json.dumps(rows, indent=1) + "\n")


def pruned(model: Path | str, where: Path, dequantize: bool) -> dict[str, object]:
    """Prune, compare, and say what differs."""
    cache = {} if model == "demo" else {"CALPRUNE_CACHE": str(where / "cache")}
    run("prune", model, "--method", "magnitude", "--pattern", "50%", "--out", where / "out",
        *(["--dequantize"] if dequantize else []), **cache)  # fmt: skip
    (before,) = (where / "cache" / "dequantised").iterdir() if dequantize else [model]
    found = json.loads(run("diff", before, where / "out", "--json", **cache))
    report = json.loads((where / "out" / "calprune.json").read_text())
    differ = {name: one for name, one in found["tensors"].items() if one["state"] != "equal"}
    added = sum(one["zeros"][1] - one["zeros"][0] for one in differ.values() if one["zeros"])
    return {
        "tensors": len(found["tensors"]),
        "changed": len(differ),
        "names": sorted({re.sub(r"(?<=\.)\d+(?=\.)", "*", name) for name in differ}),
        "states": sorted({one["state"] for one in differ.values()}),
        "zeros_on_disk": sum(one["zeros"][1] for one in differ.values() if one["zeros"]),
        "zeros_added": added,
        "zeros_in_report": sum(round(one["sparsity"] * one["shape"][0] * one["shape"][1]) for one in report["linears"]),
        "files": {name: state for name, state in found["files"].items() if state != "equal"},
        "carried": report["carried"],
    }


def run(*words: object, **environment: str) -> str:
    """What the program prints."""
    ended = subprocess.run([sys.executable, "-m", "calprune", *map(str, words)], check=False, capture_output=True,
                           text=True, env=os.environ | environment)  # fmt: skip
    if ended.returncode:
        raise SystemExit(f"{' '.join(map(str, words))}: {ended.stderr.strip()}")
    return ended.stdout


if __name__ == "__main__":
    main()
