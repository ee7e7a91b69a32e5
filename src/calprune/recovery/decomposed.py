"""What a decomposition left of a model, as a page, and the folder of its base and its adapter."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from calprune.base.store import to_json, whole_folder
from calprune.models.load import Model
from calprune.pages.numbers import number, percent
from calprune.pages.page import HasPage, Page, Section, TextBlock
from calprune.pruning.card import REPORT
from calprune.pruning.checkpoint import describe, environment, save_pruned
from calprune.recovery.adapter import save_adapter
from calprune.recovery.compensated import kinds
from calprune.recovery.decomposition import Decomposed

BASE, ADAPTER = "base", "adapter"  # the folders


@dataclass(frozen=True, repr=False)
class DecompositionReport(HasPage):
    """A pruned base and a low-rank adapter, which together are near to the dense model."""

    model: Model  # the base
    done: Decomposed
    calibration: Mapping[str, Any]  # what is written down of the set
    kl: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # by the text: the base, with the adapter
    seconds: float = 0.0
    out: str = ""  # the folder that it was saved in

    def save(self, folder: str | Path) -> "DecompositionReport":
        """Write `base`, a checkpoint that transformers loads, and `adapter`, an ordinary PEFT adapter of it, each with
        calprune.json: whole or not at all.

        Gives the report that names the folder. Raises UserError where `folder` holds something already or the disk is
        full.
        """
        made, final = replace(self, out=str(folder)), Path(folder).resolve() / BASE
        with whole_folder(folder) as beside:
            save_pruned(self.model, self.description, beside / BASE)
            save_adapter(self.done.adapter, str(final), beside / ADAPTER, {REPORT: to_json(made.record())})
        return made

    @property
    def description(self) -> dict[str, Any]:
        """calprune.json of the base."""
        return describe(self.done.pruned, self.model) | {"calibration": dict(self.calibration)}

    def record(self) -> dict[str, Any]:
        job, adapter = self.done.pruned.job, self.done.adapter
        about = {
            "model": {"name": self.model.name, "id": self.model.id}, "pattern": str(job.pattern), "rank": adapter.rank,
            "calibration": dict(self.calibration), "seconds": self.seconds, "environment": environment(),
            "kl": {name: {"base": one[0], "both": one[1]} for name, one in self.kl.items()},
            "linears": [{"name": one.name, "base": one.before, "both": one.after} for one in adapter.linears],
        }  # fmt: skip
        return {"format": 1, "decomposition": about}

    def page(self) -> Page:
        adapter, job = self.done.adapter, self.done.pruned.job
        parameters = sum(leaf.numel() for leaf in adapter.leaves.values())
        size = f"{job.pattern} and rank {adapter.rank}: {parameters:,} numbers beside the weights, "
        error = sum(one.after for one in adapter.linears) / len(adapter.linears)
        data = self.calibration["asked"]
        answer = [f"Sparse and low-rank together, the linears' mean error on {data} is {percent(error)}."]
        for name, (base, both) in self.kl.items():
            answer.append(f"The divergence from the dense model on {name} is {number(both)} nats a token "
                          f"({number(base)} without the adapter, which the base needs).")  # fmt: skip
        model = f'transformers.AutoModelForCausalLM.from_pretrained("{self.out}/{BASE}")'
        use = f'peft.PeftModel.from_pretrained({model}, "{self.out}/{ADAPTER}")' if self.out else ""
        sections = (Section("kinds", "Relative error of the linears",
                            tables=(kinds(adapter.linears, ("sparse alone", "with the adapter")),)),
                    Section("use", "Use", blocks=TextBlock.commands(use)))  # fmt: skip
        where = f"{self.out}: " if self.out else ""
        return Page(f"{where}{self.model.name} as sparse plus low-rank", sections, "calprune decompose",
                    f"How near is {self.model.name} as a sparse and a low-rank part?",
                    f"{size}{self.seconds / 60:.1f} min", (" ".join(answer),))  # fmt: skip
