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
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from calprune.allocation import parse_allocation
from calprune.base.values import ConfigError, UserError, did_you_mean, read
from calprune.calibration.build import check_part
from calprune.calibration.set import is_set
from calprune.evaluation.evaluation import parse_evaluation
from calprune.layers.attention import parse_token_weights
from calprune.methods import parse_method
from calprune.pattern import parse_pattern
from calprune.pruning.permutation import parse_permute
from calprune.refine import Refinement
from calprune.studies.claims_reading import check_claims, read_claims
from calprune.studies.grid import RECIPE_OPTIONS, Calibration, Grid, Study, Variant, reads_data

PARSERS: dict[str, Callable[[str], Any]] = {
    "methods": parse_method,
    "patterns": parse_pattern,
    "allocations": parse_allocation,
    "token_weights": parse_token_weights,
    "permute": parse_permute,
}


def study_text(path: Path) -> str:
    """What a study's file says. Raises ConfigError where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"cannot read the study {path}: {getattr(e, 'strerror', None) or e}") from None


def parse_study(text: str, where: str) -> Study:
    """The study that a YAML text writes; `where` begins what is said of a mistake."""
    try:
        data = yaml.load(text, _Strict)
    except yaml.YAMLError as e:
        raise ConfigError(f"{where}: {' '.join(str(e).split())}") from None
    of_grid = [f.name for f in dataclasses.fields(Grid)]
    of_study = ["title", "question", "evaluations", "similarity", "grids", "claims"]
    if not isinstance(data, Mapping):
        raise ConfigError(f"{where}: expected a mapping with title, models, calibrations, methods, patterns, "
                          f"evaluations, ...; got {type(data).__name__}")  # fmt: skip
    if unknown := [key for key in data if key not in of_grid + of_study]:
        raise ConfigError(f"{where}: unknown option {unknown[0]!r}{did_you_mean(str(unknown[0]), of_grid + of_study)}")
    if missing := [key for key in ("title", "evaluations") if not data.get(key)]:
        raise ConfigError(f"{where}: {missing[0]} is missing")
    shared = {key: value for key, value in data.items() if key in of_grid}
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
    study = Study(str(data["title"]), grids, tuple(evaluations), str(data.get("question", "")), similarity, claims)
    _check_told_apart(study, where)
    if claims:
        check_claims(claims, study.settings(), where)
    return study


def _check_told_apart(study: Study, where: str) -> None:
    """Raise ConfigError for two trials whose results would be taken for draws of one setting."""
    seen = set()
    for cell in study.cells():
        key = (*cell.setting.values(), cell.recipe.seed if cell.recipe else None)
        if key in seen:
            mend = "give the calibration another label in one" if cell.recipe else "leave the method out of one"
            raise ConfigError(f"{where}: grids: two of them have {cell.label!r}, and not the same trial: {mend}")
        seen.add(key)


def _read_grid(data: dict[str, Any], where: str) -> Grid:
    lists = [f.name for f in dataclasses.fields(Grid) if "tuple" in str(f.type)]
    data = {key: _several(value) if key in lists else value for key, value in data.items()}
    written = {key: list(enumerate(data.pop(key, []))) for key in ("calibrations", "variants")}
    calibrations = tuple(_read_calibration(one, f"{where}: calibrations.{i}") for i, one in written["calibrations"])
    variants = tuple(_read_variant(one, f"{where}: variants.{i}") for i, one in written["variants"])
    for key, parse in PARSERS.items():
        data[key] = [str(one) for one in data.get(key, getattr(Grid, key, ()))]  # the default, where there is one
        for i, one in enumerate(data[key]):
            with _at(f"{where}: {key}.{i}"):
                parse(one)
    grid = dataclasses.replace(read(Grid, data, where), calibrations=calibrations, variants=variants or (Variant(),))
    with _at(f"{where}: calibrations"):
        sets = grid.sets()
    labels = [one.label for one in sets]
    if twice := [label for i, label in enumerate(labels) if label in labels[:i]]:
        raise ConfigError(f"{where}: two calibrations are called {twice[0]!r}: give one another label")
    for one in sets:  # so that a mistake shows before a model is looked at
        with _at(f"{where}: calibrations: {one.label}"):
            _check_sets(one, grid)
    if not calibrations and any(reads_data(parse_method(m), parse_allocation(a))
                                for m in grid.methods for a in grid.allocations):  # fmt: skip
        raise ConfigError(f"{where}: calibrations is missing, and {', '.join(grid.methods)} read calibration data")
    return grid


def _check_sets(calibration: Calibration, grid: Grid) -> None:
    """Raise UserError where a set's recipe names what is not there, or is to be trained on by what trains nothing."""
    for one in (calibration, calibration.refine_on):
        for part in one.recipe(grid.num_samples[0], grid.max_seq_length, 0).parts if one else ():
            check_part(part)
    idle = [name for name in grid.methods if not isinstance(parse_method(name), Refinement)]
    if calibration.refine_on and idle:
        raise ConfigError(f"{idle[0]} refines no block, so it trains on nothing: leave refine_on out, or put it into a "
                          "grid of its own")  # fmt: skip


def _read_variant(entry: Any, where: str) -> Variant:
    if not isinstance(entry, Mapping):
        raise ConfigError(f"{where}: expected a mapping with label and options of a recipe; got {entry!r}")
    options = _recipe_options(entry, ["label"], where)
    return Variant(str(entry.get("label", _called(options))), options)


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
    return Calibration(str(entry["spec"]), str(entry.get("label", called)), options, refine_on)


def _recipe_options(entry: Mapping, beside: list[str], where: str, more: Iterable[str] = ()) -> dict[str, Any]:
    """The options of a recipe that a mapping has, beside its own keys."""
    known = [*beside, *RECIPE_OPTIONS, *more]
    if unknown := [key for key in entry if key not in known]:
        raise ConfigError(f"{where}: unknown option {unknown[0]!r}{did_you_mean(str(unknown[0]), known)}")
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


class _Strict(yaml.SafeLoader):
    """YAML in which a key that is written twice is a mistake."""


def _mapping(loader: _Strict, node: yaml.MappingNode) -> dict:
    keys = [loader.construct_object(key) for key, _ in node.value]
    if twice := [key for i, key in enumerate(keys) if key in keys[:i]]:
        raise yaml.YAMLError(f"{twice[0]!r} is written twice, again in line {node.start_mark.line + 1} or below")
    return loader.construct_mapping(node, deep=True)


_Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
