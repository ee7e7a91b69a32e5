"""A part of a recipe with its source found: what it is called, what its documents are, what names them."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from calprune.calibration.document import Document
from calprune.calibration.filtering import depends, filtered
from calprune.calibration.filters import Filter
from calprune.calibration.formats import Format, parse_format, refuse
from calprune.calibration.judge import Opening
from calprune.calibration.layout import Concatenate, Crop, Pad
from calprune.calibration.pairs import Pairs
from calprune.calibration.places import files_hash
from calprune.calibration.read import READERS
from calprune.calibration.sources import catalogue, file_source, find_source, local_files
from calprune.calibration.spec import Part, Recipe

HUB_DOCUMENTS = 20_000  # a source on the hub may be terabytes: choose among so many at its beginning


@dataclass
class Opened:
    """A part, ready to be read."""

    part: Part
    source: Any  # a Source, or a SelfSource
    format: Format
    split: str
    stream: str  # the name of its random streams
    revision: str  # the hash of its files, or the hub's pinned commit; "" for what is made
    seed: int
    first: int | None  # choose among so many documents
    data_root: Path | None
    filters: tuple[Filter, ...] = ()
    model: Any = None  # a models.Model, for filters that need one
    stand_in: str = ""  # what the local files are, where they are not the data set of that name
    skipped: Counter[str] = field(default_factory=Counter)  # what was dropped, by reason
    notes: list[str] = field(default_factory=list)  # what filters say, for whoever reads the set

    @property
    def endless(self) -> bool:
        return self.source.endless

    @property
    def identity(self) -> list[Any]:
        """What its documents depend on. A user's file counts by its bytes, not by where it lies, and a user's YAML by
        what it says and its name."""
        name = "file" if self.stream.startswith("file/") else [self.source.name, self.source.identity]
        given = [name, self.revision, self.split, str(self.format), self.part.share, self.first]
        found = [] if self.endless else depends(self.filters, Opening(data_root=self.data_root, model=self.model))
        return given + ([found] if found else [])

    def documents(self, tokenizer: Any) -> Iterator[Document]:
        """All documents that its filters keep, in the source's order. One that never ends is not filtered."""
        found = self.source.documents(self.format, self.split, data_root=self.data_root, tokenizer=tokenizer,
                                      seed=self.seed)  # fmt: skip
        self.skipped, self.notes = found.skipped, []
        if not self.filters or self.endless:
            self.notes += [f"{self.part.source} is made without end: no filter looks at it"] if self.filters else []
            return islice(found, self.first)
        given = Opening(tokenizer, self.data_root, self.model, self.notes)
        return filtered(islice(found, self.first), self.filters, given, self.skipped)

    def layout(self, recipe: Recipe) -> Concatenate | Crop | Pad | Pairs:
        """How its documents become sequences: the format's packing, and for text the recipe's layout."""
        if self.endless:
            return Concatenate(separator="")
        if self.format.packing == "fill":
            return replace(recipe.pairs, count=self.format.pairs or recipe.pairs.count)
        if self.format.packing == "one":
            return Pad(whole=self.format.name != "chat")
        return recipe.layout


def open_part(part: Part, recipe: Recipe, data_root: Path | None, model: Any = None) -> Opened:
    """Find a part's source and split. Raises UserError for an unknown name or format, and for files that are absent.
    `model` (a `models.Model`) writes the source `self`."""
    if part.source == "self":
        return _open_self(part, recipe, data_root, model)
    own = is_file(part.source)
    source = file_source(Path(part.source)) if own else find_source(part.source)
    format = parse_format(part.format or source.default_format)
    split = source.calibration_split(recipe.allow_evaluation_split, data_root)
    files = local_files(source, split, data_root)
    hub = None if files or source.made else source.hub
    revision = files_hash(files) if files else (hub.revision or "not pinned") if hub else ""
    stream = f"file/{revision}" if own else source.name
    return Opened(
        part=part, source=source, format=format, split=split, stream=stream,
        revision=revision, seed=recipe.seed, first=recipe.first or (HUB_DOCUMENTS if hub else None),
        data_root=data_root, stand_in=source.stand_in if files else "", filters=recipe.filters, model=model,
    )  # fmt: skip


def check_part(part: Part) -> None:
    """Raise ConfigError where a part names no source, or a format that its source has not, whatever files there are."""
    if part.source == "self":
        from calprune.calibration.asking import parse_strategy  # its strategies open parts themselves

        parse_strategy(part.strategy)
    elif not is_file(part.source):
        source = find_source(part.source)
        format = parse_format(part.format or source.default_format)
        if format.name not in source.formats:
            raise refuse(format, source.name, source.formats)


def _open_self(part: Part, recipe: Recipe, data_root: Path | None, model: Any) -> Opened:
    from calprune.calibration.synthesise import open_self  # it runs a model: transformers' models are imported

    source = open_self(part.strategy, model)
    return Opened(
        part=part, source=source, format=parse_format(source.default_format), split="calibration", stream="self",
        revision=source.revision(recipe.seed, data_root), seed=recipe.seed, first=recipe.first, data_root=data_root,
        filters=recipe.filters, model=model,
    )  # fmt: skip


def is_file(name: str) -> bool:
    """Whether a source's name is meant as a file of records: by its ending, or because there is one and no source of
    the catalogue is called so (./c4 is always the file)."""
    stem, _, ending = name.lower().removesuffix(".gz").removesuffix(".zst").rpartition(".")
    if bool(stem) and ending in READERS:
        return True
    return Path(name).is_file() and ending not in ("yaml", "yml") and name not in catalogue()
