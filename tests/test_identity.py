"""Names are of contents: what changes the numbers changes the name, and a default that changed does not hide."""

import dataclasses

import pytest

from calprune.calibration.spec import Recipe, parse_spec
from calprune.config import identity, plain
from calprune.methods import METHODS

# If this fails, a default, a version or the way of naming changed: what was made under the old name is not found again.
# Raise the method's `version`, or the recipe's, on purpose, and write the new name here.
NAMED = {
    "magnitude": {"type": "Magnitude", "version": 1},
    "ria": {"type": "RIA", "version": 1, "power": 0.5},
    "sparsegpt": {"type": "SparseGPT", "version": 1, "damping": 0.01, "column_block": 128},
    "wanda": {"type": "Wanda", "version": 1},
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
    method = METHODS[name]()
    options = {field.name: getattr(method, field.name) for field in dataclasses.fields(method)}
    assert {"type": type(method).__name__, "version": method.version, **options} == NAMED[name]


@pytest.mark.parametrize("name", METHODS)
def test_every_option_of_a_method_is_in_its_name(name):
    method = METHODS[name]()
    for field in dataclasses.fields(method):
        value = getattr(method, field.name)
        other = value / 2 if isinstance(value, float) else value + 1
        assert identity(dataclasses.replace(method, **{field.name: other})) != identity(method)


def test_the_names_of_five_fixed_recipes_do_not_change():
    found = {spec: identity(parse_spec(spec)) for spec in FIXED}
    assert found == FIXED


def test_every_field_of_a_recipe_that_differs_is_in_its_name():
    recipe = parse_spec("c4", num_samples=8, max_seq_length=64, seed=3, skip_first=1)
    written = plain(recipe)
    assert written["num_samples"] == 8 and written["max_seq_length"] == 64 and written["seed"] == 3
    names = {f.name for f in dataclasses.fields(Recipe)}
    assert set(written) - {"type"} <= names
