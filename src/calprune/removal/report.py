"""What became of a model that units were taken out of: its description, its page, its checkpoint."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any

from calprune.base.store import to_json, whole_folder
from calprune.base.values import UserError, plain
from calprune.models.load import Model
from calprune.pages.numbers import counted, percent
from calprune.pages.page import HasPage, Page, Section
from calprune.pages.table import Column, Table
from calprune.pruning.card import REPORT, card
from calprune.pruning.checkpoint import environment, peak_bytes
from calprune.removal import REMOVALS
from calprune.removal.choices.choice import UnitChoice
from calprune.removal.coverage import first_of
from calprune.removal.job import Removed
from calprune.removal.write import left_out, write_smaller


def describe_removed(done: Removed, model: Model) -> dict[str, Any]:
    """What was done and what came of it, ready for calprune.json. `model`: whose name and notes it has."""
    job = done.job
    sizes = {when: sum(p.numel() for p in one.parameters()) for when, one in
             (("dense", done.outline.dense), ("smaller", done.smaller))}  # fmt: skip
    return {
        "format": 1,
        "model": {"name": model.name, "id": model.id} | ({"notes": list(model.notes)} if model.notes else {}),
        "method": REMOVALS.write(job.method),
        "pattern": str(job.pattern),
        "job": plain(job),
        "removed": {"kind": job.pattern.kind, "what": _what(done), "choices": [*map(_described, done.choices)]},
        "parameters": sizes,
        "config": {change.name: change.value for change in done.outline.changes},
        "off": done.off,
        "seconds": done.seconds,
        "peak_bytes": peak_bytes(),
        "environment": environment(),
        "left_out": list(left_out(model.origin, done)) if model.origin else [],
        "notes": list(done.notes),
    }  # fmt: skip


def _described(one: UnitChoice) -> dict[str, Any]:
    scores = [float(f"{score:.6g}") if isfinite(score) else None for score in one.scores]
    return {"place": one.place, "units": one.units, "removed": one.gone, "tokens": one.tokens, "scores": scores} | (
        {"coverage": asdict(one.coverage)} if one.coverage else {}
    )


def _what(done: Removed) -> str:
    """In words: "384 of 1,536 neurons in each of 30 feed-forward networks"."""
    kind, choices = done.job.pattern.kind, done.choices
    if kind == "blocks":
        one = choices[0]
        return f"{len(one.gone)} of {one.units} blocks ({first_of(one.gone)})"
    sizes = dict.fromkeys((len(one.gone), one.units) for one in choices)
    called = {"neurons": "feed-forward networks", "heads": "attentions", "experts": "blocks with experts"}[kind]
    units = {"heads": "key-value groups of heads"}.get(kind, kind)
    return "; ".join(
        f"{gone:,} of {units_there:,} {units} in each of "
        f"{sum((len(one.gone), one.units) == (gone, units_there) for one in choices):,} {called}"
        for gone, units_there in sizes
    )


@dataclass(frozen=True, repr=False)
class RemovalReport(HasPage):
    """What became of a model that units were taken out of."""

    model: Model  # the smaller one
    dense: Model  # as it was
    done: Removed
    description: Mapping[str, Any]  # as calprune.json has it
    out: str = ""  # the folder that it was saved in

    @classmethod
    def of(cls, dense: Model, done: Removed, calibration: Mapping[str, Any] | None) -> "RemovalReport":
        """`calibration`: what is written down of the data; None: the job read none."""
        smaller = replace(dense, model=done.smaller, name=f"{dense.name} without {done.job.pattern}", origin=None)
        return cls(smaller, dense, done, describe_removed(done, dense) | {"calibration": calibration})

    @property
    def choices(self) -> tuple[UnitChoice, ...]:
        """What was chosen at each place, in the model's order; one for all blocks."""
        return self.done.choices

    @property
    def calibration(self) -> str | None:
        """The data as given; None: the job read none."""
        return self.description["calibration"] and str(self.description["calibration"]["asked"])

    @property
    def sparsity(self) -> float:
        """The share of the dense model's parameters that went, under the name that it has where weights become zero."""
        sizes = self.description["parameters"]
        return 1 - sizes["smaller"] / sizes["dense"]

    def save(self, folder: str | Path) -> "RemovalReport":
        """Write a checkpoint of the smaller model, with calprune.json and a model card: whole or not at all.

            report.save("smaller")
            transformers.AutoModelForCausalLM.from_pretrained("smaller")

        Gives the report that names the folder. Raises UserError where `folder` holds something already or the disk is
        full.
        """
        save_removed(self.dense, self.done, self.description, folder)
        return replace(self, out=str(folder))

    def record(self) -> dict[str, Any]:
        return {**self.description} | ({"out": self.out} if self.out else {})

    def page(self) -> Page:
        about, sizes = self.description, self.description["parameters"]
        facts = [
            ("removed", about["removed"]["what"]),
            ("parameters", f"{sizes['dense']:,} became {sizes['smaller']:,} ({percent(self.sparsity, 4)} went)"),
            ("calibration data", self.calibration or "none: the method reads none"),
            ("time and peak memory", f"{self.done.seconds:.1f} s, {about['peak_bytes']['resident'] / 2**20:.0f} MiB"),
            *([("every choice", f"{self.out}/{REPORT}")] if self.out else []),
        ]
        where = f"{self.out}: " if self.out else ""
        title = f"{where}{about['model']['name']} without {about['pattern']}, chosen by {about['method']}"
        section = Section("removed", tables=(self._table(),), facts=tuple(facts), notes=tuple(self._notes()))
        return Page(title, (section,), "calprune prune")

    def _table(self) -> Table:
        one = self.choices[0]
        if not one.place:
            heads = (Column("block", "number"), Column("score", "number", show="varying"), Column("removed"))
            scores = one.scores or (None,) * one.units
            rows = tuple((i, scores[i], "removed" if i in one.gone else "") for i in range(one.units))
            return Table("blocks", "Blocks", heads, rows)
        columns = (Column("where"), Column("units", "number"), Column("removed", "number"),
                   Column("score that went", "number", show="varying"), Column("that stays", "number", show="varying"),
                   Column("tokens", "number", show="varying"), Column("fewest tokens", "number", show="varying"),
                   Column("halves agree", "number", percent=True, show="varying"))  # fmt: skip
        return Table("places", "Where units went, with the mean scores", columns, tuple(map(_row, self.choices)))

    def _notes(self) -> Iterator[str]:
        yield from self.description["left_out"]
        yield from self.description["notes"]
        yield from self.description["model"].get("notes", ())
        if not self.out:
            yield f"the dense model is as it was; the smaller one is another ({counted(len(self.choices), 'choice')})"


def save_removed(dense: Model, done: Removed, description: Mapping[str, Any], folder: str | Path) -> None:
    """Write the smaller model's checkpoint, its description and its card: whole or not at all. Raises UserError where
    the dense one was not loaded from a checkpoint."""
    if (origin := dense.origin) is None:
        raise UserError(f"model {dense.name} was not loaded from a checkpoint, so there is none to follow; save the "
                        "smaller one: report.model.model.save_pretrained")  # fmt: skip
    text = card(description, origin.checkpoint.folder)
    with whole_folder(folder) as making:
        write_smaller(origin, done, making, {REPORT: to_json(dict(description)), "README.md": text})


def _row(one: UnitChoice) -> tuple[Any, ...]:
    scores = one.scores or (float("nan"),) * one.units
    gone, stay = ([scores[i] for i in units] for units in (one.gone, one.stay))
    fewest, agree = (min(one.coverage.tokens), one.coverage.agree) if one.coverage else (None, None)
    return one.place, one.units, len(one.gone), _mean(gone), _mean(stay), one.tokens, fewest, agree


def _mean(values: list[float]) -> float | None:
    finite = [value for value in values if abs(value) < float("inf") and value == value]
    return sum(finite) / len(finite) if finite else None
