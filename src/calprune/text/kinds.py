"""The kinds of source that rooms above this one add: folders of built sets, and texts that a model writes.

Each room registers its kind in its `__init__`, so `find` knows them and this room imports none of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class SourceKind:
    """A kind of source: which names are of this kind, and what to make of one."""

    name: str
    takes: Callable[[str], bool]  # whether a name is of this kind; cheap
    find: Callable[[str], Any]  # the text.source.Source of such a name


KINDS: dict[str, SourceKind] = {}


def register(kind: SourceKind) -> None:
    """Let `find` ask this kind, after those registered before it and before files and the catalogue."""
    KINDS[kind.name] = kind
