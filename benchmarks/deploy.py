"""Does a pruned checkpoint load where its input did? Models that transformers 4.57 wrote, pruned here, loaded there.

    python -m venv old && old/bin/pip install torch==2.13.0 "transformers==4.57.6"
    python benchmarks/deploy.py --old old/bin/python [--model FOLDER] --out deploy

For each family a tiny random model is written by the old transformers, with a rope_theta that is not the default, and
with its tokenizer's class as the old one names it. It is pruned here; then both versions read input and output, and
their logits on the same tokens are compared. --model does the same with a real checkpoint.

    python -m venv llama && llama/bin/pip install xllamacpp==2026.10.11549
    python benchmarks/deploy.py ... --llama llama/bin/python --converter llama.cpp/convert_hf_to_gguf.py

The demo model, pruned to 20 %, is made a GGUF file by llama.cpp's own converter (that of llama-cpp-python 0.3.36's
sources) and writes 24 tokens greedily, as it does in transformers.

    python -m venv mlx && mlx/bin/pip install "mlx[cpu]==0.32.4" mlx-lm==0.32.2
    python benchmarks/deploy.py --mlx mlx/bin/python --out deploy

MLX reads the same folder; its logits and transformers' on the same tokens are compared, as config.json stands and with
`rope_theta` beside `rope_parameters`. What was run takes its place in benchmarks/deploy.json; the rest stays.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "phi3", "olmo2", "gpt2", "gpt_neox", "opt",
            "mixtral", "qwen3_moe", "olmoe", "deepseek_v3", "gpt_oss")  # fmt: skip

WRITE = """
import json, sys, torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast
from tokenizers import Tokenizer, models, pre_tokenizers
family, folder = sys.argv[1:3]
small = dict(hidden_size=64, intermediate_size=128, moe_intermediate_size=32, num_hidden_layers=2, n_layer=2, n_embd=64,
             num_attention_heads=4, n_head=4, num_key_value_heads=4 if family == "deepseek_v3" else 2, head_dim=16,
             vocab_size=96, max_position_embeddings=128, n_positions=128, rope_theta=500000.0, ffn_dim=128,
             word_embed_proj_dim=64, num_experts=4, num_local_experts=4, n_routed_experts=4, num_experts_per_tok=2,
             n_group=2, topk_group=1, first_k_dense_replace=1, q_lora_rank=16, kv_lora_rank=16, qk_rope_head_dim=8,
             qk_nope_head_dim=8, v_head_dim=16, sliding_window=32, pad_token_id=0, bos_token_id=1, eos_token_id=2,
             rotary_emb_base=500000, layer_types=None)
known = AutoConfig.for_model(family).to_dict()
if family == "deepseek_v3":  # its heads' width is the sum of two others
    del small["head_dim"]
config = AutoConfig.for_model(family, **{k: v for k, v in small.items() if k in known and v is not None})
if hasattr(config, "layer_types"):
    config.layer_types = (config.layer_types or [])[:2] or None
torch.manual_seed(0)
model = AutoModelForCausalLM.from_config(config).to(torch.bfloat16)
with torch.no_grad():
    for p in model.parameters():
        p.copy_(torch.randn_like(p) * (0.2 if p.dim() > 1 else 0.1) + (1.0 if p.dim() == 1 else 0.0))
model.save_pretrained(folder)
backend = Tokenizer(models.WordLevel({f"w{i}": i for i in range(90)}, unk_token="w0"))
backend.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="w0", bos_token="w1", eos_token="w2")
tokenizer.save_pretrained(folder)
"""

READ = """
import json, sys, torch, transformers
from transformers import AutoModelForCausalLM, AutoTokenizer
tokens = torch.tensor([[int(i) for i in sys.argv[2].split(",")]])
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
model, told = AutoModelForCausalLM.from_pretrained(sys.argv[1], torch_dtype=torch.float32, output_loading_info=True)
with torch.no_grad():
    logits = model.eval()(tokens).logits[0]
unexpected = [k for k in told["unexpected_keys"]]
torch.save(logits, sys.argv[3])
print(json.dumps({"version": transformers.__version__, "missing": sorted(told["missing_keys"]),
                  "unexpected": sorted(unexpected), "tokenizer": type(tokenizer).__name__,
                  "rope_theta": getattr(model.config, "rope_theta", None)}))
"""


WRITE_ON = "The capital of France is"

IN_LLAMA_CPP = """
import json, sys, xllamacpp
options = xllamacpp.CommonParams()
options.model.path, options.n_ctx, options.warmup = sys.argv[1], 256, False
given = {"prompt": sys.argv[2], "n_predict": 24, "temperature": 0.0, "seed": 1}
text = xllamacpp.Server(options).handle_completions(given)["choices"][0]["text"]
print(json.dumps({"version": xllamacpp.__version__, "text": text}))
"""

IN_TRANSFORMERS = """
import json, sys
from transformers import AutoModelForCausalLM, AutoTokenizer
model, tokenizer = AutoModelForCausalLM.from_pretrained(sys.argv[1]), AutoTokenizer.from_pretrained(sys.argv[1])
ids = tokenizer(sys.argv[2], return_tensors="pt").input_ids
made = model.generate(ids, max_new_tokens=24, do_sample=False)[0, ids.shape[1]:]
print(json.dumps({"text": tokenizer.decode(made, skip_special_tokens=True)}))
"""

IN_MLX = """
import json, sys, numpy as np, mlx.core as mx, mlx_lm
mx.set_default_device(mx.cpu)
more = {"rope_theta": float(sys.argv[4])} if len(sys.argv) > 4 else {}
model, _ = mlx_lm.load(sys.argv[1], model_config=more)
tokens = mx.array([[int(i) for i in sys.argv[2].split(",")]])
np.save(sys.argv[3], np.array(model(tokens).astype(mx.float32))[0])
print(json.dumps({"version": mlx_lm.__version__}))
"""


def main() -> None:
    """Write, prune, read and compare every family."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--old", help="a Python with the old transformers")
    parser.add_argument("--model", action="append", default=[], help="a real checkpoint, beside the tiny ones")
    parser.add_argument("--out", type=Path, required=True, help="folder to work in")
    parser.add_argument("--llama", help="a Python with xllamacpp")
    parser.add_argument("--converter", help="llama.cpp's convert_hf_to_gguf.py")
    parser.add_argument("--mlx", help="a Python with mlx-lm")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for name in (*FAMILIES, *given.model) if given.old else ():
        folder = Path(name) if name in given.model else given.out / name / "dense"
        if name not in given.model and not folder.exists():
            python(given.old, WRITE, name, folder)
        rows.append({"model": Path(name).name, **compare(given.old, folder, given.out / Path(name).name)})
        print(json.dumps(rows[-1]), flush=True)
    results = Path(__file__).with_suffix(".json")
    found = json.loads(results.read_text()) | ({"transformers": rows} if rows else {})
    if given.llama:
        found["llama.cpp"] = in_llama_cpp(given.llama, given.converter, given.out / "demo")
        print(json.dumps(found["llama.cpp"]))
    if given.mlx:
        found["mlx"] = in_mlx(given.mlx, given.out / "demo")
        print(json.dumps(found["mlx"]))
    results.write_text(json.dumps(found, indent=1) + "\n")


def in_mlx(mlx: str, where: Path) -> dict:
    """How far apart the logits of MLX and of transformers are, as a share of the largest, dense and pruned."""
    import numpy as np
    import torch

    from calprune.models.load import find_folder

    found = {}
    for which, folder in (("dense", find_folder("demo")), ("pruned", pruned_demo(where))):
        tokens, file = "504,3575,282,4649,314,284,260,655", where / "logits.pt"
        python(sys.executable, READ, folder, tokens, file)
        own = torch.load(file).numpy()
        theta = json.loads((Path(folder) / "config.json").read_text())["rope_parameters"]["rope_theta"]
        for how, more in (("as it is", ()), ("with rope_theta", (theta,))):
            version = json.loads(python(mlx, IN_MLX, folder, tokens, where / "logits.npy", *more))["version"]
            found[f"{which}, {how}"] = float(np.abs(np.load(where / "logits.npy") - own).max() / np.abs(own).max())
    return {"mlx_lm": version, "apart": found}


def in_llama_cpp(llama: str, converter: str, where: Path) -> dict:
    """Whether the pruned demo model writes the same in llama.cpp and in transformers."""
    pruned, file = pruned_demo(where), where / "model.gguf"
    library = f"{Path(converter).parent / 'gguf-py'}:{os.environ.get('PYTHONPATH', '')}"
    command = [sys.executable, converter, str(pruned), "--outfile", str(file), "--outtype", "f32"]
    subprocess.run(command, check=True, capture_output=True, env=os.environ | {"PYTHONPATH": library})
    other = json.loads(python(llama, IN_LLAMA_CPP, file, WRITE_ON))
    own = json.loads(python(sys.executable, IN_TRANSFORMERS, pruned, WRITE_ON))
    return {"xllamacpp": other["version"], "tokens": 24, "same_text": other["text"] == own["text"]}


def pruned_demo(where: Path) -> Path:
    """The demo model with 20 % of its weights zero."""
    where.mkdir(parents=True, exist_ok=True)
    pruned = where / "pruned"
    if not pruned.exists():
        subprocess.run([sys.executable, "-m", "calprune", "prune", "demo", "--method", "magnitude", "--pattern", "20%",
                        "--out", str(pruned)], check=True, stdout=subprocess.DEVNULL)  # fmt: skip
    return pruned


def compare(old: str, dense: Path, where: Path) -> dict:
    """What both versions make of a checkpoint and of its pruned one."""
    import torch

    where.mkdir(parents=True, exist_ok=True)
    pruned = where / "pruned"
    if not pruned.exists():
        subprocess.run([sys.executable, "-m", "calprune", "prune", str(dense), "--method", "magnitude", "--pattern",
                        "50%", "--out", str(pruned)], check=True, stdout=subprocess.DEVNULL)  # fmt: skip
    logits, told = {}, {}
    for which, folder in (("dense", dense), ("pruned", pruned)):
        for version, program in (("old", old), ("new", sys.executable)):
            file = where / f"{which}-{version}.pt"
            told[which, version] = json.loads(python(program, READ, folder, "3,14,15,92,6,53,58,9,79,32", file))
            logits[which, version] = torch.load(file)
    scale = logits["dense", "new"].abs().max()
    apart = {which: float((logits[which, "old"] - logits[which, "new"]).abs().max() / scale)
             for which in ("dense", "pruned")}  # fmt: skip
    lost = {which: told[which, "old"]["missing"] for which in ("dense", "pruned")}
    return {"versions": [told["dense", one]["version"] for one in ("old", "new")], "apart": apart, "missing": lost,
            "rope_theta": [told[which, "old"]["rope_theta"] for which in ("dense", "pruned")],
            "tokenizer": told["pruned", "old"]["tokenizer"]}  # fmt: skip


def python(program: str, code: str, *words: object) -> str:
    """What the last line of a program says."""
    ended = subprocess.run([program, "-c", code, *map(str, words)], check=False, capture_output=True, text=True)
    if ended.returncode:
        raise SystemExit(f"{words[0]}: {ended.stderr.strip().splitlines()[-1]}")
    return ended.stdout.strip().splitlines()[-1] if ended.stdout.strip() else ""


if __name__ == "__main__":
    main()
