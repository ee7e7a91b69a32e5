"""A study: grids of models, calibration sets, methods, patterns and draws. `reading` makes one of a YAML file."""

import dataclasses
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from calprune.allocation import Allocation, parse_allocation
from calprune.base.values import ConfigError, identity, plain
from calprune.calibration.recipe import Recipe, parse_spec, write_recipe
from calprune.evaluation.evaluation import EVALUATIONS, Evaluation
from calprune.layers.attention import EVEN
from calprune.layers.blocks import Propagate
from calprune.layers.collect import Counting
from calprune.methods import parse_method
from calprune.methods.contract import Method
from calprune.pattern import KeepNofM, Pattern, parse_pattern
from calprune.pruning.permutation import NEVER
from calprune.studies.claims import Claim, Field, Setting
from calprune.text.find import find
from calprune.text.source import RecordSource

RECIPE_OPTIONS = [f.name for f in dataclasses.fields(Recipe) if f.name not in ("parts", "num_samples", "seed")]


@dataclass(frozen=True)
class Calibration:
    """A calibration set of a study before its size and draw are said."""

    spec: str  # as for `calprune calib build`
    label: str  # what tables and charts call it
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
    """Every combination of these is a cell."""

    models: tuple[str, ...]
    methods: tuple[str, ...]
    patterns: tuple[str, ...]
    calibrations: tuple[Calibration, ...] = ()
    formats: tuple[str, ...] = ()  # each source that has no format of its own, in each of these that it has
    variants: tuple[Variant, ...] = (Variant(),)  # each calibration in each of these
    allocations: tuple[str, ...] = ("uniform",)
    propagate: tuple[Propagate, ...] = ("dense",)
    token_weights: tuple[str, ...] = (EVEN,)  # how often a token counts, beside what the set says
    num_samples: tuple[int, ...] = (128,)  # amounts of data: sequences
    max_seq_length: int = 512
    draws: int = 3
    permute: tuple[str, ...] = (NEVER,)  # how channels are ordered beforehand, for n:m; other patterns have no order
    ignore: tuple[str, ...] = ()
    min_expert_tokens: int = Counting.min_expert_tokens
    all_experts: bool = False
    min_coverage: float = 0.5
    dtype: str | None = None  # None: as the model is stored

    def __post_init__(self) -> None:
        lists = (
            "models",
            "methods",
            "patterns",
            "allocations",
            "propagate",
            "token_weights",
            "permute",
            "num_samples",
            "variants",
        )
        for name in lists:
            if not getattr(self, name):
                raise ConfigError(f"{name}: expected one at least")
        if self.draws < 1:
            raise ConfigError(f"draws: expected 1 or more; got {self.draws}")
        Counting(self.min_expert_tokens, self.all_experts)  # says what is wrong
        if self.permute != (NEVER,) and not any(isinstance(parse_pattern(p), KeepNofM) for p in self.patterns):
            raise ConfigError(f"permute: channels are permuted for a pattern like 2:4, not {', '.join(self.patterns)}")

    def sets(self) -> list[Calibration]:
        """Its calibrations in each format and each variant."""
        formatted = [made for one in self.calibrations for made in _formatted(one, self.formats)]
        return [one.varied(variant) for one in formatted for variant in self.variants]


@dataclass(frozen=True)
class Cell:
    """One combination with one draw: a trial before its model and set have been looked at."""

    model: str
    calibration: Calibration | None  # None: the method reads no data
    recipe: Recipe | None
    method: Method
    pattern: Pattern
    allocation: Allocation
    propagate: Propagate
    token_weights: str  # as the study writes them
    permute: str  # as the study writes it
    grid: Grid
    names: tuple[str, str, str]  # method, pattern and allocation as the study writes them
    refine_on: Recipe | None = None  # where the method trains on another set than it prunes by

    @property
    def setting(self) -> dict[Field, str]:
        """What the results of all its draws have in common, as they will say it."""
        return {
            "model": self.model,
            "calibration": self.calibration.label if self.calibration else "none",
            "method": self.names[0],
            "pattern": self.names[1],
            "allocation": self.names[2],
            "propagate": self.propagate,
            "token_weights": self.token_weights,
            "permute": self.permute,
            "num_samples": str(self.recipe.num_samples) if self.recipe else "",
        }

    @property
    def label(self) -> str:
        named = [self.calibration.label if self.calibration else "no data", *self.names[:2]]
        named += [self.names[2]] if self.names[2] != "uniform" else []
        named += [self.propagate] if self.propagate != "dense" else []
        named += [self.token_weights] if self.token_weights != EVEN else []
        named += [f"permuted by {self.permute}"] if self.permute != NEVER else []
        return " ".join([*named, f"draw {self.recipe.seed}"] if self.recipe else named)


@dataclass(frozen=True)
class Study:
    """What is to be found out, by which trials, judged by what."""

    title: str
    grids: tuple[Grid, ...]
    evaluations: tuple[Evaluation, ...]
    question: str = ""
    similarity: tuple[str, ...] = ()  # reference texts that the calibration sets are compared with
    claims: tuple[Claim, ...] = ()  # of papers: what the results are to tell

    def cells(self) -> Iterator[Cell]:
        """Every cell of every grid, each once; a method that reads no data is one cell whatever the data."""
        seen = set()
        for grid in self.grids:
            for cell in _cells(grid):
                recipes = [write_recipe(recipe) for recipe in (cell.recipe, cell.refine_on) if recipe]
                parts = [cell.method, cell.pattern, cell.allocation]
                of = cell.grid
                key = identity([cell.model, recipes, *map(plain, parts), cell.propagate, cell.token_weights,
                                cell.permute, list(of.ignore), of.min_expert_tokens, of.all_experts,
                                of.min_coverage, of.dtype])  # fmt: skip
                if key not in seen:
                    seen.add(key)
                    yield cell

    def settings(self) -> list[Setting]:
        """What results can be: each cell with each evaluation, without its draw."""
        cells = {tuple(cell.setting.items()): cell.setting for cell in self.cells()}
        return [cell | {"evaluation": EVALUATIONS.write(one)} for cell in cells.values() for one in self.evaluations]


def _cells(grid: Grid) -> Iterator[Cell]:
    calibrations = grid.sets()
    for model in grid.models:
        for names in ((m, p, a) for m in grid.methods for p in grid.patterns for a in grid.allocations):
            method, pattern, allocation = parse_method(names[0]), parse_pattern(names[1]), parse_allocation(names[2])
            orders = grid.permute if isinstance(pattern, KeepNofM) else (NEVER,)
            if not reads_data(method, allocation):
                counted = replace(grid, min_expert_tokens=Counting.min_expert_tokens, all_experts=False)
                for order in orders:
                    yield Cell(model, None, None, method, pattern, allocation, "dense", EVEN, order, counted, names)
                continue
            for one in calibrations:
                for amount, seed in ((n, s) for n in grid.num_samples for s in range(grid.draws)):
                    recipe = one.recipe(amount, grid.max_seq_length, seed)
                    trained = one.refine_on.recipe(amount, grid.max_seq_length, seed) if one.refine_on else None
                    for chosen in itertools.product(grid.propagate, grid.token_weights, orders):
                        how = (method, pattern, allocation, *chosen)
                        yield Cell(model, one, recipe, *how, grid, names, trained)


def reads_data(method: Method, allocation: Allocation) -> bool:
    return method.needs != "nothing" or allocation.needs != "nothing"


def _formatted(one: Calibration, formats: tuple[str, ...]) -> list[Calibration]:
    """The calibration in each of the formats that its source has; as it is where it says its own, or is no source."""
    parts = parse_spec(one.spec).parts
    if not formats or len(parts) > 1 or parts[0].format or parts[0].source == "self":
        return [one]
    source = find(parts[0].source)
    has = source.formats if isinstance(source, RecordSource) else ()
    return [replace(one, spec=f"{one.spec}:{f}", label=f"{one.label}:{f}") for f in formats if f in has] or [one]
