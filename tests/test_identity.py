"""Names are of contents: what changes the numbers changes the name, and a default that changed does not hide."""

import dataclasses

import pytest

from calprune.base.values import identity, plain
from calprune.calibration.recipe import Recipe, parse_spec
from calprune.methods import METHODS
from calprune.methods.ria import RIA
from tests.test_methods import example

# If this fails, a default, a version or the way of naming changed: what was made under the old name is not found again.
# Raise the method's `version`, or the recipe's, on purpose, and write the new name here.
NAMED = {
    "admm": {"type": "ADMM", "version": 1, "iterations": 20, "schedule": 15, "damping": 0.1, "penalty": 1.0},
    "alps": {"type": "ALPS", "version": 1, "damping": 0.01, "penalty": 0.1, "iterations": 300, "gradient_steps": 10},
    "block_reconstruction": {
        "type": "BlockReconstruction",
        "version": 1,
        "start": {"type": "Wanda", "version": 1},
        "global_propagation": False,
        "cross_block": False,
        "windows": "block",
        "learning_rate": 2e-4,
        "epochs": 5,
        "batch_size": 8,
        "seed": 0,
    },
    "dsnot": {
        "type": "DSnoT",
        "version": 1,
        "start": {"type": "Wanda", "version": 1},
        "cycles": 50,
        "variance_power": 1.0,
        "threshold": 5e-5,
        "linears": "all",
    },
    "gblm": {"type": "GBLM", "version": 1, "alpha": 100.0, "norm": "l2"},
    "gptq": {
        "type": "GPTQ",
        "version": 1,
        "bits": 4,
        "group_size": 128,
        "symmetric": False,
        "damping": 0.01,
        "column_block": 128,
        "activation_order": False,
    },
    "magnitude": {"type": "Magnitude", "version": 1},
    "pruner_zero": {"type": "PrunerZero", "version": 1},
    "refit": {"type": "Refit", "version": 1, "start": {"type": "Wanda", "version": 1}, "damping": 0.0},
    "regional": {
        "type": "Regional",
        "version": 1,
        "start": {"type": "Wanda", "version": 1},
        "learning_rate": 3e-7,
        "rounds": 5,
        "sequences": 32,
        "seed": 0,
    },
    "ria": {"type": "RIA", "version": 1, "power": 0.5},
    "rose": {"type": "ROSE", "version": 3, "damping": 0.01, "column_block": 128, "relative_range": 0.5},
    "round_to_nearest": {
        "type": "RoundToNearest",
        "version": 1,
        "bits": 4,
        "group_size": 128,
        "symmetric": False,
    },
    "sparsegpt": {"type": "SparseGPT", "version": 3, "damping": 0.01, "column_block": 128},
    "sparseswaps": {"type": "SparseSwaps", "version": 1, "start": {"type": "Wanda", "version": 1}, "swaps": 100},
    "wanda": {"type": "Wanda", "version": 1},
    "wanda_plus_plus": {"type": "WandaPlusPlus", "version": 1, "alpha": 100.0},
    "wanda_variant": {"type": "WandaVariant", "version": 1},
}

FIXED = {
    "c4": "21c10d3799afffca",
    "c4*2 + gsm8k:icl": "64e1d72bf294cf0a",
    "gsm8k:icl(pairs=5)": "dc8403f4b31ffd60",
    "notes.txt": "eb44819260e31a86",
    "random_tokens": "834a35167dad5f01",
}


@pytest.mark.parametrize("name", METHODS)
def test_a_methods_defaults_belong_to_its_version(name):
    method = example(name)
    options = {field.name: getattr(method, field.name) for field in dataclasses.fields(method)}
    if "start" in options:  # a default start is not written in a name, so its version is this method's concern too
        options["start"] = plain(options["start"])
    assert {"type": type(method).__name__, "version": method.version, **options} == NAMED[name]


@pytest.mark.parametrize("name", METHODS)
def test_every_option_of_a_method_is_in_its_name(name):
    method = example(name)
    for field in dataclasses.fields(method):
        other = another(getattr(method, field.name))
        assert identity(dataclasses.replace(method, **{field.name: other})) != identity(method)


def another(value):
    """A value that an option may have as well as this one."""
    if dataclasses.is_dataclass(value):
        return RIA()
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return {"all": "attention", "block": "sub_block", "l2": "l1"}[value]
    if isinstance(value, float):
        return value / 2 or 0.5
    return value + 1


def test_the_names_of_five_fixed_recipes_do_not_change():
    found = {spec: identity(parse_spec(spec)) for spec in FIXED}
    assert found == FIXED


def test_every_field_of_a_recipe_that_differs_is_in_its_name():
    recipe = parse_spec("c4", num_samples=8, max_seq_length=64, seed=3, skip_first=1)
    written = plain(recipe)
    assert written["num_samples"] == 8 and written["max_seq_length"] == 64 and written["seed"] == 3
    names = {f.name for f in dataclasses.fields(Recipe)}
    assert set(written) - {"type"} <= names
