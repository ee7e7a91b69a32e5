"""A mistake in what an option names (a pattern, a method, a filter) is named before torch is imported.

What there is stands in `known.py`, which `make docs` writes from the registries. A text passes here if its name, its
options and the types of their values are right; what only the object itself can refuse, it refuses when it is made.
A class of the user's own is not looked at.
"""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

from calprune.base.patterns import parse_any, parse_pattern
from calprune.cli.known import EXAMPLES, NAMES

PLAIN = {"token weights": "even"}  # kind -> the word that stands for no object


def check(kind: str) -> Callable[[str | None], str | None]:
    """A typer callback that raises UserError where the option's text names nothing of this kind."""

    def checked(text: str | None) -> str | None:
        if text is not None:
            check_text(kind, text)
        return text

    return checked


def check_each(kind: str) -> Callable[[list[str] | None], list[str] | None]:
    """The same of an option that can be repeated."""

    def checked(texts: list[str] | None) -> list[str] | None:
        for text in texts or ():
            check_text(kind, text)
        return texts

    return checked


def complete(kind: str) -> Callable[[str], Iterable[str]]:
    """For shell completion: the names that begin so."""
    return lambda incomplete: [name for name in NAMES[kind] if name.startswith(incomplete)]


def check_text(kind: str, text: str) -> None:
    """Raise UserError where `text` names nothing of this kind, or has an option or a value that does not fit."""
    if kind == "pattern":
        parse_pattern(text)
    elif kind == "any pattern":
        parse_any(text)
    elif text != PLAIN.get(kind) and ":" not in text.partition("(")[0]:
        _registry(kind).make(text)


def _registry(kind: str) -> Any:
    """A registry whose classes have the options of the real ones and do nothing."""
    from calprune.base.calls import Registry

    names = dict(NAMES[kind])
    if kind == "method":  # of removal too: which of the two it is, the pattern says
        for name, options in NAMES["method of removal"].items():
            names[name] = names.get(name, {}) | options
    known = {name: _stand_in(name, options) for name, options in names.items()}
    return Registry(kind, known, EXAMPLES[kind], object)


def _stand_in(name: str, options: dict[str, Any]) -> type:
    fields = [(option, kind, dataclasses.field(default=None, kw_only=True)) for option, kind in options.items()]
    return dataclasses.make_dataclass(name, fields)
