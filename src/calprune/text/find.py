"""From a name to a source, in one place: a name of the catalogue, a YAML, a file of records, and what other rooms
register (`calprune.text`): the folder of a built set, and `self`, what a model writes."""

import dataclasses
import glob
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from calprune.base import yamls
from calprune.base.values import ConfigError, UserError, did_you_mean, read
from calprune.text import KINDS
from calprune.text.document import Given
from calprune.text.read import READERS
from calprune.text.records import Join, Place
from calprune.text.source import TAGS, FileSource, RecordSource, Source

_FAST: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
CATALOGUE = Path(__file__).parent / "catalogue"


def find(name: str) -> Source:
    """The source that a name stands for; a file's records are read when they are asked for.

    Raises ConfigError, with a suggestion, for a name that stands for nothing."""
    for kind in KINDS.values():
        if kind.takes(name):
            return kind.find(name)
    return FileSource(name) if is_file(name) else find_source(name)


def is_file(name: str) -> bool:
    """Whether a source's name is meant as a file of records: by its ending, or because there is one and no source of
    the catalogue is called so (./c4 is always the file)."""
    stem, _, ending = name.lower().removesuffix(".gz").removesuffix(".zst").rpartition(".")
    if bool(stem) and ending in READERS:
        return True
    return os.path.isfile(name) and ending not in ("yaml", "yml") and name not in catalogue()


def find_source(name: str) -> RecordSource:
    """A source by its name in the catalogue, or by the path of its YAML."""
    if name.endswith((".yaml", ".yml")):
        sources = read_yaml(Path(name), own=True)
        if len(sources) > 1:
            raise ConfigError(f"{name} declares a family of {len(sources)} sources; put it into CALPRUNE_CATALOGUE")
        return sources[0]
    if name not in (known := catalogue()):
        raise ConfigError(f"unknown source {name!r}{_meant(name, known)}")
    return known[name]


def _meant(name: str, known: Mapping[str, Any]) -> str:
    """The file that has the name and an ending, or a name that is near; else where the many names stand."""
    if meant := meant_file(name):
        return f"; did you mean the file {meant}?"
    near = did_you_mean(name, known)
    listed = near if near.startswith("; did you mean") else f": calprune sources lists all {len(known)}"
    return f"{listed} (or give a file: ./{name}.jsonl)"


def meant_file(name: str) -> Path | None:
    """The first file of records that has the name and an ending."""
    path = Path(name)
    files = sorted(path.parent.glob(f"{glob.escape(path.name)}.*")) if path.parent.is_dir() and path.name else []
    return next((one for one in files if one.is_file() and is_file(str(one))), None)


def refuse_licences(names: Iterable[str], excluded: Sequence[str]) -> None:
    """Raise UserError for the first source whose licence has one of these tags ("nc": no commercial use). What a model
    writes has the licence of the text that it begins with."""
    for tag in excluded:
        if tag not in TAGS:
            raise ConfigError(f"--exclude-license: unknown tag {tag!r}{did_you_mean(tag, TAGS)}")
    for name, source in (pair for given in names for pair in _texts_of(given)):
        if tags := [tag for tag in source.licence_tags if tag in excluded]:
            raise UserError(f"source {name} has the licence {source.licence_of(Given())!r} ({tags[0]}), which you "
                            "excluded; leave the source out")  # fmt: skip


def _texts_of(name: str) -> Iterator[tuple[str, Source]]:
    source = find(name)
    if source.made == "self":
        for inner in source.begins_with:
            yield from _texts_of(inner)
    else:
        yield name, source


def catalogue() -> dict[str, RecordSource]:
    """Every named source, alphabetically: calprune's own, and those of the folder CALPRUNE_CATALOGUE."""
    return _catalogue(os.environ.get("CALPRUNE_CATALOGUE"))


@lru_cache(maxsize=4)
def _catalogue(own: str | None) -> dict[str, RecordSource]:
    found: dict[str, RecordSource] = {}
    folders = [(CATALOGUE, False)]
    if own:
        if not os.path.isdir(own):
            raise UserError(f"CALPRUNE_CATALOGUE is {own}, which is not a folder")
        folders.append((Path(own), True))
    for folder, mine in folders:
        for file in sorted(folder.glob("*.yaml")):
            for source in read_yaml(file, own=mine):
                if source.name in found:
                    raise ConfigError(f"{file}: there is a source {source.name!r} already; give it another name")
                found[source.name] = source
    return dict(sorted(found.items()))


def read_yaml(file: Path, own: bool) -> list[RecordSource]:
    """The source of a YAML file; several where it declares a `family`: $key and $value are replaced by each pair."""
    data = yamls.read_yaml(file, "the source") if own else yaml.load(file.read_bytes(), _FAST)  # ours are as they are
    if not isinstance(data, dict):
        raise ConfigError(f"{file}: expected a mapping with title, kind, about, ... (docs/add-a-source.md)")
    family = data.pop("family", {"": ""})
    if not isinstance(family, Mapping):
        raise ConfigError(f"{file}: family: expected a mapping of $key to $value; got {type(family).__name__}")
    return [_source(_of_key(_replaced(data, str(key), str(value)), str(key), file), file, own)
            for key, value in family.items()]  # fmt: skip


def _of_key(data: dict[str, Any], key: str, file: Path) -> dict[str, Any]:
    """What a family says by key of domain and language, `{de: mathematics, "*": language}`, as this one has it."""
    found = {}
    for name in ("domain", "language"):
        if isinstance(by := data.get(name), Mapping):
            if key not in by and "*" not in by:
                raise ConfigError(f'{file}: {name}: it says nothing of {key}; add {key}: ... or "*": ...')
            found[name] = by[key] if key in by else by["*"]
    return data | found


def _replaced(data: Any, key: str, value: str) -> Any:
    if isinstance(data, str):
        return data.replace("$key", key).replace("$value", value)
    if isinstance(data, Mapping):
        return {k: _replaced(v, key, value) for k, v in data.items()}
    return [_replaced(v, key, value) for v in data] if isinstance(data, list) else data


def _source(data: dict[str, Any], file: Path, own: bool) -> RecordSource:
    given: dict[str, Any] = {"name": file.stem} | data
    made = {}
    for where in ("local", "hub"):
        if (place := given.pop(where, None)) is not None:
            place = dict(place) if isinstance(place, Mapping) else {"calibration": place}
            join = place.pop("join", None)
            made[where] = read(Place, place, f"{file}: {where}")
            if join is not None:
                made[where] = dataclasses.replace(made[where], join=read(Join, join, f"{file}: {where}.join"))
    # places were read apart so that their unknown options are named; the check that one is there needs them
    source = read(RecordSource, given | ({"local": {}} if made else {}), str(file))
    return dataclasses.replace(source, **({"local": None} | made), root=file.parent if own else None)
