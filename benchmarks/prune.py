"""Time the prune step: calprune, llm-compressor and the limit, in one run, alternating, each in a fresh process.

    CALPRUNE_DATA=... make bench        (or: python benchmarks/prune.py [--pattern 2:4] [--repeats 3])

The demo model in float32, 32 sequences x 512 tokens of wikipedia, two threads. The clock runs round the prune call
alone: loading, tokenising and evaluating are outside. Writes benchmarks/results.md and
results.json, anew after each round.
"""

import argparse
import contextlib
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from calprune.calibration.build import make_set
from calprune.calibration.part import open_source
from calprune.evaluation.perplexity import perplexity
from calprune.evaluation.windows import windows_of
from calprune.layers.linears import find_blocks, linears
from calprune.models.load import find_folder, load
from calprune.text.document import Given

HERE = Path(__file__).parent
PEER = HERE.parent / ".venv-bench/bin/python"
METHODS, MODES = ("wanda", "sparsegpt"), ("peer", "pruned", "sequential", "dense", "saved", "limit")
ONCE = ("saved", "limit")  # one process each: saved sums are pruned from three times in it
NAMES = {
    "peer": "llm-compressor",
    "pruned": "calprune, `propagate=pruned`",
    "sequential": "calprune, `propagate=sequential`",
    "dense": "calprune, `propagate=dense`",
    "saved": "calprune, saved sums",
    "limit": "the limit: one dense pass (sparsegpt: and one Gram and factor a distinct input)",
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pattern", default="2:4")
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    data_root = Path(os.environ["CALPRUNE_DATA"])
    with tempfile.TemporaryDirectory() as scratch:
        demo, tokens = load("demo"), Path(scratch) / "tokens.safetensors"
        data = make_set("wikipedia", demo.tokenizer, data_root=data_root, num_samples=32, max_seq_length=512)
        save_file({"tokens": data.tokens}, tokens)
        runs: dict[tuple[str, str], list[dict]] = {(m, mode): [] for m in METHODS for mode in MODES}
        for repeat in range(asked.repeats):
            for method, mode in runs:
                if repeat == 0 or mode not in ONCE:
                    runs[method, mode].append(run(method, mode, asked.pattern, tokens, Path(scratch)))
                    print(repeat, method, mode, runs[method, mode][-1], file=sys.stderr)
            if repeat == 0:
                opened = open_source("wikitext2", Given(tokenizer=demo.tokenizer, data_root=data_root), "evaluation")
                text = windows_of(opened.documents(), demo.tokenizer, 512, 16 * 512)
                ppl = {cell: judged(demo.model, Path(scratch) / f"{'-'.join(cell)}.safetensors", text) for cell in runs}
                agreed = {m: agreement(m, tokens, Path(scratch) / f"{m}-pruned.safetensors") for m in METHODS}
            (HERE / "results.md").write_text(report(asked, runs, ppl, agreed))  # so far: n says how many rounds
            record = {"date": str(datetime.date.today()), "processor": processor(), "rounds": repeat + 1,
                      "runs": {f"{method} {mode}": found for (method, mode), found in runs.items()}}  # fmt: skip
            (HERE / "results.json").write_text(json.dumps(record, indent=1) + "\n")


def run(method: str, mode: str, pattern: str, tokens: Path, scratch: Path) -> dict:
    """One timed process; its pruned weights stay in the scratch folder."""
    out = scratch / f"{method}-{mode}.safetensors"
    given = [str(find_folder("demo")), str(tokens), method, pattern]
    if mode == "peer":
        command = [str(PEER), str(HERE / "prune_peer.py"), *given, str(out)]
    else:
        command = [sys.executable, str(HERE / "prune_ours.py"), *given, mode, str(out)]
    environment = os.environ | {"OMP_NUM_THREADS": "2", "HF_HUB_OFFLINE": "1"}
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=scratch)
    if ended.returncode:
        raise SystemExit(f"{' '.join(command)}\n{ended.stderr[-2000:]}")
    return json.loads(ended.stdout.strip().splitlines()[-1])


def judged(model, weights: Path, text: torch.Tensor) -> float:
    """Perplexity on held-out WikiText-2 of the model with the pruned weights that a run left."""
    model.load_state_dict(load_file(weights), strict=False)
    estimate = perplexity(model, text).estimate()
    return estimate.value


def agreement(method: str, tokens_file: Path, weights: Path) -> float:
    """The share of the first block's weights whose fate is that of a plain float32 transcription, given its inputs."""
    model, tokens, pruned = load("demo").model, load_file(tokens_file)["tokens"], load_file(weights)
    name, modules = find_blocks(model)
    sites = linears(modules[0])
    read: dict[str, list[torch.Tensor]] = {site.name: [] for site in sites}
    for site in sites:
        site.module.register_forward_pre_hook(lambda m, a, into=read[site.name]: into.append(a[0].flatten(0, 1)))
    modules[1].register_forward_pre_hook(stop)
    for row in tokens:
        with torch.no_grad(), contextlib.suppress(Stop):
            model(row[None])
    same = total = 0
    for site in sites:
        plain = PLAIN[method](site.weight.clone(), torch.cat(read[site.name]))
        ours = pruned[f"{name}.0.{site.name}.weight"]
        same += int(((plain == 0) == (ours == 0)).sum())
        total += plain.numel()
    return same / total


class Stop(Exception):
    """The first block has run: the others need not."""


def stop(*_) -> None:
    raise Stop


def plain_wanda(W: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    score = (W.abs() * x.norm(dim=0)).view(len(W), -1, 4)
    lowest = score.argsort(dim=2, stable=True)[:, :, :2]
    return W * torch.ones_like(score).scatter_(2, lowest, 0).view_as(W)


def plain_sparsegpt(W: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    H = x.T @ x / len(x)
    H.diagonal().add_(0.01 * H.diagonal().mean())
    U = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(H)), upper=True)
    for j in range(W.shape[1]):
        if j % 4 == 0:
            lowest = (W[:, j : j + 4] / U.diagonal()[j : j + 4]).square().argsort(dim=1, stable=True)[:, :2]
            keep = torch.ones(len(W), 4).scatter_(1, lowest, 0).bool()
        error = W[:, j] * ~keep[:, j % 4] / U[j, j]
        W[:, j + 1 :] -= error[:, None] * U[j, j + 1 :]
        W[:, j] *= keep[:, j % 4]
    return W


PLAIN = {"wanda": plain_wanda, "sparsegpt": plain_sparsegpt}


def report(asked, runs, ppl, agreed) -> str:
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, cwd=HERE)
    peer = subprocess.run([str(PEER), "-m", "pip", "freeze"], capture_output=True, text=True).stdout.splitlines()
    versions = [v for v in peer if v.split("==")[0] in ("llmcompressor", "torch", "transformers")]
    lines = [
        "# The prune step, timed",
        "",
        f"`CALPRUNE_DATA=... make bench`, {datetime.date.today()}, commit {commit.stdout.strip()}; {processor()}, "
        f"{os.cpu_count()} cores, Python {platform.python_version()}, torch {torch.__version__}; "
        f"peer: {', '.join(versions)}.",
        "",
        f"SmolLM2-135M-Instruct, float32 products, {asked.pattern}, 32 x 512 tokens of wikipedia; each run a fresh "
        f"process, in turn. Perplexity: WikiText-2, 16 x 512 tokens. Ratio: of medians, to "
        "llm-compressor.",
        "",
        "| method | what | seconds: median (min-max) | n | ratio | peak MiB, median | perplexity |",
        "|-|-|-|-|-|-|-|",
    ]
    for (method, mode), found in runs.items():
        seconds = [s for r in found for s in r["seconds"]]
        ratio = statistics.median(seconds) / statistics.median(s for r in runs[method, "peer"] for s in r["seconds"])
        peak = statistics.median(r["peak_mib"] for r in found)
        shown = "dense" if mode == "limit" else f"{ppl[method, mode]:.2f}"
        lines.append(
            f"| {method} | {NAMES[mode]} | {statistics.median(seconds):.1f} ({min(seconds):.1f}-{max(seconds):.1f}) "
            f"| {len(seconds)} | {ratio:.2f} | {peak:.0f} | {shown} |"
        )
    lines += [""] + [
        f"First block, the same inputs: {share:.4%} of the {method} mask agrees with a plain float32 transcription."
        for method, share in agreed.items()
    ]
    return "\n".join(
        [*lines, "", "The peak is of the whole process: loading, and for saved sums their collection, included.", ""]
    )


def processor() -> str:
    info = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    main()
