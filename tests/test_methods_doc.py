"""The page about adding a method is followed to the letter, as a user would: own folder, installed command, no path."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from calprune.methods import METHODS, parse_method
from calprune.methods.listing import described_methods
from calprune.methods.refit import Refit
from calprune.pattern import PatternError, parse_pattern
from tests.test_methods import random_inputs, random_weight
from tests.test_stats import stats_of

PAGE = (Path(__file__).parents[1] / "docs" / "add-a-method.md").read_text()
FILE, USE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
COMMAND = re.findall(r"^\$ (calprune (?:.*\\\n)*.*)$", PAGE, re.MULTILINE)[0].replace("\\\n", " ")


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The current folder, with the page's file where the page has it, and on no path."""
    (tmp_path / "my_methods").mkdir()
    (tmp_path / "my_methods" / "swing.py").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in [n for n in sys.modules if n.startswith("my_methods")]:
        del sys.modules[name]


def calprune(line: str, folder: Path) -> subprocess.CompletedProcess:
    """What the installed command does in the folder."""
    program, *words = shlex.split(line)
    assert str(folder) not in os.environ.get("PYTHONPATH", "").split(os.pathsep)
    command = Path(sys.executable).parent / program
    if not command.is_file():
        pytest.skip("calprune is not installed beside this Python")
    return subprocess.run([command, *words], cwd=folder, capture_output=True, text=True)


def test_the_pages_command_prunes_with_the_pages_method(folder, demo_folder):
    ended = calprune(COMMAND, folder)
    assert ended.returncode == 0, ended.stderr
    card = json.loads((folder / "pruned" / "swing" / "calprune.json").read_text())
    assert card["method"] == "my_methods.swing:Swing(power=0.5)" and card["pattern"] == "2:4"


def test_the_pages_mistake_is_shown_by_the_command_as_on_the_page(folder, programs):
    mistaken = COMMAND.replace("power=0.5", "power=-1").replace("demo", "absent")  # the method is read first
    ended = programs.run("-m", *shlex.split(mistaken), folder=folder)
    assert ended.returncode == 1
    [line] = ended.stderr.splitlines()
    assert line.removeprefix("calprune: ") in PAGE


def test_the_pages_python_prunes_with_the_pages_method(folder, demo_folder):
    (folder / "use.py").write_text(USE)
    ended = subprocess.run([sys.executable, "use.py"], cwd=folder, capture_output=True, text=True)
    named = "<PruneReport: demo pruned with my_methods.swing:Swing(power=0.5) to 2:4>\n"
    assert ended.stdout == named, ended.stderr


def test_the_pages_method_prunes_by_its_equation(folder):
    weight, x = random_weight(), random_inputs() + 3
    pruned = parse_method("my_methods.swing:Swing")(weight, stats_of(x), parse_pattern("50%"))
    score = weight.abs() * x.std(0)
    for row, of_row in zip(score, pruned, strict=True):
        assert set(row.argsort()[:8].tolist()) == set((of_row == 0).nonzero().flatten().tolist())


def test_it_obeys_the_laws_that_the_page_names(folder):
    method, stats = parse_method("my_methods.swing:Swing"), stats_of(random_inputs())
    for pattern in ("62.5%", "2:4", "6:8"):
        for weight in (random_weight(), torch.ones(12, 16).bfloat16()):
            pruned = method(weight, stats, parse_pattern(pattern))
            assert pruned.dtype == weight.dtype
            assert (pruned == 0).float().mean().item() == parse_pattern(pattern).sparsity
    assert torch.equal(method(weight, stats, parse_pattern("2:4")), method(weight, 2.0 * stats, parse_pattern("2:4")))
    with pytest.raises(PatternError):
        method(random_weight(4, 6), stats_of(random_inputs(width=6)), parse_pattern("2:4"))


def test_it_can_be_the_start_of_another(folder):
    weight, stats = random_weight(), stats_of(random_inputs())
    swing = parse_method("my_methods.swing:Swing")
    assert parse_method("refit(start=my_methods.swing:Swing)") == Refit(start=swing)
    refitted = Refit(start=swing)(weight, stats, parse_pattern("2:4"))
    assert torch.equal(refitted != 0, swing(weight, stats, parse_pattern("2:4")) != 0)


def test_an_option_is_listed_as_it_can_be_written():
    for entry in described_methods():
        given = ", ".join(f"{name}={value}" for name, value in entry.options.items() if value is not None)
        if entry.options.get("start", ...) is not None:  # without a start it is refused
            assert parse_method(f"{entry.name}({given})") == METHODS[entry.name](), given
