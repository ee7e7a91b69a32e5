"""Plain data, dataclasses and names: mistakes are named, names are of contents, streams do not disturb each other."""

import re
from dataclasses import dataclass
from typing import ClassVar, Literal

import pytest

from calprune.base.values import ConfigError, choice, identity, parse_call, plain, read, rng, write_call
from calprune.methods import parse_method


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


KNOWN = {"inner": Inner, "outer": Outer}


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


@pytest.mark.parametrize("value", [Inner(), Inner(0.25), Outer("x", (1,), "matrix", Inner(2.0))])
def test_an_object_reads_back_as_it_is_written(value):
    assert parse_call(write_call(value, KNOWN), KNOWN, "thing") == value


@pytest.mark.parametrize(
    "text",
    ["", "inner(", "inner(1)", "inner(amount=other)", "innr", "inner(amont=1)", "inner.amount", "__import__('os')"],
)
def test_text_that_is_no_call_of_a_known_name_is_refused(text):
    with pytest.raises(ConfigError):
        parse_call(text, KNOWN, "thing")


@pytest.mark.parametrize(
    ("bare", "quoted"),
    [
        ("gblm(norm=l1)", "gblm(norm='l1')"),
        ("dsnot(start=ria, linears=attention)", "dsnot(start=ria(), linears='attention')"),
        ("block_reconstruction(start=wanda, cross_block=true)", "block_reconstruction(start=wanda, cross_block=True)"),
    ],
)
def test_an_option_that_takes_a_word_needs_no_quotes(bare, quoted):
    assert parse_method(bare) == parse_method(quoted)


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
