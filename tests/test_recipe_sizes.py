"""What a recipe's file says of its sizes holds for every command and call that is not told otherwise."""

import json
from pathlib import Path

import pytest
import yaml

import calprune
from calprune.calibration.set import CalibrationSet
from tests.test_cli import run, text, tiny_folder  # noqa: F401 (fixtures)


@pytest.fixture
def recipe(tmp_path, text) -> str:  # noqa: F811
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({"parts": [str(text)], "num_samples": 3, "max_seq_length": 48, "seed": 7}))
    return str(path)


def sizes(about: dict) -> tuple[int, int, int]:
    return about["num_samples"], about["max_seq_length"], about["seed"]


def pruned_with(run, model, recipe: str, *more: object) -> tuple[int, int, int]:  # noqa: F811
    status, _, err = run("prune", model, "--pattern", "50%", "--calibration", recipe, *more, "--out", "pruned")
    assert status == 0, err
    return sizes(json.loads(Path("pruned/calprune.json").read_text())["calibration"]["recipe"])


def test_prune_takes_the_sizes_of_the_recipe(run, tiny_folder, recipe):  # noqa: F811
    assert pruned_with(run, tiny_folder, recipe) == (3, 48, 7)


def test_an_option_replaces_one_size_and_leaves_the_others(run, tiny_folder, recipe):  # noqa: F811
    assert pruned_with(run, tiny_folder, recipe, "--num-samples", 2) == (2, 48, 7)


def test_a_recipe_that_says_nothing_has_the_usual_sizes(run, tiny_folder, recipe):  # noqa: F811
    data = yaml.safe_load(Path(recipe).read_text())
    del data["num_samples"], data["seed"]
    Path(recipe).write_text(yaml.safe_dump(data | {"max_seq_length": 16}))
    assert pruned_with(run, tiny_folder, recipe) == (128, 16, 0)


def test_stats_and_the_python_functions_take_them_too(run, tiny_folder, recipe):  # noqa: F811
    status, out, err = run("stats", tiny_folder, "--calibration", recipe, "--out", "sums", "--json")
    assert status == 0, err
    assert sizes(json.loads(out)["calibration"]["recipe"]) == (3, 48, 7)
    report = calprune.prune(str(tiny_folder), recipe, pattern="50%", device="cpu")
    assert sizes(report.record()["calibration"]["recipe"]) == (3, 48, 7)


def test_compare_takes_them_of_each_recipe(run, tiny_folder, recipe, tmp_path):  # noqa: F811
    other = tmp_path / "other.yaml"
    other.write_text(Path(recipe).read_text().replace("seed: 7", "seed: 8").replace("num_samples: 3", "num_samples: 2"))
    status, out, err = run("calib", "compare", recipe, other, "--model", tiny_folder, "--no-halves", "--json")
    assert status == 0, err
    told = json.dumps(json.loads(out))
    assert f'"tokens": {3 * 48}' in told and f'"tokens": {2 * 48}' in told, told[:2000]


def test_synth_has_the_usual_sizes_where_nothing_is_said(run, tiny_folder):  # noqa: F811
    status, _, err = run("synth", tiny_folder, "--strategy", "bos(documents=6, max_new_tokens=40)", "--num-samples", 2,
                         "--max-seq-length", 32, "--out", "set")  # fmt: skip
    assert status == 0, err
    assert sizes(CalibrationSet.load("set").recipe) == (2, 32, 0)


@pytest.mark.parametrize("command", [("prune",), ("stats",), ("synth",), ("calib", "build"), ("calib", "compare")])
def test_help_says_what_is_usual(run, command):  # noqa: F811
    shown = " ".join(run(*command, "--help")[1].split())
    for usual in ("128", "2048", "0"):
        assert f"as the recipe says, or {usual}" in shown
