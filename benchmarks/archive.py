"""How large a pruned checkpoint is when it is packed: `calprune pack` beside zstd and zipnn, in bfloat16.

    pip install --no-deps zipnn==0.5.4
    python benchmarks/archive.py --out DIR

The demo model in bfloat16, pruned by magnitude; its embeddings, a fifth of it, are left dense. Beside the whole model
stand its pruned matrices alone, which is what other models' sizes go by. Each archive is unpacked and compared byte by
byte. Results: benchmarks/archive.json, which docs/deploy.md shows.
"""

import argparse
import json
import shutil
import time
from dataclasses import asdict
from pathlib import Path

import torch
import zipnn  # noqa: F401  without it a column would be empty
from safetensors import safe_open
from safetensors.torch import save_file

import calprune

PATTERNS = ("0%", "50%", "60%", "70%", "2:4")


def main() -> None:
    """Prune, pack and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to work in")
    out, rows = parser.parse_args().out, []
    dense = out / "dense"
    if not dense.exists():
        demo = calprune.load("demo")
        demo.model.to(torch.bfloat16).save_pretrained(dense)
        demo.tokenizer.save_pretrained(dense)
    for pattern in PATTERNS:
        folder = dense if pattern == "0%" else out / pattern.replace(":", "of").replace("%", "")
        if not folder.exists():
            calprune.prune(str(dense), method="magnitude", pattern=pattern).save(folder)
        alone = out / f"{folder.name}-matrices"
        if not alone.exists():
            _matrices(folder, alone)
        for of, packed in (("model", folder), ("matrices", alone)):
            rows.append({"pattern": pattern, "of": of} | _packed(packed, out / f"{packed.name}.packed"))
            print(json.dumps(rows[-1]), flush=True)
    Path(__file__).with_suffix(".json").write_text(json.dumps({"zipnn": "0.5.4", "sizes": rows}, indent=1) + "\n")


def _packed(folder: Path, where: Path) -> dict:
    """The sizes, and that the same bytes come back."""
    back = where.with_suffix(".back")
    for left in (where, back):
        shutil.rmtree(left, ignore_errors=True)
    began = time.perf_counter()
    report = calprune.pack(folder, where)
    packed = time.perf_counter()
    for name in calprune.unpack(where, back):
        if (back / name).read_bytes() != (folder / name).read_bytes():
            raise SystemExit(f"{back / name} differs")
    return asdict(report.sizes) | {"zeros": report.zeros, "pack_seconds": packed - began,
                                   "unpack_seconds": time.perf_counter() - packed}  # fmt: skip


def _matrices(folder: Path, alone: Path) -> None:
    """A folder with the blocks' matrices of a checkpoint and nothing else."""
    alone.mkdir()
    with safe_open(folder / "model.safetensors", "pt") as held:
        names = [name for name in held.keys() if "layers." in name and name.endswith("proj.weight")]  # noqa: SIM118
        save_file({name: held.get_tensor(name) for name in names}, alone / "model.safetensors")


if __name__ == "__main__":
    main()
