"""Read the claims of a study's YAML, every mistake with its place. No torch is imported here."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from calprune.base.values import ConfigError, did_you_mean, read
from calprune.studies.claims import FIELDS, KINDS, Claim, Selection, Setting, Test, matches

EXPECTED = ", ".join(KINDS)


def read_claims(data: Any, where: str) -> tuple[Claim, ...]:
    """The claims of a study's YAML. Raises ConfigError that names the place of a mistake."""
    if not isinstance(data, (list, tuple)):
        raise ConfigError(
            f"{where}: claims: expected a list of mappings with says, paper and one of {', '.join(KINDS)}"
        )
    return tuple(_read_claim(one, f"{where}: claims.{i}") for i, one in enumerate(data))


def _read_claim(data: Any, where: str) -> Claim:
    if not isinstance(data, Mapping):
        raise ConfigError(f"{where}: expected a mapping with says, paper and one of {EXPECTED}; got {data!r}")
    known = ["says", "paper", *KINDS]
    if unknown := [key for key in data if key not in known]:
        raise ConfigError(f"{where}: unknown option {unknown[0]!r}{did_you_mean(str(unknown[0]), known)}")
    kinds = [key for key in data if key in KINDS]
    if len(kinds) != 1 or not data.get("says"):
        raise ConfigError(f"{where}: expected says and one of {EXPECTED}; got {', '.join(map(str, data))}")
    kind, paper = kinds[0], data.get("paper") or ""
    asked = {"why": data[kind]} if kind == "not_measured" else data[kind]
    return Claim(str(data["says"]), _read_test(KINDS[kind], asked, f"{where}: {kind}"), str(paper))


def _read_test(cls: type, data: Any, where: str) -> Test:
    if isinstance(data, Mapping):
        data = dict(data)
        for one in dataclasses.fields(cls):
            if one.name in data and one.type is Selection:
                data[one.name] = _selection(data[one.name], f"{where}: {one.name}")
            elif one.name in data and one.type == tuple[Selection, ...]:
                several = data[one.name] if isinstance(data[one.name], list) else [data[one.name]]
                data[one.name] = [_selection(each, f"{where}: {one.name}") for each in several]
    return read(cls, data, where)


def _selection(data: Any, where: str) -> dict[str, list[str]]:
    if not isinstance(data, Mapping):
        raise ConfigError(f"{where}: expected a mapping of {', '.join(FIELDS)}; got {data!r}")
    if unknown := [key for key in data if key not in FIELDS]:
        raise ConfigError(f"{where}: unknown option {unknown[0]!r}{did_you_mean(str(unknown[0]), FIELDS)}")
    return {key: [str(one) for one in (at if isinstance(at, list) else [at])] for key, at in data.items()}


def check_claims(claims: Iterable[Claim], settings: Sequence[Setting], where: str) -> None:
    """Raise ConfigError for a claim about what no trial of the study has."""
    for i, claim in enumerate(claims):
        for side, selection in claim.test.sides().items():
            at = f"{where}: claims.{i}: {side}"
            for name in FIELDS:
                known = dict.fromkeys(setting[name] for setting in settings)
                for value in getattr(selection, name):
                    if not any(matches(name, one, value) for one in known):
                        raise ConfigError(f"{at}: no {name} of this study is {value!r}{did_you_mean(value, known)}")
            if not any(map(selection.takes, settings)):
                raise ConfigError(f"{at}: this study has no trial that is {selection}")
