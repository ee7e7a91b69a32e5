"""Plain data, dataclasses and names: mistakes are named, names are of contents, streams do not disturb each other."""

import re
from dataclasses import dataclass
from typing import ClassVar, Literal

import pytest

from calprune.base.values import ConfigError, choice, first_line, identity, plain, read, rng


@dataclass(frozen=True)
class Inner:
    amount: float = 0.5
    version: ClassVar[int] = 2


@dataclass(frozen=True)
class Outer:
    name: str
    sizes: tuple[int, ...] = ()
    kind: Literal["row", "matrix"] = "row"
    inner: Inner = Inner()


def test_plain_data_becomes_the_dataclass():
    made = read(Outer, {"name": "a", "sizes": [1, 2], "inner": {"amount": 1}}, "file.yaml")
    assert made == Outer("a", (1, 2), inner=Inner(1.0))


@pytest.mark.parametrize(("data", "said"), [
    ({"name": "a", "sise": [1]}, "file.yaml: unknown option 'sise'; did you mean 'sizes'?"),
    ({}, "file.yaml: name is missing"),
    ({"name": 3}, "file.yaml: name"),
    ({"name": "a", "sizes": ["x"]}, "file.yaml: sizes.0"),
    ({"name": "a", "kind": "column"}, "file.yaml: kind"),
    ({"name": "a", "inner": {"amount": "0.5"}}, "file.yaml: inner.amount"),
    ([], "expected a mapping with name, sizes, kind, inner"),
])  # fmt: skip
def test_every_mistake_is_named_with_its_place(data, said):
    with pytest.raises(ConfigError, match=re.escape(said)) as error:
        read(Outer, data, "file.yaml")
    assert "\n" not in str(error.value)


def test_identity_is_of_type_version_and_what_differs_from_the_defaults():
    assert identity(Outer("a")) == identity(Outer("a", ()))
    assert identity(Outer("a")) != identity(Outer("b"))
    assert plain(Outer("a", inner=Inner(1.0))) == {
        "type": "Outer",
        "name": "a",
        "inner": {"type": "Inner", "version": 2, "amount": 1.0},
    }
    with pytest.raises(TypeError):
        plain({1, 2})


def test_streams_of_different_purposes_do_not_disturb_each_other():
    first = [rng(0, "sampling/c4").random() for _ in range(2)]
    assert first[0] == first[1] != rng(0, "sampling/pile").random() != rng(1, "sampling/c4").random()


def test_a_choice_names_what_is_near():
    with pytest.raises(ConfigError, match="--needs: unknown value 'gramm'; did you mean 'gram'"):
        choice("gramm", ("moments", "gram"), "--needs")


@pytest.mark.parametrize(("error", "said"), [
    (OSError("no such file\nand more"), "no such file"),
    (ValueError("\n  it begins later  \n"), "it begins later"),
    (RuntimeError(), "RuntimeError"),  # some libraries raise without a word
])  # fmt: skip
def test_what_another_programs_error_says_is_one_line_even_where_it_says_nothing(error, said):
    assert first_line(error) == said
