"""Text: from a name to documents. A map of the room.

find       a name becomes a source here: of the catalogue, a file, and the kinds that other rooms register
source     what every source offers; records and files
read       the kinds of file: from a file to records
given      what sources, filters, strategies and selections need, as one object: model, tokenizer, data root
catalogue  every named source, a YAML each
filters    which documents may be drawn: a kind of filter a file; wording shared with evaluation sets

Rooms above this one add kinds of source: folders of built sets, and texts that a model writes. Each registers its kind
in its `__init__`, so `find` knows them and this room imports none of them.
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
