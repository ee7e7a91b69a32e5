"""A trial: one setting with one draw, named by the hash of everything that changes its numbers.

`Trial` is also the record that trial.json holds (format 1); `read_trial` reads it. No torch is imported until a trial's
values are parsed.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from calprune.base.calls import own_code
from calprune.base.values import UserError, identity, plain
from calprune.calibration.recipe import Recipe, read_recipe, write_recipe
from calprune.studies.axes import AXES, Setting, of_zeros

if TYPE_CHECKING:
    from calprune.evaluation.contract import Evaluation
    from calprune.layers.collect import Counting
    from calprune.pruning.job import Pruning
    from calprune.removal.job import Removing

VERSION = 1  # raise it when the same trial gives other numbers

# axes that are in a trial's name by what they mean; any other is there as it is written, where it is not usual
BY_MEANING = ("model", "calibration", "num_samples", "method", "pattern", "allocation", "propagate", "token_weights")


@dataclass(frozen=True)
class Trial:
    """What is pruned, with what, how. No device, no batch size, no path of a file is part of it."""

    setting: Setting
    recipe: Recipe | None  # with its draw; None: no data
    refine_on: Recipe | None  # of the set that the method trains on, where it is another
    ignore: tuple[str, ...]
    min_coverage: float
    dtype: str | None
    min_expert_tokens: int
    all_experts: bool
    model_id: str = ""  # by contents, as the set is; "": they were not looked at yet (see `plan`)
    set_id: str | None = None
    refine_id: str | None = None

    @cached_property
    def id(self) -> str:
        """Labels are not part of it, contents are."""
        assert self.model_id, "a trial has no name before its model and files were looked at"
        return self._named(self.model_id, self.set_id, self.refine_id)

    @property
    def draft_id(self) -> str:
        """The same before models and files are looked at."""
        recipe, refine_on = (write_recipe(one) if one else None for one in (self.recipe, self.refine_on))
        return self._named(self.model, [recipe, self.min_coverage], refine_on)

    def _named(self, model: str, data: Any, refine_on: Any) -> str:
        parts = [plain(self.setting.value(name)) for name in ("method", "pattern", "allocation")]
        if not of_zeros(self.setting):
            parts[0] = plain(self.job.method)  # one name may be a method of zeros and another of removal
        more: list[Any] = [refine_on] if refine_on else []
        more += [plain(self.counting)] if self.counting.summary() else []
        more += [{name: value} for name, value in self.setting.items()
                 if name not in BY_MEANING and value != AXES[name].usual]  # fmt: skip
        more += [{"revision": revision}] if (revision := getattr(self.job, "revision", 0)) else []
        how = [parts, self.setting["propagate"], list(self.ignore), self.dtype]
        return identity([VERSION, model, data, *how, *more])

    def own_code(self, evaluations: "Iterable[Evaluation]") -> dict[str, str]:
        """The modules of the user's own code that it is made and judged by, each with its file's hash."""
        recipes = [one for one in (self.recipe, self.refine_on) if one]
        return own_code(self.job, *recipes, *(one.own_formats for one in recipes), *evaluations)

    @property
    def model(self) -> str:
        """As the study names it: a label."""
        return self.setting["model"]

    @property
    def calibration(self) -> str:
        """The set's label; "none": no data."""
        return self.setting["calibration"]

    @property
    def draw(self) -> int | None:
        return self.recipe.seed if self.recipe else None

    @property
    def label(self) -> str:
        return self.setting.label(self.draw)

    @property
    def shares_sums(self) -> bool:
        """Whether it prunes by sums of the dense model as it is, which serve other trials too."""
        if not of_zeros(self.setting) and self.job.reads in ("model", "gradients"):  # type: ignore[union-attr]
            return False
        return self.setting["propagate"] == "dense" and self.setting["permute"] == AXES["permute"].usual

    @property
    def counting(self) -> "Counting":
        from calprune.layers.collect import Counting

        return Counting(self.min_expert_tokens, self.all_experts, self.setting.value("token_weights"))

    @cached_property
    def job(self) -> "Pruning | Removing":
        """What it does to its model."""
        from calprune.pruning.job import Pruning
        from calprune.removal.job import removing

        value = self.setting.value
        if not of_zeros(self.setting):
            return removing(self.setting["method"], value("pattern"), propagate=value("propagate"),
                            counting=self.counting, ignore=self.ignore, permute=value("permute"),
                            min_coverage=self.min_coverage != Pruning.min_coverage)  # fmt: skip
        return Pruning(value("method"), value("pattern"), ignore=self.ignore, propagate=value("propagate"),
                       min_coverage=self.min_coverage, allocation=value("allocation"), counting=self.counting,
                       permute=value("permute"))  # fmt: skip

    @cached_property
    def group(self) -> tuple:
        """What trials have in common that can share a loaded model, a built set and its sums."""
        return (self.model_id, self.dtype, self.set_id, self.counting)

    def to_json(self) -> dict[str, Any]:
        """Plain data for trial.json."""
        return self.setting | {
            "model": {"name": self.model, "id": self.model_id},
            "set": self.set_id,
            "recipe": write_recipe(self.recipe) if self.recipe else None,
            "refine_set": self.refine_id,
            "refine_on": write_recipe(self.refine_on) if self.refine_on else None,
            "draw": self.draw,
            "num_samples": self.recipe.num_samples if self.recipe else None,
            "min_expert_tokens": self.min_expert_tokens,
            "all_experts": self.all_experts,
            "ignore": list(self.ignore),
            "min_coverage": self.min_coverage,
            "dtype": self.dtype,
            "label": self.label,
        }


def read_model(data: dict[str, Any]) -> tuple[str, str | None]:
    """The identity of a trial's model and its dtype, where no more of trial.json is wanted."""
    return data["model"]["id"], data.get("dtype")


def read_trial(data: dict[str, Any], where: str) -> Trial:
    """The trial that trial.json holds. What a study could not write yet when it was planned has its usual value."""
    try:
        written = {name: data[name] if not axis.usual else data.get(name, axis.usual) for name, axis in AXES.items()}
        amount = data["num_samples"]
        return Trial(
            Setting(written | {"model": data["model"]["name"], "num_samples": "" if amount is None else str(amount)}),
            read_recipe(data["recipe"], where) if data["recipe"] else None,
            read_recipe(data["refine_on"], where) if data.get("refine_on") else None,
            ignore=tuple(data["ignore"]),
            min_coverage=data["min_coverage"],
            dtype=data["dtype"],
            min_expert_tokens=data.get("min_expert_tokens", 128),
            all_experts=data.get("all_experts", False),
            model_id=data["model"]["id"],
            set_id=data["set"],
            refine_id=data.get("refine_set"),
        )
    except (KeyError, TypeError) as e:
        raise UserError(f"{where} is no trial's record: {e} is missing or is not what it should be") from None
