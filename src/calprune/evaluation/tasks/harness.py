"""Tasks of lm-evaluation-harness with its own prompts and scores, on rows from the data root; nothing is fetched.

The harness (Gao et al., "The Language Model Evaluation Harness", Zenodo 12608602) builds each task from its own YAML;
only where that would load a data set from the hub, it is given our rows in the hub's columns. Of its two scores, `acc`
takes the choice with the largest log-likelihood and `acc_norm` divides that by the choice's length in characters.
Which counts is as pruning papers report it: `acc` (SparseGPT, Wanda), also where leaderboards prefer `acc_norm`;
`Outcomes.other` has the other one.

What differs from the hub's rows: our BoolQ has passages without the title that SuperGLUE puts before them, and our
HellaSwag is a random 1,000 rows, already preprocessed as the harness does it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from calprune.base.progress import followed
from calprune.base.values import UserError, identity
from calprune.evaluation.capabilities import capability_of
from calprune.evaluation.items import Outcomes, check_options, options_text, some, task_files, task_records
from calprune.evaluation.metric import ACCURACY, Metric
from calprune.evaluation.tasks.stock import STOCK, Record
from calprune.models.head import Follow
from calprune.models.load import Model


@dataclass(frozen=True)
class HarnessTask:
    """A task of the harness and how much of it is asked."""

    name: str
    examples: int | None = None  # that many rows at random; None: all
    shots: int | None = None  # examples in the prompt; None: as the field has it, 5 for mmlu and 0 elsewhere
    seed: int = 0  # of the choice of rows, and of the examples in the prompt where they are not the first ones

    tag: ClassVar[str] = "HarnessTask"
    named_by: ClassVar[str] = "name"
    version: ClassVar[int] = 1
    measures: ClassVar[Metric] = ACCURACY

    def __post_init__(self) -> None:
        check_options(self.examples, self.shots, self.seed)
        stock = STOCK[self.name]
        if self.shots is None:
            object.__setattr__(self, "shots", stock.shots)
        if self.shots and not stock.shown:
            raise UserError(f"task {self.name} has no rows to show in a prompt; leave out shots")

    def __str__(self) -> str:
        shots = (self.shots, STOCK[self.name].shots)
        return options_text(self.name, {"examples": (self.examples, None), "shots": shots, "seed": (self.seed, 0)})

    @property
    def capability(self) -> str:
        return capability_of(self.name)

    def files(self, data_root: Path | None = None) -> list[Path]:
        """The files that it reads. Raises UserError where they are not under the data root."""
        shown = [STOCK[self.name].shown] if self.shots else []
        return [path for split in ["evaluation", *shown] for path in task_files(self.name, self.name, split, data_root)]

    def run(
        self,
        model: Model,
        data_root: Path | None = None,
        *,
        batch_size: int | None = None,
        follow: Follow | None = None,
    ) -> Outcomes:
        """Ask the model. `batch_size`: prompts at once, which changes scores by rounding only; None: by their tokens.
        `follow` is told of the batches; None: they are reported to the current progress.

        Raises UserError when lm-evaluation-harness is not installed, or the data is not under the data root.
        """
        self.files(data_root)
        engine = _engine(self.name)
        rows = some(self.rows("evaluation", data_root), self.examples, self.seed, self.name)
        shown = self.rows(STOCK[self.name].shown, data_root) if self.shots else []
        asked = engine.build_items(self.name, rows, shown, shots=self.shots, seed=self.seed)
        scores, cut = engine.answer(asked, model, batch_size, follow or followed(str(self)))
        primary = scores.pop("acc")
        return Outcomes(
            task=str(self), measures=self.measures, items=primary, ids=tuple(at for at, _ in rows),
            chance=sum(1 / len(item.requests) if len(item.requests) > 1 else 0 for item in asked) / len(asked),
            capability=self.capability, requests=identity([[list(r.args) for r in item.requests] for item in asked]),
            cut=cut, other=scores,
        )  # fmt: skip

    def rows(self, split: str, data_root: Path | None) -> list[tuple[str, Record]]:
        """The rows of a split in the hub's columns, each with its id."""
        columns, found = STOCK[self.name].columns, []
        for at, record in task_records(self.name, self.name, split, data_root):
            try:
                row = columns(record)
            except (KeyError, ValueError, TypeError, AttributeError) as e:
                raise UserError(f"task {self.name}: {at} is not a row of {self.name} ({e!r}); "
                                f"its fields: {', '.join(record)}") from e  # fmt: skip
            if row is not None:
                found.append((at, row))
        return found


def _engine(task: str) -> Any:
    try:
        from calprune.evaluation.tasks import harness_engine
    except ModuleNotFoundError as e:
        if str(e.name).startswith("calprune"):
            raise
        raise UserError(f"task {task} needs lm-evaluation-harness ({e.name} is not installed): "
                        "pip install 'calprune[tasks]'") from None  # fmt: skip
    return harness_engine
