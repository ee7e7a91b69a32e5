"""What a study found, as plain rows: all that statistics, pages and queries read; and how far it is. No torch is
imported here."""

import dataclasses
import math
import shlex
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from calprune.base.store import read_json
from calprune.base.values import UserError
from calprune.base.yamls import parse_yaml
from calprune.calibration.provenance import Drawn
from calprune.evaluation.metric import USUAL_INTEREST, Interest, Metric, read_interest
from calprune.studies.axes import AXES, Setting
from calprune.studies.claims import Claim, read_claims
from calprune.studies.folder import Runs, study_text
from calprune.studies.records import PlanRecord, PruneRecord, read_evaluation, read_pruned
from calprune.studies.trial import Trial

STUDY = "study.yaml"  # the study's file, in its folder and on its page
OVERLAPPING = "sources whose draws share documents"
SHARED = ("load", "build", "collect", "dense")  # seconds that trials share: of a model, a set, its sums, the references


@dataclass(frozen=True)
class Result:
    """One evaluation of one trial. Each axis is an attribute too: `row.method`, `row.pattern`, ..."""

    trial: str  # its id
    axes: Setting  # axis -> its value as the study writes it
    tokens: int | None  # of the set that count in the statistics
    draw: int | None  # its seed; None: no data
    evaluation: str  # as the study writes it: "perplexity(wikitext2)", "boolq(examples=200)"
    measures: Metric
    capability: str  # "general", "commonsense", "mathematics", "code", "knowledge", "language"
    value: float
    items: tuple[float, ...]  # one value an item, in the items' order: nats a token of a window; 1 or 0 of a question
    dense: float  # the dense model's value
    dense_items: tuple[float, ...]
    chance: float | None  # the value of guessing, for accuracies
    sources: tuple[str, ...] = ()  # of the calibration's text, by name; empty: as its label says
    by_token: Mapping[str, tuple[int, float]] = field(default_factory=dict)  # of KL: a token's number and mean

    def __getattr__(self, name: str) -> str:
        if name in AXES and (axes := self.__dict__.get("axes")) is not None:
            return axes[name]
        raise AttributeError(f"a result has no {name}")

    @property
    def metric(self) -> str:
        """Its metric's name: "perplexity", "kl", "accuracy", ..."""
        return self.measures.name

    @property
    def num_samples(self) -> int | None:
        """Sequences of the calibration set; None: no data."""
        return self.axes.value("num_samples")

    @property
    def cell(self) -> tuple[str, ...]:
        """What is the same for all draws."""
        return tuple(self.axes.values())

    @property
    def setting(self) -> dict[str, str]:
        """The fields by which a claim selects it."""
        return self.axes | {"evaluation": self.evaluation}

    def but(self, **axes: str) -> "Result":
        """The same with other values on these axes."""
        return replace(self, axes=Setting(self.axes | axes))


_APART = ("trial", "axes", "by_token")  # no column: its text is not kept beside figures
_FIELDS = [field.name for field in dataclasses.fields(Result) if field.name not in _APART]
COLUMNS = ("trial", *AXES, *("metric" if name == "measures" else name for name in _FIELDS))


@dataclass(frozen=True)
class Failure:
    """A trial that did not end, kept with its error."""

    trial: str
    label: str  # "gsm8k:icl wanda 60% draw 2"
    error: str


@dataclass(frozen=True)
class LikenessRow:
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
    similarity: tuple[LikenessRow, ...]
    about: dict[str, Any]  # sizes, versions, commands, seconds, forward passes run and saved: shown as they are
    stand_ins: dict[str, str] = field(default_factory=dict)  # sources that are not the data set of their name: what is
    claims: tuple[Claim, ...] = ()  # of papers, to be judged
    interest: Interest = USUAL_INTEREST  # the smallest differences that the user would act on
    left_out: tuple[str, ...] = ()  # of the study that this one is a smaller copy of
    labels: dict[str, str] = field(default_factory=dict)  # what is read for a method, a pattern, ...

    def best(self) -> Result | None:
        """The row that is best by the study's first evaluation, so far."""
        first = self.about["evaluations"][0]
        rows = [row for row in self.rows if row.evaluation == first]
        return max(rows, key=lambda row: row.measures.oriented(row.value), default=None)


@dataclass(frozen=True)
class TrialRecord:
    """A trial with what is in its folder."""

    id: str
    trial: Trial
    pruned: PruneRecord | None
    environment: dict[str, Any] | None


def read(folder: str | Path) -> Results:
    """Everything that a folder holds of the study that it now has. Raises UserError when it is not such a folder."""
    runs = Runs(Path(folder))
    plan = runs.plan()
    trials = [_trial_record(runs, name) for name in plan.trials]
    rows = [row for one in trials for row in _rows(runs, one, plan)]
    whole = sum(runs.whole(one.id, list(plan.evaluations)) for one in trials)
    errors = [(one, error) for one in trials if (error := runs.error(one.id)) is not None]
    failed = tuple(Failure(one.id, one.trial.label, error) for one, error in errors)
    missing = len(trials) - whole - len(failed)
    about = _account(runs, plan, trials)
    similar, stand_ins = _similarity(runs, plan), _stand_ins(runs, plan, trials)
    written = of_text(about[STUDY], str(runs.path / STUDY))
    return Results(plan.title, plan.question, tuple(rows), failed, missing, similar, about, stand_ins, *written)


class BestSoFar:
    """The best row of a study that goes on; each trial is read once, when it is there."""

    def __init__(self, runs: Runs) -> None:
        self.runs, self._read = runs, set[str]()
        self._best: Result | None = None

    def look(self) -> Result | None:
        """By the study's first evaluation."""
        plan = self.runs.plan()
        first = next(iter(plan.evaluations))
        for name in plan.trials:
            if name not in self._read and self.runs.whole(name, [first]):
                self._read.add(name)
                for row in _rows(self.runs, _trial_record(self.runs, name), plan):
                    if row.evaluation == plan.evaluations[first] and self._is_better(row):
                        self._best = row
        return self._best

    def _is_better(self, row: Result) -> bool:
        oriented = row.measures.oriented
        return self._best is None or oriented(row.value) > oriented(self._best.value)


@dataclass(frozen=True)
class Status:
    """Trials, counted."""

    done: int
    running: int
    failed: int
    missing: int  # that nobody works on

    @property
    def left(self) -> int:
        return self.running + self.missing

    def __str__(self) -> str:
        total = self.done + self.failed + self.left
        parts = [f"{self.done} of {total} trials done", *(f"{n} {what}" for n, what in
                 ((self.running, "running"), (self.failed, "failed"), (self.missing, "missing")) if n)]  # fmt: skip
        return ", ".join(parts)


def status(runs: Runs) -> Status:
    """Count the trials of the folder's plan."""
    plan = runs.plan()
    evaluations = list(plan.evaluations)
    counts = {"done": 0, "running": 0, "failed": 0, "missing": 0}
    for trial in plan.trials:
        if runs.whole(trial, evaluations):
            counts["done"] += 1
        elif runs.claimed(trial):
            counts["running"] += 1
        else:
            counts["missing" if runs.error(trial) is None else "failed"] += 1
    return Status(**counts)


def _trial_record(runs: Runs, name: str) -> TrialRecord:
    folder = runs.trial(name)
    pruned = read_pruned(folder / "prune.json")
    environment = read_json(folder / "environment.json", "a trial") if pruned else None
    return TrialRecord(name, runs.record(name), pruned, environment)


def _rows(runs: Runs, one: TrialRecord, plan: PlanRecord) -> Iterator[Result]:
    trial = one.trial
    parts = [part for recipe in (trial.recipe, trial.refine_on) if recipe for part in recipe.parts]
    for name in plan.evaluations:
        if one.pruned is None or not (path := runs.result(one.id, name)).is_file():
            continue
        found, dense = read_evaluation(path), read_evaluation(runs.dense_there(trial.model_id, trial.dtype, name))
        tokens = one.pruned.tokens
        yield Result(one.id, trial.setting, None if tokens is None else round(tokens), trial.draw, found.evaluation,
                     found.measures, found.capability, found.value, found.items, dense.value, dense.items, found.chance,
                     tuple(dict.fromkeys(part.source for part in parts)), found.by_token)  # fmt: skip


def of_text(study: str | None, where: str) -> tuple[tuple[Claim, ...], Interest, tuple[str, ...], dict[str, str]]:
    """The claims, the smallest differences of interest, what was left out and the labels of a study's YAML as it was
    last run."""
    written = {} if study is None else parse_yaml(study, where)
    if not isinstance(written, dict):
        raise UserError(f"{where} is no study: it is damaged or was edited; run the study again")
    least = written.get("of_interest", {})  # its names were looked at when the study was read
    interest = read_interest(least, f"{where}: of_interest", least)
    labels = {str(name): label for name, label in written.get("labels", {}).items()}
    return read_claims(written.get("claims", []), where), interest, tuple(written.get("left_out", ())), labels


def _stand_ins(runs: Runs, plan: PlanRecord, trials: list[TrialRecord]) -> dict[str, str]:
    """By source, of the sets that these trials were calibrated on and of what they were compared with."""
    sets = sorted({name for one in trials for name in (one.trial.set_id, one.trial.refine_id) if name})
    files = [runs.path / "calibration" / name / "counts.json" for name in sets]
    heads = [read_json(path, "a calibration set") for path in files if path.is_file()]
    compared = [read_json(path, "similarities") for path in map(runs.similarity, plan.similarity) if path.is_file()]
    named = [(part["source"], part["stand_in"]) for head in heads for part in head["drawn"]]
    named += [(one["reference"], one.get("stand_in")) for one in compared]
    return {source: what for source, what in named if what}


def _overlapping(runs: Runs, trials: list[TrialRecord]) -> list[str]:
    """The sources that have too few documents for their draws, each with the draws that it has documents for."""
    fewest: dict[str, float] = {}
    seeds: dict[str, set[int | None]] = defaultdict(set)
    for one in trials:
        if one.trial.recipe is None or one.trial.recipe.with_replacement or one.trial.set_id is None:
            continue
        if (path := runs.path / "calibration" / one.trial.set_id / "counts.json").is_file():
            for part in read_json(path, "a calibration set")["drawn"]:
                if (apart := Drawn(**part).draws) is not None:
                    fewest[part["source"]] = min(fewest.get(part["source"], apart), apart)
                    seeds[part["source"]].add(one.trial.draw)
    return [f"{source} (documents for {int(apart)} of {len(seeds[source])})" for source, apart in fewest.items()
            if apart < len(seeds[source])]  # fmt: skip


def _similarity(runs: Runs, plan: PlanRecord) -> tuple[LikenessRow, ...]:
    """A row a calibration and measure; what is measured of the calibration's text alone is there once."""
    found: dict[tuple[str, str], LikenessRow] = {}
    for path in map(runs.similarity, plan.similarity):
        if path.is_file():
            rows = [LikenessRow(**one) for one in read_json(path, "similarities")["measured"]]
            found |= {(row.calibration, row.measure): row for row in rows}
    return tuple(found.values())


def _account(runs: Runs, plan: PlanRecord, trials: list[TrialRecord]) -> dict[str, Any]:
    """What the study took, what sharing saved, and how to make it again: figures by name, for people. A pass: one
    forward of a set through the dense model, with its sums."""
    there = [one for one in trials if one.pruned]
    dense = [one.trial for one in there if one.trial.set_id and one.trial.shares_sums]
    collected = len({trial.group for trial in dense})
    spent, alone = _seconds(runs, plan, there)
    versions = sorted({tuple(sorted(one.environment.items())) for one in there if one.environment})
    recipes = [one.trial.recipe for one in trials if one.trial.recipe]
    overlapping = _overlapping(runs, trials)
    folder = shlex.quote(runs.path.resolve().name)
    return {
        "trials": len(trials),
        "draws": len({recipe.seed for recipe in recipes}),
        **({OVERLAPPING: overlapping} if overlapping else {}),
        "sequences of a set": sorted({recipe.num_samples for recipe in recipes}),
        "tokens of a sequence": sorted({recipe.max_seq_length for recipe in recipes}),
        "evaluations": list(plan.evaluations.values()),
        "passes that collect sums": collected,
        "passes that sharing saved": len(dense) - collected,
        "seconds": round(spent),
        "seconds if each trial ran alone": round(alone),
        "versions": [" ".join(f"{name} {v}" for name, v in one if name != "format") for one in versions],
        "commands": [f"calprune study run study.yaml --runs {folder}",
                     f"calprune study report {folder} --out report.html"],
        STUDY: study_text(path) if (path := runs.path / STUDY).is_file() else None,
    }  # fmt: skip


def _seconds(runs: Runs, plan: PlanRecord, there: list[TrialRecord]) -> tuple[float, float]:
    """What the trials took, and what they would have taken had each loaded, built, collected and judged for itself."""
    paid: dict[tuple[str, tuple], float] = {}  # (part, of what) -> its seconds: the longest that one trial paid
    spent = alone = 0.0
    for one in there:
        assert one.pruned is not None
        for part, value in one.pruned.seconds.items():
            spent += value
            if part in SHARED:
                paid[part, _of(one.trial, part)] = max(paid.get((part, _of(one.trial, part)), 0.0), value)
            else:
                alone += value
    for trial in [one.trial for one in there]:
        parts = [part for part in SHARED if part != "collect" or trial.shares_sums]
        alone += sum(paid.get((part, _of(trial, part)), 0.0) for part in parts)
    files = [runs.result(one.id, name) for one in there for name in plan.evaluations]
    evaluated = math.fsum(read_evaluation(path).seconds or 0.0 for path in files if path.is_file())
    return spent + evaluated, alone + evaluated


def _of(trial: Trial, part: str) -> tuple:
    """What a part is shared by: the same set, the model's pass over it, or the model."""
    return {"build": (trial.set_id,), "collect": (trial.model_id, trial.set_id)}.get(part, (trial.model_id,))
