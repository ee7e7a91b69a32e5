"""How long a study's trials take: by their products before any is done, and by those that are done afterwards."""

import math
import time
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence

import torch

from calprune.base.pace import Parts, drawn
from calprune.calibration.recipe import Recipe
from calprune.evaluation.contract import Evaluation, shared_by, tokens_read
from calprune.models.load import find_device
from calprune.studies.folder import Runs
from calprune.studies.plan import Plan
from calprune.studies.records import read_evaluation, read_pruned
from calprune.studies.trial import Trial

REST = 1.6  # of what a forward pass takes beside its products, measured on the demo model (LOG.md)
LOADED = 100.0  # tokens whose forward pass takes as long as loading the model, or as drawing a set, about


class StudyLeft:
    """Seconds left of a folder's missing trials (`base.pace.Left`). Each part of a trial (a set's sums, pruning,
    judging) is taken to last as it lasted in trials that are done: of its method, else of any, else as predicted by its
    products and by how far such predictions were out. later: what comes after them, in trials."""

    def __init__(self, runs: Runs, made: Plan, device: str | None = "auto", workers: int = 1, later: int = 0) -> None:
        self.runs, self.made, self.workers, self.later = runs, made, workers, later
        self._second = seconds_of(1.0, made.dtype, device)
        self._judged = math.fsum(judging(made.study.evaluations).values())
        self._parts, self._seen = Parts(), set[str]()
        self._held: tuple | None = None  # what the last trial left in memory
        self._when, self._left = time.monotonic(), 0.0
        self._left = self._newest()

    def begin(self, phase: str) -> None:
        """Phases of one trial are not looked at."""

    def reach(self, phase: str, share: float, *, found: bool = False) -> None:
        """Phases of one trial are not looked at."""

    def seconds(self) -> float:
        """What is left, run down by the clock since the last trial ended."""
        return max(0.0, self._left - (time.monotonic() - self._when))

    def look(self) -> float:
        """What is left, after another look at which trials are done."""
        before, now, first = self.seconds(), time.monotonic(), not self._seen
        newest, elapsed = self._newest(), now - self._when
        self._left = newest if first else drawn(before, newest, elapsed)
        self._when = now
        return self._left

    def _newest(self) -> float:
        missing = []
        for trial in self.made.trials:
            if not self._whole(trial):
                missing += [trial] if self.runs.error(trial.id) is None else []
            elif trial.id not in self._seen:
                self._seen.add(trial.id)
                self._learn(trial)
                self._held = trial.group
        seconds = math.fsum(self._of(trial, part) for trial in missing for part in ("prune", "judge"))
        sets = {trial.group: trial for trial in missing if trial.recipe and trial.group != self._held}
        seconds += math.fsum(self._of(one, part) for one in sets.values() for part in ("build", "collect"))
        unseen = {one.model for one in missing} - {one.model for one in self.made.trials if one.id in self._seen}
        firsts = {one.model: one for one in reversed(missing) if one.model in unseen}
        seconds += math.fsum(self._of(one, part) for one in firsts.values() for part in ("load", "dense"))
        seconds += seconds / max(1, len(missing)) * self.later
        return seconds / min(self.workers, max(1, len(missing)))

    def _whole(self, trial: Trial) -> bool:
        there = (self.runs.trial(trial.id) / "trial.json").is_file()
        return there and self.runs.whole(trial.id, list(self.made.evaluations))

    def _learn(self, trial: Trial) -> None:
        record = read_pruned(self.runs.trial(trial.id) / "prune.json")
        paths = [self.runs.result(trial.id, name) for name in self.made.evaluations]
        judged = math.fsum(read_evaluation(path).seconds or 0.0 for path in paths)
        for part, seconds in {**(record.seconds if record else {}), "judge": judged}.items():
            self._parts.add(list(_kinds(trial, part)), seconds, self._predicted(trial, part))

    def _of(self, trial: Trial, part: str) -> float:
        return self._parts.of(list(_kinds(trial, part)), self._predicted(trial, part))

    def _predicted(self, trial: Trial, part: str) -> float:
        tokens = {"prune": solving(trial), "judge": self._judged, "dense": self._judged,
                  "collect": collecting(trial) if trial.shares_sums else 0.0}.get(part, LOADED)  # fmt: skip
        return self._second * self.made.sizes[trial.model] * tokens


def _kinds(trial: Trial, part: str) -> Iterator[Hashable]:
    """What a part of a trial is of, the nearest first."""
    of: tuple[Hashable, ...] = (part, trial.model)
    if part == "prune":
        of = (*of, trial.shares_sums, None if trial.shares_sums else collecting(trial))
        yield (*of, trial.setting["method"], trial.setting["pattern"])
        yield (*of, trial.setting["method"])
    elif part in ("build", "collect"):
        of = (*of, collecting(trial))
        yield (*of, trial.calibration)
    yield of


def estimate(made: Plan, trials: Sequence[Trial], device: str | None = "auto") -> float:
    """Seconds that these of its trials may take here, roughly: their products, by the speed that the device has for one
    now."""
    return seconds_of(passes_of(trials, made.study.evaluations, made.sizes), made.dtype, device)


def passes_of(trials: Sequence[Trial], evaluations: Iterable[Evaluation], sizes: Mapping[str, int]) -> float:
    """The products of trials, in parameters times tokens. Forward passes of the sets and of the texts judged on, with
    the pass for each set shared, solving, and the training of blocks. Text that a model writes is not in it. `sizes`:
    the parameters of each model."""
    judged = math.fsum(judging(evaluations).values())
    shared = {t.group: collecting(t) * sizes[t.model] for t in trials if t.recipe and t.shares_sums}
    alone = math.fsum(sizes[trial.model] * (judged + solving(trial)) for trial in trials)
    return alone + math.fsum(shared.values())


def judging(evaluations: Iterable[Evaluation]) -> dict[Hashable, float]:
    """Tokens that a trial's evaluations read, by what they share; a text is read once."""
    return {shared_by(one): float(tokens_read(one)) for one in evaluations}


def collecting(trial: Trial) -> float:
    """Tokens of the pass that collects sums which trials of one set share."""
    return float(_length(trial.recipe)) if trial.recipe else 0.0


def solving(trial: Trial) -> float:
    """Tokens that go through the model while it is pruned, what takes as long as they included."""
    trained = trial.refine_on or trial.recipe
    tokens = 0.0 if trial.shares_sums else collecting(trial)
    return math.fsum(trial.job.costs("pruning", tokens, float(_length(trained)) if trained else 0.0).values())


def seconds_of(passes: float, dtype: torch.dtype = torch.float32, device: str | None = "auto") -> float:
    """Seconds of so many parameters times tokens that go through a model of this dtype here, by the speed that the
    device has now. device: as commands take it."""
    return REST * 2.0 * passes / _speed(dtype, find_device(device))


def _length(recipe: Recipe) -> int:
    return recipe.num_samples * recipe.max_seq_length


def _speed(dtype: torch.dtype, device: torch.device) -> float:
    """Operations a second of a product as a block has it."""
    a, b = (torch.ones(1024, 1024, dtype=dtype, device=device) for _ in range(2))
    a @ b
    started, n = time.perf_counter(), 0
    while time.perf_counter() - started < 0.3:
        a @ b
        n += 1
    if device.type == "cuda":  # where products wait in a line
        torch.cuda.synchronize(device)
    return n * 2.0 * 1024**3 / (time.perf_counter() - started)
