"""What a study took, what sharing saved, and how to make it again: the figures that its page ends with."""

import math
from dataclasses import dataclass
from typing import Any

from calprune.base.store import read_json
from calprune.studies.folder import Runs

SHARED = ("load", "build", "collect", "dense")  # seconds that trials share: of a model, a set, its sums, the references


@dataclass(frozen=True)
class Done:
    """A trial with what was found in its folder."""

    id: str
    asked: dict[str, Any]
    pruned: dict[str, Any] | None  # prune.json; None: it is not there
    environment: dict[str, Any] | None


def account(runs: Runs, plan: dict[str, Any], trials: list[Done]) -> dict[str, Any]:
    """Figures by name, for people. A pass: one forward of a set through the dense model, with its sums."""
    there = [trial for trial in trials if trial.pruned]
    dense = [trial for trial in there if trial.asked["set"] and _shares_sums(trial)]
    counted = ("set", "token_weights", "min_expert_tokens", "all_experts")
    collected = len({(t.asked["model"]["id"], *map(t.asked.get, counted)) for t in dense})
    spent, alone = _seconds(runs, plan, there)
    versions = sorted({tuple(sorted(t.environment.items())) for t in there if t.environment})
    recipes = [trial.asked["recipe"] for trial in trials if trial.asked["recipe"]]
    return {
        "trials": len(trials),
        "draws": len({recipe["seed"] for recipe in recipes}),
        "sequences of a set": sorted({recipe["num_samples"] for recipe in recipes}),
        "tokens of a sequence": sorted({recipe["max_seq_length"] for recipe in recipes}),
        "evaluations": list(plan["evaluations"].values()),
        "passes that collect sums": collected,
        "passes that sharing saved": len(dense) - collected,
        "seconds": round(spent),
        "seconds if each trial ran alone": round(alone),
        "versions": [" ".join(f"{name} {v}" for name, v in one if name != "format") for one in versions],
        "commands": [f"calprune study run study.yaml --runs {runs.path.name}",
                     f"calprune study report {runs.path.name} --out report.html"],
    }  # fmt: skip


def _seconds(runs: Runs, plan: dict[str, Any], there: list[Done]) -> tuple[float, float]:
    """What the trials took, and what they would have taken had each loaded, built, collected and judged for itself."""
    paid: dict[tuple[str, str], float] = {}  # (part, of what) -> its seconds: the longest that one trial paid
    spent = alone = 0.0
    for trial in there:
        assert trial.pruned is not None
        for part, value in trial.pruned["seconds"].items():
            spent += value
            if part in SHARED:
                paid[part, _of(trial, part)] = max(paid.get((part, _of(trial, part)), 0.0), value)
            else:
                alone += value
    for trial in there:
        alone += sum(paid.get((part, _of(trial, part)), 0.0) for part in SHARED if part != "collect" or
                     _shares_sums(trial))  # fmt: skip
    evaluated = _evaluating(runs, plan, there)
    return spent + evaluated, alone + evaluated


def _shares_sums(trial: Done) -> bool:
    """As `Trial.shares_sums`."""
    return trial.asked["propagate"] == "dense" and trial.asked.get("permute", "none") == "none"


def _of(trial: Done, part: str) -> str:
    return trial.asked["set"] or "" if part in ("build", "collect") else trial.asked["model"]["id"]


def _evaluating(runs: Runs, plan: dict[str, Any], there: list[Done]) -> float:
    files = [runs.result(trial.id, name) for trial in there for name in plan["evaluations"]]
    return math.fsum(read_json(path, "a result").get("seconds", 0.0) for path in files if path.is_file())
