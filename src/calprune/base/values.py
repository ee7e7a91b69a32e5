"""Plain data, frozen dataclasses and names: what a YAML file, an object and an identity have to do with each other.

`read` makes a dataclass of plain data, once, at the door, with every mistake named.
`plain` makes JSON-ready data of a dataclass; hashed, that is the `identity` of what it describes.
`rng` gives a random stream for one purpose, so that adding a purpose never shifts another's draws.
"""

import ast
import dataclasses
import difflib
import hashlib
import json
import random
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Literal, get_origin

from pydantic import TypeAdapter, ValidationError


class UserError(ValueError):
    """Something the user can mend: shown as one line, without a traceback, exit code 1."""


class ConfigError(UserError):
    """A file, an option or a call that does not say what it should."""


@lru_cache
def _adapter(cls: type) -> TypeAdapter:
    return TypeAdapter(cls)


def read(cls: type, data: Any, where: str) -> Any:
    """Build the dataclass `cls` from plain data; `where` is the path that errors begin with ("study.yaml: grid")."""
    names = [f.name for f in dataclasses.fields(cls) if f.init]
    if not isinstance(data, Mapping):
        raise ConfigError(f"{where}: expected a mapping with {', '.join(names)}; got {data!r}")
    if unknown := [key for key in data if key not in names]:
        raise ConfigError(f"{where}: unknown option {unknown[0]!r}{did_you_mean(unknown[0], names)}")
    try:
        # JSON mode is strict about text for numbers and lenient about lists for tuples, as a YAML file needs
        return _adapter(cls).validate_json(json.dumps(data), strict=True)
    except ValidationError as e:
        raise ConfigError("; ".join(_problem(where, p) for p in e.errors(include_url=False))) from None
    except UserError as e:
        raise ConfigError(f"{where}: {e}") from None


def _problem(where: str, error: Mapping) -> str:
    path = ".".join(str(part) for part in error["loc"])
    at = f"{where}: {path}" if path else where
    match error["type"]:
        case "missing" | "missing_argument":
            return f"{at} is missing"
        case "value_error":  # raised by a __post_init__ of ours: it already says what was wanted
            return f"{at}: {error['ctx']['error']}"
        case "unexpected_keyword_argument" | "extra_forbidden":
            return f"{at} is not an option"
    return f"{at}: {error['msg']}; got {error['input']!r}"


def parse_call(text: str, known: Mapping[str, type], kind: str) -> Any:
    """An object written as text: "wanda", "sparsegpt(damping=0.1)", "dsnot(start=ria(power=1), linears=attention)".

    `known` maps names to dataclasses; an option that is itself a name or a call is looked up there too, unless it
    takes a word.
    """
    try:
        node = ast.parse(text.strip(), mode="eval").body
    except SyntaxError:
        raise _unreadable(kind, text) from None
    return _build(node, text, known, kind)


def _build(node: ast.expr, text: str, known: Mapping[str, type], kind: str) -> Any:
    match node:
        case ast.Call(func=ast.Name(id=name), args=[], keywords=keywords):
            pass
        case ast.Name(id=name):
            keywords = []
        case _:
            raise _unreadable(kind, text)
    if name not in known:
        raise ConfigError(f"unknown {kind} {name!r}{did_you_mean(name, known)}")
    cls, where = known[name], f"{kind} {name}"
    types = {f.name: f.type for f in dataclasses.fields(cls)}
    options: dict[str, Any] = {}
    objects: dict[str, Any] = {}
    for keyword in keywords:
        if keyword.arg is None:
            raise _unreadable(kind, text)
        match keyword.value:
            case ast.Name(id=bare) if (word := _word(bare, types.get(keyword.arg))) is not None:
                options[keyword.arg] = word
            case ast.Call() | ast.Name() as inner:
                objects[keyword.arg] = _build(inner, text, known, kind)
            case value:
                try:
                    options[keyword.arg] = ast.literal_eval(value)
                except ValueError:
                    raise _unreadable(kind, text) from None
    if not objects:
        return read(cls, options, where)
    fields = {f.name: f for f in dataclasses.fields(cls)}
    if unknown := [key for key in objects | options if key not in fields]:
        raise ConfigError(f"{where}: unknown option {unknown[0]!r}{did_you_mean(unknown[0], fields)}")
    # what is built already is not plain data: the other options are read as those of a class that lacks these fields
    others = [
        (name, f.type, dataclasses.field(default=f.default, default_factory=f.default_factory, kw_only=True))
        for name, f in fields.items()
        if name not in objects
    ]
    try:
        return cls(**vars(read(dataclasses.make_dataclass(cls.__name__, others), options, where)), **objects)
    except UserError as e:
        raise ConfigError(f"{where}: {e}") from None


def _word(text: str, kind: Any) -> str | bool | None:
    """What a bare word means to an option of this type; None: nothing, so it is the name of an object."""
    if kind is bool:
        return {"true": True, "false": False}.get(text, text)
    return text if kind is str or get_origin(kind) is Literal else None


def _unreadable(kind: str, text: str) -> ConfigError:
    return ConfigError(f'cannot read {kind} {text!r}; write it like "name" or "name(option=0.1, other=\'text\')"')


def plain(value: Any) -> Any:
    """JSON-ready data. A dataclass carries its type, its `version` if it has one, and the fields that differ from
    their defaults: so a field added later does not rename what was made before. Changing a default raises `version`."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        head = {"type": type(value).__name__} | ({"version": v} if (v := getattr(value, "version", None)) else {})
        return head | {
            f.name: plain(v) for f in dataclasses.fields(value) if (v := getattr(value, f.name)) != _default(f)
        }
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"{type(value).__name__} cannot be written as plain data: {value!r}")


def _default(field: dataclasses.Field) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default  # MISSING differs from every value


def identity(value: Any) -> str:
    """The 16-character name of what `value` describes: the hash of its plain data."""
    text = json.dumps(plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write_call(value: Any, known: Mapping[str, type]) -> str:
    """The text that `parse_call` would read as `value`; options at their defaults are left out."""
    name = next((n for n, cls in known.items() if cls is type(value)), type(value).__name__)
    fields = [(f.name, v) for f in dataclasses.fields(value) if (v := getattr(value, f.name)) != _default(f)]
    written = [f"{n}={write_call(v, known) if dataclasses.is_dataclass(v) else repr(v)}" for n, v in fields]
    return f"{name}({', '.join(written)})" if written else name


def rng(seed: int, purpose: str) -> random.Random:
    """A stream of its own for each purpose ("sampling/c4"). The same on every machine and Python from 3.11."""
    return random.Random(f"{seed}/{purpose}")


def did_you_mean(word: Any, known: Iterable[str]) -> str:
    """ "; did you mean 'wanda'?" or, when nothing is near, the list of what there is."""
    names = sorted(str(k) for k in known)
    close = difflib.get_close_matches(str(word).lower(), names, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; there are: {', '.join(names) or 'none'}"


def choice(word: str, allowed: Iterable[str], where: str) -> str:
    """`word`, if it is allowed; otherwise a ConfigError that names the option, what came and what is near."""
    allowed = list(allowed)
    if word not in allowed:
        raise ConfigError(f"{where}: unknown value {word!r}{did_you_mean(word, allowed)}")
    return word
