"""Arguments checked against their types: a wrong one is one line that names it, before anything is done.

`checked` is for functions that users call, `options` for dataclasses that they make: what a type says is what is
accepted. `Annotated[int, AtLeast(1)]` is a whole number from 1 on.
"""

import dataclasses
import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import cache, wraps
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, ParamSpec, TypeVar, Union, dataclass_transform, get_args, get_origin

from calprune.base.values import ConfigError, UserError, did_you_mean

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

NAMES: dict[Any, str] = {
    int: "a whole number", float: "a number", str: "text", bool: "True or False", Path: "a path", NoneType: "None",
}  # fmt: skip
MOST = 2**63  # of a whole number: what arrays and files hold
LONG = 60  # characters of a value that an error shows


@dataclasses.dataclass(frozen=True)
class AtLeast:
    """The least value of a number: `Annotated[int, AtLeast(1)]`."""

    value: int


@dataclasses.dataclass(frozen=True)
class AtMost:
    """The greatest value of a number."""

    value: int


Count = Annotated[int, AtLeast(1), AtMost(2**31 - 1)]


def check(name: str, value: Any, kind: Any) -> None:
    """Raise ConfigError unless `value` is of the type `kind`; `name` begins what it says."""
    if not fits(value, kind):
        words = [word for one in _kinds(kind) if get_origin(one) is Literal for word in get_args(one)]
        near = did_you_mean(value, words) if isinstance(value, str) and words else ""
        near = near if "did you mean" in near else ""  # what there is is said already
        called = f"; write {value.__name__}()" if isinstance(value, type) and fits_class(value, kind) else ""
        raise ConfigError(f"{name}: expected {described(kind)}; got {_shown(value)}{near or called}")


def fits(value: Any, kind: Any) -> bool:
    """Whether `value` is of the type `kind`. What this cannot decide is taken."""
    origin, inside = get_origin(kind), get_args(kind)
    if kind is Any or kind is object or isinstance(kind, (str, TypeVar)):
        return True
    if origin in (Union, UnionType):
        return any(fits(value, one) for one in inside)
    if origin is Annotated:
        least = [mark.value for mark in inside[1:] if isinstance(mark, AtLeast)]
        most = [mark.value for mark in inside[1:] if isinstance(mark, AtMost)]
        if value is None or not fits(value, inside[0]):
            return fits(value, inside[0])
        return all(value >= one for one in least) and all(value <= one for one in most)
    if origin is Literal:
        return any(value == one and type(value) is type(one) for one in inside)
    if kind in (None, NoneType):
        return value is None
    if kind in (int, float):
        fitting = isinstance(value, Integral if kind is int else Real) and not isinstance(value, bool)
        return fitting and not (isinstance(value, Integral) and abs(int(value)) >= MOST)
    return _fits_class(value, origin or kind, inside)


def _fits_class(value: Any, cls: Any, inside: tuple[Any, ...]) -> bool:
    if isinstance(value, type) and cls is not type:
        return False  # a class where an object of it was wanted
    try:
        if not isinstance(value, cls) or (isinstance(value, (str, bytes)) and cls not in (str, bytes)):
            return False
    except TypeError:  # a type that only a type checker understands
        return True
    if isinstance(value, Mapping) and len(inside) == 2:
        return all(fits(key, inside[0]) and fits(one, inside[1]) for key, one in value.items())
    if isinstance(value, tuple) and inside and inside[-1] is not ...:
        return len(value) == len(inside) and all(map(fits, value, inside))
    if isinstance(value, (list, tuple)) and inside:
        return all(fits(one, inside[0]) for one in value)
    return True


def fits_class(value: type, kind: Any) -> bool:
    """Whether an object of this class would fit."""
    classes = [get_origin(one) or one for one in _kinds(kind)]
    named = {one.__name__ for one in classes if isinstance(one, type)}
    has = [one for one in classes if getattr(one, "_is_protocol", False)]
    return value.__name__ in named or any(all(hasattr(value, a) for a in typing.get_type_hints(one)) for one in has)


def described(kind: Any) -> str:
    """A type in words: "a whole number from 1 on or None"."""
    origin, inside = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(described(one) for one in inside))
    if origin is Annotated:
        least = [mark.value for mark in inside[1:] if isinstance(mark, AtLeast)]
        most = [mark.value for mark in inside[1:] if isinstance(mark, AtMost) and not fits(MOST - 1, kind)]
        upto = "".join(f", at most {one:,}" for one in most if one != 2**31 - 1)
        return described(inside[0]) + "".join(f" from {one} on" for one in least) + upto
    if origin is Literal:
        return " or ".join(map(repr, inside))
    if kind in NAMES:
        return NAMES[kind]
    cls = origin or kind
    if isinstance(cls, type) and issubclass(cls, Mapping):
        return f"a mapping of {described(inside[0])} to {described(inside[1])}" if inside else "a mapping"
    if isinstance(cls, type) and issubclass(cls, Sequence):
        items = f", each {described(inside[0])}" if inside else ""
        return f"a {'tuple' if cls is tuple else 'list'}{items}"
    return _article(getattr(cls, "__name__", str(cls)))


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """A function that users call: each argument is checked against its annotation first."""
    signature = inspect.signature(function)
    known = [name for name in signature.parameters if name not in ("self", "cls")]
    called = function.__name__

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if unknown := [name for name in kwargs if name not in known]:
            raise ConfigError(f"{called}: unknown argument {unknown[0]!r}{did_you_mean(unknown[0], known)}")
        try:
            given = signature.bind(*args, **kwargs)
        except TypeError as e:
            raise ConfigError(f"{called}: {e}") from None
        kinds = _hints(function)
        for name, value in given.arguments.items():
            if name in kinds:
                check(name, value, kinds[name])
        return function(*args, **kwargs)

    return call


@dataclass_transform(frozen_default=True)
def options(cls: type[T]) -> type[T]:
    """A frozen dataclass of options: each is checked against its type before anything else looks at it."""
    after = getattr(cls, "__post_init__", None)

    def __post_init__(self: Any) -> None:
        kinds = _hints(self.__class__)
        for field in dataclasses.fields(self):
            try:
                check(field.name, getattr(self, field.name), kinds[field.name])
            except UserError as e:
                raise ConfigError(f"{type(self).__name__}: {e}") from None
        if after:
            after(self)

    cls.__post_init__ = __post_init__  # type: ignore[attr-defined]
    return dataclasses.dataclass(frozen=True)(cls)


@cache
def _hints(owner: Any) -> dict[str, Any]:
    return typing.get_type_hints(owner, include_extras=True)


def _kinds(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def _article(name: str) -> str:
    return f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"


def _shown(value: Any) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__}"
    text = " ".join(repr(value).split())
    return text if len(text) <= LONG else f"{text[:LONG]}..."
