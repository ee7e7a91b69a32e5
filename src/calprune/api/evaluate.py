"""Judge a model: perplexity, divergence from the dense model, and tasks."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calprune.api.arguments import EvaluationLike, ModelLike, as_data_root, as_evaluations, open_model
from calprune.api.models import Dtype
from calprune.api.progress import ProgressLike, shown
from calprune.base.checks import Count, checked
from calprune.base.progress import current, tracking
from calprune.base.values import UserError
from calprune.calibration.build import open_source
from calprune.calibration.set import tokenizer_hash
from calprune.evaluation.divergence import DenseReference
from calprune.evaluation.evaluation import OnText
from calprune.evaluation.perplexity import perplexity
from calprune.evaluation.tasks import Task
from calprune.evaluation.windows import PROTOCOL, windows_of
from calprune.models.head import Follow
from calprune.models.load import Model
from calprune.pages import Column, HasPage, Page, Section, Table
from calprune.pages.numbers import with_interval
from calprune.text.given import Given
from calprune.uncertainty.estimate import Estimate, mean_of

BATCH = 4  # windows read at a time, where the user does not say
HELD = {"calibration text": "NOT held out: calibration text"}


@dataclass(frozen=True)
class Score:
    """What one evaluation found."""

    evaluation: str  # as it is written: "perplexity(wikitext2)"
    metric: str  # "perplexity", "kl" (nats a token), "accuracy" or "exact_match"
    value: Estimate  # with its 95 % interval over items
    items: tuple[float, ...]  # one value a window (nats a token) or a question (1 or 0)
    capability: str  # "general", "mathematics", ...
    text: str  # what the text is: "evaluation split", "file", "calibration text"; of a task its prompts' hash
    dense: Estimate | None = None  # the dense model's, where it was measured: perplexities
    chance: float | None = None  # the value of guessing, of a task


@dataclass(frozen=True, repr=False)
class Scores(HasPage):
    """What evaluations found of a model."""

    model: str
    model_id: str
    dense: str | None  # the dense model's name
    scores: tuple[Score, ...]  # in the order in which they were asked for
    seconds: float

    def __getitem__(self, evaluation: str) -> Score:
        """The score of an evaluation, as it is written, or the one of a metric: scores["kl"]."""
        found = [one for one in self.scores if evaluation in (one.evaluation, one.metric)]
        if len(found) != 1:
            there = ", ".join(one.evaluation for one in self.scores)
            raise UserError(f"{evaluation!r}: {len(found)} of the evaluations are called so; there are: {there}")
        return found[0]

    def page(self) -> Page:
        """A row for each evaluation."""
        compared, guessed = (any(ones) for ones in zip(*((one.dense, one.chance) for one in self.scores), strict=True))
        columns = (Column("evaluation"), Column("value", "estimate"),
                   Column("dense", "estimate", show="always" if compared else "never"),
                   Column("by guessing", "number", show="always" if guessed else "never"),
                   Column("items", "number"), Column("text"))  # fmt: skip
        rows = tuple(
            (one.evaluation, one.value, one.dense, one.chance, len(one.items), HELD.get(one.text, one.text))
            for one in self.scores
        )
        notes = ["brackets: 95 % intervals over windows or questions"]
        notes += [f"KL: of {self.dense} to {self.model}, nats a token"] if self.dense else []
        notes += (
            [f"perplexity and KL: {PROTOCOL}"] if {one.metric for one in self.scores} & {"perplexity", "kl"} else []
        )
        table = Table("scores", "", columns, rows, tuple(notes))
        return Page(f"{self.model} judged", (Section("scores", tables=(table,)),), summary=_summary(self.scores))


@checked
def evaluate(
    model: ModelLike,
    evaluations: EvaluationLike | Sequence[EvaluationLike],
    *,
    dense: ModelLike | None = None,
    data_root: str | Path | None = None,
    device: str | None = "auto",
    dtype: Dtype | None = None,
    batch_size: Count | None = None,
    progress: ProgressLike | None = None,
) -> Scores:
    """Judge a model on held-out text and on tasks.

        scores = calprune.evaluate("pruned", ["perplexity(wikitext2)", "kl(c4)"], dense="demo")
        scores.table()
        scores["kl"].value.value

    model: `demo`, a folder, a hub name, or a model that is loaded.
    evaluations: "perplexity(c4)", "kl(gsm8k:icl, tokens=16384, length=512)", "boolq(examples=200)",
        "bandari/gsm8k(examples=100)". A text is a source (its evaluation split), a file, or the folder of a set.
    dense: the model that was pruned: needed for `kl`, and perplexities are then shown beside its own.
    data_root: the folder of data sets on disk; None: CALPRUNE_DATA. device: where a model that is loaded here works;
        one that is loaded already stays where it is. dtype: of the weights of models that are loaded here.
    batch_size: windows at a time, which changes nothing but time and memory. progress: bars; None: in a terminal and a
        notebook.

    Raises UserError where a text is too short or cannot be found, for `kl` without `dense`, and where the two models'
    tokenizers are not the same.
    """
    started, asked, root = time.perf_counter(), as_evaluations(evaluations), as_data_root(data_root)
    if dense is None and any(isinstance(one, OnText) and one.metric == "kl" for one in asked):
        raise UserError('dense: KL is measured to the dense model; give its name or folder, dense="demo"')
    for one in asked:
        if not isinstance(one, OnText):
            one.files(root)  # so that what is missing is said before a model is loaded
    texts = dict.fromkeys(one.text for one in asked if isinstance(one, OnText))
    with shown(progress):
        judged = open_model(model, dtype, device)
        of = None if dense is None or not texts else open_model(dense, dtype, device, "dense")
        if of and tokenizer_hash(of.tokenizer) != tokenizer_hash(judged.tokenizer):
            raise UserError(f"dense: the tokenizer of {of.name} is another than that of {judged.name}, so they have no "
                            "token in common")  # fmt: skip
        judge = _Judge(judged, of, root, batch_size or BATCH)
        found = {text: judge.on_text(*text) for text in texts}
        scores = [found[one.text](one) if isinstance(one, OnText) else judge.on_task(one) for one in asked]
    return Scores(judged.name, judged.id, None if dense is None else _name(dense), tuple(scores),
                  time.perf_counter() - started)  # fmt: skip


@dataclass(frozen=True)
class _OnOneText:
    """What was measured on a text's windows."""

    held: str
    own: Any  # Perplexity
    kl: Any  # Divergence; None: no dense model
    dense: Any  # Perplexity of the dense model

    def __call__(self, evaluation: OnText) -> Score:
        if evaluation.metric == "kl":
            value, items = self.kl.estimate(), self.kl.nats
        else:
            value, items = self.own.estimate(), self.own.nats
        dense = self.dense.estimate() if self.dense is not None and evaluation.metric == "perplexity" else None
        return Score(str(evaluation), evaluation.metric, value, tuple(items.tolist()), evaluation.capability, self.held,
                     dense)  # fmt: skip


@dataclass(frozen=True)
class _Judge:
    """The models, and how to run them."""

    model: Model
    dense: Model | None
    data_root: Path | None
    batch_size: int

    def on_text(self, of: str, tokens: int, length: int, skip: int) -> _OnOneText:
        """Perplexity, and the divergence where there is a dense model."""
        given = Given(self.dense or self.model, self.model.tokenizer, self.data_root, current().say)
        text = open_source(of, given, "evaluation")
        windows = windows_of(text.documents(), self.model.tokenizer, length, tokens, skip)
        if self.dense is None:
            own = perplexity(
                self.model.model, windows, batch_size=self.batch_size, follow=_follow(f"perplexity on {of}")
            )
            return _OnOneText(text.held, own, None, None)
        reference = DenseReference(self.dense.model, windows, batch_size=self.batch_size,
                                   follow=_follow(f"the dense model on {of}"))  # fmt: skip
        kl, own = reference.compare(self.model.model, _follow(f"divergence on {of}"))
        return _OnOneText(text.held, own, kl, reference.perplexity())

    def on_task(self, task: Task) -> Score:
        """The share of questions that the model answers right."""
        found = task.run(self.model, self.data_root)
        value = mean_of(found.items)
        assert value is not None, "a task has one item at least"
        return Score(found.task, found.metric, value, found.items, found.capability, f"prompts {found.requests}",
                     chance=found.chance)  # fmt: skip


def _follow(doing: str) -> Follow:
    """The batches of windows as they are taken, reported."""
    return lambda batches: tracking(batches, len(batches), doing)


def _name(model: ModelLike) -> str:
    return model.name if isinstance(model, Model) else str(model)


def _summary(scores: Sequence[Score]) -> str:
    return "; ".join(f"{one.evaluation} {with_interval(one.value)}" for one in scores)
