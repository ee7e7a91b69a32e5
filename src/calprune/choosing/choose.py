"""Choose calibration data for a model: from the question to the pruned model, stage by stage.

    gate        may the sources differ by what is of interest? Where they are shown to differ by less, or are not
                distinguished from draws of one source, the uniform mixture is used
    search      from sums alone: what each source costs each capability, and the shares that cost least
    halving     the best few by KL to the dense model, at growing token budgets
    judgement   the finalists, three draws or more, against the default and the uniform mixture, and these two against
                each other, on fresh text
    result      the winner pruned with pruned propagation, and saved with its set and card

DIR/question.json · <stage>.json (presence means done) · runs/ (a study) · statistics/ (until the end) · calibration/ ·
model/. The same question goes on where it was stopped.
"""

import shutil
from pathlib import Path
from typing import Any

from calprune.base.leftovers import sweep
from calprune.base.output import filled_folder
from calprune.base.store import read_json, refuse_occupied, write_json
from calprune.base.values import UserError
from calprune.choosing.answer import UNIFORM, Choice, FinalVerdict, Gate, Halving, PrunedResult, Search
from calprune.choosing.gate import gate
from calprune.choosing.job import Job, Report, spec_of
from calprune.choosing.mixture import evenly
from calprune.choosing.question import Question, check_apart
from calprune.choosing.search import search
from calprune.choosing.transfer import Shares
from calprune.choosing.trials import Clock
from calprune.choosing.verdict import decided, halving, judgement, result
from calprune.studies.bench import Knobs
from calprune.text.document import Given


def choose(
    question: Question,
    out: str | Path,
    *,
    knobs: Knobs = Knobs(),
    budget: float | None = None,
    report: Report = lambda line: None,
) -> Choice:
    """Answer the question in the folder `out`, or go on there. `budget`: seconds for this call; `report` gets a line on
    each step.

    Raises UserError where a source is also what is judged on, fewer than two sources can be used, the budget does not
    suffice for the gate, the folder holds something else, or another command fills it now.
    """
    folder = Path(out)
    with filled_folder(folder):
        check_apart(question, Given(data_root=knobs.data_root))
        _check_free(folder)
        job = Job(question, folder, knobs, Clock(budget), report)
        _check_same(folder, written := {"format": 1, "id": job.identity(), **question.written()}, job)
        if not (folder / "question.json").is_file():
            write_json(folder / "question.json", written)
        gated: Gate = job.stage(Gate, lambda: gate(job))
        job.trials.seconds_each = job.trials.seconds_each or gated.seconds  # of a run before this one
        searched: Search | None = None
        halved: Halving | None = None
        judged: FinalVerdict | None = None
        if gated.worth_a_search:
            searched = found = job.stage(Search, lambda: search(job, gated))
            halved = best = job.stage(Halving, lambda: halving(job, gated, found))
            judged = job.stage(FinalVerdict, lambda: judgement(job, gated, found, best))
            winner = decided(best, judged)
            shares = found.shares(winner)
        else:
            winner, shares = _without_search(job, gated)
        done: PrunedResult = job.stage(PrunedResult, lambda: result(job, winner, shares))
        shutil.rmtree(folder / "statistics", ignore_errors=True)
        return Choice(question, gated, searched, halved, judged, done, folder, tuple(job.left_out))


def _without_search(job: Job, gated: Gate) -> tuple[str, Shares]:
    """The uniform mixture; where it cannot be built, the default or else the first source."""
    shares = evenly(gated.used)
    try:
        job.set_of(spec_of(shares), seed=0)
        return UNIFORM, shares
    except UserError as e:
        job.report(f"going on without the {UNIFORM}: {e}")
        alone = job.question.default if job.question.default in gated.used else gated.used[0]
        return alone, {alone: 1.0}


def _check_free(folder: Path) -> None:
    if (folder / "question.json").is_file():
        sweep(folder)
    else:
        refuse_occupied(folder)


def _check_same(folder: Path, wanted: dict[str, Any], job: Job) -> None:
    if not (folder / "question.json").is_file():
        return
    if [one.name for one in folder.iterdir() if not one.name.startswith(".")] == ["question.json"]:
        (folder / "question.json").unlink()  # nothing was done for it: a budget was too small
        return
    there = read_json(folder / "question.json", "a question")
    if there["id"] != wanted["id"] and there["id"] != job.identity(worded=False):
        other = "this question, before the model or a text changed" if _less_id(there) == _less_id(wanted) else \
            "another question (its question.json)"  # fmt: skip
        raise UserError(f"{folder} holds the answer to {other}: name another folder with --out")


def _less_id(written: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in written.items() if name != "id"}
