"""A trial: one cell with one draw, named by the hash of everything that changes its numbers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calprune.allocation import Allocation, parse_allocation
from calprune.base.values import UserError, identity, plain
from calprune.calibration.build import identify
from calprune.calibration.recipe import Recipe, read_recipe, write_recipe
from calprune.layers.attention import EVEN, parse_token_weights
from calprune.layers.blocks import Propagate
from calprune.layers.collect import Counting
from calprune.layers.inputs import LADDER, Needs
from calprune.methods import parse_method
from calprune.methods.contract import Method
from calprune.models.load import Model
from calprune.pattern import Pattern, parse_pattern
from calprune.pruning.job import Pruning
from calprune.pruning.permutation import NEVER, parse_permute
from calprune.studies.grid import Cell

VERSION = 1  # raise it when the same trial gives other numbers


@dataclass(frozen=True)
class Trial:
    """What is pruned, with what, how. No device, no batch size, no path of a file is part of it."""

    model: str  # as the study names it: a label
    model_id: str
    calibration: str  # the set's label; "none": no data
    set_id: str | None  # by contents (`calibration.recipe.identify`)
    recipe: Recipe | None
    method: Method
    pattern: Pattern
    allocation: Allocation
    propagate: Propagate
    token_weights: str  # as the study writes them
    ignore: tuple[str, ...]
    min_coverage: float
    dtype: str | None
    names: tuple[str, str, str]  # method, pattern and allocation as the study writes them
    label: str
    refine_id: str | None = None  # by contents: the set that the method trains on, where it is another
    refine_on: Recipe | None = None
    permute: str = NEVER  # as the study writes it
    min_expert_tokens: int = Counting.min_expert_tokens
    all_experts: bool = False

    @property
    def id(self) -> str:
        """Labels are not part of it, contents are."""
        parts = [plain(one) for one in (self.method, self.pattern, self.allocation)]
        more: list[Any] = [self.refine_id] if self.refine_id else []
        more += [plain(self.counting)] if self.counting.told() else []
        more += [{"permute": self.permute}] if self.permute != NEVER else []
        how = [parts, self.propagate, list(self.ignore), self.dtype]
        return identity([VERSION, self.model_id, self.set_id, *how, *more])

    @property
    def counting(self) -> Counting:
        return Counting(self.min_expert_tokens, self.all_experts, parse_token_weights(self.token_weights))

    @property
    def shares_sums(self) -> bool:
        """Whether it prunes by sums of the dense model as it is, which serve other trials too."""
        return self.propagate == "dense" and self.permute == NEVER

    def job(self) -> Pruning:
        return Pruning(self.method, self.pattern, ignore=self.ignore, propagate=self.propagate,
                       min_coverage=self.min_coverage, allocation=self.allocation, counting=self.counting,
                       permute=parse_permute(self.permute))  # fmt: skip

    def written(self) -> dict[str, Any]:
        """Plain data for trial.json, which `read_trial` reads."""
        return {
            "model": {"name": self.model, "id": self.model_id},
            "calibration": self.calibration,
            "set": self.set_id,
            "recipe": write_recipe(self.recipe) if self.recipe else None,
            "refine_set": self.refine_id,
            "refine_on": write_recipe(self.refine_on) if self.refine_on else None,
            "draw": self.recipe.seed if self.recipe else None,
            "num_samples": self.recipe.num_samples if self.recipe else None,
            "method": self.names[0],
            "pattern": self.names[1],
            "allocation": self.names[2],
            "propagate": self.propagate,
            "token_weights": self.token_weights,
            "permute": self.permute,
            "min_expert_tokens": self.min_expert_tokens,
            "all_experts": self.all_experts,
            "ignore": list(self.ignore),
            "min_coverage": self.min_coverage,
            "dtype": self.dtype,
            "label": self.label,
        }


def trial_of(cell: Cell, model: Model, tokenizer: str, data_root: Path | None) -> Trial:
    """The trial that a cell means on this model (its outline suffices, and its tokenizer's hash) and these files."""
    try:
        set_id, refine_id = (identify(recipe, tokenizer, data_root=data_root, model=model) if recipe else None
                             for recipe in (cell.recipe, cell.refine_on))  # fmt: skip
    except UserError as e:
        raise type(e)(f"calibration {cell.label}: {e}") from None
    grid = cell.grid
    return Trial(
        cell.model, model.id, cell.calibration.label if cell.calibration else "none", set_id, cell.recipe, cell.method,
        cell.pattern, cell.allocation, cell.propagate, cell.token_weights, grid.ignore, grid.min_coverage, grid.dtype,
        cell.names, cell.label, refine_id, cell.refine_on, cell.permute, grid.min_expert_tokens, grid.all_experts,
    )  # fmt: skip


def read_trial(data: dict[str, Any], where: str) -> Trial:
    """The trial that trial.json holds."""
    names = (data["method"], data["pattern"], data["allocation"])
    refine_on = data.get("refine_on")  # not there in what was planned before studies could say it, and so are others
    later = {name: data[name] for name in ("permute", "min_expert_tokens", "all_experts") if name in data}
    return Trial(
        data["model"]["name"], data["model"]["id"], data["calibration"], data["set"],
        read_recipe(data["recipe"], where) if data["recipe"] else None, parse_method(names[0]), parse_pattern(names[1]),
        parse_allocation(names[2]), data["propagate"], data.get("token_weights", EVEN), tuple(data["ignore"]),
        data["min_coverage"], data["dtype"], names, data["label"], data.get("refine_set"),
        read_recipe(refine_on, where) if refine_on else None, **later,
    )  # fmt: skip


def group_of(trial: Trial) -> tuple:
    """What trials have in common that can share a loaded model, a built set and its sums."""
    return (trial.model_id, trial.dtype, trial.set_id, trial.counting)


def needs_of(trial: Trial) -> Needs:
    """The sums that the trial reads."""
    return max(trial.method.needs, trial.allocation.needs, key=LADDER.index)
