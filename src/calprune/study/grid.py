"""A study: grids of models, calibration sets, methods, patterns and draws. `reading` makes one of a YAML file."""

import dataclasses
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from calprune.allocation import Allocation, parse_allocation
from calprune.attention import EVEN
from calprune.blocks import Propagate
from calprune.calibration.sources import find_source
from calprune.calibration.spec import Recipe, parse_spec, write_recipe
from calprune.config import ConfigError, identity, plain
from calprune.methods import Method, parse_method
from calprune.pattern import Pattern, parse_pattern
from calprune.study.evaluations import Evaluation

RECIPE_OPTIONS = [f.name for f in dataclasses.fields(Recipe) if f.name not in ("parts", "num_samples", "seed")]


@dataclass(frozen=True)
class Calibration:
    """A calibration set of a study before its size and draw are said."""

    spec: str  # as for `calprune calib build`
    label: str  # what tables and charts call it
    options: dict[str, Any] = field(default_factory=dict, hash=False)  # fields of Recipe

    def recipe(self, num_samples: int, max_seq_length: int, seed: int) -> Recipe:
        sizes = {"num_samples": num_samples, "max_seq_length": max_seq_length, "seed": seed}
        return parse_spec(self.spec, **(sizes | self.options))


@dataclass(frozen=True)
class Grid:
    """Every combination of these is a cell."""

    models: tuple[str, ...]
    methods: tuple[str, ...]
    patterns: tuple[str, ...]
    calibrations: tuple[Calibration, ...] = ()
    formats: tuple[str, ...] = ()  # each source that has no format of its own, in each of these that it has
    allocations: tuple[str, ...] = ("uniform",)
    propagate: tuple[Propagate, ...] = ("dense",)
    token_weights: tuple[str, ...] = (EVEN,)  # how often a token counts, beside what the set says
    num_samples: tuple[int, ...] = (128,)  # amounts of data: sequences
    max_seq_length: int = 512
    draws: int = 3
    ignore: tuple[str, ...] = ()
    min_coverage: float = 0.5
    dtype: str | None = None  # None: as the model is stored

    def __post_init__(self) -> None:
        for name in ("models", "methods", "patterns", "allocations", "propagate", "token_weights", "num_samples"):
            if not getattr(self, name):
                raise ConfigError(f"{name}: expected one at least")
        if self.draws < 1:
            raise ConfigError(f"draws: expected 1 or more; got {self.draws}")


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
    grid: Grid
    names: tuple[str, str, str]  # method, pattern and allocation as the study writes them

    @property
    def label(self) -> str:
        named = [self.calibration.label if self.calibration else "no data", *self.names[:2]]
        named += [self.names[2]] if self.names[2] != "uniform" else []
        named += [self.propagate] if self.propagate != "dense" else []
        named += [self.token_weights] if self.token_weights != EVEN else []
        return " ".join([*named, f"draw {self.recipe.seed}"] if self.recipe else named)


@dataclass(frozen=True)
class Study:
    """What is to be found out, by which trials, judged by what."""

    title: str
    grids: tuple[Grid, ...]
    evaluations: tuple[Evaluation, ...]
    question: str = ""
    similarity: tuple[str, ...] = ()  # reference texts that the calibration sets are compared with

    def cells(self) -> Iterator[Cell]:
        """Every cell of every grid, each once; a method that reads no data is one cell whatever the data."""
        seen = set()
        for grid in self.grids:
            for cell in _cells(grid):
                recipe = write_recipe(cell.recipe) if cell.recipe else None
                parts = [cell.method, cell.pattern, cell.allocation]
                key = identity([cell.model, recipe, *map(plain, parts), cell.propagate, cell.token_weights,
                                list(grid.ignore), grid.min_coverage, grid.dtype])  # fmt: skip
                if key not in seen:
                    seen.add(key)
                    yield cell


def _cells(grid: Grid) -> Iterator[Cell]:
    calibrations = [formatted for one in grid.calibrations for formatted in _formatted(one, grid.formats)]
    for model in grid.models:
        for names in ((m, p, a) for m in grid.methods for p in grid.patterns for a in grid.allocations):
            method, pattern, allocation = parse_method(names[0]), parse_pattern(names[1]), parse_allocation(names[2])
            if not reads_data(method, allocation):
                yield Cell(model, None, None, method, pattern, allocation, "dense", EVEN, grid, names)
                continue
            for one in calibrations:
                for amount, seed in ((n, s) for n in grid.num_samples for s in range(grid.draws)):
                    recipe = one.recipe(amount, grid.max_seq_length, seed)
                    for propagate, weights in itertools.product(grid.propagate, grid.token_weights):
                        yield Cell(model, one, recipe, method, pattern, allocation, propagate, weights, grid, names)


def reads_data(method: Method, allocation: Allocation) -> bool:
    return method.needs != "nothing" or allocation.needs != "nothing"


def _formatted(one: Calibration, formats: tuple[str, ...]) -> list[Calibration]:
    """The calibration in each of the formats that its source has; as it is where it says its own, or is no source."""
    parts = parse_spec(one.spec).parts
    if not formats or len(parts) > 1 or parts[0].format or parts[0].source == "self":
        return [one]
    has = find_source(parts[0].source).formats
    return [Calibration(f"{one.spec}:{f}", f"{one.label}:{f}", one.options) for f in formats if f in has] or [one]
