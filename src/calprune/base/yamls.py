"""YAML files of people, which may be anybody's: plain data of a bounded size, or one line that says what is wrong.

Dates stay text, a key that is written twice is a mistake, and there are no tags. A small file can stand for much: one
that names its own parts again and again ("&a", "*a") is counted as what it stands for.
"""

import json
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from calprune.base.values import ConfigError

LARGEST = 4 * 2**20  # bytes of a file
PARTS = 200_000  # texts, numbers, lists and mappings, in all
DEPTH = 60  # of lists and mappings in each other
_EVENTS: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INT = "tag:yaml.org,2002:int"


def read_yaml(path: Path, what: str) -> Any:
    """The plain data of a file; `what`: "the recipe". Raises ConfigError where it cannot be read or is not plain."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
        return parse_yaml(data.decode("utf-8"), str(path))
    except OSError as e:
        raise ConfigError(f"cannot read {what} {path}: {e.strerror or e}") from None
    except UnicodeDecodeError as e:
        raise ConfigError(f"cannot read {what} {path}: not UTF-8 text: byte 0x{e.object[e.start]:02x}") from None
    except ValueError as e:
        if isinstance(e, ConfigError):
            raise
        raise ConfigError(f"cannot read {what} {path}: {e}") from None  # a name with a zero byte


def parse_yaml(text: str, where: str) -> Any:
    """The plain data of a YAML text; `where` begins what is said of a mistake. Raises ConfigError."""
    if len(text) > LARGEST:
        raise ConfigError(f"{where}: it is larger than {LARGEST // 2**20} MiB, so it is no recipe, study or source")
    try:
        _check_size(text, where)
        return yaml.load(text, _Plain)
    except yaml.YAMLError as e:
        raise ConfigError(f"{where}: {' '.join(str(e).split())}") from None
    except (ValueError, RecursionError, TypeError) as e:
        if isinstance(e, ConfigError):
            raise
        raise ConfigError(f"{where}: cannot be read as YAML: {' '.join(str(e).split())}") from None


def _check_size(text: str, where: str) -> None:
    """Count what the text stands for, without making it."""
    sizes: dict[str, int] = {}  # of what an anchor names
    open_: list[tuple[str | None, int]] = []
    parts = 0
    for event in yaml.parse(text, Loader=_EVENTS):
        anchor = getattr(event, "anchor", None)
        if isinstance(event, yaml.AliasEvent):
            parts += sizes.get(event.anchor or "", 1)
        elif isinstance(event, yaml.CollectionStartEvent):
            open_.append((anchor, parts))
            parts += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            name, before = open_.pop()
            sizes |= {name: parts - before} if name else {}
        elif isinstance(event, yaml.ScalarEvent):
            parts += 1
            sizes |= {anchor: 1} if anchor else {}
        if parts > PARTS or len(open_) > DEPTH:
            what = f"more than {PARTS:,} parts" if parts > PARTS else f"lists and mappings more than {DEPTH} deep"
            raise ConfigError(f"{where}: it stands for {what}, so it is no recipe, study or source")


class _Plain(yaml.SafeLoader):
    """YAML of plain data alone."""


def _mapping(loader: _Plain, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value if not key.tag.endswith(":merge")]
    at = f"line {node.start_mark.line + 1} or below"
    if odd := [key for key in keys if not isinstance(key, Hashable) or isinstance(key, tuple)]:
        raise yaml.YAMLError(f"{odd[0]!r} is no name of an option, in {at}")
    if twice := [key for i, key in enumerate(keys) if key in keys[:i]]:
        raise yaml.YAMLError(f"{twice[0]!r} is written twice, again in {at}")
    return loader.construct_mapping(node, deep=True)


def _number(loader: _Plain, node: yaml.ScalarNode) -> int:
    if len(node.value) > 40:
        raise yaml.YAMLError(f"a number of {len(node.value)} digits, in line {node.start_mark.line + 1}")
    if ":" in node.value or re.match(r"[-+]?0[0-7_]", node.value):  # of YAML 1.1: minutes, octal numbers
        raise yaml.YAMLError(f"{node.value} would be read as the number {loader.construct_yaml_int(node)}, in line "
                             f'{node.start_mark.line + 1}; write a text in quotes ("{node.value}"), and a number '
                             "without leading zeros")  # fmt: skip
    return loader.construct_yaml_int(node)


_Plain.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
_Plain.add_constructor(_INT, _number)
for _tag in ("binary", "timestamp", "omap", "pairs", "set"):
    _Plain.yaml_constructors.pop(f"tag:yaml.org,2002:{_tag}", None)
_Plain.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in those if not tag.endswith(":timestamp")]
    for first, those in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def parse_json(text: str | bytes) -> Any:
    """JSON of anybody's. Raises ValueError, in a line, also for what is nested too deep or too long a number."""
    try:
        return json.loads(text)
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    except ValueError as e:  # a number of more than 4,300 digits
        raise ValueError(re.sub(r"; use sys\.set_int_max_str_digits.*", "", str(e))) from None
