"""What scaling was to reach on a CPU beside what was measured: one table, from the files that the measurements left.

    python benchmarks/scale.py                     # writes benchmarks/scale.md
    python benchmarks/scale.py --choose DATA       # measures `choose` within ten minutes first, into scale.json

The others: `make bench` (results.json), `python benchmarks/large.py FOLDER` (large.json), `python
benchmarks/answers.py` (answers.json), and the study studies/propagate.yaml (docs/results/propagate.claims.json). On a
GPU: benchmarks/gpu.py.
"""

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prune import processor

HERE = Path(__file__).parent
RESULTS = HERE.parent / "docs" / "results"
CHOOSE = ("choose", "demo", "--sources", "c4", "--sources", "gsm8k:icl_cot", "--sources", "redpajama_github",
          "--for", "general=1", "--for", "mathematics=2", "--for", "code=1", "--method", "wanda", "--pattern", "60%",
          "--num-samples", "8", "--max-seq-length", "256", "--tokens", "2048", "--budget", "10m")  # fmt: skip
GOALS = {("wanda", "pruned"): 0.5, ("sparsegpt", "pruned"): 0.45, ("wanda", "dense"): 0.3, ("wanda", "saved"): 0.1}
GIB = 2**30


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--choose", metavar="DATA", type=Path, help="measure it, with this folder of data sets")
    parser.add_argument("--beside", default="nothing", help="what else the machine did")
    asked = parser.parse_args()
    if asked.choose:
        (HERE / "scale.json").write_text(json.dumps(measure_choose(asked.choose, asked.beside), indent=1) + "\n")
    (HERE / "scale.md").write_text(page())


def measure_choose(data: Path, beside: str) -> dict[str, Any]:
    """One run of the command: how long it takes, and whether it reaches its verdict."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [str(Path(sys.executable).parent / "calprune"), *CHOOSE, "--out", f"{scratch}/chosen", "--data-root",
                   str(data)]  # fmt: skip
        started = time.perf_counter()
        ended = subprocess.run(command, capture_output=True, text=True)
        seconds = time.perf_counter() - started
        said = (ended.stdout.strip() or ended.stderr.strip()).splitlines()
        return {
            "command": " ".join(("calprune", *CHOOSE)), "date": str(datetime.date.today()), "processor": processor(),
            "cores": os.cpu_count(), "beside": beside, "seconds": seconds, "status": ended.returncode,
            "verdict": Path(scratch, "chosen", "model").is_dir(), "last": "".join(said[-1:]).replace(f"{scratch}/", ""),
        }  # fmt: skip


def page() -> str:
    lines = [
        "# Scale on a CPU", "",
        "`python benchmarks/scale.py`, from the files that each measurement left; its command is in the last column. A "
        "goal was set before; \"met\" is by the median. What needs a GPU is in [gpu.md](gpu.md), or not measured.", "",
        "| what | goal | measured | met | how |", "|-|-|-|-|-|",
    ]  # fmt: skip
    for what, goal, measured, met, how in rows():
        lines.append(f"| {what} | {goal} | {measured} | {'–' if met is None else 'yes' if met else 'no'} | {how} |")
    return "\n".join(lines) + "\n"


def rows() -> Iterator[tuple[str, str, str, bool | None, str]]:
    yield from beside_llm_compressor()
    yield from one_pass()
    yield from larger_than_memory()
    yield from answers()
    yield from chosen()


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def beside_llm_compressor() -> Iterator[tuple[str, str, str, bool | None, str]]:
    found = read(HERE / "results.json")
    seconds = {cell: statistics.median(s for run in runs for s in run["seconds"]) for cell, runs in
               found["runs"].items() if runs}  # fmt: skip
    how = f"`make bench`, {found['processor']}, {found['date']}, {found['rounds']} rounds"
    for cell, taken in seconds.items():
        method, mode = cell.split()
        if mode in ("peer", "limit"):
            continue
        ratio, goal = taken / seconds[f"{method} peer"], GOALS.get((method, mode))
        passes = "saved sums" if mode == "saved" else f"`propagate={mode}`"
        peer = f"times llm-compressor's {seconds[f'{method} peer']:.0f} s"
        yield (f"prune the demo model, 2:4, {method}, {passes}; {peer}",
               "–" if goal is None else f"≤ {goal}", f"{ratio:.2f} ({taken:.0f} s)",
               None if goal is None else ratio <= goal, how)  # fmt: skip


def one_pass() -> Iterator[tuple[str, str, str, bool | None, str]]:
    for claim in read(RESULTS / "propagate.claims.json")["claims"]:
        value = claim["measured"]
        told = f"{value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]: {claim['verdict']}"
        yield claim["says"], "–", told, None, "[page](../docs/results/propagate.html)"


def larger_than_memory() -> Iterator[tuple[str, str, str, bool | None, str]]:
    found = read(HERE / "large.json")
    limited, free = found["runs"]["limited"], found["runs"]["free"]
    size, tokens = found["checkpoint_bytes"], f"{found['sequences']} x {found['tokens']} tokens"
    how = f"`{found['command']}`, {found['processor']}, {found['date']}, beside: {found['beside']}"
    yield (f"{found['shape']} ({size / GIB:.1f} GiB), {found['method']} {found['pattern']}, {tokens}, in "
           f"{found['limit_bytes'] / GIB:g} GiB", "the same bytes as without a limit",
           f"{'the same' if found['same_bytes'] else 'other'} bytes in {found['files']} files, "
           f"{limited['seconds']:.0f} s ({free['seconds']:.0f} s without)", found["same_bytes"], how)  # fmt: skip
    resident, block = free["peak_bytes"]["resident"] / size, size / found["blocks"]
    yield ("the same without a limit: peak resident memory, pages of files included", "≤ 1.15 checkpoints",
           f"{resident:.2f} checkpoints", resident <= 1.15, "the same")  # fmt: skip
    own = max(limited["own_bytes"], free["own_bytes"])
    yield ("the same: memory of its own", "≤ 3 blocks + 1.5 GiB", f"{own / GIB:.1f} GiB (3 blocks + 1.5 GiB: "
           f"{3 * block / GIB + 1.5:.1f})", own <= 3 * block + 1.5 * GIB, "the same")  # fmt: skip


def answers() -> Iterator[tuple[str, str, str, bool | None, str]]:
    found = read(HERE / "answers.json")
    about = found["about"]
    how = (f"`python benchmarks/answers.py --prompts {about['prompts']} --most {about['most']} --threads "
           f"{about['threads']}`, {about['date']}, beside: {about['beside']}")  # fmt: skip
    for kind, of_kind in found["measured"].items():
        middle = {way: statistics.median(seconds) for way, seconds in of_kind["seconds"].items()}
        before, peer = middle["rounds"] / middle["calprune"], middle["transformers"] / middle["calprune"]
        yield (f"answers of GSM8K, {kind}: times the rate of batches of 16 as before", "≥ 3",
               f"{before:.1f} ({peer:.1f} times transformers' own)", before >= 3, how)  # fmt: skip


def chosen() -> Iterator[tuple[str, str, str, bool | None, str]]:
    found = read(HERE / "scale.json")
    told = "a verdict" if found["verdict"] else f"no verdict: {found['last']}"
    yield ("`choose` over three sources of 8 x 256 tokens with a budget of ten minutes", "a verdict",
           f"{found['seconds'] / 60:.1f} min, {told}", found["verdict"],
           f"`python benchmarks/scale.py --choose DATA`, {found['processor']}, {found['date']}, beside: "
           f"{found['beside']}")  # fmt: skip


if __name__ == "__main__":
    main()
