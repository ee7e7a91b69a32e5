"""How long `choose` may take.

The gate and the verdict are studies in DIR/runs: resumable, and trials that both have are done once.
"""

import dataclasses
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import yaml

from calprune.base.progress import duration, whole
from calprune.base.values import ConfigError, UserError
from calprune.choosing.question import Question
from calprune.evaluation.evaluation import OnText
from calprune.evaluation.metric import KL, PERPLEXITY, Interest
from calprune.report.findings import Findings
from calprune.studies.bench import Knobs
from calprune.studies.folder import Runs, in_a_line
from calprune.studies.plan import Plan, plan
from calprune.studies.reading import parse_study
from calprune.studies.results import Results, read
from calprune.studies.runner import begin, work
from calprune.studies.time_left import StudyLeft, estimate

SECONDS = {"s": 1, "m": 60, "h": 3600}


class Clock:
    """Runs from when it is made. `seconds`: None for as long as it takes."""

    def __init__(self, seconds: float | None = None) -> None:
        self.seconds = seconds
        self._began = time.monotonic()

    def spent(self) -> float:
        return time.monotonic() - self._began

    def left(self) -> float:
        return math.inf if self.seconds is None else self.seconds - self.spent()


def parse_budget(text: str | None) -> float | None:
    """Seconds of "90s", "30m" or "2h"."""
    if text is None:
        return None
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([smh])\s*", text)
    if match is None or not float(match[1]) > 0:
        raise ConfigError(f"--budget: cannot read {text!r}; write it like 90s, 30m or 2h")
    return float(match[1]) * SECONDS[match[2]]


@dataclass
class Trials:
    """Studies of one question, with any calibrations, in one folder."""

    question: Question
    runs: Runs
    knobs: Knobs
    tokens: Mapping[str, int]  # of the half of each capability's text that judges
    seconds_each: float | None = None  # of a trial, as measured

    def plan(self, calibrations: Mapping[str, str]) -> tuple[Plan, str]:
        """The study of these calibrations, label -> spec, and its text. Raises UserError as `study.plan` does."""
        q = self.question
        study = {
            "title": f"Calibration data for {q.model}",
            "question": f"Which calibration data should {q.model} be pruned with?",
            "models": q.model,
            "calibrations": [{"spec": spec, "label": label} for label, spec in calibrations.items()],
            "methods": [q.method_text],
            "patterns": [str(q.pattern)],
            "num_samples": q.num_samples,
            "max_seq_length": q.max_seq_length,
            "draws": q.draws,
            "evaluations": [
                str(one) for metric in (KL.name, PERPLEXITY.name) for one in self.evaluations(metric).values()
            ],
        }
        if q.of_interest != KL.of_interest:
            study["of_interest"] = {"nats": q.of_interest}
        text = yaml.safe_dump(study, sort_keys=False, allow_unicode=True)
        return plan(parse_study(text, "study.yaml"), self.knobs.data_root), text

    def evaluations(self, metric: str) -> dict[str, OnText]:
        """By capability, on the half of its text that no search looks at."""
        q = self.question
        return {
            one.name: OnText(metric, one.text, self.tokens[one.name], q.window, self.tokens[one.name])  # type: ignore
            for one in q.capabilities
        }

    def estimate(self, made: Plan) -> float:
        """Seconds that the missing trials may take, roughly: by this machine's speed, or by finished trials."""
        missing = self.missing(made)
        if self.seconds_each is not None:
            return self.seconds_each * len(missing)
        return estimate(made, missing, self.knobs.device) if missing else 0.0

    def missing(self, made: Plan) -> list:
        """The trials that are not whole."""
        there = self.runs.path.is_dir()
        return [t for t in made.trials if not (there and self._whole(t.id, made))]

    def run(self, made: Plan, text: str, clock: Clock, report: Callable[[str], None], later: int) -> dict[str, str]:
        """Run the missing trials. Returns the error of each calibration that failed, by label. later: what may come
        after them, in trials, to say how long all takes. Raises UserError where the budget ends before, or a trial
        neither failed nor is there."""
        with made.doing(self.runs, text):
            begin(self.runs)
            started, done, wanted = time.perf_counter(), 0, len(self.missing(made))
            with whole(left := StudyLeft(self.runs, made, self.knobs.device, later=later)):
                for tried, one in enumerate(work(self.runs, self.knobs), start=1):
                    done += one.error is None
                    rest = f"; about {duration(left.look())} left" if tried < wanted else ""
                    report(f"{tried} of {wanted} trials: {one.trial.label}{' failed' if one.error else ''}{rest}")
                    if clock.left() <= 0 and tried < wanted:
                        raise UserError(f"the budget ended after {tried} of {wanted} trials; what was done is kept: "
                                        "the same command goes on, or give a larger --budget")  # fmt: skip
        errors = [(trial, self.runs.error(trial.id)) for trial in made.trials]
        lost = {trial.id for trial in self.missing(made)} - {trial.id for trial, error in errors if error}
        if lost:  # else what is compared would be less than was wanted, and nobody would know
            raise UserError(f"{len(lost)} of {len(made.trials)} trials are not there: another command works on "
                            f"{self.runs.path}, or removed them; run this one again when it has ended")  # fmt: skip
        if done:
            self.seconds_each = (time.perf_counter() - started) / done
        return {trial.calibration: in_a_line(error) for trial, error in errors if error}

    def results(self) -> Results:
        return read(self.runs.path)

    def findings(self, calibrations: Sequence[str]) -> Findings:
        """Of the divergences of these calibrations, by label."""
        results = self.results()
        rows = tuple(row for row in results.rows if row.metric == KL.name and row.calibration in calibrations)
        interest = Interest({"nats": self.question.of_interest})
        return Findings(dataclasses.replace(results, rows=rows, interest=interest))

    def _whole(self, trial: str, made: Plan) -> bool:
        return (self.runs.trial(trial) / "trial.json").is_file() and self.runs.whole(trial, list(made.evaluations))
