"""What quantising did to a model, as a page, and its checkpoint."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from calprune.base.store import to_json
from calprune.methods import METHODS
from calprune.models.load import Model
from calprune.pages.numbers import number
from calprune.pages.page import HasPage, Page, Section
from calprune.pages.table import Column, Table
from calprune.pruning.card import REPORT, card, carried_on
from calprune.pruning.checkpoint import environment
from calprune.quantisation.job import QuantisedModel
from calprune.quantisation.packed import save_packed


@dataclass(frozen=True, repr=False)
class QuantisedReport(HasPage):
    """A model whose linears are quantised: in memory its weights are what the codes mean."""

    model: Model
    done: QuantisedModel
    calibration: Mapping[str, Any] | None  # what is written down of the data; None: none was read
    base: Mapping[str, Any] | None = None  # calprune.json of the checkpoint; None: it has none
    out: str = ""  # the folder that it was saved in

    @property
    def bits_a_weight(self) -> float:
        """Of codes and scales, for each weight of the linears."""
        bits, dtype = self.done.quantiser.bits, next(self.model.model.parameters()).dtype
        numbers = sum(made.weight.numel() for made in self.done.matrices.values())
        scales = sum(made.scale.numel() for made in self.done.matrices.values())
        return bits + 8 * dtype.itemsize * scales / numbers

    def save(self, folder: str | Path) -> "QuantisedReport":
        """Write the checkpoint in compressed-tensors' format pack-quantized, with calprune.json: whole or not at all.

            report.save("quantised")
            transformers.AutoModelForCausalLM.from_pretrained("quantised")

        Gives the report that names the folder. Raises UserError where `folder` holds something, or the disk is full.
        """
        made = replace(self, out=str(folder))
        files = {REPORT: to_json(made.record())}
        if self.base and self.model.origin:
            files["README.md"] = card(made.record(), self.model.origin.checkpoint.folder)
        save_packed(self.model, self.done, folder, files)
        return made

    def record(self) -> dict[str, Any]:
        done = self.done
        about = {
            "model": {"name": self.model.name, "id": self.model.id}, "method": METHODS.write(done.quantiser),
            "calibration": self.calibration and dict(self.calibration), "bits_a_weight": self.bits_a_weight,
            "zeros": {"before": done.zeros[0], "after": done.zeros[1]}, "seconds": done.done.seconds,
            "environment": environment(),
            "linears": [{"name": one.name, "relative_error": one.relative_error} for one in done.done.reports],
        }  # fmt: skip
        return {"format": 1, **carried_on(self.base), "quantisation": about}

    def page(self) -> Page:
        done = self.done
        errors = [one.relative_error for one in done.done.reports if one.relative_error is not None]
        facts = [
            ("calibration data", str(self.calibration["asked"]) if self.calibration else "none: the method reads none"),
            ("bits a weight", f"{number(self.bits_a_weight)} with scales, in {len(done.matrices)} linears"),
            ("mask", f"held: {done.zeros[0]:,} zeros before are zero still; {done.zeros[1]:,} are zero now"),
            *([("reconstruction error", f"{sum(errors) / len(errors):.4f} (mean over linears)")] if errors else []),
            ("time", f"{done.done.seconds:.1f} s"),
        ]  # fmt: skip
        where = f"{self.out}: " if self.out else ""
        title = f"{where}{self.model.name} quantised with {METHODS.write(done.quantiser)}"
        return Page(title, (Section("kinds", tables=(self._kinds(),), facts=tuple(facts)),), "calprune quantize")

    def _kinds(self) -> Table:
        kinds: dict[str, list[tuple[float | None, float]]] = {}
        for one in self.done.done.reports:
            kinds.setdefault(one.name.rpartition(".")[2], []).append((one.relative_error, one.sparsity))
        heads = (Column("linears"), Column("how many", "number"), Column("zeros", "number", percent=True),
                 Column("reconstruction error", "number", show="varying"))  # fmt: skip
        rows = tuple((kind, len(those), sum(zeros for _, zeros in those) / len(those), _mean([e for e, _ in those]))
                     for kind, those in kinds.items())  # fmt: skip
        return Table("kinds", "Means by the kind of linear", heads, rows)


def _mean(values: list[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if there else None
