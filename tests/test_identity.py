"""Names are of contents: what changes the numbers changes the name, and a default that changed does not hide."""

import dataclasses
import typing
from collections.abc import Iterable

import pytest

from calprune.allocation import ALLOCATIONS
from calprune.base.values import identity, plain, tag_of
from calprune.calibration.layout import LAYOUTS
from calprune.calibration.recipe import Recipe, parse_spec
from calprune.calibration.selections import SELECTIONS
from calprune.choosing.answer import FinalVerdict, Gate, Halving, PrunedResult, Search
from calprune.choosing.question import Question
from calprune.evaluation.evaluation import OnText
from calprune.evaluation.tasks import TASKS
from calprune.layers.attention import TOKEN_WEIGHTS
from calprune.likeness.texts import Similarity
from calprune.methods import METHODS
from calprune.methods.ria import RIA
from calprune.methods.wanda import Wanda
from calprune.pattern import KeepNofM, Unstructured
from calprune.pruning.job import Pruning
from calprune.recovery.training import Recovering
from calprune.studies.claims import KINDS, Where
from calprune.text.filters import FILTERS
from calprune.text.formats import Format
from calprune.text.records import Place
from calprune.writing.sampling import Sampling
from calprune.writing.screen import Screen
from calprune.writing.strategies import STRATEGIES
from tests.test_methods import example

# If this fails, a default, a version or the way of naming changed: what was made under the old name is not found again.
# Raise the method's `version`, or the recipe's, on purpose, and write the new name here.
NAMED = {
    "admm": {"type": "ADMM", "version": 1, "iterations": 20, "schedule": 15, "damping": 0.1, "penalty": 1.0},
    "alps": {"type": "ALPS", "version": 1, "damping": 0.01, "penalty": 0.1, "iterations": 300, "gradient_steps": 10},
    "block_matching": {
        "type": "BlockMatching",
        "version": 1,
        "start": {"type": "Wanda", "version": 1},
        "learning_rate": 2e-5,
        "epochs": 20,
        "batch_size": 8,
        "seed": 0,
    },
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
        "rule": "shrinking",
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


# what identities call the types that enter them: no name of a class may change it
TAGS = [
    "ADMM", "ALPS", "Alike", "Alpha", "AttentionConcentration", "BandariTask", "Best", "Better",
    "BlockMatching", "BlockReconstruction", "BlockedWords", "Bos", "Capability", "Cluster", "CodeTask", "Concatenate",
    "Contamination",
    "Counting", "Crop", "DLP", "DSnoT", "DrawsDifferLessWithAmount", "DrawsDifferMore", "ExactDuplicates", "Format",
    "FromFile", "GBLM", "GPTQ", "GoesWith", "HarnessTask", "Herding", "Join", "KeepNofM", "Language",
    "LinearInDepth", "Magnitude",
    "MaxWords", "MinWords", "NearDuplicates", "NotBest", "NotMeasured", "OWL", "OnText", "Order", "Pad", "Pairs",
    "Part", "Perplexity", "Place", "Prefixes", "PrunerZero", "Pruning", "Question", "RIA", "ROSE", "Random",
    "RandomToken",
    "Recipe", "Recovering", "Refit", "Regional", "Removal", "Repetition", "Respond", "RoundToNearest", "Sampling",
    "Screen",
    "Selection",
    "Similarity", "SourcesAlike", "SourcesDiffer", "SourcesDifferMore", "SparseGPT", "SparseSwaps", "Uniform",
    "UniqueTokens", "Unstructured", "Wanda", "WandaPlusPlus", "WandaVariant", "Zipf",
]  # fmt: skip


def reachable(found: Iterable[typing.Any], seen: set[type]) -> set[type]:
    """The dataclasses among these types, and those that their fields hold."""
    for kind in found:
        if isinstance(kind, type) and dataclasses.is_dataclass(kind) and kind not in seen:
            seen.add(kind)
            hints = typing.get_type_hints(kind)
            reachable([hints[field.name] for field in dataclasses.fields(kind)], seen)
        reachable(typing.get_args(kind), seen)
    return seen


def test_every_type_that_an_identity_holds_has_its_tag_and_no_two_have_one():
    by_name = (ALLOCATIONS, FILTERS, LAYOUTS, METHODS, SELECTIONS, STRATEGIES, TASKS, TOKEN_WEIGHTS, KINDS)
    roots = [
        Recipe,
        Question,
        Pruning,
        OnText,
        Recovering,
        Place,
        Sampling,
        Screen,
        Format,
        Similarity,
        Where,
        KeepNofM,
        Unstructured,
    ]
    types = reachable([*roots, *(kind for known in by_name for kind in known.values())], set())
    tags = sorted(tag_of(kind) for kind in types)
    assert tags == TAGS


def test_the_stages_of_a_choice_have_the_file_names_that_they_had():
    assert [tag_of(kind).lower() for kind in (Gate, Search, Halving, FinalVerdict, PrunedResult)] == [
        "gate", "search", "halving", "judgement", "result"
    ]  # fmt: skip


def test_a_class_of_ours_without_a_tag_is_an_error_and_a_users_goes_by_its_name():
    @dataclasses.dataclass(frozen=True)
    class Mine(Wanda):
        pass

    assert plain(Mine())["type"] == "Mine"  # and not Wanda, whose numbers it need not give
    Mine.__module__ = "calprune.methods.mine"
    with pytest.raises(TypeError, match="Mine enters an identity or a file name: give it a tag"):
        plain(Mine())


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
        return {"all": "attention", "shrinking": "released", "block": "sub_block", "l2": "l1"}[value]
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
