"""One grammar for everything that is written as text: NAME, or NAME(first, option=value, flag), with calls inside.

    sparsegpt(damping=0.1)   dsnot(start=ria(power=1), linears=attention)   icl(5)   chat(responses)
    language([en, de])   prefixes(of="my notes.txt", tokens=8)   kl(gsm8k:icl, tokens=64)   my_methods:Swing(power=0.5)

A `Registry` holds the classes of one kind by name: `make` builds the dataclass that a text means, `write` is its
inverse. A value without a name is the option of its place, or the name of an option that is true or false (a flag).
What a word means is decided by the option's type: text, true or false, or another object of the same registry. A name
with a colon is a class of the user's own. What is not understood is an error, never dropped.
"""

import ast
import dataclasses
import importlib
import inspect
import json
import re
import sys
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from calprune.base.store import file_digest
from calprune.base.values import ConfigError, UserError, did_you_mean, read

CLOSES = {"(": ")", "[": "]", "{": "}"}
NAME = r"[\w./-]+(:\w+)?"
OWN = "package.module:Mine(option=1)"


def _constants(contract: type) -> dict[str, tuple[str, ...]]:
    """What a contract's class attributes may be, of those that are one of several words."""
    hints = {name: get_args(hint) for name, hint in typing.get_type_hints(contract).items()}  # of ClassVar[Literal]
    return {name: get_args(inner[0]) for name, inner in hints.items() if inner and get_origin(inner[0]) is Literal}


def own_code(*values: Any) -> dict[str, str]:
    """The modules of the user's own classes among dataclasses and what they hold, each with its file's hash."""
    found: dict[str, str] = {}
    for value in values:
        if isinstance(value, (tuple, list)):
            found |= own_code(*value)
        if not dataclasses.is_dataclass(value) or isinstance(value, type):
            continue
        module = type(value).__module__
        file = getattr(sys.modules.get(module), "__file__", None)
        if module.partition(".")[0] != "calprune" and file:
            found[module] = file_digest(Path(file))[:16]
        found |= own_code(*(getattr(value, field.name) for field in dataclasses.fields(value)))
    return found


def split(text: str, at: str) -> list[str]:
    """Cut at each `at` outside brackets and quotes, and strip the pieces.

    Raises ValueError where a bracket or a quote has no end or no beginning. An apostrophe within a word is no quote.
    """
    parts, expected, quote, before = [""], list[str](), "", ""
    for letter in text:
        if quote:
            quote = "" if letter == quote and before != "\\" else quote
        elif letter in "'\"" and not before.isalnum():
            quote = letter
        elif letter in CLOSES:
            expected.append(CLOSES[letter])
        elif letter in CLOSES.values():
            if not expected or letter != expected.pop():
                raise ValueError(f"a {letter} too many")
        elif letter == at and not expected:
            parts.append("")
            before = ""
            continue
        parts[-1] += letter
        before = "" if before == "\\" else letter
    if expected or quote:
        raise ValueError(f"{quote or expected[-1]} is missing")
    return [part.strip() for part in parts]


def unquoted(text: str) -> str:
    """The text that a quoted text says; any other as it is."""
    if len(text) > 1 and text[0] in "'\"" and text[-1] == text[0]:
        try:
            value = ast.literal_eval(text)
        except (SyntaxError, ValueError):
            return text
        return value if isinstance(value, str) else text
    return text


def quoted(text: str) -> str:
    """`text`, with quotes where without them it would be read as something else."""
    try:
        bare = split(text, ",") == split(text, "=") == [text] and unquoted(text) == text and text != ""
    except ValueError:
        bare = False
    return text if bare else repr(text)


def listed(text: str) -> list[str]:
    """The pieces between commas. Raises ValueError for an empty one that is not the last."""
    pieces = split(text, ",")
    if not pieces[-1]:
        pieces.pop()
    if not all(pieces):
        raise ValueError("there is nothing between two commas")
    return pieces


@dataclasses.dataclass(frozen=True, eq=False)
class Registry(Mapping[str, type]):
    """Classes by name, of one kind ("method", "filter"). Each is a dataclass whose fields are the options.

    One class may stand for several names: its `named_by` is the field that holds the name, and its class method
    `options_of(name)`, where it has one, gives the options that go with a name.
    """

    kind: str
    known: Mapping[str, type]
    example: str  # how one is written
    contract: type  # the protocol that a user's own class must fit
    page: str = ""  # where that is described

    def __getitem__(self, name: str) -> type:
        return self.known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.known)

    def __len__(self) -> int:
        return len(self.known)

    def make(self, text: str) -> Any:
        """The object that a text means. Raises ConfigError: what was wanted, what came, what is near."""
        return self.make_beside(text, {})[0]

    def make_beside(self, text: str, beside: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """The object, and the values of the options (name -> type) that stand in the same brackets and are not its
        own."""
        name, arguments = self._call(text)
        cls, where = self._class(name), f"{self.kind} {name.rpartition(':')[2]}"
        own = option_types(cls, name)
        kinds = {**beside, **own}
        given = _named(arguments, own, kinds, where)
        try:
            values = {key: self._value(value, kinds[key]) for key, value in given.items()}
        except ValueError as e:
            raise e if isinstance(e, UserError) else self._unreadable(text, e) from None
        mine = {key: value for key, value in values.items() if key in own}
        made = _built(cls, mine | _its_name(cls, name), where)
        return made, {key: value for key, value in values.items() if key not in own}

    def read(self, given: Any, where: str = "") -> Any:
        """The object of plain data, as YAML holds it: a text, {name: {option: value}} or {name: ..., option: value}.
        An object of this kind is itself. `where` begins what an error says."""
        at = f"{where}: " if where else ""
        if isinstance(given, str):
            return self.make(given)
        if dataclasses.is_dataclass(given) and not isinstance(given, type):
            if type(given) not in self.known.values():
                self._check(type(given), type(given).__name__)
            return given
        if isinstance(given, Mapping) and isinstance(name := given.get("name"), str):
            options: Any = {key: value for key, value in given.items() if key != "name"}
        elif isinstance(given, Mapping) and len(given) == 1:
            ((name, options),) = given.items()
        else:
            name = options = None
        if not isinstance(name, str) or not isinstance(options or {}, Mapping):
            raise ConfigError(f"{at}cannot read {self.kind} {given!r}; write it like {self.example}, as text or as a "
                              f"mapping: {{name: ..., option: value}}")  # fmt: skip
        cls, own = self._class(name), f"{at}{self.kind} {name.rpartition(':')[2]}"
        kinds, values = option_types(cls, name), dict(options or {})
        for key in values:
            _check_option(key, kinds, own)
        for key, value in values.items():
            if isinstance(value, str) and _tuple(kinds[key]):
                values[key] = [value]
            elif isinstance(value, (str, Mapping)) and not _plain(kinds[key]):
                values[key] = self.read(value, own)
        return _built(cls, values | _its_name(cls, name), own)

    def write(self, value: Any) -> str:
        """The text that `make` reads as `value`; options at their defaults are left out."""
        if hasattr(type(value), "named_by"):
            return str(value)  # its defaults depend on its name, so it writes itself
        given = [(f, getattr(value, f.name)) for f in dataclasses.fields(value) if f.init]
        options = [f"{f.name}={self._written(v)}" for f, v in given if v != _default(f)]
        return written(self.name_of(type(value)), options)

    def name_of(self, cls: type) -> str:
        """What a class is called here; the place of one that is the user's own."""
        return next((n for n, known in self.known.items() if known is cls), f"{cls.__module__}:{cls.__qualname__}")

    def _written(self, value: Any) -> str:
        return self.write(value) if dataclasses.is_dataclass(value) else repr(value)

    def _call(self, text: str) -> tuple[str, Sequence[tuple[str | None, str]]]:
        """The name and the (option, value) pairs; the option is None where there is a value alone."""
        name, bracket, inside = text.strip().partition("(")
        try:
            if not re.fullmatch(NAME, name := name.strip()):
                raise ValueError(f"{name!r} is no name")
            if bracket and not inside.endswith(")"):
                raise ValueError(") is missing" if ")" not in inside else "something follows the )")
            return name, [_argument(one) for one in listed(inside[:-1])] if bracket else []
        except ValueError as e:
            raise self._unreadable(text, e) from None

    def _unreadable(self, text: str, why: Exception) -> ConfigError:
        return ConfigError(f"cannot read {self.kind} {text!r}: {why}; write it like {self.example}")

    def _class(self, name: str) -> type:
        if ":" in name:
            return self._own(name)
        if name not in self.known:
            raise ConfigError(f"unknown {self.kind} {name!r}{did_you_mean(name, self.known)}")
        return self.known[name]

    def _own(self, name: str) -> type:
        """A class of the user's, "package.module:Mine", that was checked against the contract."""
        module, _, called = name.partition(":")
        try:
            with _from_current_folder():
                cls = getattr(importlib.import_module(module), called)
        except Exception as e:  # whatever a user's module does when it is imported
            why = str(e) if isinstance(e, (ImportError, AttributeError)) else f"{type(e).__name__}: {e}"
            raise ConfigError(f'cannot import {self.kind} {name!r} ({why}); write it like "{OWN}"') from e
        self._check(cls, name)
        return cls

    def _check(self, cls: Any, name: str) -> None:
        """Raise ConfigError where a class does not fit the contract."""
        see = f" ({self.page})" if self.page else ""
        if not isinstance(cls, type) or not dataclasses.is_dataclass(cls):
            raise ConfigError(f"{name!r} is no {self.kind}: a {self.kind} is a dataclass of its options{see}")
        has = {f.name for f in dataclasses.fields(cls)}.union(*(vars(base) for base in cls.__mro__))
        if missing := [member for member in members(self.contract) if member not in has]:
            raise ConfigError(f"{name!r} is no {self.kind}: it has no {missing[0]}{see}")
        for member, allowed in _constants(self.contract).items():
            given = getattr(cls, member, None)
            if not isinstance(given, property) and given not in allowed:  # a property's value depends on the options
                raise ConfigError(f"{name!r} is no {self.kind}: its {member} is {given!r}; "
                                  f"expected one of {', '.join(allowed)}{see}")  # fmt: skip
        takes = list(inspect.signature(self.contract.__call__).parameters)
        try:
            inspect.signature(cls.__call__).bind(*takes)
        except TypeError:
            called = ", ".join(takes[1:])
            raise ConfigError(f"{name!r} is no {self.kind}: it is not called with {called}{see}") from None

    def _value(self, text: str, kind: Any) -> Any:
        """A value as the option's type takes it; what is not plain is another object of this registry."""
        if (of := _tuple(kind)) and text != "None":
            inside = text[1:-1] if text[:1] in CLOSES and text.endswith(CLOSES[text[0]]) else text
            return [self._value(one, of) for one in listed(inside)]
        kinds = _kinds(kind)
        if text.lower() in ("true", "false") and bool in kinds:
            return text.lower() == "true"
        if text in ("inf", "-inf") and float in kinds:
            return float(text)
        takes_text = any(one is str or get_origin(one) is Literal for one in kinds)
        if (said := unquoted(text)) != text:
            return said
        if takes_text and not {int, float} & kinds:
            return None if text == "None" and types.NoneType in kinds else text
        try:
            value = ast.literal_eval(text)
            json.dumps(value)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return text if _plain(kind) else self.make(text)
        return text if "#" in text else value  # 1 # a comment is not 1


def written(name: str, options: Sequence[str]) -> str:
    """A call as text."""
    return f"{name}({', '.join(options)})" if options else name


def members(contract: type) -> list[str]:
    """What a class must have to fit a protocol."""
    functions = [n for n, v in vars(contract).items() if inspect.isfunction(v) or isinstance(v, property)]
    named = [*inspect.get_annotations(contract), *functions]
    return [name for name in named if not name.startswith("_") or name == "__call__"]


def _named(
    arguments: Sequence[tuple[str | None, str]], own: Mapping[str, Any], kinds: Mapping[str, Any], where: str
) -> dict[str, str]:
    """The values by option. A value alone is a flag, or the option of its place among the object's own."""
    found: dict[str, str] = {}
    for place, (key, value) in enumerate(arguments):
        if key is None and bool in _kinds(kinds.get(value)):
            key, value = value, "true"
        elif key is None:
            if value in kinds:
                raise ConfigError(f"{where}: {value} has no value; write {value}=...")
            if place >= len(own):
                raise ConfigError(f"{where} takes {len(own)} options ({', '.join(own) or 'none'}); got {value} beside "
                                  "them")  # fmt: skip
            if any(name is not None for name, _ in arguments[:place]):
                raise ConfigError(f"{where}: {value} stands behind an option, so it needs its name: "
                                  f"{next(n for n in own if n not in found)}={value}")  # fmt: skip
            key = [*own][place]
        _check_option(key, kinds, where)
        if key in found:
            raise ConfigError(f"{where}: {key} is there twice")
        if not value:
            raise ConfigError(f"{where}: {key} has no value; write {key}=...")
        found[key] = value
    return found


def _argument(text: str) -> tuple[str | None, str]:
    key, *more = split(text, "=")
    return (key, text[text.index("=") + 1 :].strip()) if more else (None, key)


def _check_option(key: Any, kinds: Mapping[str, Any], where: str) -> None:
    if key not in kinds:
        raise ConfigError(f"{where}: unknown option {key!r}{did_you_mean(key, kinds)}")


def option_types(cls: type, name: str = "") -> dict[str, Any]:
    """The options of a dataclass, where it is called `name`, with their types."""
    hints = _hints(cls)
    fields = [f.name for f in dataclasses.fields(cls) if f.init and f.name != getattr(cls, "named_by", None)]
    return {option: hints[option] for option in (cls.options_of(name) if hasattr(cls, "options_of") else fields)}


@cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _its_name(cls: type, name: str) -> dict[str, str]:
    return {cls.named_by: name} if hasattr(cls, "named_by") else {}


def _built(cls: type, values: dict[str, Any], where: str) -> Any:
    objects = {key: value for key, value in values.items() if dataclasses.is_dataclass(value)}
    if not objects:
        return read(cls, values, where)
    # what is built already is not plain data: the other options are read as those of a class that lacks these fields
    others = [
        (f.name, f.type, dataclasses.field(default=f.default, default_factory=f.default_factory, kw_only=True))
        for f in dataclasses.fields(cls)
        if f.init and f.name not in objects
    ]
    plain = {key: value for key, value in values.items() if key not in objects}
    try:
        return cls(**vars(read(dataclasses.make_dataclass(cls.__name__, others), plain, where)), **objects)
    except UserError as e:
        raise ConfigError(str(e) if str(e).startswith(where) else f"{where}: {e}") from None


def _kinds(kind: Any) -> set[Any]:
    return set(get_args(kind)) if get_origin(kind) in (Union, types.UnionType) else {kind}


def _tuple(kind: Any) -> Any:
    """The type of the items, where an option takes several; else None."""
    return next((get_args(one)[0] for one in _kinds(kind) if get_origin(one) is tuple), None)


def _plain(kind: Any) -> bool:
    """Whether values of the type are plain data, and no object of a registry."""
    return all(one in (str, int, float, bool, types.NoneType) or get_origin(one) in (Literal, tuple, list, dict)
               for one in _kinds(kind))  # fmt: skip


def _default(field: dataclasses.Field) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


@contextmanager
def _from_current_folder() -> Iterator[None]:
    """What is in the current folder can be imported, as `python -m` has it; an installed command has not."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(here)
