"""Run a study: a grid of models, calibration data, methods and draws, judged."""

from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import yaml

from calprune.allocation import ALLOCATIONS
from calprune.api.arguments import as_data_root
from calprune.api.progress import ProgressLike, shown
from calprune.base.checks import AtLeast, AtMost, Count, checked
from calprune.base.patterns import Pattern, Removal
from calprune.base.progress import current, duration, whole
from calprune.base.values import ConfigError, UserError
from calprune.evaluation.evaluation import EVALUATIONS
from calprune.methods import METHODS
from calprune.pages import HasPage, Page
from calprune.removal import REMOVALS
from calprune.report.files import write_csv, write_html, write_json, write_markdown
from calprune.report.findings import Findings
from calprune.report.kept import write_parquet
from calprune.report.page import page
from calprune.report.tracking import find_tracker, send
from calprune.studies.bench import Knobs
from calprune.studies.cluster import check_places, work_anywhere
from calprune.studies.folder import Runs, study_text
from calprune.studies.plan import plan
from calprune.studies.reading import parse_study
from calprune.studies.results import Failure, Result, Results, Status, read, status
from calprune.studies.runner import MOST_WORKERS, begin
from calprune.studies.similarity import measure_similarity
from calprune.studies.time_left import StudyLeft

Workers = Annotated[int, AtLeast(1), AtMost(MOST_WORKERS)]
REGISTRIES = {"methods": METHODS, "allocations": ALLOCATIONS, "evaluations": EVALUATIONS}  # of objects, by key
WRITTEN = {".html": write_html, ".md": write_markdown, ".csv": write_csv, ".json": write_json,
           ".parquet": write_parquet}  # fmt: skip


@dataclass(frozen=True, repr=False)
class StudyReport(HasPage):
    """What a study found: its page is that of `calprune study report`."""

    folder: Path
    status: Status  # trials done, failed and missing
    results: Results

    @classmethod
    def open(cls, folder: str | Path) -> "StudyReport":
        """Of a study that was run, or is running. Raises UserError where the folder is no study's."""
        runs = Runs(Path(folder))
        return cls(runs.path, status(runs), read(runs.path))

    @property
    def rows(self) -> tuple[Result, ...]:
        """A row for each evaluation of each trial."""
        return self.results.rows

    @property
    def failed(self) -> tuple[Failure, ...]:
        """The trials that did not end, each with its error; the next run tries them again."""
        return self.results.failed

    def page(self) -> Page:
        """The answer, warnings, charts and tables."""
        return page(Findings(self.results))

    def write(self, path: str | Path) -> None:
        """Write what `calprune study report` writes, by the file's ending: .html (a page, no network), .md and .json
        (its answer and tables), .csv (a row a source, setting and evaluation), or .parquet (every result of every item,
        for `calprune study report` and `query`)."""
        form = WRITTEN.get(Path(path).suffix)
        if form is None:
            raise UserError(f"path: expected a file that ends with {', '.join(WRITTEN)}; got {path}")
        form(self.results, path)

    def __repr__(self) -> str:
        return f"<StudyReport: {self.results.title}; {self.status}; {self.folder}>"


@checked
def study(
    study: str | Path | Mapping[str, Any],
    *,
    runs: str | Path | None = None,
    workers: Workers = 1,
    ray: str | None = None,
    gpus_per_trial: float | None = None,
    track: Literal["mlflow", "trackio", "wandb"] | None = None,
    data_root: str | Path | None = None,
    device: str | None = "auto",
    batch_size: Count | None = None,
    progress: ProgressLike | None = None,
) -> StudyReport:
    """Run the missing trials of a study. An interrupted one goes on, and a failed one is tried again.

        report = calprune.study("studies/quickstart.yaml")
        report.table()
        report.write("report.html")

    study: the YAML file, or what it would hold as a mapping (then `runs` is needed):
        calprune.study({"title": "c4 or gsm8k?", "models": "demo", "calibrations": ["c4", "gsm8k:icl"],
                        "methods": "wanda", "patterns": "2:4", "evaluations": ["kl(wikitext2)"]}, runs="runs/mine")
    runs: the folder of results; None: runs/ and the file's name, in the current folder.
    workers: processes on this machine. ray: a Ray cluster instead: "auto", "local" or its address. gpus_per_trial: of a
        task there; 0.5: two trials share a GPU; None: 1 where there are any.
    track: also send the results to this tracker. data_root: the folder of data sets on disk; None: CALPRUNE_DATA.
    device, batch_size: how to run, which changes no result. progress: lines on stderr; None: in a terminal and a
        notebook.

    Trials that fail are in the report's `failed`. Raises UserError where the study cannot be read or planned, or the
    folder holds something else.
    """
    check_places(workers, ray)
    if track:  # so that a mistake shows before hours of work
        find_tracker(track)
    text, name = _written(study)
    knobs = Knobs(device or "cpu", batch_size, as_data_root(data_root), gpus_per_trial)
    folder = Runs(_folder(study, runs))
    with shown(progress):
        made = plan(parse_study(text, name), knobs.data_root)
        with made.doing(folder, text):
            begin(folder)
            said, left = "", StudyLeft(folder, made, knobs.device, workers)
            with whole(left):
                for _ in work_anywhere(folder, knobs, workers, ray):
                    now = status(folder)
                    if str(now) != said:
                        said = str(now)
                        current().say(said + (f"; about {duration(left.look())} left" if now.left else ""))
            measure_similarity(folder, made, knobs)
    if track:
        send(folder, track)
    return StudyReport.open(folder.path)


def _written(study: str | Path | Mapping[str, Any]) -> tuple[str, str]:
    """A study's text, and what an error calls it."""
    if isinstance(study, Mapping):
        return yaml.safe_dump(_plain(study, "study"), sort_keys=False, allow_unicode=True), "study"
    return study_text(Path(study)), Path(study).name


def _plain(value: Any, key: str) -> Any:
    """What YAML holds, with known objects as the text that means them. Raises ConfigError for any other, which `key`
    has."""
    if isinstance(value, Mapping):
        return {str(name): _plain(one, str(name)) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one, key) for one in value]
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Path | date) or (key == "patterns" and isinstance(value, Pattern | Removal)):
        return str(value)
    if key in REGISTRIES and is_dataclass(value) and not isinstance(value, type):
        of = REMOVALS if key == "methods" and type(value) in REMOVALS.values() else REGISTRIES[key]
        return of.write(of.read(value, key))
    raise ConfigError(f"study: {key}: expected text, a number or what such text means; got {type(value).__name__}: "
                      "write it as text")  # fmt: skip


def _folder(study: str | Path | Mapping[str, Any], runs: str | Path | None) -> Path:
    if runs is not None:
        return Path(runs)
    if isinstance(study, Mapping):
        raise UserError('runs: a study that is no file has no name; give the folder of its results: runs="runs/mine"')
    return Path("runs") / Path(study).stem
