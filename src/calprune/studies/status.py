"""How far a study is, read off its folder. No torch is imported here."""

from dataclasses import dataclass

from calprune.studies.folder import Runs
from calprune.studies.results import LOWER_IS_BETTER, Result, Results


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
    evaluations = list(plan["evaluations"])
    counts = {"done": 0, "running": 0, "failed": 0, "missing": 0}
    for trial in plan["trials"]:
        if runs.whole(trial, evaluations):
            counts["done"] += 1
        elif runs.claimed(trial):
            counts["running"] += 1
        else:
            counts["missing" if runs.error(trial) is None else "failed"] += 1
    return Status(**counts)


def seconds_left(runs: Runs, left: int) -> float | None:
    """What the missing trials may take, by those that are there; None: none is."""
    plan = runs.plan()
    ends = [path.stat().st_mtime for i in plan["trials"] for path in [runs.trial(i) / "prune.json"] if path.is_file()]
    if len(ends) < 2:
        return None
    recent = sorted(ends)[-20:]  # trials that share a collection come in runs, so look at several
    return (recent[-1] - recent[0]) / (len(recent) - 1) * left


def best(results: Results) -> Result | None:
    """The trial that is best by the study's first evaluation, so far."""
    if not results.rows:
        return None
    first = results.about["evaluations"][0]
    rows = [row for row in results.rows if row.evaluation == first]
    sign = 1 if rows and rows[0].metric in LOWER_IS_BETTER else -1
    return min(rows, key=lambda row: sign * row.value, default=None)
