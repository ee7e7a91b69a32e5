"""Tasks by name: questions that a model answers right or wrong, with one outcome for each item.

    find_task("boolq(examples=200, seed=0)").run(model, data_root)

`TASKS` are all names. A task as text is its name, with options in brackets: `examples` (that many rows at random, the
same for every model), `shots` (examples in the prompt), `seed`; `rationales` for `bandari/*`.
"""

from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

from calprune.base.calls import Registry
from calprune.evaluation.bandari import ASKED, BandariTask
from calprune.evaluation.harness import STOCK, HarnessTask
from calprune.evaluation.items import Outcomes
from calprune.models.load import Model


@runtime_checkable
class Task(Protocol):
    """A frozen dataclass of its options."""

    version: ClassVar[int]  # in the name of its results; raised when the same model gets other outcomes

    @property
    def capability(self) -> str:
        """What it shows: a name of `evaluate.capabilities`, or one of your own."""
        ...

    def files(self, data_root: Path | None = None) -> list[Path]:
        """The files that it reads: their contents are in the name of its results. Raises UserError where they are not
        there."""
        ...

    def run(self, model: Model, data_root: Path | None = None) -> Outcomes:
        """Ask the model."""
        ...


TASKS = Registry(
    "task",
    dict.fromkeys(sorted(STOCK), HarnessTask) | dict.fromkeys(sorted(ASKED), BandariTask),
    '"boolq", "mmlu(examples=400, shots=5)" or "bandari/gsm8k(examples=100)"',
    Task,
)


def find_task(text: str) -> Task:
    """The task written as `text`. No model, no data and no harness is touched. Raises ConfigError for a mistake."""
    return TASKS.make(text)
