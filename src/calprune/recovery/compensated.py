"""What compensation gave back, as a page, and the folder of its adapter."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from calprune.base.store import to_json
from calprune.models.load import Model
from calprune.pages.numbers import number, percent
from calprune.pages.page import HasPage, Page, Section, TextBlock
from calprune.pages.table import Column, Table, Value
from calprune.pruning.card import REPORT
from calprune.pruning.checkpoint import environment
from calprune.recovery.adapter import base_of, save_adapter
from calprune.recovery.compensation import Compensation, LinearCompensation


@dataclass(frozen=True, repr=False)
class CompensationReport(HasPage):
    """A low-rank adapter for a pruned model."""

    model: Model  # the pruned one, as it was
    dense: str  # the dense model's name
    done: Compensation
    calibration: Mapping[str, Any]  # what is written down of the set
    kl: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # by the text: without and with the adapter
    seconds: float = 0.0
    out: str = ""  # the folder that it was saved in

    def save(self, folder: str | Path) -> "CompensationReport":
        """Write an ordinary PEFT adapter, whose base is the pruned checkpoint, with calprune.json: whole or not at all.

        Gives the report that names the folder. Raises UserError where `folder` holds something, or the disk is full.
        """
        made = replace(self, out=str(folder))
        save_adapter(self.done, base_of(self.model), folder, {REPORT: to_json(made.record())})
        return made

    def record(self) -> dict[str, Any]:
        about = {
            "model": {"name": self.model.name, "id": self.model.id}, "dense": self.dense, "rank": self.done.rank,
            "calibration": dict(self.calibration), "seconds": self.seconds, "environment": environment(),
            "kl": {name: {"pruned": one[0], "compensated": one[1]} for name, one in self.kl.items()},
            "linears": [vars(one) for one in self.done.linears],
        }  # fmt: skip
        return {"format": 1, "compensation": about}

    def page(self) -> Page:
        parameters = sum(leaf.numel() for leaf in self.done.leaves.values())
        size = f"rank {self.done.rank}: {parameters:,} numbers beside the weights, {self.seconds / 60:.1f} min"
        left = sum(one.after for one in self.done.linears) / sum(one.before for one in self.done.linears)
        data = self.calibration["asked"]
        answer = [f"With the adapter the linears' error on {data} is {percent(left)} of what pruning left."]
        for name, (before, after) in self.kl.items():
            moved = f"from {number(before)} to {number(after)} nats a token"
            answer.append(f"The divergence from {self.dense} on {name} goes {moved}.")
        base = f'transformers.AutoModelForCausalLM.from_pretrained("{self.model.name}")'
        use = f'peft.PeftModel.from_pretrained({base}, "{self.out}")' if self.out else ""
        sections = (Section("kinds", "Relative error of the linears", tables=(kinds(self.done.linears),)),
                    Section("use", "Use", blocks=TextBlock.commands(use)))  # fmt: skip
        where = f"{self.out}: " if self.out else ""
        return Page(f"{where}{self.model.name} compensated", sections, "calprune compensate",
                    f"How much of what pruning cost {self.model.name} comes back without training?", size,
                    (" ".join(answer),))  # fmt: skip


def kinds(linears: Sequence[LinearCompensation], heads: tuple[str, str] = ("pruned", "compensated")) -> Table:
    """The linears' errors without and with an adapter, means by their kind."""
    found: dict[str, list[tuple[float, float]]] = {}
    for one in linears:
        found.setdefault(one.name.rpartition(".")[2], []).append((one.before, one.after))
    columns = (Column("linears"), Column("how many", "number"), *(Column(head, "number") for head in heads))
    rows: list[tuple[Value, ...]] = []
    for kind, those in found.items():
        before, after = (sum(one[i] for one in those) / len(those) for i in (0, 1))
        rows.append((kind, len(those), before, after))
    return Table("kinds", "‖(W-Ŵ)X‖² / ‖WX‖² on the calibration inputs, means by the kind of linear", columns,
                 tuple(rows))  # fmt: skip
