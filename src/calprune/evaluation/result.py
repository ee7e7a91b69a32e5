"""What an evaluation of a model found: perplexity and divergence on texts, answers to tasks, with their intervals."""

import math
from dataclasses import dataclass
from typing import Any

from calprune.evaluation.items import Outcomes
from calprune.evaluation.windows import PROTOCOL
from calprune.pages.numbers import number
from calprune.pages.page import HasPage, Page, Section
from calprune.pages.table import Column, Table
from calprune.uncertainty.estimate import Estimate


@dataclass(frozen=True)
class TextResult:
    """A model on one text."""

    name: str
    held: str  # "evaluation split", "file", "calibration text"
    windows: int
    perplexity: Estimate | None
    nats_per_token: Estimate | None
    kl: Estimate | None  # to the dense model; None: not asked for

    def record(self) -> dict[str, Any]:
        """As JSON has it; null is not measured, or more than a number can say."""
        return {"name": self.name, "held": self.held, "windows": self.windows,
                **_numbers("perplexity", self.perplexity), **_numbers("nats_per_token", self.nats_per_token),
                **_numbers("kl", self.kl)}  # fmt: skip


@dataclass(frozen=True)
class ModelName:
    """A model that was judged, or that another was compared with."""

    name: str
    id: str


@dataclass(frozen=True, repr=False)
class EvaluationResult(HasPage):
    """A model on texts and tasks."""

    model: ModelName
    dense: ModelName | None
    texts: tuple[TextResult, ...]
    tasks: tuple[Outcomes, ...]
    window: int  # tokens
    seconds: float

    def record(self) -> dict[str, Any]:
        texts = [text.record() for text in self.texts]
        first = texts[0] if texts else {"perplexity": None, "kl": None}
        return {
            "format": 1, "model": vars(self.model), "kl_to": vars(self.dense) if self.dense else None,
            "perplexity": first["perplexity"], "kl": first["kl"], "texts": texts,
            "tasks": [_answered(task) for task in self.tasks], "window": self.window,
            "predictions_per_window": self.window - 1, "protocol": PROTOCOL, "seconds": self.seconds,
        }  # fmt: skip

    def page(self) -> Page:
        brackets = "Brackets: 95 % intervals over windows or items."
        protocol = (f"Protocol of perplexity: {PROTOCOL}.",) if self.texts else ()
        sections = (
            Section("texts", "Texts", tables=(self._texts(),), notes=protocol),
            Section("tasks", "Tasks", tables=(self._tasks(),)),
            Section("intervals", notes=(brackets,)),
        )
        return Page(self.model.name, sections, "calprune eval", summary=f"in {number(self.seconds, 1)} s")

    def _texts(self) -> Table:
        divergence = f"KL({self.dense.name} || {self.model.name}), nats per token" if self.dense else "KL"
        heads = (Column("text"), Column("held out"), Column(f"windows of {self.window} tokens", "number"),
                 Column("perplexity", "estimate"), Column("nats per token", "estimate"),
                 *([Column(divergence, "estimate")] if self.dense else []))  # fmt: skip
        rows = tuple(
            (text.name, f"{text.held}{': NOT held out' if text.held == 'calibration text' else ''}", text.windows,
             text.perplexity, text.nats_per_token, *([text.kl] if self.dense else []))
            for text in self.texts
        )  # fmt: skip
        return Table("texts", "Perplexity", heads, rows)

    def _tasks(self) -> Table:
        heads = (Column("task"), Column("items", "number"), Column("metric"), Column("value", "estimate"),
                 Column("by guessing", "number"))  # fmt: skip
        rows = tuple(
            (task.task, len(task.items), task.measures.title, task.measures.estimate(task.items), task.chance)
            for task in self.tasks
        )
        cut = tuple(f"{task.task}: {task.cut} items cut to the model's window" for task in self.tasks if task.cut)
        return Table("tasks", "Answers", heads, rows, cut)


def _answered(outcomes: Outcomes) -> dict[str, Any]:
    value = outcomes.measures.estimate(outcomes.items)
    about = {"name": outcomes.task, "metric": outcomes.metric, "capability": outcomes.capability}
    sizes = {"chance": outcomes.chance, "items": len(outcomes.items), "cut": outcomes.cut,
             "requests": outcomes.requests}  # fmt: skip
    return about | _numbers("value", value) | sizes


def _numbers(name: str, estimate: Estimate | None) -> dict[str, float | None]:
    """A value and its interval; null is not measured, or more than a number can say."""
    ends = (estimate.value, estimate.low, estimate.high) if estimate else (None, None, None)
    value, low, high = (end if end is not None and math.isfinite(end) else None for end in ends)
    return {name: value, f"{name}_low": low, f"{name}_high": high}
