"""From a study to its trials: models and files are looked at, so that each trial can be named by contents.

No weights are loaded: a model's outline has its config and tokenizer, and weights that take no memory.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GenerationConfig

from calprune.calibration.set import tokenizer_hash
from calprune.evaluation.evaluation import EVALUATIONS, check_evaluation, evaluation_id
from calprune.models.load import Model, find_folder, identity, load_tokenizer, quiet_transformers, read_config
from calprune.studies.folder import Runs
from calprune.studies.grid import Study
from calprune.studies.likeness import similarity_ids
from calprune.studies.trial import Trial, group_of, trial_of


@dataclass(frozen=True)
class Plan:
    """The trials of a study, in the order in which they share most, and the names of their evaluations' files."""

    study: Study
    trials: tuple[Trial, ...]
    evaluations: dict[str, str]  # id -> as written
    sizes: dict[str, int]  # parameters of each model

    def written(self) -> dict[str, Any]:
        """Plain data for plan.json."""
        return {
            "title": self.study.title,
            "question": self.study.question,
            "trials": [trial.id for trial in self.trials],
            "evaluations": [{"id": name, "asked": asked} for name, asked in self.evaluations.items()],
            "similarity": similarity_ids(self),
        }

    def ask(self, runs: Runs, study_text: str) -> None:
        """Write what is asked into the folder, plan.json last."""
        runs.create()
        for trial in self.trials:
            runs.ask(trial.id, trial.written())
        runs.give(study_text, self.written())


def plan(study: Study, data_root: Path | None) -> Plan:
    """Look at the study's models and files. Raises UserError where one cannot be found."""
    outlines: dict[str, tuple[Model, str]] = {}
    trials: dict[str, Trial] = {}
    for cell in study.cells():
        if cell.model not in outlines:
            model = outline(cell.model)
            outlines[cell.model] = (model, tokenizer_hash(model.tokenizer))
        trial = trial_of(cell, *outlines[cell.model], data_root)
        trials.setdefault(trial.id, trial)
    for evaluation in study.evaluations:
        check_evaluation(evaluation, next(iter(outlines.values()))[0].tokenizer, data_root)
    first = {group_of(trial): i for i, trial in reversed(list(enumerate(trials.values())))}
    together = sorted(trials.values(), key=lambda trial: first[group_of(trial)])  # else as the study has them
    evaluations = {evaluation_id(one, data_root): EVALUATIONS.write(one) for one in study.evaluations}
    sizes = {name: sum(p.numel() for p in model.model.parameters()) for name, (model, _) in outlines.items()}
    return Plan(study, tuple(together), evaluations, sizes)


def outline(name: str) -> Model:
    """The model without its weights: enough to name and to open what it would calibrate on."""
    folder = find_folder(name)
    tokenizer = load_tokenizer(name)
    with quiet_transformers(), torch.device("meta"):
        model = AutoModelForCausalLM.from_config(read_config(folder)).eval()
        if (folder / "generation_config.json").is_file():
            model.generation_config = GenerationConfig.from_pretrained(folder)
    return Model(model, tokenizer, name, identity(name))
