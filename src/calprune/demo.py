"""The demo: one small real model, several calibration sets, three methods, two patterns, one table.

Sizes are chosen for minutes on two cores, not for evidence. The sums of each set are collected once, from the dense
model, and serve every method and pattern; `calprune prune` on data sees pruned outputs instead, in two passes a job.
"""

import dataclasses
import itertools
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import AutoModelForCausalLM

from calprune.base.store import is_free, write_json, write_whole
from calprune.base.values import UserError
from calprune.calibration.build import make_set, open_source
from calprune.evaluation.divergence import DenseReference
from calprune.evaluation.perplexity import perplexity
from calprune.evaluation.windows import PROTOCOL, windows_of
from calprune.layers.linears import find_blocks
from calprune.layers.saved import Statistics
from calprune.methods import parse_method
from calprune.models.load import Model, load, quiet_transformers
from calprune.pattern import parse_pattern
from calprune.pruning.checkpoint import describe, environment, peak_bytes, reset_peak, save_pruned
from calprune.pruning.job import Pruning
from calprune.text.given import Given

SEQUENCES, LENGTH, WINDOWS = 16, 256, 5  # calibration sequences, tokens of each; windows of that length to judge on
WITHOUT_DATA = {
    "random_tokens": "random_tokens",
    "pydoc_topics": "pydoc_topics",
    "self": "self:bos(documents=80, max_new_tokens=96)",
}
SELF_HELD_OUT = "self:bos(documents=32, max_new_tokens=96)"  # its evaluation split: other documents
WITH_DATA = {"c4": "c4", "wikipedia": "wikipedia", "gsm8k": "gsm8k"}
METHODS, PATTERNS = ("magnitude", "wanda", "sparsegpt"), ("50%", "2:4")
Cell = tuple[str, str, str]  # calibration, method, pattern
KEPT = {("none", "magnitude", "2:4"), ("pydoc_topics", "wanda", "2:4"), ("pydoc_topics", "sparsegpt", "2:4")}


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    calibration: str  # the set's name; "none": the method reads none
    method: str
    pattern: str
    sparsity: float | None  # achieved, of the pruned linears
    perplexity: float  # on held-out text
    kl: float  # KL(dense || pruned) on held-out text that the dense model wrote, nats a token
    perplexity_interval: tuple[float | None, float | None]  # 95 %, over windows
    kl_interval: tuple[float | None, float | None]
    own_source: tuple[str, ...]  # which of the two figures are judged on text of the source that calibrated
    seconds: float | None  # of the prune step, from sums that are there; None: not pruned
    peak_mib: float | None  # of memory while pruning, the dense model and what it is compared by included
    collect_seconds: float | None = None  # of the one pass that collected the sums, which the set's rows share
    checkpoint: str | None = None  # the folder, where it was kept


class Demo:
    """The demo's model, sets and yardsticks; `rows` makes the table one line at a time."""

    def __init__(self, out: Path, data_root: Path | None) -> None:
        self.out, self.data_root = out, data_root
        if not (out / "about.json").is_file() and not is_free(out):
            raise UserError(
                f"output folder {out}: it holds something else; name a folder that is absent, empty or a demo's"
            )
        self.model: Model = load("demo")
        self.judged_on = "wikitext2" if data_root else "pydoc_topics"
        self.specs = WITHOUT_DATA | (WITH_DATA if data_root else {})
        self.cells = [("none", m, p) for m in METHODS[:1] for p in PATTERNS]
        self.cells += [(c, m, p) for c in self.specs for m in METHODS[1:] for p in PATTERNS]
        shutil.rmtree(out / "checkpoints", ignore_errors=True)
        write_json(out / "about.json", self._about())

    def steps(self) -> int:
        """How many items `rows` gives."""
        return 1 + len(self.cells)

    def rows(self) -> Iterator[Row]:
        """The dense model, then every cell."""
        model = self.model.model
        text, written = (self._windows(spec) for spec in (self.judged_on, SELF_HELD_OUT))
        dense = [p.detach().clone() for p in find_blocks(model)[1].parameters()]
        reference = DenseReference(model, written)
        yield self._row(("none", "dense", "0%"), text, reference)
        for calibration, cells in itertools.groupby(self.cells, key=lambda cell: cell[0]):
            sums = self._sums(calibration) if calibration in self.specs else None
            for cell in cells:
                yield self._pruned(cell, sums, text, reference)
                with torch.no_grad():
                    for parameter, value in zip(find_blocks(model)[1].parameters(), dense, strict=True):
                        parameter.copy_(value)

    def _sums(self, calibration: str) -> Statistics:
        """The sums of the dense model on one set: collected once, for every method and pattern."""
        spec = self.specs[calibration]
        data = make_set(spec, self.model.tokenizer, data_root=self.data_root, model=self.model,
                        num_samples=SEQUENCES, max_seq_length=LENGTH)  # fmt: skip
        started = time.perf_counter()
        sums = Statistics.collect(self.model.model, data, "gram")
        sums.about |= {"asked": spec, "id": data.id, "licences": sorted(set(data.licences.values()))}
        sums.about["seconds"] = time.perf_counter() - started
        return sums

    def _windows(self, spec: str) -> Int[Tensor, "n T"]:
        held_out = open_source(spec, Given(self.model, data_root=self.data_root), "evaluation")
        return windows_of(held_out.documents(), self.model.tokenizer, LENGTH, WINDOWS * LENGTH)

    def _pruned(self, cell: Cell, sums: Statistics | None, text: Tensor, reference: DenseReference) -> Row:
        job = Pruning(parse_method(cell[1]), parse_pattern(cell[2]))
        reset_peak()
        started = time.perf_counter()
        reports = [r for block in job.blocks(self.model.model, sums) for r in block]
        seconds, peak = time.perf_counter() - started, peak_bytes()["resident"] / 2**20
        told = describe(job, self.model, reports, seconds)
        row = self._row(cell, text, reference)
        row = dataclasses.replace(row, sparsity=told["sparsity"]["pruned_linears"], seconds=seconds, peak_mib=peak,
                                  collect_seconds=sums.about["seconds"] if sums else None)  # fmt: skip
        if cell not in KEPT:
            return row
        folder = self.out / "checkpoints" / f"{cell[1]}-{cell[2].replace(':', 'of')}"
        save_pruned(self.model, told | {"calibration": sums.about if sums else None}, folder)
        return dataclasses.replace(row, checkpoint=str(folder))

    def _row(self, cell: Cell, text: Tensor, reference: DenseReference) -> Row:
        calibration, method, pattern = cell
        ppl = perplexity(self.model.model, text).estimate()
        kl = reference.divergence(self.model.model).estimate()
        own = ("perplexity",) * (calibration == self.judged_on) + ("kl",) * (calibration == "self")
        return Row(f"{calibration} {method} {pattern}", calibration, method, pattern, None, ppl.value, kl.value,
                   (ppl.low, ppl.high), (kl.low, kl.high), own, None, None)  # fmt: skip

    def loads_equal(self, row: Row) -> bool:
        """Whether plain transformers, given the checkpoint of the last row, gives this process's logits to the bit."""
        ids = torch.arange(5, 69)[None]
        with torch.no_grad(), quiet_transformers():
            loaded = AutoModelForCausalLM.from_pretrained(str(row.checkpoint), dtype=torch.float32)
            return torch.equal(loaded(ids).logits, self.model.model(ids).logits)

    def keep(self, rows: list[Row]) -> None:
        """Write the table: demo.json, a list of rows."""
        write_json(self.out / "demo.json", [dataclasses.asdict(row) for row in rows])
        write_whole(
            self.out / "README.md",
            f"# calprune demo\n\n`demo.json` is the table, `about.json` its settings.\n\n{table(rows)}\n",
        )

    def _about(self) -> dict[str, Any]:
        return {
            "format": 1, "model": {"name": "demo", "id": self.model.id}, "calibrations": self.specs,
            "sequences": SEQUENCES, "tokens_of_a_sequence": LENGTH, "windows_judged": WINDOWS,
            "perplexity_on": f"{self.judged_on}, its evaluation split",
            "kl_on": "text that the dense model wrote and no set holds", "protocol": PROTOCOL,
            "environment": environment(),
        }  # fmt: skip


def table(rows: list[Row]) -> str:
    """The table as text. A star: judged on held-out text of the same source that calibrated."""

    def shown(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    head = "calibration    method     pattern   sparsity  perplexity  KL to dense   seconds  peak MiB"
    lines = [head, "-" * len(head)]
    for row in rows:
        star = {figure: "*" if figure in row.own_source else " " for figure in ("perplexity", "kl")}
        lines.append(
            f"{row.calibration:<14} {row.method:<10} {row.pattern:<7} {shown(row.sparsity, '.2%'):>10} "
            f"{row.perplexity:>10.2f}{star['perplexity']} {row.kl:>11.3f}{star['kl']} "
            f"{shown(row.seconds, '.1f'):>8}  {shown(row.peak_mib, '.0f'):>8}"
        )
    return "\n".join(lines)
