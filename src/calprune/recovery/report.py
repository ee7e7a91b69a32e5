"""What recovery gave back, as a page, and the recovered checkpoint."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from calprune.base.store import to_json, whole_folder
from calprune.base.values import UserError, plain
from calprune.models.editor import edit
from calprune.models.load import Model
from calprune.pages.chart import Curve, Panel
from calprune.pages.drawing import Point, ValueAxis
from calprune.pages.names import short_names
from calprune.pages.numbers import alike, counted, number, percent
from calprune.pages.page import HasPage, Page, Section, TextBlock
from calprune.pages.table import Column, Table
from calprune.pruning.card import REPORT, card, carried_on
from calprune.pruning.checkpoint import environment, peak_bytes
from calprune.recovery.adapter import base_of, save_adapter
from calprune.recovery.job import Recovered
from calprune.recovery.training import RunPoint
from calprune.recovery.watched import SAME

PAGE = "recovery.html"
WORSE = 1.02  # the other text is called worse from so many times its least divergence on


@dataclass(frozen=True, repr=False)
class RecoveryReport(HasPage):
    """What became of a pruned model that was trained towards the dense one."""

    model: Model  # the recovered one
    dense: str  # the dense model's name
    done: Recovered
    calibration: Mapping[str, Any]  # what is written down of the set
    base: Mapping[str, Any] | None = None  # calprune.json of the pruned checkpoint; None: it has none
    out: str = ""  # the folder that it was saved in
    command: str = ""  # that made it

    @property
    def before(self) -> Mapping[str, float]:
        """KL to the dense model, nats a token, by the text, before training."""
        return self.done.before

    @property
    def after(self) -> Mapping[str, float]:
        """The same after it."""
        return self.done.after

    def save(self, folder: str | Path) -> "RecoveryReport":
        """Write a checkpoint in which only trained tensors differ from the pruned one's, with calprune.json and
        recovery.html; with `keep_adapter`, the pruned checkpoint's files and the adapter: whole or not at all.

        Gives the report that names the folder. Raises UserError where `folder` holds something, or the disk is full.
        """
        made = replace(self, out=str(folder))
        if self.done.adapter:
            files = {REPORT: to_json(made.record()), PAGE: made.html()}
            save_adapter(self.done.adapter, base_of(self.model), folder, files)
            return made
        if self.model.origin is None:
            raise UserError(f"model {self.model.name} was not loaded from a checkpoint, so there is none to edit; save "
                            "it (save_pretrained), and load that")  # fmt: skip
        files = {REPORT: to_json(made.record()), PAGE: made.html()}
        if self.base:
            files["README.md"] = card(made.record(), self.model.origin.checkpoint.folder)
        with whole_folder(folder) as beside:
            edit(self.model.origin, beside, files)
        return made

    def record(self) -> dict[str, Any]:
        done, last = self.done, self.done.run.looks[-1]
        about = {
            "model": {"name": self.model.name, "id": self.model.id}, "dense": self.dense, "how": plain(done.how),
            "calibration": dict(self.calibration), "kl_before": dict(self.before), "kl_after": dict(self.after),
            "steps": done.run.step, "tokens": last.tokens, "seconds": done.run.seconds, "trained": done.trained,
            "learning_rate": done.run.highest(done.how),
            "ended": done.run.ended, "zeros": done.zeros, "bfloat16": done.narrow, "peak_bytes": peak_bytes(),
            "environment": environment(),
            "looks": [{"step": one.step, "seconds": one.seconds, "tokens": one.tokens, "loss": one.loss, "kl": one.kl}
                      for one in done.run.looks],
        }  # fmt: skip
        return {"format": 1, **carried_on(self.base), "recovery": about}

    def page(self) -> Page:
        done = self.done
        facts = [
            ("trained", f"{done.how.what}: {done.trained:,} numbers, learning rate {done.run.highest(done.how):g}"),
            ("data", f"{self.calibration['asked']}: {done.run.looks[-1].tokens:,} tokens in "
             f"{counted(done.run.step, 'step')} of {done.how.batch} sequences; {done.sequences} sequences of the set, "
             "the others are watched"),
            ("time", f"{done.run.seconds / 60:.1f} min{', products in bfloat16' if done.narrow else ''}"),
            ("mask", f"unchanged: {done.zeros:,} zeros of the linears are zero still"),
            *([("ended early", done.run.ended)] if done.run.ended else []),
        ]  # fmt: skip
        sections = (
            Section("kl", "Divergence from the dense model", panels=(Panel((self._curve(),), wide=True),),
                    tables=(self._texts(),)),
            Section("run", "The run", tables=(self._looks(),), facts=tuple(facts)),
            Section("again", "Reproduce", blocks=TextBlock.commands(self.command)),
        )  # fmt: skip
        size = f"{self.calibration['asked']}, {done.run.seconds / 60:.1f} min, {done.run.looks[-1].tokens:,} tokens"
        where = f"{self.out}: " if self.out else ""
        made = Page(f"{where}{self.model.name} recovered", sections, "calprune recover",
                    f"How much of what pruning cost {self.model.name} comes back?", size, (self._answer(),),
                    tuple(self._warnings()))  # fmt: skip
        return made.read_as(short_names([self.out, self.model.name, self.dense, *self.before,
                                         self.calibration["asked"]]))  # fmt: skip

    def _answer(self) -> str:
        if not self.done.run.best:
            return "Nothing came back: no look at the watched texts was better than the pruned model, which is kept."
        shown = alike(*self.before.values(), *self.after.values())
        count = len(self.before)
        parts = [f"from {before} to {after} nats a token on {name} ({_less(self.before[name], self.after[name])})"
                 for name, before, after in zip(self.before, shown[:count], shown[count:], strict=True)]  # fmt: skip
        return f"The divergence from {self.dense} fell {' and '.join(parts)}."

    def _warnings(self) -> Iterator[str]:
        other, looks = self.done.other, self.done.run.looks
        if self.done.run.lowered:
            yield (f"A learning rate of {self.done.how.highest:g} was too high for this model; it was lowered to "
                   f"{self.done.run.highest(self.done.how):g}, and training began again.")  # fmt: skip
        if self.done.run.ended:
            yield f"The run ended early: {self.done.run.ended}; the best weights are kept."
        if not other:
            yield ("No text of another source was watched, so fitting to the calibration text alone would not be "
                   "seen; --watch TEXT names one.")  # fmt: skip
            return
        best = self.done.run.best
        if self.after[other] > self.before[other]:
            yield f"{other} got worse while the set's own text got better: the model fits the calibration text."
        elif looks[-1].kl[other] > WORSE * min(one.kl[other] for one in looks):
            turned = min(looks, key=lambda one: one.kl[other]).step
            yield (f"{other} was best at step {turned} and got worse from there on; the weights of step "
                   f"{looks[best].step} are kept.")  # fmt: skip

    def _texts(self) -> Table:
        heads = (Column("held-out text"), Column("KL, pruned", "number"), Column("KL, recovered", "number"),
                 Column("came back", "number", percent=True))  # fmt: skip
        rows = tuple((name, self.before[name], now, 1 - now / self.before[name] if self.before[name] else None)
                     for name, now in self.after.items())  # fmt: skip
        return Table("texts", "KL(dense ‖ pruned), nats a token", heads, rows)

    def _looks(self) -> Table:
        names = list(self.before)
        heads = (Column("step", "number"), Column("minutes", "number"), Column("tokens", "number"),
                 Column("loss", "number"), *(Column(name, "number") for name in names), Column("kept"))  # fmt: skip
        best = self.done.run.looks[self.done.run.best]
        rows = tuple((one.step, one.seconds / 60, one.tokens, one.loss, *(one.kl[name] for name in names),
                      "best" if one is best else "") for one in self.done.run.looks)  # fmt: skip
        return Table("looks", "Looks at the watched texts", heads, rows)

    def _curve(self) -> Curve:
        points = tuple(_point(one, name) for name in self.before for one in self.done.run.looks)
        return Curve("Divergence while training", "KL to the dense model by thousands of tokens trained on", points,
                     ValueAxis("thousands of tokens trained on"), ValueAxis("KL, nats a token"),
                     tuple(self.before))  # fmt: skip


def _point(look: RunPoint, name: str) -> Point:
    value = look.kl[name]
    return Point(name, name, round(look.tokens / 1000, 3), value, value, value, number(value), 1)


def _less(before: float, after: float) -> str:
    return f"{percent(1 - after / before)} less" if before else "nothing to get back"


__all__ = ["PAGE", "SAME", "RecoveryReport"]
