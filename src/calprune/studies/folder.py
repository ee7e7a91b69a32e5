"""The folder of a study's results: what was asked, what is there, and who works on what. No torch is imported here.

    FORMAT                     "calprune 1"
    study.yaml                 the study as given
    plan.json                  the trials and evaluations that it now means; written last
    calibration/<set id>/      each set, as `calprune calib build` writes it
    dense/<model id>/eval/     the dense models' results; dense/<model id>-<dtype>/eval/ where a dtype is wanted
    similarity/<id>.json       how like a reference text the calibrations' texts are, where the study asks
    trials/<trial id>/         trial.json (what was asked) · environment.json · prune.json · eval/<evaluation id>.json
                               claim (while someone works on it) · error.txt (the last failure; gone after a success)

A name is the hash of what is asked, a file is whole or absent, and its presence means done. A claim is a lock that the
kernel gives back when its holder ends, however it ends: so a killed runner leaves nothing to tidy up, and two runners
never do a trial twice. On a shared file system locks must reach across machines (NFS 4 and Lustre's `flock` do).
"""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from calprune.base.claims import claim, is_claimed, shared
from calprune.base.output import check_place
from calprune.base.store import is_free, read_json, write_json, write_whole
from calprune.base.values import UserError
from calprune.studies.records import PlanRecord, read_plan
from calprune.studies.trial import Trial, read_model, read_trial

FORMAT = "calprune 1"


def study_text(path: Path) -> str:
    """What a study's file says. Raises UserError where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as e:
        raise UserError(f"cannot read the study {path}: {getattr(e, 'strerror', None) or e}") from None


def in_a_line(error: str) -> str:
    """What error.txt says, in a line: of a traceback the error itself, where it was raised, and what was being done."""
    lines = error.splitlines()
    at = max((i for i, line in enumerate(lines) if line.startswith("  ")), default=None)
    if at is None or at + 1 == len(lines):
        return lines[-1]
    place = re.findall(r'^  File "(?:.*/)?([^"/]+)", line (\d+)', error, re.MULTILINE)
    named = f" ({':'.join(place[-1])})" if place else ""
    return ", ".join([lines[at + 1] + named, *lines[at + 2 :]])


@dataclass(frozen=True)
class Runs:
    """A folder of results."""

    path: Path

    def create(self) -> None:
        """Make the folder, if it is not there."""
        self.check(new=True)
        if not (self.path / "FORMAT").is_file():
            write_whole(self.path / "FORMAT", FORMAT + "\n")

    def give(self, study: str, plan: PlanRecord) -> None:
        """Write which study the folder now holds. Results of trials that another one had stay."""
        write_whole(self.path / "study.yaml", study)
        plan.write(self.path / "plan.json")

    @contextmanager
    def lasting(self) -> Iterator[tuple[bool, Callable[[], None]]]:
        """plan.json stays as it is while the block runs. Gives whether nobody else works in the folder, so that the
        plan may be written now, and what is to be called when it is: then others may join in."""
        with shared(self.path / "FORMAT") as (alone, settle):
            yield alone, settle

    def check(self, new: bool = False) -> None:
        """Raise UserError unless this is a folder of results that this calprune reads; `new`: or can become one."""
        mark = self.path / "FORMAT"
        check_place(self.path, "runs")
        if mark.is_file():
            if (found := mark.read_text(encoding="utf-8", errors="replace").strip()) != FORMAT:
                raise UserError(f"{self.path} is of format {found!r}, this calprune reads {FORMAT!r}: use the calprune "
                                "that made it, or another folder (--runs)")  # fmt: skip
        elif not new:
            why = "holds no study's results (it has no FORMAT)" if self.path.exists() else "is not there"
            raise UserError(f"{self.path} {why}; give the folder of a study run")
        elif not is_free(self.path):
            raise UserError(f"{self.path} holds something else; name a folder that is absent, empty or a study's")

    def plan(self) -> PlanRecord:
        """What the folder's study means."""
        self.check()
        return read_plan(self.path / "plan.json")

    def trial(self, trial: str) -> Path:
        return self.path / "trials" / trial

    def result(self, trial: str, evaluation: str) -> Path:
        return self.trial(trial) / "eval" / f"{evaluation}.json"

    def dense(self, model_id: str, dtype: str | None, evaluation: str) -> Path:
        """Where a dense model's result is written. dtype: of its weights; None: as they are stored."""
        return self.path / "dense" / (f"{model_id}-{dtype}" if dtype else model_id) / "eval" / f"{evaluation}.json"

    def dense_there(self, model_id: str, dtype: str | None, evaluation: str) -> Path:
        """Where it is read: calprune 0.1 named none by its dtype."""
        found = self.dense(model_id, dtype, evaluation)
        return found if found.is_file() else self.dense(model_id, None, evaluation)

    def similarity(self, name: str) -> Path:
        return self.path / "similarity" / f"{name}.json"

    def record(self, trial: str) -> Trial:
        """What trial.json holds."""
        return read_trial(read_json(self.trial(trial) / "trial.json", "a trial"), f"trials/{trial}/trial.json")

    def add(self, trial: Trial) -> None:
        """Write trial.json, where it is not there yet, or says other labels or paths: those count for nothing in the
        name, and by the paths its model and files are found."""
        path = self.trial(trial.id) / "trial.json"
        if not path.is_file() or self.record(trial.id).to_json() != trial.to_json():
            write_json(path, {"format": 1} | trial.to_json())

    def whole(self, trial: str, evaluations: list[str]) -> bool:
        """Whether the trial is done."""
        return (self.trial(trial) / "prune.json").is_file() and not self.missing(trial, evaluations)

    def missing(self, trial: str, evaluations: list[str]) -> list[str]:
        """The evaluations that this trial lacks, or of which the dense model's result is lacking."""
        model = read_model(read_json(self.trial(trial) / "trial.json", "a trial"))
        return [one for one in evaluations
                if not (self.result(trial, one).is_file() and self.dense_there(*model, one).is_file())]  # fmt: skip

    def error(self, trial: str) -> str | None:
        """What the trial's last failure said."""
        with suppress(FileNotFoundError):
            return (self.trial(trial) / "error.txt").read_text(encoding="utf-8", errors="replace").strip()
        return None

    def fail(self, trial: str, error: str) -> None:
        write_whole(self.trial(trial) / "error.txt", error.strip() + "\n")

    def succeed(self, trial: str) -> None:
        (self.trial(trial) / "error.txt").unlink(missing_ok=True)

    def claim(self, trial: str) -> AbstractContextManager[bool]:
        """Hold the trial while the block runs; gives False when someone else holds it."""
        return claim(self.trial(trial) / "claim")

    def claimed(self, trial: str) -> bool:
        """Whether someone works on it now."""
        return is_claimed(self.trial(trial) / "claim")
