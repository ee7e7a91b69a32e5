"""What an evaluation is: a frozen dataclass of its options that names its metric and gives one value an item.

It has `run`, or `reference` and `compare` where it compares with the dense model. What it may have beside them:

    capability    what it shows, a name of `capabilities` or another; else "own"
    chance        the value of guessing, for a metric whose retention is above chance
    files         (data_root) -> the files that it reads: their contents are in the name of its results
    check         () -> raises UserError where it cannot be run here
    shares        evaluations with the same `shares` have one reference and one pass in common
    of_dense      (reference) -> as `compare`, of the dense model itself; else it is compared with itself
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from calprune.base.values import ConfigError, identity
from calprune.evaluation.items import Outcomes
from calprune.evaluation.metric import Metric
from calprune.models.load import Model

PAGE = "docs/add-an-evaluation.md"
BY_TOKEN = "kl by token"  # what `compare` may give beside metrics, a `ByToken`
TASK_TOKENS = 100  # of an item of a task, its choices together: a guess


ByToken = Mapping[str, tuple[int, float]]  # a token's text -> how often it is in the evaluation's text, its mean KL


@runtime_checkable
class Evaluation(Protocol):
    """What all evaluations have."""

    version: ClassVar[int]  # in the name of its results; raised when the same model gets other values

    @property
    def measures(self) -> Metric: ...


@runtime_checkable
class Direct(Evaluation, Protocol):
    """It looks at one model."""

    def run(self, model: Model, data_root: Path | None = None) -> "Outcomes | Sequence[float]":
        """One value an item, in the same order for every model."""
        ...


@runtime_checkable
class AgainstDense(Evaluation, Protocol):
    """It compares with the dense model, whose weights are gone when the pruned one is judged."""

    def reference(self, model: Model, data_root: Path | None = None) -> Any:
        """What is kept of the dense model."""
        ...

    def compare(self, model: Model, reference: Any) -> Mapping[str, Any]:
        """The name of a metric -> one value an item. More than one metric where evaluations share the pass. And
        `BY_TOKEN`, where it is known."""
        ...


def check_evaluation_class(evaluation: Any, text: str) -> None:
    """Raise ConfigError for an object that cannot be run."""
    if not isinstance(evaluation.measures, Metric):
        raise ConfigError(f"{text}: measures is no Metric; got {evaluation.measures!r} ({PAGE})")
    if not isinstance(evaluation, (Direct, AgainstDense)):
        raise ConfigError(f"{text} is no evaluation: it has no run, and no reference and compare ({PAGE})")
    if evaluation.measures.needs_dense and not isinstance(evaluation, AgainstDense):
        raise ConfigError(f"{text}: its metric needs the dense model, so it must have reference and compare ({PAGE})")


def capability(evaluation: Evaluation) -> str:
    """What it shows."""
    return getattr(evaluation, "capability", "own")


def files_read(evaluation: Evaluation, data_root: Path | None) -> list[Path]:
    """The files that it reads. Raises UserError where one is not there."""
    return [Path(path) for path in evaluation.files(data_root)] if hasattr(evaluation, "files") else []


def check_runnable(evaluation: Evaluation, data_root: Path | None) -> None:
    """Raise UserError where it cannot be run here, or a file that it reads is not there."""
    if hasattr(evaluation, "check"):
        evaluation.check()
    files_read(evaluation, data_root)


def tokens_read(evaluation: Evaluation) -> int:
    """How many tokens the model reads for it, about: to say how long it takes."""
    return getattr(evaluation, "tokens", None) or (getattr(evaluation, "examples", None) or 1000) * TASK_TOKENS


def shared_by(evaluation: Evaluation) -> Hashable:
    """What is the same for evaluations that have one reference and one pass in common."""
    return getattr(evaluation, "shares", None) or identity(evaluation)


def as_outcomes(evaluation: Evaluation, text: str, found: Outcomes | Sequence[float]) -> Outcomes:
    """What an evaluation, written as `text`, gave. Raises ConfigError for no value, or what is no number."""
    if isinstance(found, Outcomes):
        return found
    try:
        items = tuple(map(float, found))
    except (TypeError, ValueError) as e:
        raise ConfigError(f"{text}: expected one number an item; {e}") from None
    if not items:
        raise ConfigError(f"{text} gave no value")
    if not all(map(math.isfinite, items)):
        raise ConfigError(f"{text} gave NaN or infinity for some items; expected a number of each")
    chance = getattr(evaluation, "chance", None)
    return Outcomes(text, evaluation.measures, items, (), chance, capability(evaluation), identity(evaluation))
