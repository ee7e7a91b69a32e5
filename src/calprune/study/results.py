"""What a study found, as plain rows: all that statistics, pages and queries read. No torch is imported here."""

from dataclasses import dataclass
from typing import Any, Literal

Metric = Literal["perplexity", "kl", "accuracy", "exact_match"]
LOWER_IS_BETTER: frozenset[str] = frozenset({"perplexity", "kl"})


@dataclass(frozen=True)
class Result:
    """One evaluation of one trial."""

    trial: str  # its id
    model: str
    calibration: str  # the label of the set's recipe, without draw and amount; "none": the method reads no data
    method: str
    pattern: str
    allocation: str
    propagate: str
    num_samples: int | None  # sequences of the calibration set; None: no data
    tokens: int | None  # of the set that count in the statistics
    draw: int | None  # its seed; None: no data
    evaluation: str  # as the study writes it: "perplexity(wikitext2)", "boolq(examples=200)"
    metric: Metric
    capability: str  # "general", "commonsense", "mathematics", "code", "knowledge", "language"
    value: float
    items: tuple[float, ...]  # one value an item, in the items' order: nats a token of a window; 1 or 0 of a question
    dense: float  # the dense model's value
    dense_items: tuple[float, ...]
    chance: float | None  # the value of guessing, for accuracies

    @property
    def cell(self) -> tuple[str, ...]:
        """What is the same for all draws."""
        named = (self.model, self.calibration, self.method, self.pattern, self.allocation, self.propagate)
        return (*named, str(self.num_samples))


@dataclass(frozen=True)
class Failure:
    """A trial that did not end, kept with what it said."""

    trial: str
    label: str  # "gsm8k:icl wanda 60% draw 2"
    error: str


@dataclass(frozen=True)
class Similarity:
    """How like a reference text a calibration's text is, by one measure."""

    calibration: str
    measure: str  # "Jaccard of word 3-grams to fineweb_edu"
    value: float
    higher_is_more_alike: bool


@dataclass(frozen=True)
class Results:
    """Everything that a page shows of a study."""

    title: str
    question: str
    rows: tuple[Result, ...]
    failed: tuple[Failure, ...]
    missing: int  # trials that are not there yet
    similarity: tuple[Similarity, ...]
    about: dict[str, Any]  # sizes, versions, commands, seconds, forward passes run and saved: shown as they are
