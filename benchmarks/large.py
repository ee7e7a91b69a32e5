"""Prune a model that is larger than the memory it may take: a real model's shape, random bfloat16 weights.

    python benchmarks/large.py FOLDER                                      # Llama-2-7B's shape in 6 GiB, on the CPU
    python benchmarks/large.py FOLDER --shape llama-3-70b --blocks 4 --limit 0 --num-samples 128 --max-seq-length 2048

The checkpoint is made in FOLDER, a file a block; `calprune prune` needs room for it twice more. The command runs twice:
in a memory control group of `--limit` GiB, which counts the cache of files too (root, and cgroups of version 1; 0:
not), and without a limit. Told are seconds, the most memory of the process's own (RssAnon, five times a second), and
whether both wrote the same bytes. Writes benchmarks/large.json, or what `--json` names.
"""

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import torch
from prune import processor
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, PretrainedConfig, Qwen3MoeConfig

from calprune.base.store import file_digest
from calprune.models.load import find_folder

SHAPES: dict[str, tuple[type[PretrainedConfig], int, dict]] = {  # of the configurations that their makers published
    "llama-2-7b": (LlamaConfig, 32, {"hidden_size": 4096, "intermediate_size": 11008, "num_attention_heads": 32}),
    "llama-2-13b": (LlamaConfig, 40, {"hidden_size": 5120, "intermediate_size": 13824, "num_attention_heads": 40}),
    "llama-3-70b": (LlamaConfig, 80, {"hidden_size": 8192, "intermediate_size": 28672, "num_attention_heads": 64,
                                      "num_key_value_heads": 8}),
    "qwen3-235b-a22b": (Qwen3MoeConfig, 94, {"hidden_size": 4096, "moe_intermediate_size": 1536, "num_experts": 128,
                                             "num_experts_per_tok": 8, "num_attention_heads": 64,
                                             "num_key_value_heads": 4, "head_dim": 128}),
    "toy": (LlamaConfig, 3, {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4}),
}  # fmt: skip
GROUP = Path("/sys/fs/cgroup/memory/calprune-large")


def make(folder: Path, shape: str, blocks: int) -> int:
    """Write the checkpoint, with the demo's tokenizer; its bytes."""
    folder.mkdir(parents=True)
    tokenizer = AutoTokenizer.from_pretrained(find_folder("demo"))
    tokenizer.save_pretrained(folder)
    kind, _, sizes = SHAPES[shape]
    config = kind(**sizes, num_hidden_layers=blocks, vocab_size=len(tokenizer), tie_word_embeddings=False)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    stream, where = torch.Generator().manual_seed(0), {}
    files: dict[str, list[str]] = {}
    for name in model.state_dict():
        block = name.split(".")[2] if name.startswith("model.layers.") else "ends"
        files.setdefault(f"model-{block}.safetensors", []).append(name)
    for file, names in files.items():
        tensors = {name: drawn(model.state_dict()[name].shape, stream) for name in names}
        save_file(tensors, folder / file, metadata={"format": "pt"})
        where |= dict.fromkeys(names, file)
    size = sum((folder / file).stat().st_size for file in files)
    index = {"metadata": {"total_size": size}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return size


def drawn(shape: torch.Size, stream: torch.Generator) -> torch.Tensor:
    """A matrix that keeps the size of what goes in; a norm's weight is 1."""
    values = torch.randn(shape, generator=stream) * shape[-1] ** -0.5 if len(shape) > 1 else torch.ones(shape)
    return values.bfloat16()


def prune(model: Path, out: Path, asked: argparse.Namespace, limit: int) -> dict:
    """One run of the command; its seconds, its own memory at the most, and the hashes of what it wrote."""
    options = {"pattern": asked.pattern, "method": asked.method, "calibration": "pydoc_topics", "device": asked.device,
               "num-samples": asked.num_samples, "max-seq-length": asked.max_seq_length, "out": out}  # fmt: skip
    program = [str(Path(sys.executable).parent / "calprune"), "prune", str(model)]
    command = program + [text for name, value in options.items() for text in (f"--{name}", str(value))]
    if limit:
        GROUP.mkdir(exist_ok=True)
        (GROUP / "memory.limit_in_bytes").write_text(str(limit))
    started, cache = time.perf_counter(), out.parent / "cache"
    process = subprocess.Popen(command, env=os.environ | {"CALPRUNE_CACHE": str(cache)}, stdout=subprocess.DEVNULL,
                               preexec_fn=join if limit else None)  # fmt: skip
    own = most(process.pid, lambda: process.poll() is None)
    if process.wait():
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    seconds = time.perf_counter() - started
    if limit:
        GROUP.rmdir()
    peaks = json.loads((out / "calprune.json").read_text())["peak_bytes"]
    files = {path.name: file_digest(path) for path in sorted(out.iterdir()) if path.suffix == ".safetensors"}
    shutil.rmtree(out)
    shutil.rmtree(cache, ignore_errors=True)
    return {"seconds": seconds, "own_bytes": own, "peak_bytes": peaks, "files": files}


def join() -> None:
    """Enter the control group, in the new process."""
    (GROUP / "cgroup.procs").write_text(str(os.getpid()))


def most(pid: int, runs: Callable[[], bool]) -> int:
    """The largest RssAnon of a process while it runs, in bytes."""
    largest = 0
    while runs():
        with contextlib.suppress(OSError, IndexError):  # it ended meanwhile
            status = Path(f"/proc/{pid}/status").read_text()
            largest = max(largest, int(status.partition("RssAnon:")[2].split()[0]) * 1024)
        time.sleep(0.2)
    return largest


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shape", choices=SHAPES, default="llama-2-7b")
    parser.add_argument("--blocks", type=int, help="as many as the real model has, where not given")
    parser.add_argument("--limit", type=float, default=6, help="GiB; 0: one run, without a limit")
    parser.add_argument("--method", default="wanda")
    parser.add_argument("--pattern", default="50%")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--num-samples", type=int, default=2)
    parser.add_argument("--max-seq-length", type=int, default=64)
    parser.add_argument("--beside", default="nothing", help="what else the machine did")
    parser.add_argument("--json", type=Path, default=Path(__file__).with_suffix(".json"))
    asked = parser.parse_args()
    model, blocks = asked.folder / "model", asked.blocks or SHAPES[asked.shape][1]
    limit, runs = int(asked.limit * 1024**3), {}
    size = make(model, asked.shape, blocks)
    if limit:
        runs["limited"] = prune(model, asked.folder / "limited", asked, limit)
    runs["free"] = prune(model, asked.folder / "free", asked, 0)
    files = [run.pop("files") for run in runs.values()]
    record = {
        "command": " ".join(["python benchmarks/large.py FOLDER", *sys.argv[2:]]),
        "date": str(date.today()), "processor": processor(), "cores": os.cpu_count(), "torch": torch.__version__,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "beside": asked.beside, "threads": os.environ.get("OMP_NUM_THREADS", "all"), "shape": asked.shape,
        "blocks": blocks, "method": asked.method, "pattern": asked.pattern, "checkpoint_bytes": size,
        "sequences": asked.num_samples, "tokens": asked.max_seq_length, "limit_bytes": limit, "runs": runs,
        "files": len(files[0]), "same_bytes": all(one == files[0] for one in files) if limit else None,
    }  # fmt: skip
    asked.json.write_text(json.dumps(record, indent=1) + "\n")
    shutil.rmtree(model)
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
