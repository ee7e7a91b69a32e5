"""A pruned checkpoint: the model as transformers loads it, calprune.json with what was done, and a model card."""

import contextlib
import importlib.metadata
import platform
import re
import resource
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from calprune.allocation import ALLOCATIONS
from calprune.base import __version__
from calprune.base.memory import leave_to_file
from calprune.base.store import to_json, whole_folder
from calprune.base.tensors import zeros
from calprune.base.values import UserError, plain
from calprune.layers.linears import find_blocks, linears
from calprune.methods import METHODS
from calprune.models.editor import edit
from calprune.models.load import Model
from calprune.pages.numbers import percent
from calprune.pages.page import HasPage, Page, Section
from calprune.pages.table import Column, Table
from calprune.pruning.card import REPORT, card, permuted
from calprune.pruning.job import Pruned
from calprune.pruning.report import LinearReport

WRITTEN = 500.0  # tokens whose forward pass takes as long as writing the checkpoint and reading it again, about


def describe(done: Pruned, model: Model) -> dict[str, Any]:
    """What was done and what came of it, ready for calprune.json. `model` is the pruned one."""
    job, reports = done.job, done.reports
    pruned = sum(r.shape[0] * r.shape[1] for r in reports)
    errors = [r.relative_error for r in reports if r.relative_error is not None]
    parameters = list(model.model.parameters())  # tied ones once
    return {
        "format": 1,
        "model": {"name": model.name, "id": model.id} | ({"notes": list(model.notes)} if model.notes else {}),
        "method": METHODS.write(job.method),
        "pattern": str(job.pattern),
        "allocation": ALLOCATIONS.write(job.allocation),
        "job": plain(job),
        "sparsity": {
            "pruned_linears": sum(r.zeros for r in reports) / pruned if pruned else None,
            "whole_model": sum(map(_zeros, parameters)) / sum(p.numel() for p in parameters),
            "share_of_parameters_pruned": pruned / sum(p.numel() for p in parameters),
        },
        "relative_error": sum(errors) / len(errors) if errors else None,  # mean over linears
        "seconds": done.seconds,
        "peak_bytes": peak_bytes(),
        "environment": environment(),
        "carried": list(model.origin.carried()) if model.origin else [],
        "left_out": list(map(str, model.origin.checkpoint.other_files()[1])) if model.origin else [],
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
        "left_dense": [{"name": name, "why": why} for name, why in done.dense.items()],
        "notes": list(done.notes),
    }


@dataclass(frozen=True, repr=False)
class PruneReport(HasPage):
    """What became of a model that was pruned."""

    model: Model  # the pruned one
    done: Pruned
    description: Mapping[str, Any]  # as calprune.json has it
    out: str = ""  # the folder that it was saved in

    @classmethod
    def of(cls, model: Model, done: Pruned, calibration: Mapping[str, Any] | None) -> "PruneReport":
        """`calibration`: what is written down of the data; None: the job read none."""
        return cls(model, done, describe(done, model) | {"calibration": calibration})

    @property
    def linears(self) -> tuple[LinearReport, ...]:
        """What happened to each matrix, in the model's order."""
        return self.done.reports

    @property
    def calibration(self) -> str | None:
        """The data as given; None: the job read none."""
        return self.description["calibration"] and str(self.description["calibration"]["asked"])

    @property
    def sparsity(self) -> float:
        """The share of zeros in the pruned linears."""
        return float(self.description["sparsity"]["pruned_linears"])

    @property
    def sparsity_of_model(self) -> float:
        """The share of zeros in all parameters."""
        return float(self.description["sparsity"]["whole_model"])

    @property
    def relative_error(self) -> float | None:
        """‖(W-Ŵ)X‖² / ‖WX‖² on the calibration inputs, the mean over linears; None without a Gram matrix."""
        found = self.description["relative_error"]
        return None if found is None else float(found)

    def save(self, folder: str | Path) -> "PruneReport":
        """Write a checkpoint that transformers loads, with calprune.json and a model card: whole or not at all.

            report.save("pruned")
            transformers.AutoModelForCausalLM.from_pretrained("pruned")

        Gives the report that names the folder. Raises UserError where `folder` holds something already or the disk is
        full.
        """
        save_pruned(self.model, dict(self.description), folder)
        return replace(self, out=str(folder))

    def record(self) -> dict[str, Any]:
        return {**self.description} | ({"out": self.out} if self.out else {})

    def table(self, name: str = "linears") -> Table:
        """A row for each matrix; "kinds": the means of linears of one name."""
        return _linears(self.linears) if name == "linears" else super().table(name)

    def page(self) -> Page:
        about, error = self.description, self.relative_error
        facts = [
            ("calibration data", self.calibration or "none: the method reads none"),
            ("sparsity of the pruned linears", percent(self.sparsity, 4)),
            ("sparsity of the whole model", percent(self.sparsity_of_model, 4)),
            *([] if error is None else [("reconstruction error", f"{error:.4f} (mean over linears)")]),
            ("time and peak memory", f"{self.done.seconds:.1f} s, {about['peak_bytes']['resident'] / 2**20:.0f} MiB"),
            *([("every matrix", f"{self.out}/{REPORT}")] if self.out else []),
        ]
        where = f"{self.out}: " if self.out else ""
        title = f"{where}{about['model']['name']} pruned with {about['method']} to {about['pattern']}"
        section = Section("kinds", tables=(self._kinds(),), facts=tuple(facts), notes=tuple(self._notes()))
        return Page(title, (section,), "calprune prune")

    def _kinds(self) -> Table:
        """Linears of the same name in all blocks together."""
        kinds: dict[str, list[Mapping[str, Any]]] = {}
        for linear in self.description["linears"]:
            kinds.setdefault(linear["name"].rpartition(".")[2], []).append(linear)
        heads = (Column("linears"), Column("how many", "number"), Column("sparsity", "number", percent=True),
                 Column("reconstruction error", "number", show="varying"))  # fmt: skip
        rows = tuple(
            (kind, len(those), _mean([one["sparsity"] for one in those]),
             _mean([one["relative_error"] for one in those if one["relative_error"] is not None]))
            for kind, those in kinds.items()
        )  # fmt: skip
        return Table("kinds", "Means by the kind of linear", heads, rows)

    def _notes(self) -> Iterator[str]:
        yield from self.description["carried"]
        if left_out := self.description["left_out"]:
            yield f"not copied, for they are weights of the dense model in another form: {', '.join(left_out)}"
        linears = self.description["linears"]
        damping = [one["damping"] for one in linears if one["damping"] is not None]
        if damping and max(damping) > min(damping):
            yield f"some Gram matrices took more damping to be factorised, up to {max(damping):g}"
        if few := [one["name"] for one in linears if one["routed"] is not None]:
            yield f"{len(few)} linears of experts that saw too few tokens, pruned by all tokens: {few[0]}, ..."
        if order := permuted(dict(self.description)):
            yield order
        reasons: dict[str, list[str]] = {}
        for one in self.description["left_dense"]:
            reasons.setdefault(one["why"], []).append(one["name"])
        for why, names in reasons.items():
            yield f"{len(names)} left dense ({why}): {', '.join(names[:3])}{', ...' * (len(names) > 3)}"
        yield from self.description["notes"]
        yield from self.description["model"].get("notes", ())


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _linears(linears: Sequence[LinearReport]) -> Table:
    """A row for each matrix."""
    columns = (Column("linear"), Column("shape"), Column("pattern"), Column("sparsity", "number", percent=True),
               Column("tokens", "number", show="varying"), Column("error", "number"),
               Column("damping", "number", show="varying"))  # fmt: skip
    rows = tuple(
        (r.name, "×".join(map(str, r.shape)), r.pattern, r.sparsity, r.tokens, r.relative_error, r.damping)
        for r in linears
    )
    return Table("linears", "", columns, rows)


def save_pruned(model: Model, description: dict[str, Any], folder: str | Path) -> None:
    """Write the model's checkpoint with exactly the pruned tensors changed, its description and its card: whole or not
    at all. Raises UserError where the model was not loaded from a checkpoint, or was changed since it was pruned."""
    if model.origin is None:
        raise UserError(f"model {model.name} was not loaded from a checkpoint, so there is none to edit; save it "
                        "(save_pretrained), and load that")  # fmt: skip
    _check_zeros(model, description)
    text = card(description, model.origin.checkpoint.folder)
    with whole_folder(folder) as beside:
        edit(model.origin, beside, {REPORT: to_json(description), "README.md": text})


def _check_zeros(model: Model, description: Mapping[str, Any]) -> None:
    """What the report says of each linear is so now."""
    name, modules = find_blocks(model.model)
    sites = {f"{name}.{i}.{site.name}": site for i, block in enumerate(modules) for site in linears(block)}
    for linear in description["linears"]:
        weight = sites[linear["name"]].weight
        if (now := _zeros(weight)) != (then := round(linear["sparsity"] * weight.numel())):
            raise UserError(f"{linear['name']} has {now} zeros, and had {then} when it was pruned: the model "
                            "was changed since; save it before")  # fmt: skip


def _zeros(weight: Tensor) -> int:
    """Then what was read for it leaves the memory, which may not hold the whole model."""
    found = zeros(weight)
    leave_to_file([weight])
    return found


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
