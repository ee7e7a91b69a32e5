"""Plain data, frozen dataclasses and names: what a YAML file, an object and an identity have to do with each other.

`read` makes a dataclass of plain data, once, at the door, with every mistake named.
`plain` makes JSON-ready data of a dataclass; hashed, that is the `identity` of what it describes.
`rng` gives a random stream for one purpose, so that adding a purpose never shifts another's draws.
"""

import dataclasses
import difflib
import hashlib
import json
import random
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

CODE_ALLOWED = "CALPRUNE_ALLOW_CODE_EXECUTION"  # in the environment, "1": programs that models write may be run


class UserError(ValueError):
    """Something the user can mend: shown as one line, without a traceback, exit code 1."""


class ConfigError(UserError):
    """A file, an option or a call that does not say what it should."""


def first_line(error: BaseException) -> str:
    """What another program's error says first, for a message of one line; its kind where it says nothing."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


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
        return _adapter(cls).validate_json(_json(data, where), strict=True)
    except ValidationError as e:
        raise ConfigError("; ".join(_problem(where, p) for p in e.errors(include_url=False))) from None
    except UserError as e:
        raise ConfigError(f"{where}: {e}") from None


def _json(data: Mapping, where: str) -> str:
    try:
        return json.dumps(data)
    except (TypeError, ValueError, RecursionError) as e:
        what = "it holds itself or is nested too deep" if isinstance(e, RecursionError) else e
        raise ConfigError(f"{where}: not plain data (text, numbers, true and false, lists, mappings): {what}") from None


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


def plain(value: Any) -> Any:
    """JSON-ready data. A dataclass carries its tag, its `version` if it has one, and the fields that differ from
    their defaults: so a field added later does not rename what was made before. Changing a default raises `version`."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = value.by_contents() if hasattr(value, "by_contents") else value  # where its fields name a file
        head = {"type": tag_of(type(value))} | ({"version": v} if (v := getattr(value, "version", None)) else {})
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


def tag_of(cls: type) -> str:
    """The constant name of a type in identities and file names, which outlives a new name of the class.

    A user's own class may go without: its name stands for it. A tag is not inherited, for a subclass is another type.
    """
    tag = vars(cls).get("tag")
    if tag is None and cls.__module__.partition(".")[0] == "calprune":
        raise TypeError(f'{cls.__name__} enters an identity or a file name: give it a tag, tag: ClassVar[str] = "..."')
    return tag or cls.__name__


def _default(field: dataclasses.Field) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default  # MISSING differs from every value


def identity(value: Any) -> str:
    """The 16-character name of what `value` describes: the hash of its plain data."""
    text = json.dumps(plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def rng(seed: int, purpose: str) -> random.Random:
    """A stream of its own for each purpose ("sampling/c4"). The same on every machine and Python from 3.11."""
    return random.Random(f"{seed}/{purpose}")


def did_you_mean(word: Any, known: Iterable[str]) -> str:
    """ "; did you mean 'wanda'?" or, when nothing is near, the list of what there is.

    Case, hyphens and underscores do not count, nor what stands before a slash: gsm8k is near bandari/gsm8k.
    """
    names = sorted(str(k) for k in known)
    close = [name for name in names if _bare(str(word)) in (_bare(name), _bare(name.rpartition("/")[2]))]
    close = close or difflib.get_close_matches(str(word).lower(), names, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; there are: {', '.join(names) or 'none'}"


def _bare(name: str) -> str:
    return re.sub(r"[-_\s]", "", name.lower())


def choice(word: str, allowed: Iterable[str], where: str) -> str:
    """`word`, if it is allowed; otherwise a ConfigError that names the option, what came and what is near."""
    allowed = list(allowed)
    if word not in allowed:
        raise ConfigError(f"{where}: unknown value {word!r}{did_you_mean(word, allowed)}")
    return word
