"""A study: grids of models, calibration sets, methods, patterns and draws. `reading` makes one of a YAML file."""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from typing import Any

from calprune.base.values import ConfigError, choice
from calprune.calibration.recipe import Recipe, parse_spec
from calprune.evaluation.contract import Evaluation
from calprune.evaluation.evaluation import EVALUATIONS
from calprune.evaluation.metric import USUAL_INTEREST, Interest
from calprune.layers.collect import Counting
from calprune.studies.axes import AXES, NO_DATA, Setting, fits, of_zeros, reads_data
from calprune.studies.claims import Claim
from calprune.studies.trial import Trial
from calprune.text.find import find
from calprune.text.source import RecordSource

RECIPE_OPTIONS = [f.name for f in dataclasses.fields(Recipe) if f.name not in ("parts", "num_samples", "seed")]

LARGEST = 100_000  # trials of a study
DTYPES = ("bfloat16", "float16", "float32")  # of models.load, which imports transformers
OUTER = ("model", "method", "pattern", "allocation", "calibration", "num_samples")  # vary slowest; draws follow


@dataclass(frozen=True)
class Calibration:
    """A calibration set of a study without its size and draw."""

    spec: str  # as for `calprune calib build`
    label: str  # its value on the axis: what tables and charts call it
    options: dict[str, Any] = field(default_factory=dict, hash=False)  # fields of Recipe
    refine_on: "Calibration | None" = None  # what a method that refines blocks trains on; None: the same set

    def recipe(self, num_samples: int, max_seq_length: int, seed: int) -> Recipe:
        sizes = {"num_samples": num_samples, "max_seq_length": max_seq_length, "seed": seed}
        return parse_spec(self.spec, **(sizes | self.options))

    def varied(self, variant: "Variant") -> "Calibration":
        """The same with a variant's options, and called so."""
        label = ", ".join(filter(None, (self.label, variant.label)))
        return replace(self, label=label, options=self.options | variant.options)


@dataclass(frozen=True)
class Variant:
    """Options of a recipe that each calibration of a grid is built with: a paper's quirks, say."""

    label: str = ""  # what is added to a calibration's label
    options: dict[str, Any] = field(default_factory=dict, hash=False)  # fields of Recipe


@dataclass(frozen=True)
class Grid:
    """Every combination of the values of its axes, with every draw, is a trial."""

    axes: Mapping[str, tuple[str, ...]]  # axis -> its values as the study writes them; of calibration see `sets`
    calibrations: tuple[Calibration, ...] = ()
    formats: tuple[str, ...] = ()  # each source that has no format of its own, in each of these that it has
    variants: tuple[Variant, ...] = (Variant(),)  # each calibration in each of these
    max_seq_length: int = 512
    draws: int = 3
    ignore: tuple[str, ...] = ()
    min_expert_tokens: int = Counting.min_expert_tokens
    all_experts: bool = False
    min_coverage: float = 0.5
    dtype: str | None = None  # None: as the model is stored

    def __post_init__(self) -> None:
        if self.draws < 1:
            raise ConfigError(f"draws: expected 1 or more; got {self.draws}")
        if self.size > LARGEST:
            raise ConfigError(f"it has up to {self.size:,} trials; a study has at most {LARGEST:,}: fewer draws, or "
                              "values of an axis")  # fmt: skip
        if self.dtype is not None:
            choice(self.dtype, DTYPES, "dtype")
        Counting(self.min_expert_tokens, self.all_experts)  # raises what is wrong
        self._check_fits()
        if "sequential" in self.axes["propagate"]:
            self._check_one_pass()
        if set(self.axes["permute"]) != {AXES["permute"].usual} and not any(map(_has_order, self.axes["pattern"])):
            raise ConfigError("permute: channels are permuted for a pattern like 2:4, not "
                              f"{', '.join(self.axes['pattern'])}")  # fmt: skip

    def _check_fits(self) -> None:
        """Raise ConfigError for a method that is for none of the patterns, or a pattern that no method is for."""
        methods, patterns = self.axes["method"], self.axes["pattern"]
        for method in methods:
            if not any(fits(method, pattern) for pattern in patterns):
                raise ConfigError(f"methods: {method} is for none of the patterns {', '.join(patterns)}")
        for pattern in patterns:
            if not any(fits(method, pattern) for method in methods):
                raise ConfigError(f"patterns: none of the methods {', '.join(methods)} is for {pattern}")

    def _check_one_pass(self) -> None:
        """Raise ConfigError for a method or pattern that is not for `propagate: sequential`."""
        from calprune.pruning.job import check_one_pass

        try:
            for pattern in self.axes["pattern"]:
                if not of_zeros({"pattern": pattern}):
                    raise ConfigError(f"sequential is of zeros in a matrix, and {pattern} takes whole units out")
            for method in self.axes["method"]:
                check_one_pass(AXES["method"].parse(method))
        except ConfigError as e:
            raise ConfigError(f"propagate: {e}; or put it into one of `grids`, beside one without sequential") from None

    @property
    def num_samples(self) -> tuple[int, ...]:
        return tuple(map(int, self.axes["num_samples"]))

    def sets(self) -> list[Calibration]:
        """Its calibrations in each format and each variant."""
        formatted = [made for one in self.calibrations for made in _formatted(one, self.formats)]
        return [one.varied(variant) for one in formatted for variant in self.variants]

    @property
    def size(self) -> int:
        """How many trials it can have at most, without making them."""
        sets = max(1, len(self.calibrations)) * max(1, len(self.formats)) * len(self.variants)
        return math.prod(len(values) for name, values in self.axes.items() if name != "calibration") * sets * self.draws

    def trials(self) -> Iterator[Trial]:
        """A trial a setting and draw, each once, before its model and files are looked at."""
        sets = {one.label: one for one in self.sets()}
        drawn: dict[tuple, tuple[Recipe | None, Recipe | None]] = {}  # thousands of trials share a set
        for setting, seed in self._settings(tuple(sets)):
            one = sets[setting["calibration"]] if setting.reads_data else None
            key = (setting["calibration"], setting["num_samples"], seed)
            if one and key not in drawn:
                sizes = (setting.value("num_samples"), self.max_seq_length, seed)
                drawn[key] = (one.recipe(*sizes), one.refine_on.recipe(*sizes) if one.refine_on else None)
            recipe, refine_on = drawn[key] if one else (None, None)
            yield Trial(
                setting,
                recipe,
                refine_on,
                ignore=self.ignore,
                min_coverage=self.min_coverage,
                dtype=self.dtype,
                min_expert_tokens=self.min_expert_tokens if one else Counting.min_expert_tokens,
                all_experts=self.all_experts if one else False,
            )

    def _settings(self, labels: tuple[str, ...]) -> Iterator[tuple[Setting, int]]:
        """Every combination with every draw; where no data is read there is one draw, 0."""
        values = {**self.axes, "calibration": labels or (NO_DATA,)}
        inner = [name for name in AXES if name not in OUTER]
        seen = set()
        for chosen in product(*(values[name] for name in OUTER)):
            outer = dict(zip(OUTER, chosen, strict=True))
            if not fits(outer["method"], outer["pattern"]):
                continue
            reads = reads_data(outer)
            for seed in range(self.draws if reads else 1):
                for rest in product(*(values[name] for name in inner)):
                    setting = Setting(outer | dict(zip(inner, rest, strict=True))).settled(reads)
                    key = (*setting.values(), seed)
                    if key not in seen:
                        seen.add(key)
                        yield setting, seed


@dataclass(frozen=True)
class Study:
    """What is to be found out, by which trials, judged by what."""

    title: str
    grids: tuple[Grid, ...]
    evaluations: tuple[Evaluation, ...]
    question: str = ""
    similarity: tuple[str, ...] = ()  # reference texts that the calibration sets are compared with
    claims: tuple[Claim, ...] = ()  # of papers, to be judged by the results
    interest: Interest = USUAL_INTEREST  # the smallest differences that the user would act on

    def trials(self) -> Iterator[Trial]:
        """The trials of every grid, each once, before models and files are looked at."""
        yield from self._drafts

    @cached_property
    def _drafts(self) -> tuple[Trial, ...]:
        """They are gone through again and again: to check them, to judge claims, to plan."""
        found: dict[str, Trial] = {}
        for grid in self.grids:
            for trial in grid.trials():
                found.setdefault(trial.draft_id, trial)
        return tuple(found.values())

    def settings(self) -> list[dict[str, str]]:
        """What results can be: each setting with each evaluation."""
        found = {tuple(trial.setting.items()): trial.setting for trial in self.trials()}
        return [
            setting | {"evaluation": EVALUATIONS.write(one)} for setting in found.values() for one in self.evaluations
        ]


def _has_order(pattern: str) -> bool:
    """Whether `permute` has an effect with it."""
    return AXES["permute"].has_effect(Setting(pattern=pattern))


def _formatted(one: Calibration, formats: tuple[str, ...]) -> list[Calibration]:
    """The calibration in each of the formats that its source has; as it is where it says its own, or is no source."""
    parts = parse_spec(one.spec).parts
    if not formats or len(parts) > 1 or parts[0].format or parts[0].source == "self":
        return [one]
    source = find(parts[0].source)
    has = source.formats if isinstance(source, RecordSource) else ()
    return [replace(one, spec=f"{one.spec}:{f}", label=f"{one.label}:{f}") for f in formats if f in has] or [one]
