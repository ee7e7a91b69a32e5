"""From the raw records of a file or of the hub to examples: what a source's YAML says about fields and wording.

Wording is Jinja (sandboxed, an unknown field is an error): "Question: {{ question }}\\nAnswer: ". A record's fields are
its variables; in `where` and `fields`, which are expressions, `row` is its number in the file, from 1. Our filters:
`boxed` (the last \\boxed{...} of a solution) and `letter` (0 is A).
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any, ClassVar

from calprune.base.values import ConfigError, UserError
from calprune.text import limits

Files = str | tuple[str, ...]

Row = tuple[str, dict[str, Any]]  # where it is ("train.jsonl.gz:17") and its fields


@dataclass(frozen=True)
class Join:
    """Fields of another file, found by a common field: rationales that were published apart."""

    tag: ClassVar[str] = "Join"

    by: str  # the field that both have
    take: tuple[str, ...]
    calibration: Files = ()
    evaluation: Files = ()
    path: str = ""  # hub: the repository

    def files(self, split: str) -> tuple[str, ...]:
        """The files that hold the fields for the rows of a split."""
        return _tuple(getattr(self, split) if split in ("calibration", "evaluation") else ())


@dataclass(frozen=True)
class Place:
    """Where a source's records are, under the data root or on the hub, and what makes rows of them."""

    tag: ClassVar[str] = "Place"

    calibration: Files = ()  # files under the data root, or splits (or files, see `reader`) of a hub repository
    evaluation: Files = ()
    other: dict[str, Files] = field(default_factory=dict)  # further splits by name; neither calibrates nor evaluates
    where: str | dict[str, str] = ""  # keep only records for which this is true; for each split its own, or one for all
    begins: str = ""  # rows are lines: a new document begins at each line whose `text` this pattern matches
    each: dict[str, str] = field(default_factory=dict)  # a record holds many: new field -> field with a list
    join: Join | None = None
    fields: dict[str, str] = field(default_factory=dict)  # new field -> Jinja expression
    path: str = ""  # hub: the repository
    config: str | None = None  # hub: the configuration ("main")
    revision: str | None = None  # hub: the commit; None: not pinned
    reader: str = ""  # local: how its files are read, where their ending does not say ("txt", "my_readers:Mine"); hub:
    # "json" or "parquet" when splits are given as files of the repository
    tried: bool = False  # hub: whether anyone has read it through this entry, not only checked it against the columns

    def files(self, split: str) -> tuple[str, ...]:
        """The files (or hub splits) of a split; none where the place does not have it."""
        return _tuple(getattr(self, split) if split in ("calibration", "evaluation") else self.other.get(split, ()))

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(s for s in ("calibration", "evaluation", *self.other) if self.files(s))


def _tuple(files: Files) -> tuple[str, ...]:
    return (files,) if isinstance(files, str) else tuple(files)


def rows(records: Iterable[tuple[int, dict]], name: str, place: Place, split: str, skipped: Counter) -> Iterator[Row]:
    """The rows of a file's (number, record) pairs: chosen, unrolled and with their new fields, in file order."""
    where = place.where.get(split, "") if isinstance(place.where, dict) else place.where
    if place.begins:
        records = documents_of_lines(records, place.begins, name)
    chosen = expression(where) if where else None
    added = {new: expression(text) for new, text in place.fields.items()}
    before, piece = 0, 1
    for number, record in records:
        piece = piece + 1 if number == before else 1  # of a line so long that it comes in passages
        before = number
        at = f"{name}:{number}" if piece == 1 else f"{name}:{number}.{piece}"
        if chosen is not None and not chosen(record | {"row": number}, at):
            skipped["not of this source"] += 1
            continue
        parts = _unrolled(record, place.each, at) if place.each else [(at, record)]
        for part_at, part in parts:
            yield part_at, part | {new: make(part | {"row": number}, part_at) for new, make in added.items()}


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as e:
        raise ConfigError(f"begins: {text!r} is no pattern of lines: {e}") from None


def documents_of_lines(
    records: Iterable[tuple[int, dict]], begins: str, file: str, between: str = "\n\n"
) -> Iterator[tuple[int, dict]]:
    """Rows that are lines to documents. between: joins them; blank lines, as WikiText-2's evaluation text is joined."""
    pattern = _pattern(begins)
    first, lines = 1, list[str]()
    for number, record in records:
        if "text" not in record:
            raise _missing("text", record, f"{file}:{number}")
        if not isinstance(record["text"], str):
            raise UserError(f"{file}:{number}: field 'text' holds {record['text']!r}, not a line of text")
        if pattern.search(record["text"]):
            if any(line.strip() for line in lines):
                yield first, {"text": between.join(lines)}
            first, lines = number, []
        lines.append(record["text"])
    if any(line.strip() for line in lines):
        yield first, {"text": between.join(lines)}


def _unrolled(record: dict, each: Mapping[str, str], at: str) -> Iterator[Row]:
    try:
        columns = [record[old] for old in each.values()]
    except KeyError as e:
        raise _missing(e.args[0], record, at) from None
    lengths = {old: len(one) if isinstance(one, (list, tuple)) else None
               for old, one in zip(each.values(), columns, strict=True)}  # fmt: skip
    if None in lengths.values() or len(set(lengths.values())) > 1:
        found = ", ".join(f"{old}: {'no list' if n is None else f'{n:,}'}" for old, n in lengths.items())
        raise UserError(f"{at}: each: expected lists of one length; got {found}")
    for i, values in enumerate(zip(*columns, strict=True), start=1):
        yield f"{at}.{i}", record | dict(zip(each, values, strict=True))


@lru_cache(maxsize=4096)
def wording(template: str) -> Callable[[dict[str, Any], str], str]:
    """A function of (record, where it is) that writes the template's text."""
    if plain := re.fullmatch(r"\{\{\s*(\w+)\s*\}\}", template):  # a bare field: most text sources, and much faster
        name = plain[1]

        def look_up(record: dict[str, Any], at: str) -> str:
            try:
                value = record[name]
            except KeyError:
                raise _missing(name, record, at) from None
            return value if isinstance(value, str) else "" if value is None else _plain_text(value, at, name)

        return look_up
    from jinja2 import TemplateError

    try:
        compiled = limits.held(lambda: _jinja().from_string(template))
    except TemplateError as e:
        raise ConfigError(f"cannot read the wording {template!r}: {e}") from None
    linear = limits.is_linear(_jinja(), template)

    def render(record: dict[str, Any]) -> str:
        if linear and len(template) * limits.size(record) <= limits.OUTPUT:
            return compiled.render(record)
        return limits.held(lambda: compiled.render(record))

    return _guarded(render)


@lru_cache(maxsize=1024)
def expression(text: str) -> Callable[[dict[str, Any], str], Any]:
    """A function of (record, where it is) that computes the Jinja expression."""
    from jinja2 import TemplateError

    try:
        compiled = limits.held(lambda: _jinja().compile_expression(text, undefined_to_none=False))
    except TemplateError as e:
        raise ConfigError(f"cannot read the expression {text!r}: {e}") from None

    def compute(record: dict[str, Any]) -> Any:
        value = compiled(record)
        bool(value)  # an unknown field is an error here, not where its value is used
        return value

    return _guarded(compute)


def _guarded(compute: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any], str], Any]:
    from jinja2 import TemplateError

    def guarded(record: dict[str, Any], at: str) -> Any:
        try:
            return compute(record)
        except UserError as e:
            raise UserError(str(e).replace("the wording", at, 1)) from None
        except (TemplateError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as e:
            if name := re.fullmatch(r"'(\w+)' is undefined", str(e)):
                raise _missing(name[1], record, at) from None
            raise UserError(f"{at}: {e}; its fields: {_names(record)}") from None

    return guarded


def _plain_text(value: Any, at: str, name: str = "") -> str:
    """A number or a date as text. Raises UserError for a list, a mapping or bytes, whose text would be Python's."""
    if isinstance(value, (list, tuple, dict, set, bytes, bytearray, memoryview)):
        what = {"list": "a list", "tuple": "a list", "dict": "a mapping", "set": "a set"}.get(
            type(value).__name__, "bytes"
        )
        of = f"field {name!r} holds" if name else "a wording writes"
        raise UserError(f"{at}: {of} {what}, not text: {str(value)[:60]!r}; name a field of it, or join it: "
                        "{{ field | join(' ') }}")  # fmt: skip
    return str(value)


def _finalize(value: Any) -> Any:
    """What a wording writes: text, numbers as Jinja does, and nothing for None."""
    if value is None:
        return ""
    if isinstance(value, (list, tuple, dict, set, bytes, bytearray)):
        _plain_text(value, "the wording")
    return value


def _missing(name: str, record: Mapping[str, Any], at: str) -> UserError:
    file, _, number = at.rpartition(":")
    return UserError(f"{file}: record {number} has no field {name!r}; its fields: {_names(record)}")


def _names(record: Mapping[str, Any]) -> str:
    return ", ".join(str(name) for name in record if name != "row") or "none"


def boxed(solution: Any) -> str:
    """The content of the last \\boxed{...}, with its inner braces; the empty text where there is none."""
    start = solution.rfind("\\boxed{")
    depth, first = 0, start + len("\\boxed{")
    for i in range(first, len(solution) if start >= 0 else 0):
        depth += {"{": 1, "}": -1}.get(solution[i], 0)
        if depth < 0:
            return solution[first:i]
    return ""


@cache
def _jinja() -> Any:
    """The templates' language, in which a template can call nothing that harms. Imported when one is first read."""
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, keep_trailing_newline=True, finalize=_finalize
    )
    limits.hold(environment)
    environment.filters |= {"boxed": boxed, "letter": lambda i: "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[i]}
    return environment
