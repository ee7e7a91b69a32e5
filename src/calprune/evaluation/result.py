"""What an evaluation of a model found: perplexity and divergence on texts, answers to tasks, with their intervals."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from calprune.base.calls import split, unquoted
from calprune.base.progress import duration
from calprune.base.values import UserError
from calprune.evaluation.items import Outcomes
from calprune.evaluation.metric import KL, METRICS
from calprune.evaluation.windows import PROTOCOL
from calprune.pages.page import HasPage, Page, Section
from calprune.pages.table import Column, Table
from calprune.uncertainty.estimate import Estimate
from calprune.uncertainty.retention import retention_of_one

LEFT = ("Left: of a perplexity dense ÷ pruned, of an accuracy pruned ÷ dense, both above guessing; 100 % is the dense "
        "model.")  # fmt: skip
ON_TEXT = tuple(metric.name for metric in METRICS.values() if metric.item == "window")


def text_name(of: str, begin: str) -> str:
    """What results call a text, with what its windows begin with."""
    return f"{of}, begin={begin}" if begin else of


@dataclass(frozen=True)
class Compared:
    """One evaluation of a model beside the dense one. What was not measured is None."""

    name: str  # "perplexity(c4)", "boolq(examples=200)"
    dense: Estimate | None
    pruned: Estimate | None
    kl: Estimate | None
    left: Estimate | None  # a share; None where the dense model may be at chance

    def record(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"evaluation": self.name, **_numbers("dense", self.dense), **_numbers("pruned", self.pruned),
                **_numbers("kl", self.kl), **_numbers("left", self.left)}  # fmt: skip


@dataclass(frozen=True)
class TextResult:
    """A model on one text. What was not measured is None."""

    name: str
    held: str  # "evaluation split", "file", "calibration text"
    windows: int
    window: int  # tokens
    perplexity: Estimate | None
    nats_per_token: Estimate | None
    kl: Estimate | None  # to the dense model
    dense: Estimate | None = None  # the dense model's perplexity, where one was given
    compared: Compared | None = None  # all that is known beside the dense model, where one was given

    def record(self) -> dict[str, Any]:
        """As JSON has it; null is not measured, or more than a number can say."""
        return {"name": self.name, "held": self.held, "windows": self.windows, "window": self.window,
                **_numbers("perplexity", self.perplexity), **_numbers("nats_per_token", self.nats_per_token),
                **_numbers("kl", self.kl), **_numbers("dense", self.dense)}  # fmt: skip


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
    seconds: float
    dense_tasks: tuple[Outcomes | None, ...] = ()  # of the dense model, where one was given; None: compared already

    def __getitem__(self, evaluation: str) -> Estimate:
        """The value of one evaluation: result["kl"], result["perplexity(wikitext2)"], result["boolq"].

        Raises UserError where there is none of it, or more than one."""
        metric, _, rest = evaluation.partition("(")
        words = split(rest.strip().removesuffix(")"), ",")
        begin = next((word.partition("=")[2].strip("'\"") for word in words if word.startswith("begin=")), "")
        text = text_name(unquoted(words[0]), begin)  # the others are sizes
        texts = [one for one in self.texts if not rest or one.name == text]
        values = [getattr(one, metric) for one in texts if metric in ON_TEXT]
        values += [
            one.measures.estimate(one.items)
            for one in self.tasks
            if evaluation in (one.task, one.task.partition("(")[0])
        ]
        found = [value for value in values if value is not None]
        if len(found) != 1:
            judged = [one.name for one in self.texts] + [one.task for one in self.tasks]
            raise UserError(f"{evaluation!r}: {len(found)} results are called so; judged on: {', '.join(judged)}")
        return found[0]

    def record(self) -> dict[str, Any]:
        texts = [text.record() for text in self.texts]
        first = texts[0] if texts else {"perplexity": None, "kl": None}
        return {
            "format": 1, "model": vars(self.model), "kl_to": vars(self.dense) if self.dense else None,
            "perplexity": first["perplexity"], "kl": first["kl"], "texts": texts,
            "tasks": [_answered(task) | self._left_of(task) for task in self.tasks],
            "compared": [one.record() for one in self.compared()], "means": self.means(), "window": first.get("window"),
            "predictions_per_window": texts[0]["window"] - 1 if texts else None, "protocol": PROTOCOL,
            "seconds": self.seconds,
        }  # fmt: skip

    def page(self) -> Page:
        brackets = "Brackets: 95 % intervals over windows or items."
        protocol = (f"Protocol of perplexity: {PROTOCOL}.",) if self.texts else ()
        if self.dense:
            notes = (*self.means(), *protocol, brackets)
            compared = Section("compared", tables=(self._compared(),), notes=notes)
            return Page(self.model.name, (compared,), "calprune eval", summary=f"in {duration(self.seconds)}")
        sections = (
            Section("texts", "Texts", tables=(self._texts(),), notes=protocol),
            Section("tasks", "Tasks", tables=(self._tasks(),)),
            Section("intervals", notes=(brackets,)),
        )
        return Page(self.model.name, sections, "calprune eval", summary=f"in {duration(self.seconds)}")

    def table(self, name: str = "") -> Table:
        """The figures beside those of the dense model, where one was given; "texts"; "tasks"."""
        known = {"texts": self._texts, "tasks": self._tasks} if self.dense else {}
        return known[name]() if name in known else super().table(name)

    def compared(self) -> tuple["Compared", ...]:
        """A row for each evaluation, beside the dense model; empty where none was given."""
        if not self.dense:
            return ()
        texts = [one.compared for one in self.texts if one.compared]
        return (*texts, *(self._task(task, dense) for task, dense in zip(self.tasks, self.dense_tasks, strict=True)))

    def means(self) -> tuple[str, ...]:
        """What the comparison with the dense model means, in words."""
        rows = [one for one in self.compared() if one.left is not None]
        if not rows:
            return ()
        least = min(rows, key=lambda one: one.left.value if one.left else 0.0)
        assert self.dense is not None and least.left is not None
        share = f"{100 * least.left.value:.0f} %"
        words = f"What it means: of what {self.dense.name} can do, {share} is left on {least.name}"
        if least.kl is not None and least.left.value > 0:
            words += f", where its perplexity is {1 / least.left.value:.3g} times the dense model's"
        more = "; the others have more left" if len(rows) > 1 else ""
        return (f"{words}{more}. KL says how far its predictions moved: 0 is the dense model.", LEFT)

    def _task(self, task: Outcomes, dense: Outcomes | None) -> "Compared":
        value = task.measures.estimate(task.items)
        if dense is None:  # a metric that compares already
            kl = task.measures == KL
            return Compared(task.task, None, None if kl else value, value if kl else None, None)
        left = None if task.chance is None else retention_of_one(task.items, dense.items, task.chance)
        return Compared(task.task, task.measures.estimate(dense.items), value, None, left)

    def _left_of(self, task: Outcomes) -> dict[str, float | None]:
        found = {one.name: one for one in self.compared()}
        return {**_numbers("dense", found[task.task].dense), **_numbers("left", found[task.task].left)} if found else {}

    def _compared(self) -> Table:
        assert self.dense is not None
        heads = (Column("evaluation"), Column("dense", "estimate"), Column("pruned", "estimate"),
                 Column("KL, nats a token", "estimate", show=_where(one.kl for one in self.compared())),
                 Column("left", "estimate", percent=True), Column("items", "number"), Column("of"))  # fmt: skip
        sizes = [(one.windows, f"windows of {one.window} tokens of {_held(one)}") for one in self.texts]
        sizes += [(len(task.items), f"items, {task.measures.title}") for task in self.tasks]
        rows = tuple((one.name, one.dense, one.pruned, one.kl, one.left, *size)
                     for one, size in zip(self.compared(), sizes, strict=True))  # fmt: skip
        caption = f"{self.model.name} beside {self.dense.name}"
        return Table("compared", caption, heads, rows)

    def _texts(self) -> Table:
        divergence = f"KL({self.dense.name} || {self.model.name}), nats per token" if self.dense else "KL"
        lengths = " or ".join(str(length) for length in sorted({one.window for one in self.texts}))
        heads = (Column("text"), Column("held out"), Column(f"windows of {lengths} tokens", "number"),
                 Column("of tokens", "number", show="varying"),
                 Column("perplexity", "estimate", show=_where(one.perplexity for one in self.texts)),
                 Column("nats per token", "estimate", show=_where(one.nats_per_token for one in self.texts)),
                 Column("dense perplexity", "estimate", show=_where(one.dense for one in self.texts)),
                 Column(divergence, "estimate", show=_where(one.kl for one in self.texts)))  # fmt: skip
        rows = tuple(
            (text.name, _held(text), text.windows,
             text.window, text.perplexity, text.nats_per_token, text.dense, text.kl)
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


def _held(text: TextResult) -> str:
    return f"{text.held}{': NOT held out' if text.held == 'calibration text' else ''}"


def _where(values: Iterable[Estimate | None]) -> Literal["always", "never"]:
    """Whether readers are shown a column: where anything was measured."""
    return "always" if any(value is not None for value in values) else "never"


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
