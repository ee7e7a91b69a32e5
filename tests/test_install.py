"""What `make` installs: each target its own extras, every package pinned, and nothing missing that is imported."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MAKEFILE = (ROOT / "Makefile").read_text()
EXTRAS = PROJECT["optional-dependencies"]
TESTED = re.search(r"^TESTED := (.+)$", MAKEFILE, re.M)[1].split(",")
NOT_TESTED = {"mlflow", "trackio", "vllm", "wandb"}  # each as large as all the others, or in need of a GPU
PACKAGE = {"yaml": "pyyaml"}  # module -> package, where they differ


def names(requirements: list[str]) -> set[str]:
    return {re.match(r"[\w-]+", one)[0].lower().replace("_", "-") for one in requirements}


def test_make_test_installs_every_extra_but_those_that_no_test_needs():
    assert set(TESTED) == set(EXTRAS) - NOT_TESTED - {"dev", "docs", "notebook"}
    installed = re.findall(r"-e '\.\[(.+?)\]'", MAKEFILE)
    assert installed == ["demo", "$(TESTED)", "$(TESTED),dev", "docs"], "the demo's, the tests', the developer's"


@pytest.mark.parametrize("extra", [None, *TESTED, "dev", "docs", "notebook"])
def test_what_make_installs_is_pinned(extra):
    pinned = names((ROOT / "constraints.txt").read_text().split("\n# ")[-1].splitlines()[1:])
    assert names(PROJECT["dependencies"] if extra is None else EXTRAS[extra]) <= pinned


def test_what_is_imported_with_a_module_is_installed_with_the_program():
    """What only some need (datasets, numba) is imported inside the function that needs it."""
    wanted = set()
    for file in (ROOT / "src").rglob("*.py"):
        if "kernels" in file.parts or file.stem == "harness_engine":  # imported where their libraries are there
            continue
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.Import):
                wanted |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                wanted.add(node.module.partition(".")[0])
    outside = {PACKAGE.get(name, name) for name in wanted - set(sys.stdlib_module_names) - {"calprune"}}
    brought = {"huggingface_hub", "click"}  # with transformers, with typer
    assert outside - brought <= names(PROJECT["dependencies"])
