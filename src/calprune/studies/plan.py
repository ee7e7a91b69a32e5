"""From a study to its trials: models and files are looked at, so that each trial can be named by contents.

No weights are loaded: a model's outline has its config and tokenizer, and weights that take no memory.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from calprune.base.progress import current
from calprune.base.store import read_json
from calprune.base.values import UserError, identity, plain
from calprune.calibration.build import check_sizes, identify
from calprune.calibration.recipe import Recipe
from calprune.evaluation.evaluation import EVALUATIONS, OnText, check_evaluation, evaluation_id
from calprune.likeness.texts import Similarity
from calprune.models.load import Model, outline
from calprune.pruning.scope import scope_of
from calprune.studies.axes import of_zeros
from calprune.studies.folder import Runs
from calprune.studies.grid import Study
from calprune.studies.records import PlanRecord
from calprune.studies.trial import Trial
from calprune.text.document import Given
from calprune.text.encode import tokenizer_hash


@dataclass(frozen=True)
class Plan:
    """The trials of a study, in the order in which they share most, and the names of their evaluations' files."""

    study: Study
    trials: tuple[Trial, ...]
    evaluations: dict[str, str]  # id -> as written
    sizes: dict[str, int]  # parameters of each model
    dtype: torch.dtype  # that they compute in; float32, the slowest, where they differ

    def record(self) -> PlanRecord:
        return PlanRecord(self.study.title, self.study.question, tuple(trial.id for trial in self.trials),
                          self.evaluations, tuple(self.similarity))  # fmt: skip

    def write(self, runs: Runs, study_text: str) -> None:
        """Write what is to be done into the folder, plan.json last."""
        with self.doing(runs, study_text):
            pass

    @contextmanager
    def doing(self, runs: Runs, study_text: str) -> Iterator[None]:
        """What is to be done is written into the folder, and stays so while the block does it; others may join in.
        Raises UserError where another study is done there now."""
        runs.create()
        with runs.lasting() as (alone, settle):
            if alone:
                self._refuse_another(runs)
                for trial in self.trials:
                    runs.add(trial)
                runs.give(study_text, self.record())
                settle()
                for module, n in self.made_by_other_code(runs).items():
                    current().say(f"note: {module} has changed since {n} of the trials of {runs.path} were done; they "
                                  "are kept, and to do them again raise the version of its class")  # fmt: skip
            elif runs.plan() != self.record():
                raise UserError(f"{runs.path}: another study is done there now; let it end, or name another folder "
                                "with --runs")  # fmt: skip
            yield

    def _refuse_another(self, runs: Runs) -> None:
        """Raise UserError where the folder is of another study: its file there would be lost."""
        if (runs.path / "plan.json").is_file():
            there = runs.plan()
            if there.title != self.study.title and not {trial.id for trial in self.trials} & set(there.trials):
                raise UserError(f'{runs.path} holds another study, "{there.title}", which shares no trial with this '
                                "one; name another folder with --runs")  # fmt: skip

    def made_by_other_code(self, runs: Runs) -> dict[str, int]:
        """The modules of the user's own that changed since trials of the folder were done, with how many those are: a
        trial's name has a class's version, and not its code."""
        changed: dict[str, int] = {}
        for trial in self.trials:
            now = trial.own_code(self.study.evaluations)
            if now and runs.whole(trial.id, list(self.evaluations)):
                made = read_json(runs.trial(trial.id) / "environment.json", "a trial")
                for module in (name for name, code in now.items() if made.get(name, code) != code):
                    changed[module] = changed.get(module, 0) + 1
        return changed

    @property
    def likeness(self) -> Similarity:
        """How likeness to the references is measured: as usual, with windows no longer than the sets' sequences, which
        the model can read."""
        usual = Similarity()
        return replace(usual, window=min(usual.window, *(grid.max_seq_length for grid in self.study.grids)))

    @property
    def similarity(self) -> dict[str, str]:
        """The names of the files that `similarity.measure_similarity` makes, with the reference of each."""
        sets = sorted({(trial.calibration, trial.set_id) for trial in self.trials if trial.set_id})
        about = [plain(self.likeness), self.trials[0].model_id, sets]
        return {identity([reference, *about]): reference for reference in self.study.similarity}


def plan(study: Study, data_root: Path | None) -> Plan:
    """Look at the study's models and files. Raises UserError where one cannot be found."""
    outlines: dict[tuple[str, str | None], tuple[Model, str]] = {}
    trials: dict[str, Trial] = {}
    looked_at: set[tuple[str, tuple[str, ...]]] = set()
    checked: set[tuple[str, str]] = set()
    named: dict[tuple[str, int], str] = {}
    for draft in study.trials():
        if (key := (draft.model, draft.dtype)) not in outlines:
            found = outline(*key)
            outlines[key] = (found, tokenizer_hash(found.tokenizer))
        model, tokenizer = outlines[key]
        if draft.ignore and (draft.model, draft.ignore) not in looked_at:
            looked_at.add((draft.model, draft.ignore))
            scope_of(model.model, draft.ignore)  # raises what is wrong
        trial = _identified(draft, model, tokenizer, data_root, named)
        _check_removal(trial, model, checked)
        there = trials.setdefault(trial.id, trial)
        if there.label != trial.label:
            current().note(f"{trial.label} is the same as {there.label}, by contents: it stands under that name")
    for evaluation in study.evaluations:
        if isinstance(evaluation, OnText):
            for model, _ in outlines.values():
                evaluation.check_model(model)
        for model, _ in outlines.values():
            check_evaluation(evaluation, model.tokenizer, data_root)
    first = {trial.group: i for i, trial in reversed(list(enumerate(trials.values())))}
    together = sorted(trials.values(), key=lambda trial: first[trial.group])  # else as the study has them
    names = {name for name, _ in outlines}
    evaluations = {evaluation_id(one, data_root, names): EVALUATIONS.write(one) for one in study.evaluations}
    sizes = {name: sum(p.numel() for p in model.model.parameters()) for (name, _), (model, _) in outlines.items()}
    dtypes = {getattr(torch, model.dtype) if model.dtype else next(model.model.parameters()).dtype
              for model, _ in outlines.values()}  # fmt: skip
    return Plan(study, tuple(together), evaluations, sizes, dtypes.pop() if len(dtypes) == 1 else torch.float32)


def _check_removal(trial: Trial, model: Model, checked: set[tuple[str, str]]) -> None:
    """Raise UserError where the model has no such units to take out; each pattern of a model is looked at once."""
    key = (trial.model, trial.setting["pattern"])
    if not of_zeros(trial.setting) and key not in checked:
        trial.job.plan(model.model)
        checked.add(key)


def _identified(
    trial: Trial, model: Model, tokenizer: str, data_root: Path | None, named: dict[tuple[str, int], str]
) -> Trial:
    """The trial with the names of its model (its outline suffices, and its tokenizer's hash) and sets. `named`: the
    sets' by model and recipe; trials of one set share its recipe (`Grid.trials`)."""
    given = Given(model, data_root=data_root)

    def name_of(recipe: Recipe | None) -> str | None:
        if recipe is None:
            return None
        if (key := (model.computing, id(recipe))) not in named:
            check_sizes(recipe, model, "max_seq_length: ")
            named[key] = identify(recipe, tokenizer, given)
        return named[key]

    try:
        set_id, refine_id = name_of(trial.recipe), name_of(trial.refine_on)
    except UserError as e:
        raise type(e)(f"calibration {trial.label}: {e}") from None
    return replace(trial, model_id=model.id, set_id=set_id, refine_id=refine_id)
