"""src/calprune/cli/known.py: the names that options take, with their options and types, read off the registries."""

import dataclasses
import textwrap
import types
import typing
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from calprune.allocation import ALLOCATIONS
from calprune.calibration.layout import LAYOUTS
from calprune.calibration.selections import SELECTIONS
from calprune.evaluation.evaluation import EVALUATIONS
from calprune.evaluation.metric import METRICS
from calprune.layers.attention import TOKEN_WEIGHTS
from calprune.methods import METHODS
from calprune.removal import REMOVALS
from calprune.text.filters import FILTERS
from calprune.writing.sampling import Sampling
from calprune.writing.screen import Screen
from calprune.writing.strategies import STRATEGIES, WritingPlan

HEAD = '''"""The names that options take, each with its options and their types. No torch is imported here.

Made by docs/generate.py from the registries: run `make docs`. An option of the type `object` is another of its kind.
"""

from typing import Any, Literal

# fmt: off
'''
REGISTRIES = (ALLOCATIONS, EVALUATIONS, FILTERS, LAYOUTS, METHODS, REMOVALS, SELECTIONS, STRATEGIES, TOKEN_WEIGHTS)


def page() -> str:
    """The file."""
    lines = [HEAD, "EXAMPLES: dict[str, str] = {  # of each kind, how one is written\n"]
    lines += [f"    \"{registry.kind}\": '{registry.example}',\n" for registry in REGISTRIES]
    lines += ["}\n", "NAMES: dict[str, dict[str, dict[str, Any]]] = {\n"]
    for registry in REGISTRIES:
        beside = _beside() if registry is STRATEGIES else {}
        lines.append(f'    "{registry.kind}": {{\n')
        for name, cls in sorted(registry.items()):
            lines += _line(name, options_of(cls, name) | beside)
        lines.append("    },\n")
    dense = ", ".join(f'"{name}"' for name, metric in METRICS.items() if metric.needs_dense)
    return "".join([*lines, "}\n", f"NEEDS_DENSE = {{{dense}}}  # evaluations that compare with the dense model\n"])


def options_of(cls: type, name: str) -> dict[str, str]:
    """The options of a class, as `name` has them, each with its type as Python writes it."""
    hints = typing.get_type_hints(cls)
    own = [f.name for f in dataclasses.fields(cls) if f.init and f.name != getattr(cls, "named_by", None)]
    return {one: _type(hints[one]) for one in (cls.options_of(name) if hasattr(cls, "options_of") else own)}


def _beside() -> dict[str, str]:
    """What stands in a strategy's brackets beside its own options."""
    found = options_of(Sampling, "") | options_of(Screen, "") | options_of(WritingPlan, "")
    kept = {option: kind for option, kind in found.items() if option not in ("stop", "strategy", "options", "screen")}
    return kept | {"temperature": "str | float"}  # "2.0:1.0": from one to the other


def _line(name: str, options: dict[str, str]) -> Iterator[str]:
    written = ", ".join(f'"{option}":~{_together(kind)}' for option, kind in options.items())
    for line in textwrap.wrap(f'"{name}": {{{written}}},', 108, subsequent_indent=" ", break_on_hyphens=False):
        yield f"        {line}\n".replace("~", " ")


def _together(kind: str) -> str:
    """A type that stands on one line, but for one longer than a line."""
    return kind.replace(" ", "~") if len(kind) < 90 else kind


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
