"""The page about adding a method is followed to the letter: its code runs, by the name that it gives."""

import re
import sys
from pathlib import Path

import pytest
import torch

from calprune.base.values import ConfigError
from calprune.methods import METHODS, parse_method
from calprune.methods.listing import described_methods
from calprune.methods.refit import Refit
from calprune.pattern import PatternError, parse_pattern
from tests.test_methods import random_inputs, random_weight
from tests.test_stats import stats_of

PAGE = (Path(__file__).parents[1] / "docs" / "add-a-method.md").read_text()
FILE, USE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def my_methods(tmp_path, monkeypatch):
    (tmp_path / "my_methods").mkdir()
    (tmp_path / "my_methods" / "swing.py").write_text(FILE)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [n for n in sys.modules if n.startswith("my_methods")]:
        del sys.modules[name]


def test_the_pages_method_is_called_by_its_place_and_prunes_by_its_equation(my_methods, capsys):
    exec(USE, {})
    assert "Swing(power=0.5) moments" in capsys.readouterr().out
    weight, x = random_weight(), random_inputs() + 3
    pruned = parse_method("my_methods.swing:Swing")(weight, stats_of(x), parse_pattern("50%"))
    score = weight.abs() * x.std(0)
    for row, of_row in zip(score, pruned, strict=True):
        assert set(row.argsort()[:8].tolist()) == set((of_row == 0).nonzero().flatten().tolist())


def test_it_obeys_the_laws_that_the_page_names(my_methods):
    method, stats = parse_method("my_methods.swing:Swing"), stats_of(random_inputs())
    for pattern in ("62.5%", "2:4", "6:8"):
        for weight in (random_weight(), torch.ones(12, 16).bfloat16()):
            pruned = method(weight, stats, parse_pattern(pattern))
            assert pruned.dtype == weight.dtype
            assert (pruned == 0).float().mean().item() == parse_pattern(pattern).sparsity
    assert torch.equal(method(weight, stats, parse_pattern("2:4")), method(weight, 2.0 * stats, parse_pattern("2:4")))
    with pytest.raises(PatternError):
        method(random_weight(4, 6), stats_of(random_inputs(width=6)), parse_pattern("2:4"))


def test_it_can_be_the_start_of_another(my_methods):
    weight, stats = random_weight(), stats_of(random_inputs())
    swing = parse_method("my_methods.swing:Swing")
    refitted = Refit(start=swing)(weight, stats, parse_pattern("2:4"))
    assert torch.equal(refitted != 0, swing(weight, stats, parse_pattern("2:4")) != 0)


def test_its_mistake_is_the_one_that_the_page_shows(my_methods):
    with pytest.raises(ConfigError) as raised:
        parse_method("my_methods.swing:Swing(power=-1)")
    assert str(raised.value) in PAGE


def test_an_option_is_listed_as_it_can_be_written():
    for entry in described_methods():
        given = ", ".join(f"{name}={value}" for name, value in entry["options"].items() if value is not None)
        if entry["options"].get("start", ...) is not None:  # without a start it is refused
            assert parse_method(f"{entry['name']}({given})") == METHODS[entry["name"]](), given
