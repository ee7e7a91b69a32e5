"""Read a study from a YAML file: every mistake is named with its place.

title: Does the data matter for SmolLM2-135M?
models: demo
calibrations: [c4, gsm8k:icl, {spec: "gsm8k:single", count_padding: true, label: padded}]
methods: [wanda, sparsegpt(damping=0.1)]
patterns: ["60%", "2:4"]
num_samples: 16
max_seq_length: 256
draws: 3
evaluations: [perplexity(wikitext2), kl(c4), boolq(examples=200)]
grids:                              # optional: several grids, each the fields above with some replaced
  - {}
  - {methods: wanda, patterns: 70%, allocations: [uniform, owl]}
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from calprune.base.values import ConfigError, UserError, did_you_mean, read
from calprune.base.yamls import parse_yaml
from calprune.calibration.part import check_part
from calprune.calibration.recipe import parse_spec
from calprune.calibration.set import is_set
from calprune.evaluation.evaluation import parse_evaluation
from calprune.evaluation.metric import Metric, read_interest
from calprune.refine import Refinement
from calprune.studies.axes import AXES, NO_DATA, read_values, reads_data
from calprune.studies.claims import check_claims, read_claims
from calprune.studies.grid import LARGEST, RECIPE_OPTIONS, Calibration, Grid, Study, Variant
from calprune.text.formats import OPTIONS as FORMATS

OF_STUDY = ("title", "question", "evaluations", "similarity", "grids", "claims", "of_interest", "left_out",
            "labels")  # fmt: skip

OPTIONS = tuple(f.name for f in dataclasses.fields(Grid) if f.name not in ("axes", "calibrations"))

OF_GRID = tuple(dict.fromkeys([*(axis.key for axis in AXES.values()), *OPTIONS]))


def parse_study(text: str, where: str) -> Study:
    """The study that a YAML text writes; `where` begins what is said of a mistake."""
    data = parse_yaml(text, where)
    if not isinstance(data, Mapping):
        raise ConfigError(f"{where}: expected a mapping with title, models, calibrations, methods, patterns, "
                          f"evaluations, ...; got {type(data).__name__}")  # fmt: skip
    _check_known(data, OF_GRID + OF_STUDY, where)
    if missing := [key for key in ("title", "evaluations") if not data.get(key)]:
        raise ConfigError(f"{where}: {missing[0]} is missing")
    shared = {key: value for key, value in data.items() if key in OF_GRID}
    written = data.get("grids", [{}])
    if not isinstance(written, list) or not all(isinstance(one, Mapping) for one in written) or not written:
        raise ConfigError(f"{where}: grids: expected a list of mappings, each with what it changes (see studies/)")
    named = [f"{where}: grids.{i}" if "grids" in data else where for i in range(len(written))]
    grids = tuple(_read_grid(shared | one, at) for one, at in zip(written, named, strict=True))
    evaluations = []
    for i, one in enumerate(_several(data["evaluations"])):
        with _at(f"{where}: evaluations.{i}"):
            evaluations.append(parse_evaluation(str(one)))
    if twice := [e for i, e in enumerate(evaluations) if e in evaluations[:i]]:
        raise ConfigError(f"{where}: evaluations: {twice[0]} is there twice")
    similarity = tuple(map(str, _several(data.get("similarity", []))))
    claims = read_claims(data.get("claims", []), where)
    if (size := sum(grid.size for grid in grids)) > LARGEST:
        raise ConfigError(f"{where}: it has up to {size:,} trials; a study has at most {LARGEST:,}: fewer draws, or "
                          "values of an axis")  # fmt: skip
    for i, one in enumerate(similarity):
        with _at(f"{where}: similarity.{i}"):
            for part in parse_spec(one).parts:
                check_part(part)
    own = [metric.name for one in evaluations if isinstance(metric := getattr(one, "measures", None), Metric)]
    interest = read_interest(data.get("of_interest", {}), f"{where}: of_interest", own)
    if not isinstance(gone := data.get("left_out", []), list) or not all(isinstance(one, str) for one in gone):
        raise ConfigError(f"{where}: left_out: expected a list of texts, what the study does not have; got {gone!r}")
    _check_labels(data.get("labels", {}), grids, where)
    title, question = _text(data, "title", where), _text(data, "question", where)
    study = Study(title, grids, tuple(evaluations), question, similarity, claims, interest)
    _check_distinct(study, where)
    if claims:
        check_claims(claims, study.settings(), where)
    return study


def _check_labels(labels: Any, grids: Iterable[Grid], where: str) -> None:
    """Raise ConfigError unless they are names of methods, patterns, ... of the study: other ones, and each once."""
    if not isinstance(labels, Mapping) or not all(isinstance(one, str) and one.strip() for one in labels.values()):
        raise ConfigError(f"{where}: labels: expected names by what the study writes, like sparsegpt(damping=0.1): "
                          f"more damping; got {labels!r}")  # fmt: skip
    values = {value for grid in grids for axis in grid.axes.values() for value in axis}
    for written, label in labels.items():
        if str(written) not in values:
            raise ConfigError(f"{where}: labels: no grid has {written!r}{did_you_mean(str(written), values)}")
        if label in values or list(labels.values()).count(label) > 1:
            raise ConfigError(f"{where}: labels: {label!r} is the name of something else too; give {written} another")


def _check_distinct(study: Study, where: str) -> None:
    """Raise ConfigError for two trials whose results would be taken for draws of one setting."""
    seen = set()
    for trial in study.trials():
        key = (*trial.setting.values(), trial.draw)
        if key in seen:
            mend = "give the calibration another label in one" if trial.recipe else "leave the method out of one"
            raise ConfigError(f"{where}: grids: two of them have {trial.label!r}, and not the same trial: {mend}")
        seen.add(key)


def _read_grid(data: dict[str, Any], where: str) -> Grid:
    _check_known(data, OF_GRID, where)
    axes = {name: _values(data, name, where) for name in AXES if name != "calibration"}
    several = [f.name for f in dataclasses.fields(Grid) if "tuple" in str(f.type)]
    options = {key: _several(data[key]) if key in several else data[key] for key in OPTIONS if key in data}
    variants = tuple(_read_variant(one, f"{where}: variants.{i}") for i, one in enumerate(options.pop("variants", [])))
    calibrations = tuple(_read_calibration(one, f"{where}: calibrations.{i}")
                         for i, one in enumerate(_several(data.get("calibrations", []))))  # fmt: skip
    grid = read(Grid, options | {"axes": axes}, where)
    grid = dataclasses.replace(grid, calibrations=calibrations, variants=variants or (Variant(),))
    with _at(f"{where}: calibrations"):
        sets = grid.sets()
    _check_formats(grid, where)
    labels = [one.label for one in sets]
    if twice := [label for i, label in enumerate(labels) if label in labels[:i]]:
        raise ConfigError(f"{where}: two calibrations are called {twice[0]!r}: give one another label")
    if NO_DATA in labels:
        raise ConfigError(f"{where}: {NO_DATA!r} is what a method that reads no data has: give another label")
    for one in sets:  # so that a mistake shows before a model is looked at
        with _at(f"{where}: calibrations: {one.label}"):
            _check_sets(one, grid)
    recipes = [(one.recipe(1, grid.max_seq_length, 0), one.refine_on) for one in sets]
    if same := [i for i, recipe in enumerate(recipes) if recipe in recipes[:i]]:
        raise ConfigError(f"{where}: calibrations: {labels[same[0]]!r} and {labels[recipes.index(recipes[same[0]])]!r} "
                          "are the same set; leave one out")  # fmt: skip
    if not calibrations and any(reads_data({"method": m, "allocation": a})
                                for m in axes["method"] for a in axes["allocation"]):  # fmt: skip
        methods = ", ".join(axes["method"])
        raise ConfigError(f"{where}: calibrations is missing, and {methods} read calibration data")
    return grid


def _values(data: Mapping[str, Any], name: str, where: str) -> tuple[str, ...]:
    """What a study writes for an axis, or else its usual value."""
    axis = AXES[name]
    if axis.key not in data and not axis.usual:
        raise ConfigError(f"{where}: {axis.key} is missing")
    return read_values(axis, data.get(axis.key, axis.usual), where)


def _text(data: Mapping, key: str, where: str) -> str:
    """A text that may be left out. Raises ConfigError for what YAML takes for something else: no, 010, 2024."""
    found = "" if data.get(key) is None else data[key]
    if isinstance(found, bool) or not isinstance(found, (str, int)):
        raise ConfigError(f"{where}: {key}: expected text; got {found!r}, which stands for something else: write it in "
                          f'quotes ("{data[key]}")')  # fmt: skip
    return str(found)


def _check_known(data: Mapping, known: Iterable[str], where: str) -> None:
    if unknown := [key for key in data if key not in known]:
        raise ConfigError(f"{where}: unknown option {unknown[0]!r}{did_you_mean(str(unknown[0]), known)}")


def _check_formats(grid: Grid, where: str) -> None:
    """Raise ConfigError for a format that no calibration of the grid is drawn in."""
    drawn = {part.format for one in grid.sets() for part in parse_spec(one.spec).parts}
    for one in grid.formats:
        if one not in drawn:
            near = did_you_mean(one, FORMATS)
            raise ConfigError(f"{where}: formats: no calibration of the grid has {one!r}{near}")


def _check_sets(calibration: Calibration, grid: Grid) -> None:
    """Raise UserError where a set's recipe names what is not there, or is to be trained on by what trains nothing."""
    for one in (calibration, calibration.refine_on):
        for part in one.recipe(grid.num_samples[0], grid.max_seq_length, 0).parts if one else ():
            check_part(part)
    parse = AXES["method"].parse
    idle = [name for name in grid.axes["method"] if not isinstance(parse(name), Refinement)]
    if calibration.refine_on and idle:
        raise ConfigError(f"{idle[0]} refines no block, so it trains on nothing: leave refine_on out, or put it into a "
                          "grid of its own")  # fmt: skip


def _read_variant(entry: Any, where: str) -> Variant:
    if not isinstance(entry, Mapping):
        raise ConfigError(f"{where}: expected a mapping with label and options of a recipe; got {entry!r}")
    options = _recipe_options(entry, ["label"], where)
    return Variant(_text(entry, "label", where) or _called(options), options)


def _read_calibration(entry: Any, where: str, sized: bool = False) -> Calibration:
    """`sized`: it may say how many sequences it has, beside those of the grid."""
    if isinstance(entry, str):
        if is_set(entry):
            raise ConfigError(f"{where}: {entry} is a built set, and a study draws its sets itself: give its recipe, "
                              f"{Path(entry) / 'recipe.yaml'}")  # fmt: skip
        return Calibration(entry, entry)
    if not isinstance(entry, Mapping) or "spec" not in entry:
        raise ConfigError(f"{where}: expected a text like 'c4' or a mapping with spec, label and options of a recipe; "
                          f"got {entry!r}")  # fmt: skip
    beside = ["spec", "label", *(() if sized else ("refine_on",))]
    options = _recipe_options(entry, beside, where, ["num_samples"] if sized else [])
    refine_on = None
    if "refine_on" in entry:
        refine_on = _read_calibration(entry["refine_on"], f"{where}: refine_on", sized=True)
    trained = f"trained on {refine_on.label}" if refine_on else ""
    called = ", ".join(filter(None, (" ".join([str(entry["spec"]), _called(options)]).strip(), trained)))
    return Calibration(str(entry["spec"]), _text(entry, "label", where) or called, options, refine_on)


def _recipe_options(entry: Mapping, beside: list[str], where: str, more: Iterable[str] = ()) -> dict[str, Any]:
    """The options of a recipe that a mapping has, beside its own keys."""
    _check_known(entry, [*beside, *RECIPE_OPTIONS, *more], where)
    return {key: value for key, value in entry.items() if key not in beside}


def _called(options: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in options.items())


def _several(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


@contextmanager
def _at(where: str) -> Iterator[None]:
    try:
        yield
    except UserError as e:
        raise ConfigError(f"{where}: {e}") from None
