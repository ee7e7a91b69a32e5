"""Texts that a model writes itself: the source `self`, known to `text.find` from here on."""

from typing import Any

from calprune.text import SourceKind, register


def _is_self(name: str) -> bool:
    return name == "self" or name.startswith("self:")


def _find_self(name: str) -> Any:
    from calprune.writing.source import find_self  # it runs a model: transformers' models are imported

    return find_self(name)


register(SourceKind("self", _is_self, _find_self))
