"""A pruned checkpoint: the model as transformers loads it, calprune.json with what was done, and a model card."""

import contextlib
import importlib.metadata
import platform
import re
import resource
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from calprune import __version__
from calprune.allocation import ALLOCATIONS
from calprune.base.store import to_json
from calprune.base.values import plain
from calprune.methods import METHODS
from calprune.models.load import Model, save
from calprune.pruning.job import Pruning
from calprune.pruning.permutation import PERMUTED
from calprune.pruning.report import LinearReport

REPORT = "calprune.json"


def describe(job: Pruning, model: Model, reports: list[LinearReport], seconds: float) -> dict[str, Any]:
    """What was asked and what came of it, ready for calprune.json. `model` is the pruned one."""
    pruned = sum(r.shape[0] * r.shape[1] for r in reports)
    errors = [r.relative_error for r in reports if r.relative_error is not None]
    parameters = list(model.model.parameters())  # tied ones once
    return {
        "format": 1,
        "model": {"name": model.name, "id": model.id},
        "method": METHODS.write(job.method),
        "pattern": str(job.pattern),
        "allocation": ALLOCATIONS.write(job.allocation),
        "job": plain(job),
        "sparsity": {
            "pruned_linears": sum(r.zeros for r in reports) / pruned if pruned else None,
            "whole_model": sum(int((p == 0).sum()) for p in parameters) / sum(p.numel() for p in parameters),
            "share_of_parameters_pruned": pruned / sum(p.numel() for p in parameters),
        },
        "relative_error": sum(errors) / len(errors) if errors else None,  # mean over linears
        "seconds": seconds,
        "peak_bytes": peak_bytes(),
        "environment": environment(),
        "linears": [
            {
                "name": r.name,
                "shape": list(r.shape),
                "pattern": r.pattern,
                "sparsity": r.sparsity,
                "tokens": r.tokens,
                "relative_error": r.relative_error,
                "damping": r.damping,
                "routed": r.routed,
                "channels": r.channels,
            }
            for r in reports
        ],
    }


def save_pruned(model: Model, description: dict[str, Any], folder: str | Path) -> None:
    """Write the checkpoint with its description and card: whole or not at all."""
    save(model.model, model.tokenizer, folder, {REPORT: to_json(description), "README.md": card(description)})


def card(description: dict[str, Any]) -> str:
    """The model card: what this is, how it was made, what sparsity does and does not give."""
    sparsity, calibration = description["sparsity"], description.get("calibration")
    data = (
        "none: the method reads no calibration data"
        if calibration is None
        else f"`{calibration['asked']}` (identity `{calibration['id']}`)"
    )
    allocation = description["allocation"]
    shared = "" if allocation == "uniform" else f"- linears are not equally sparse: the allocation is `{allocation}`\n"
    if told := permuted(description):
        shared += f"- {told}; the dense model stays the same\n"
    licences = ", ".join((calibration or {}).get("licences", [])) or "not stated"
    return f"""---
base_model: {description["model"]["name"]}
library_name: transformers
tags: [calprune, pruned, sparse]
---
# {description["model"]["name"]}, pruned with {description["method"]} to {description["pattern"]}

- base model: {description["model"]["name"]}, identity `{description["model"]["id"]}`
- calibration data: {data}; licences of its texts: {licences}
- sparsity of the pruned linears: {sparsity["pruned_linears"]:.4%}; of the whole model: {sparsity["whole_model"]:.4%}
{shared}- made by calprune {description["environment"]["calprune"]}; every matrix's figures are in `{REPORT}`

It loads as any other checkpoint of transformers. The zeros are stored as zeros: the file is as large as before, and an
ordinary runtime is no faster with it.
"""


def permuted(description: dict[str, Any]) -> str:
    """Which linears' input channels were permuted beforehand, in a line; empty where it was not asked for."""
    if not (how := description["job"].get("permute")):
        return ""
    linears = description["linears"]
    kinds = Counter(r["name"].rpartition(".")[2] for r in linears if r["channels"] == PERMUTED)
    named = ", ".join(f"{n} {kind}" for kind, n in kinds.items()) or "none"
    return (f"input channels were permuted beforehand ({how}) in {kinds.total()} of {len(linears)} linears: {named}; "
            f"{REPORT} names them, and says why the others were not")  # fmt: skip


def environment() -> dict[str, str]:
    """The versions that a result depends on."""
    packages = ("torch", "transformers", "tokenizers", "safetensors", "numpy")
    versions = {name: importlib.metadata.version(name) for name in packages}
    return {"calprune": __version__, "python": platform.python_version(), "machine": platform.machine()} | versions


def peak_bytes() -> dict[str, int]:
    """The most memory that this process has held, since it began or since `reset_peak`: resident, and on the GPU."""
    status = Path("/proc/self/status")
    if status.exists():
        peak = int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1]) * 1024  # type: ignore[index]
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {"resident": peak} | ({"cuda": torch.cuda.max_memory_allocated()} if torch.cuda.is_available() else {})


def reset_peak() -> None:
    """Begin counting the peak anew, where the system can (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
