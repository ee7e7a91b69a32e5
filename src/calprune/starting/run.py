"""What was proposed is done: a study of the sets, then the better one's model, with one bar for all of it.

DIR/start.json     what was proposed, so that the same command goes on
DIR/data/          the user's files in two parts
DIR/runs/          the study
DIR/report.html    its page
DIR/model/         the pruned model
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from calprune.base.output import check_room, filled_folder
from calprune.base.progress import Progress, Steps, current, showing
from calprune.base.store import is_free, read_json, write_json
from calprune.base.values import UserError
from calprune.calibration.set import CalibrationSet
from calprune.models.load import load
from calprune.pruning.checkpoint import PruneReport
from calprune.pruning.job import Pruned
from calprune.pruning.kept_blocks import kept_in_cache
from calprune.report.files import write_html
from calprune.report.findings import Findings
from calprune.starting.answer import Started, better_set
from calprune.starting.proposal import PASSES, Proposal
from calprune.studies.bench import Knobs
from calprune.studies.folder import Runs, in_a_line
from calprune.studies.plan import Plan, plan
from calprune.studies.reading import parse_study
from calprune.studies.results import read
from calprune.studies.runner import begin, work

RECORD = "start.json"


def read_run(out: Path) -> dict | None:
    """What start.json says of the run in a folder; None: the folder is free. Raises UserError where it holds something
    else."""
    if (out / RECORD).is_file():
        return read_json(out / RECORD, "a start")
    if not is_free(out):
        raise UserError(f"--out {out}: it holds something else; name a folder that is absent or empty, or a start's")
    return None


def carry_out(made: Proposal) -> Started:
    """Do what was proposed, or what is left of it. Raises UserError where a trial fails or the disk has no room."""
    out, knobs = made.wanted.out, made.wanted.knobs
    runs, model = Runs(out / "runs"), out / "model"
    with filled_folder(out):
        check_room(out, made.look.stored)
        write_json(out / RECORD, {"format": 1, "id": made.id, "num_samples": made.num_samples,
                                  "max_seq_length": made.max_seq_length, "judged": made.judged})  # fmt: skip
        for one in made.own:
            one.divide(made.data_folder)
        text = made.study()
        planned = plan(parse_study(text, "study.yaml"), knobs.data_root)
        judged = sum(one.tokens for one in made.texts.values())
        weight = max(1, round(made.look.blocks * judged / (PASSES * made.size)))
        with one_bar(f"{made.look.model.name}: pruning and judging", planned, made.look.blocks, weight, 1) as bar:
            run_study(planned, text, runs, knobs, bar)
            findings = Findings(read(runs.path))
            label = better_set(findings)
            if not model.is_dir():
                save_model(planned, runs, knobs, label, model)
        started = Started(made, findings, label, model, out / "report.html")
        write_html(findings.results, started.page, started.lead())
    return started


class OneBar(Progress):
    """Progress of several pieces of work as one: a block that is pruned is a step, and judging a model is some."""

    def __init__(self, shown: Progress, whole: Steps, blocks: int, judging: int) -> None:
        self.shown, self.whole = shown, whole
        self.blocks, self.judging = blocks, judging  # steps of a trial
        self._begun = False

    @contextmanager
    def steps(self, doing: str, total: int, counted: str = "") -> Iterator[Steps]:
        yield Steps(doing, total, counted, self._block if doing.startswith("pruning ") else lambda inner: None)

    def say(self, line: str) -> None:
        self.shown.say(line)

    def judged(self, models: int = 1) -> None:
        """So many models more were judged."""
        for _ in range(models * self.judging):
            self.whole.advance()

    def found(self, trials: int) -> None:
        """So many trials were done before."""
        for _ in range(trials * (self.blocks + self.judging)):
            self.whole.advance(found=True)

    def _block(self, inner: Steps) -> None:
        """A block is pruned; what was built and loaded before the first one says nothing of the pace."""
        self.whole.advance(found=not self._begun)
        self._begun = True


@contextmanager
def one_bar(doing: str, made: Plan, blocks: int, judging: int, more: int) -> Iterator[OneBar]:
    """The bar of a study's trials and of the dense model, with `more` models that are pruned and not judged."""
    shown = current()
    total = len(made.trials) * (blocks + judging) + judging + more * blocks
    with shown.steps(doing, total) as whole:
        bar = OneBar(shown, whole, blocks, judging)
        with showing(bar):
            yield bar


def run_study(made: Plan, text: str, runs: Runs, knobs: Knobs, bar: OneBar) -> None:
    """Do the trials that are missing. Raises UserError with the first one's error, when all others were tried."""
    with made.doing(runs, text):
        begin(runs)
        names = list(made.evaluations)
        bar.found(sum(runs.whole(trial.id, names) for trial in made.trials))
        for i, _ in enumerate(work(runs, knobs)):
            bar.judged(1 if i else 2)  # the dense model before the first
    errors = [error for trial in made.trials if (error := runs.error(trial.id)) is not None]
    if errors:
        raise UserError(f"{len(errors)} of {len(made.trials)} trials failed: {in_a_line(errors[0])}")
    if not all(runs.whole(trial.id, names) for trial in made.trials):
        raise UserError(f"another command works on {runs.path} now: give this one again when it has ended")


def save_model(made: Plan, runs: Runs, knobs: Knobs, label: str, folder: Path) -> None:
    """Prune again as the set's first trial did, and save the model."""
    trial = next(trial for trial in made.trials if trial.calibration == label)
    loaded = load(trial.model, dtype=trial.dtype, device=knobs.device)
    loaded.prove_origin()
    data = CalibrationSet.load(runs.path / "calibration" / str(trial.set_id))
    size = loaded.origin.checkpoint.size if loaded.origin else 0
    with kept_in_cache(trial.job.named(loaded.model, loaded.id, data), size) as kept:
        done = trial.job.run(loaded.model, data, resume=kept, batch_size=knobs.batch_size)
        assert isinstance(done, Pruned)  # what start takes is a pattern of zeros
        PruneReport.of(loaded, done, data.about(label)).save(folder)
