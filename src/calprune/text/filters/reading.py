"""A recipe's filters: read from text or YAML, written back, and put between a source and the draw."""

import ast
import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, get_origin

from calprune.base.values import ConfigError, did_you_mean, read, write_call
from calprune.text.document import Document
from calprune.text.encode import batches
from calprune.text.filters.contract import Opening
from calprune.text.filters.kinds import FILTERS, Filter


def filtered(
    documents: Iterable[Document], filters: Sequence[Filter], given: Opening, dropped: Counter[str]
) -> Iterator[Document]:
    """The documents that every filter keeps, in order; `dropped` counts the others by reason. Reads a batch ahead."""
    judges = [one.open(given) for one in filters]
    for batch in batches(documents):
        for judge in judges:
            reasons = judge(batch) if batch else []
            dropped.update(reason for reason in reasons if reason)
            batch = [d for d, reason in zip(batch, reasons, strict=True) if not reason]
        yield from batch


def depends(filters: Sequence[Filter], given: Opening) -> list[Any]:
    """What the filters' answers depend on beside their options: the bytes of evaluation sets, a model, an identifier.

    Opens nothing that is large; raises UserError where something is not there."""
    return [one.depends(given) for one in filters if hasattr(one, "depends")]


def read_filters(given: Any, where: str) -> tuple[Filter, ...]:
    """Filters of plain data: a text, or a list of texts or mappings such as {near_duplicates: {threshold: 0.8}}."""
    listed = [given] if isinstance(given, (str, dict)) or dataclasses.is_dataclass(given) else list(given or [])
    return tuple(_filter(one, where) for one in listed)


def write_filter(given: Filter) -> str:
    """The text that `parse_filter` reads as this filter."""
    return write_call(given, FILTERS)


def parse_filter(text: str) -> Filter:
    """A filter written as text: "min_words(50)", "language(en)", "contamination(against=[gsm8k, arc_easy])"."""
    try:
        node = ast.parse(text.strip(), mode="eval").body
    except SyntaxError:
        raise _unreadable(text) from None
    call = ast.Call(node, [], []) if isinstance(node, ast.Name) else node
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        raise _unreadable(text)
    names = [f.name for f in dataclasses.fields(_known(call.func.id))]
    if len(call.args) > len(names):
        raise ConfigError(f"filter {call.func.id} takes {len(names)} options ({', '.join(names)}); got {text!r}")
    given = [*zip(names, call.args, strict=False), *((k.arg or "", k.value) for k in call.keywords)]
    return _made(call.func.id, {name: _value(value, text) for name, value in given}, "")


def _filter(given: Any, where: str) -> Filter:
    if isinstance(given, str):
        return parse_filter(given)
    if dataclasses.is_dataclass(given):
        return given  # type: ignore[return-value]
    if not isinstance(given, dict) or len(given) != 1:
        raise ConfigError(f'{where}: filters: expected texts like "min_words(50)" or one mapping each like '
                          f"near_duplicates: {{threshold: 0.8}}; got {given!r}")  # fmt: skip
    ((name, options),) = given.items()
    return _made(name, options or {}, f"{where}: ")


def _made(name: str, options: dict[str, Any], where: str) -> Filter:
    cls = _known(name)
    lists = {f.name for f in dataclasses.fields(cls) if get_origin(f.type) is tuple}
    given = {key: [value] if key in lists and isinstance(value, str) else value for key, value in options.items()}
    return read(cls, given, f"{where}filter {name}")


def _known(name: str) -> type:
    if name not in FILTERS:
        raise ConfigError(f"unknown filter {name!r}{did_you_mean(name, FILTERS)}")
    return FILTERS[name]


def _value(node: ast.expr, text: str) -> Any:
    match node:
        case ast.Name(id=name):
            return name
        case ast.List(elts=inner) | ast.Tuple(elts=inner):
            return [_value(one, text) for one in inner]
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise _unreadable(text) from None


def _unreadable(text: str) -> ConfigError:
    return ConfigError(f'cannot read filter {text!r}; write it like "min_words(50)" or "language(en)"')
