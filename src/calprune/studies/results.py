"""What a study found, as plain rows: all that statistics, pages and queries read. No torch is imported here."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from calprune.base.store import read_json
from calprune.studies.account import Done, account
from calprune.studies.claims import FIELDS, Claim, Field, Setting
from calprune.studies.claims_reading import read_claims
from calprune.studies.folder import Runs

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
    token_weights: str = "even"  # how often a token counts, beside what the set says
    permute: str = "none"  # how n:m's channels were ordered beforehand
    sources: tuple[str, ...] = ()  # of the calibration's text, by name; empty: as its label says

    @property
    def cell(self) -> tuple[str, ...]:
        """What is the same for all draws."""
        named = (self.model, self.calibration, self.method, self.pattern, self.allocation, self.propagate)
        return (*named, self.token_weights, self.permute, str(self.num_samples))

    @property
    def setting(self) -> Setting:
        """By which a claim selects it."""
        named: dict[Field, str] = {name: str(getattr(self, name)) for name in FIELDS}
        return named | {"num_samples": "" if self.num_samples is None else str(self.num_samples)}


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
    measure: str  # "Jaccard of 3-grams to fineweb_edu"
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
    stand_ins: dict[str, str] = field(default_factory=dict)  # sources that are not the data set of their name: what is
    claims: tuple[Claim, ...] = ()  # of papers, to be judged


def read(folder: str | Path) -> Results:
    """Everything that a folder holds of the study that it now has. Raises UserError when it is not such a folder."""
    runs = Runs(Path(folder))
    plan = runs.plan()
    trials = [Done(i, asked, *_pruned(runs, i)) for i in plan["trials"] for asked in [runs.asked(i)]]
    rows = [row for trial in trials for row in _rows(runs, trial, plan["evaluations"])]
    whole = [trial for trial in trials if runs.whole(trial.id, list(plan["evaluations"]))]
    errors = [(trial, error) for trial in trials if (error := runs.error(trial.id)) is not None]
    failed = tuple(Failure(trial.id, trial.asked["label"], error) for trial, error in errors)
    missing = len(trials) - len(whole) - len(failed)
    about = account(runs, plan, trials)
    similar, stand_ins = _similarity(runs, plan), _stand_ins(runs, plan)
    return Results(
        plan["title"], plan["question"], tuple(rows), failed, missing, similar, about, stand_ins, _claims(runs)
    )


def _claims(runs: Runs) -> tuple[Claim, ...]:
    """As the study had them when it was last run."""
    path = runs.path / "study.yaml"
    written = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return read_claims(written.get("claims", []), str(path))


def _pruned(runs: Runs, trial: str) -> tuple[dict | None, dict | None]:
    folder = runs.trial(trial)
    if not (folder / "prune.json").is_file():
        return None, None
    return read_json(folder / "prune.json", "a trial"), read_json(folder / "environment.json", "a trial")


def _rows(runs: Runs, trial: Done, evaluations: dict[str, str]) -> Iterator[Result]:
    asked, pruned = trial.asked, trial.pruned
    parts = [part for recipe in (asked["recipe"], asked.get("refine_on")) if recipe for part in recipe["parts"]]
    for name in evaluations:
        if pruned is None or not (path := runs.result(trial.id, name)).is_file():
            continue
        found = read_json(path, "a result")
        dense = read_json(runs.dense(asked["model"]["id"], name), "the dense model's result")
        yield Result(
            trial=trial.id, model=asked["model"]["name"], calibration=asked["calibration"], method=asked["method"],
            pattern=asked["pattern"], allocation=asked["allocation"], propagate=asked["propagate"],
            num_samples=asked["num_samples"], tokens=None if pruned["tokens"] is None else round(pruned["tokens"]),
            draw=asked["draw"], evaluation=found["evaluation"], metric=found["metric"],
            capability=found["capability"], value=_value(found), items=tuple(found["items"]), dense=_value(dense),
            dense_items=tuple(dense["items"]), chance=found.get("chance"),
            token_weights=asked.get("token_weights", "even"), permute=asked.get("permute", "none"),
            sources=tuple(dict.fromkeys(part["source"] for part in parts)),
        )  # fmt: skip


def _stand_ins(runs: Runs, plan: dict[str, Any]) -> dict[str, str]:
    """By source, as the sets that were built tell, and what they were compared with."""
    heads = [read_json(path, "a calibration set") for path in sorted(runs.path.glob("calibration/*/counts.json"))]
    compared = [read_json(path, "similarities") for path in map(runs.similarity, plan["similarity"]) if path.is_file()]
    told = [(part["source"], part["stand_in"]) for head in heads for part in head["drawn"]]
    told += [(one["reference"], one.get("stand_in")) for one in compared]
    return {source: what for source, what in told if what}


def _value(found: dict[str, Any]) -> float:
    return math.inf if found["value"] is None else found["value"]  # a perplexity beyond what a number can say


def _similarity(runs: Runs, plan: dict[str, Any]) -> tuple[Similarity, ...]:
    """A row a calibration and measure; what is measured of the calibration's text alone is there once."""
    found: dict[tuple[str, str], Similarity] = {}
    for path in map(runs.similarity, plan["similarity"]):
        if path.is_file():
            rows = [Similarity(**one) for one in read_json(path, "similarities")["measured"]]
            found |= {(row.calibration, row.measure): row for row in rows}
    return tuple(found.values())
