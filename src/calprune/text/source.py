"""Sources: named origins of documents, from the catalogue, from a user's own YAML, or a user's own file.

A source says where its records are (under the data root, on the hub), how its prompts are worded, which split
calibrates and which evaluates, and what its licence allows. `documents` streams them in file order.
"""

import dataclasses
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml

from calprune.base.values import ConfigError, UserError, did_you_mean, identity, read
from calprune.text import chat
from calprune.text.controls import MAKERS
from calprune.text.formats import Format, refuse
from calprune.text.places import comparable, local_files, parts
from calprune.text.read import read_records
from calprune.text.records import Join, Place, Row, rows, wording
from calprune.text.wording import Documents, Writer, letters

TAGS = ("mixed", "nc", "permissive", "research", "sharealike", "unknown")  # what --exclude-license takes

_DEFAULT_FORMAT = {"text": "plain", "question": "icl", "chat": "chat", "control": "plain"}


@dataclass(frozen=True)
class Example:
    """A question with its answer, apart: what an evaluation asks and checks."""

    id: str
    prompt: str
    answer: str
    record: dict[str, Any]


@dataclass(frozen=True)
class Source:
    """One entry of the catalogue: a YAML file has these fields (docs/add-a-source.md), its name is the file's."""

    name: str
    kind: Literal["text", "question", "chat", "control"]
    title: str = ""
    about: str = ""
    licence: str = "not stated"
    licence_tags: tuple[str, ...] = ("unknown",)
    citation: str = ""
    stand_in: str = ""  # what the local copy is, where it is not the data set of that name
    local: Place | None = None
    hub: Place | None = None
    made: str = ""  # a name of MAKERS: made, not read
    text: str = "{{ text }}"  # kind text: the wording of a document (`records.wording`)
    prompt: str = ""  # kind question: ends where the answer begins, the space before it included
    answer: str = ""
    rationale: str = ""  # the reasoning alone, one step a line
    cot: str = "{{ rationale }} So the answer is {{ answer }}."  # what follows the prompt in cot and icl_cot
    user: str = ""  # chat: the user's turn, where it is not the prompt
    carry: dict[str, str] = field(default_factory=dict)  # fields that filters may ask for: licence, lang, url
    distinct: bool = False  # leave out calibration records whose prompt is also in the evaluation split
    default_format: str = ""
    root: Path | None = None  # of a user's own source: the folder that its files are relative to

    def __post_init__(self) -> None:
        if unknown := [tag for tag in self.licence_tags if tag not in TAGS]:
            raise ConfigError(f"licence_tags: unknown tag {unknown[0]!r}{did_you_mean(unknown[0], TAGS)}")
        if self.kind == "question" and not (self.prompt and self.answer):
            raise ConfigError("a source of kind question needs the wordings prompt and answer")
        if self.made and self.made not in MAKERS:
            raise ConfigError(f"made: unknown maker {self.made!r}{did_you_mean(self.made, MAKERS)}")
        if not (self.made or self.local or self.hub):
            raise ConfigError("a source needs a place: local, hub or made")
        object.__setattr__(self, "title", self.title or self.name)
        if not self.default_format:
            object.__setattr__(self, "default_format", _DEFAULT_FORMAT[self.kind])

    @cached_property
    def formats(self) -> tuple[str, ...]:
        """The formats that its wordings allow."""
        if self.kind in ("text", "control"):
            return ("plain",)
        pairs = ("zero", "single", "icl") if self.prompt else ()
        return pairs + (("cot", "icl_cot") if self.rationale else ()) + ("chat",)

    @property
    def endless(self) -> bool:
        """Whether documents never run out (the controls): fill sequences with them in order, do not choose or pack."""
        return self.kind == "control"

    @property
    def identity(self) -> str:
        """The hash of what its documents depend on beside the bytes of its files: places and wordings."""
        names = ("name", "made", "text", "prompt", "answer", "rationale", "cot", "user", "carry", "distinct")
        where = [dataclasses.replace(p, tried=False) if p else None for p in (self.local, self.hub)]
        return identity([where, [getattr(self, name) for name in names]])

    def calibration_split(self, allow_evaluation_split: bool = False, data_root: Path | None = None) -> str:
        """The split to calibrate on: "calibration", or "evaluation" where there is no other and that is allowed.

        Else UserError. Whoever allows it prints and records that the set holds rows meant for evaluation."""
        if self.made or local_files(self, "calibration", data_root):
            return "calibration"
        if allow_evaluation_split and local_files(self, "evaluation", data_root):
            return "evaluation"
        if any(place and place.files("calibration") for place in (self.hub, self.local)):
            return "calibration"
        if allow_evaluation_split:
            return "evaluation"
        raise UserError(f"source {self.name} only evaluates, it has no calibration split; calibrate on another source "
                        "or allow it with allow_evaluation_split")  # fmt: skip

    def documents(
        self, format: Format, split: str = "calibration", *, data_root: Path | None = None,
        tokenizer: Any = None, seed: int = 0,
    ) -> Documents:  # fmt: skip
        """The documents of a split in a format, streamed. `seed` matters to what is drawn at random: the controls.

        `tokenizer` is needed by the format chat and by random_tokens. Ids are "file:record" or "file:record.part".
        """
        if not format.suits(self.formats):
            raise refuse(format, self.name, self.formats)
        if self.made:
            return Documents(lambda skipped: MAKERS[self.made](seed, split, tokenizer))
        seen: set[str] = set()
        if self.distinct and split == "calibration" and comparable(self, data_root):
            seen = {letters(example.prompt) for example in self.examples("evaluation", data_root=data_root)}
        write = Writer(self, format, tokenizer, seen)
        found = parts(self, split, data_root, joins=format.rationales)
        return Documents(lambda skipped: write(_rows(found, split, skipped), skipped))

    def examples(self, split: str = "evaluation", *, data_root: Path | None = None) -> Iterator[Example]:
        """The questions of a split with their answers apart, for sources of kind question."""
        if not self.prompt:
            raise UserError(f"source {self.name} has no questions: it is of kind {self.kind}")
        prompt, answer = wording(self.prompt), wording(self.answer)
        for at, record in _rows(parts(self, split, data_root, joins=False), split, Counter()):
            yield Example(at, prompt(record, at), answer(record, at), record)


def _rows(found: Iterator, split: str, skipped: Counter) -> Iterator[Row]:
    for part in found:
        for at, record in rows(part.records, part.name, part.place, split, skipped):
            if part.joined is not None:
                nothing = dict.fromkeys(part.place.join.take, "")
                record = record | part.joined.get(record.get(part.place.join.by), nothing)
            yield at, record


def catalogue() -> dict[str, Source]:
    """Every named source, alphabetically: calprune's own, and those of the folder CALPRUNE_CATALOGUE."""
    return _catalogue(os.environ.get("CALPRUNE_CATALOGUE"))


@lru_cache(maxsize=4)
def _catalogue(own: str | None) -> dict[str, Source]:
    found: dict[str, Source] = {}
    folders = [(Path(str(resources.files("calprune.text"))) / "catalogue", False)]
    if own:
        if not Path(own).is_dir():
            raise UserError(f"CALPRUNE_CATALOGUE is {own}, which is not a folder")
        folders.append((Path(own), True))
    for folder, mine in folders:
        for file in sorted(folder.glob("*.yaml")):
            for source in read_yaml(file, own=mine):
                if source.name in found:
                    raise ConfigError(f"{file}: there is a source {source.name!r} already; give it another name")
                found[source.name] = source
    return dict(sorted(found.items()))


def find_source(name: str) -> Source:
    """A source by its name in the catalogue, or by the path of its YAML."""
    if name.endswith((".yaml", ".yml")):
        sources = read_yaml(Path(name), own=True)
        if len(sources) > 1:
            raise ConfigError(f"{name} declares a family of {len(sources)} sources; put it into CALPRUNE_CATALOGUE")
        return sources[0]
    if name not in (known := catalogue()):
        raise ConfigError(f"unknown source {name!r}{did_you_mean(name, known)} (or give a file: ./{name}.jsonl)")
    return known[name]


def read_yaml(file: Path, own: bool) -> list[Source]:
    """The source of a YAML file; several where it declares a `family`: $key and $value are replaced by each pair."""
    try:
        text = file.read_text(encoding="utf-8")
        data = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except OSError as e:
        raise ConfigError(f"cannot read the source {file}: {e.strerror}") from None
    except yaml.YAMLError as e:
        raise ConfigError(f"{file}: {' '.join(str(e).split())}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{file}: expected a mapping with title, kind, about, ... (docs/add-a-source.md)")
    family = data.pop("family", {"": ""})
    return [_source(_replaced(data, str(key), str(value)), file, own) for key, value in family.items()]


def _replaced(data: Any, key: str, value: str) -> Any:
    if isinstance(data, str):
        return data.replace("$key", key).replace("$value", value)
    if isinstance(data, Mapping):
        return {k: _replaced(v, key, value) for k, v in data.items()}
    return [_replaced(v, key, value) for v in data] if isinstance(data, list) else data


def _source(data: dict[str, Any], file: Path, own: bool) -> Source:
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
    source = read(Source, given | ({"local": {}} if made else {}), str(file))
    return dataclasses.replace(source, **({"local": None} | made), root=file.parent if own else None)


def file_source(path: Path) -> Source:
    """A user's own file as a source: texts (a field `text`, or a .txt), or conversations (`chat.SHAPES`).

    The first record tells which; a record of another kind is an error that names it."""
    first = next(iter(read_records(path)), None)
    if first is None:
        raise UserError(f"{path} has no records")
    record = first[1]
    kind = chat.kind_of(record)
    if kind is None and "text" not in record:
        raise UserError(f"{path}: record {first[0]} has neither a field 'text' nor those of a conversation "
                        f"({'; '.join(chat.SHAPES.values())}); its fields: {', '.join(record)}; "
                        "a YAML can say what its fields are (docs/add-a-source.md)")  # fmt: skip
    return Source(
        name=str(path), title=path.name, kind="chat" if kind else "text", about="a file of the user",
        licence="not stated", licence_tags=("unknown",), citation="", local=Place(calibration=path.name),
        root=path.parent,
    )  # fmt: skip
