"""src/calprune/cli/known.py: the names that options take, with their options and types, read off the registries."""

import dataclasses
import textwrap
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

from calprune.allocation import ALLOCATIONS
from calprune.calibration.layout import LAYOUTS
from calprune.calibration.selection import SELECTIONS
from calprune.evaluation.evaluation import OnText
from calprune.evaluation.tasks import TASKS
from calprune.layers.attention import TOKEN_WEIGHTS
from calprune.methods import METHODS
from calprune.text.filters.kinds import FILTERS
from calprune.writing.sampling import Sampling
from calprune.writing.screen import Screen
from calprune.writing.strategies import STRATEGIES, Asked

HEAD = '''"""The names that options take, each with its options and their types. No torch is imported here.

Made by docs/generate.py from the registries: run `make docs`. An option of the type `object` is another of its kind.
"""

from typing import Any, Literal

# fmt: off
NAMES: dict[str, dict[str, dict[str, Any]]] = {
'''


def kinds() -> dict[str, dict[str, dict[str, str]]]:
    """Kind -> name -> option -> its type, as Python writes it."""
    writing = options_of(Sampling, "") | options_of(Screen, "") | options_of(Asked, "")
    beside = {
        option: kind for option, kind in writing.items() if option not in ("stop", "strategy", "options", "screen")
    }
    beside["temperature"] = "str | float"  # "2.0:1.0": from one to the other
    strategies = {name: options_of(cls, name) | beside for name, cls in STRATEGIES.items()}
    on_text = {option: kind for option, kind in options_of(OnText, "").items() if option != "metric"}
    return {
        "allocation": _options(ALLOCATIONS),
        "evaluation": {"perplexity": on_text, "kl": on_text, **_options(TASKS)},
        "filter": _options(FILTERS),
        "layout": _options(LAYOUTS),
        "method": _options(METHODS),
        "selection": _options(SELECTIONS),
        "strategy": strategies,
        "token weights": _options(TOKEN_WEIGHTS),
    }


def page() -> str:
    """The file."""
    lines = [HEAD]
    for kind, names in kinds().items():
        lines.append(f'    "{kind}": {{\n')
        lines += [line for name, options in names.items() for line in _line(name, options)]
        lines.append("    },\n")
    return "".join([*lines, "}\n"])


def options_of(cls: type, name: str) -> dict[str, str]:
    """The options of a class, as `name` has them, each with the text of its type."""
    hints = typing.get_type_hints(cls)
    own = [f.name for f in dataclasses.fields(cls) if f.init and f.name not in ("name", getattr(cls, "named_by", ""))]
    return {one: _type(hints[one]) for one in (cls.options_of(name) if hasattr(cls, "options_of") else own)}


def _options(registry: Mapping[str, type]) -> dict[str, dict[str, str]]:
    return {name: options_of(cls, name) for name, cls in sorted(registry.items())}


def _line(name: str, options: dict[str, str]) -> Iterator[str]:
    written = ", ".join(f'"{option}": {kind}'.replace(" ", "~") for option, kind in options.items())
    for line in textwrap.wrap(f'"{name}": {{{written}}},', 108, subsequent_indent=" ", break_on_hyphens=False):
        yield f"        {line}\n".replace("~", " ")


def _type(hint: Any) -> str:
    if get_origin(hint) in (typing.Union, types.UnionType):
        found = [_type(one) for one in get_args(hint)]
        return "object" if "object" in found else " | ".join(found)
    if get_origin(hint) is Literal:
        return f"Literal[{', '.join(map(_quoted, get_args(hint)))}]"
    if get_origin(hint) is tuple:
        return f"tuple[{_type(get_args(hint)[0])}, ...]"
    if hint in (str, int, float, bool):
        return hint.__name__
    return "None" if hint is type(None) else "object"


def _quoted(word: Any) -> str:
    return f'"{word}"' if isinstance(word, str) else repr(word)
