"""Judge a model: perplexity, divergence from the dense model, and tasks."""

import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from calprune.api.arguments import EvaluationLike, ModelLike, as_data_root, as_evaluations, open_model
from calprune.api.models import Dtype
from calprune.api.progress import ProgressLike, shown
from calprune.base.checks import Count, checked
from calprune.base.pace import TimeLeft
from calprune.base.progress import current, followed, waiting, whole
from calprune.base.values import UserError
from calprune.calibration.part import open_source
from calprune.calibration.set import tokenizer_hash
from calprune.evaluation.contract import AgainstDense, Evaluation, check_runnable, tokens_read
from calprune.evaluation.divergence import DenseReference
from calprune.evaluation.evaluation import EVALUATIONS, OnText, outcomes_of
from calprune.evaluation.items import Outcomes
from calprune.evaluation.metric import KL, PERPLEXITY
from calprune.evaluation.perplexity import perplexity
from calprune.evaluation.result import Compared, EvaluationResult, ModelName, TextResult, text_name
from calprune.evaluation.tasks.harness import HarnessTask
from calprune.models.load import Model
from calprune.text.document import Given
from calprune.uncertainty.retention import retention_of_one

OWN, DENSE, AGAINST = "perplexity on {}", "the dense model on {}", "divergence on {}"  # what the progress calls them
BATCH = 4  # windows read at a time, where the user does not say


@checked
def evaluate(
    model: ModelLike,
    evaluations: EvaluationLike | Sequence[EvaluationLike],
    *,
    dense: ModelLike | None = None,
    data_root: str | Path | None = None,
    device: str | None = "auto",
    dtype: Dtype | None = None,
    dequantize: bool = False,
    batch_size: Count | None = None,
    progress: ProgressLike | None = None,
) -> EvaluationResult:
    """Judge a model on held-out text and on tasks.

        result = calprune.evaluate("pruned", ["perplexity(wikitext2)", "kl(c4)"], dense="demo")
        result.table()
        result["kl"].value

    model: `demo`, a folder, a hub name, or a model that is loaded.
    evaluations: "perplexity(c4)", "kl(gsm8k:icl, tokens=16384, length=512)", "boolq(examples=200)",
        "bandari/gsm8k(examples=100)", or one of your own, "my_module:Mine(option=1)". A text is a source (its
        evaluation split), a file, or the folder of a set.
    dense: the model that was pruned: needed for `kl` and what else compares with it. All is then shown beside the dense
        model's own: its figures, the divergence from it, and what is left.
    data_root: the folder of data sets on disk; None: CALPRUNE_DATA. device: where a model that is loaded here works;
        one that is loaded already stays where it is. dtype: of the weights of models that are loaded here;
        dequantize: whether quantised ones are made bfloat16, as for `load`.
    batch_size: windows at a time, which changes nothing but time and memory. progress: bars; None: in a terminal and a
        notebook.

    Raises UserError where a text is too short or cannot be found, for `kl` without `dense`, and where the two models'
    tokenizers are not the same.
    """
    started, asked, root = time.perf_counter(), as_evaluations(evaluations), as_data_root(data_root)
    on_text = [one for one in asked if isinstance(one, OnText)]
    tasks = [one for one in asked if not isinstance(one, OnText)]
    needs = [one.measures.title.partition(",")[0] for one in asked if one.measures.needs_dense]
    if dense is None and needs:
        raise UserError(f'dense: {needs[0]} is measured to the dense model; give its name or folder, dense="demo"')
    for task in tasks:
        check_runnable(task, root)  # so that what is missing is said before a model is loaded
    texts = dict.fromkeys(one.text for one in on_text)
    with shown(progress):
        judged = open_model(model, dtype, device, dequantize=dequantize)
        of = None
        if dense is not None:
            of = open_model(dense, dtype, device, "dense", dequantize=dequantize)
        if of and tokenizer_hash(of.tokenizer) != tokenizer_hash(judged.tokenizer):
            raise UserError(f"dense: the tokenizer of {of.name} is another than that of {judged.name}, so they have no "
                            "token in common")  # fmt: skip
        for one in on_text:
            one.check_model(judged)
        judge = _Judge(judged, of, Given(of or judged, judged.tokenizer, root, current().say), batch_size or BATCH)
        with whole(left := TimeLeft(_phases(on_text, tasks, of is not None))):
            found = tuple(judge.on_text([one for one in on_text if one.text == text]) for text in texts)
            answers = tuple(_answers(task, judged, root, of, left) for task in tasks)
            direct = [not isinstance(task, AgainstDense) for task in tasks]
            compared = (
                ()
                if of is None
                else tuple(
                    _answers(task, of, root, of, left) if alone else None
                    for task, alone in zip(tasks, direct, strict=True)
                )
            )
    named = None if dense is None else _named(of or dense)
    return EvaluationResult(ModelName(judged.name, judged.id), named, found, answers, time.perf_counter() - started,
                            compared)  # fmt: skip


@dataclass(frozen=True)
class _Judge:
    """The models, and how to run them."""

    model: Model
    dense: Model | None
    given: Given
    batch_size: int

    def on_text(self, evaluations: Sequence[OnText]) -> TextResult:
        """The evaluations on one text; the dense model's perplexity comes with the divergence for nothing."""
        first = evaluations[0]
        of, length = text_name(first.of, first.begin), first.length
        text = open_source(first.of, self.given, "evaluation")
        windows = first.windows(text.documents(), self.model.tokenizer)
        kl = dense = compared = None
        if self.dense is None:
            own = perplexity(self.model.model, windows, batch_size=self.batch_size, follow=followed(OWN.format(of)))
        else:
            reference = DenseReference(self.dense.model, windows, batch_size=self.batch_size,
                                       follow=followed(DENSE.format(of)))  # fmt: skip
            kl, own = reference.compare(self.model.model, followed(AGAINST.format(of)))
            before = reference.perplexity()
            dense, left = before.estimate(), retention_of_one(own.nats.tolist(), before.nats.tolist(), None)
            compared = Compared(f"perplexity({of})", dense, own.estimate(), kl.estimate(), left)
        asked = {one.metric for one in evaluations}
        wanted = PERPLEXITY.name in asked
        return TextResult(
            of, text.held, len(windows), length, own.estimate() if wanted else None,
            own.nats_per_token() if wanted else None, kl.estimate() if kl and KL.name in asked else None,
            dense if wanted else None, compared,
        )  # fmt: skip


def _phases(on_text: Sequence[OnText], tasks: Sequence[Evaluation], compared: bool) -> dict[str, float]:
    """What the phases of the work cost, by the names that they are reported by, in tokens read."""
    phases = (DENSE, AGAINST) if compared else (OWN,)
    costs = {name.format(text_name(one.of, one.begin)): float(tokens_read(one)) for one in on_text for name in phases}
    return costs | {EVALUATIONS.write(task): float(tokens_read(task)) * (1 + compared) for task in tasks}


def _answers(task: Evaluation, model: Model, root: Path | None, dense: Model | None, left: TimeLeft) -> Outcomes:
    """What a task found; where it does not report how far it is, it is one step."""
    named = EVALUATIONS.write(task)
    left.begin(named)
    with nullcontext() if isinstance(task, HarnessTask) else waiting(f"asking {named}"):
        found = outcomes_of(task, model, root, dense)
    left.reach(named, 1.0 if model is dense or dense is None else 0.5)
    return found


def _named(model: ModelLike) -> ModelName:
    return ModelName(model.name, model.id) if isinstance(model, Model) else ModelName(str(model), "")
