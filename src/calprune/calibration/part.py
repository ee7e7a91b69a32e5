"""One source opened for a purpose: a part of a recipe, or a text to judge on or to compare."""

import os
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from calprune.base.values import ConfigError, UserError, plain
from calprune.calibration import names_folder
from calprune.calibration.layout import Concatenate, Layout, Pad
from calprune.calibration.recipe import Recipe, RecipePart, parse_spec
from calprune.calibration.set import is_set, refuse_texts
from calprune.text.chat import chat_hash
from calprune.text.document import Documents, Given
from calprune.text.filters import depends, filtered
from calprune.text.filters.contract import Filter
from calprune.text.find import catalogue, find, find_source
from calprune.text.formats import Format, OwnFormat, parse_format, refuse
from calprune.text.source import FileSource, Purpose, RowsRead, Source

HUB_DOCUMENTS = 20_000  # a source on the hub may be terabytes: choose among so many at its beginning


Held = Literal["evaluation split", "file", "calibration text"]


@dataclass(frozen=True)
class OpenPart:
    """A part with its source and split. Nothing about it changes: what it reads, `documents` gives with its account."""

    part: RecipePart
    source: Source
    split: str
    given: Given
    seed: int = 0
    limit: int | None = None  # the recipe's: choose among so many documents; None: all (hub: 20,000)
    filters: tuple[Filter, ...] = ()
    whole: bool = False  # to its end, wherever it is

    @cached_property
    def format(self) -> Format:
        return parse_format(self.part.format or self.source.default_format)

    @cached_property
    def rows(self) -> RowsRead:
        """The rows of its split. Raises UserError where they are not to be had."""
        return self.source.rows_read(self.split, self.given, self.seed)

    @property
    def first(self) -> int | None:
        """Choose among so many documents at the source's beginning."""
        return self.limit or (None if self.whole or not self.rows.hub else HUB_DOCUMENTS)

    @property
    def stream(self) -> str:
        """The name of its random streams: a user's file counts by its bytes, wherever it lies."""
        return f"file/{self.rows.revision}" if self.source.named_by == "contents" else self.source.name

    @property
    def stand_in(self) -> str:
        """What the local files are, where they are not the data set of that name."""
        return self.source.stand_in if self.rows.contents else ""

    @property
    def held(self) -> Held:
        """What it is to a model judged on it. Calibration text: a model pruned with it was fitted to it."""
        if self.source.made == "set":
            return "calibration text"
        return "file" if isinstance(self.source, FileSource) else "evaluation split"

    @property
    def chat(self) -> str:
        """The hash of the chat template that its conversations go through; "" for other formats."""
        return chat_hash(self.given.tokenizer) if self.format.name == "chat" else ""

    @property
    def identity(self) -> list[Any]:
        """What its documents depend on. A user's file counts by its bytes, and a user's YAML by what it says and its
        name. What a model writes is named by the tokens that the template made of its prompts, already."""
        source = self.source.identity(self.given)
        name = source if self.source.named_by == "contents" else [self.source.name, source]
        described = [name, self.rows.revision, self.split, str(self.format), self.part.share, self.first, *self.own]
        found = [] if self.source.endless else depends(self.filters, self.given)
        through = [{"chat": self.chat}] if self.source.made != "self" and self.chat else []
        return described + ([found] if found else []) + through

    @property
    def text_identity(self) -> list[Any]:
        """What the whole text depends on, for whoever only reads it: contents, not places. What a model writes is
        named by its strategy and what that begins with: the model is named beside it."""
        if self.source.made == "self":
            given, names = replace(self.given, model=None), self.source.begins_with
            begun = [open_source(name, given, "calibration").text_identity for name in names]
            return ["self", self.part.strategy, *begun]
        if self.source.made == "set":
            return ["set", self.source.identity(self.given)]
        return [self.source.identity(self.given), self.part.format, self.rows.pinned, *self.own]

    @property
    def own(self) -> list[Any]:
        """A format that is the user's own class, with its options and its version."""
        return [plain(self.format.own)] if isinstance(self.format, OwnFormat) else []

    def documents(self) -> Documents:
        """All documents that its filters keep, in the source's order. One that never ends is not filtered."""
        found = self.source.documents(self.format, self.split, self.given, self.seed).first(self.first)
        if not self.filters:
            return found
        if self.source.endless:
            return Documents(found, found.skipped, [f"{self.part.source} is made without end: no filter looks at it"])
        return filtered(found, self.filters, self.given)

    def layout(self, recipe: Recipe) -> Layout:
        """How its documents become sequences: the format's packing, and for text the recipe's layout."""
        if self.source.endless:
            given = recipe.layout if isinstance(recipe.layout, Concatenate) else Concatenate()
            return replace(given, separator="")
        if self.format.packing == "fill":
            return replace(recipe.pairs, count=self.format.pairs or recipe.pairs.count)
        if self.format.packing == "one":
            return Pad(whole=self.format.name != "chat")
        return recipe.layout


def open_part(part: RecipePart, recipe: Recipe, given: Given, purpose: Purpose = "calibration") -> OpenPart:
    """Find a part's source and split. Raises UserError for an unknown name or format, and for files that are absent.
    `given.model` writes the source `self`."""
    source = _in_recipe(part)
    split = source.split_for(purpose, given, recipe.allow_evaluation_split)
    return OpenPart(part, source, split, given, recipe.seed, recipe.first, recipe.filters)


def check_there(spec: str, given: Given, purpose: Purpose = "calibration") -> None:
    """Read the first document of each part, but of what a model writes, before work is spent on the others. Raises
    UserError where one cannot be read or holds nothing."""
    for part in [only_part(spec)] if is_folder(spec) else parse_spec(spec).parts:
        source = source_of(part)
        if source.made == "self":
            continue
        opened = OpenPart(part, source, source.split_for(purpose, given), given)
        if next(iter(opened.documents()), None) is None:
            raise UserError(f"{part.source} is empty")


def open_source(spec: str, given: Given, purpose: Purpose) -> OpenPart:
    """The one source that `spec` names, whole: a name of the catalogue (`name` or `name:format`), a file, the folder of
    a built set, or `self` (what `given.model` writes).

    Raises ConfigError for a mixture, and UserError for a set that another tokenizer made."""
    part = only_part(spec)
    source = source_of(part)
    return OpenPart(part, source, source.split_for(purpose, given), given, whole=purpose == "evaluation")


def only_part(spec: str) -> RecipePart:
    """The one part that `spec` is. Raises ConfigError for a mixture and for a name or a format that there is not,
    whatever files there are."""
    if is_folder(spec):
        return RecipePart(spec)
    recipe = parse_spec(spec)
    if len(recipe.parts) > 1:
        raise ConfigError(f"{spec!r} is a mixture: name one source at a time, or build it with calprune calib build "
                          "and name its folder")  # fmt: skip
    check_part(recipe.parts[0])
    return recipe.parts[0]


def is_folder(spec: str) -> bool:
    """Whether a set's folder is meant. Raises UserError where one is called like a source, for either may be meant."""
    if spec in catalogue() and is_set(spec):
        raise UserError(f"{spec} is a source and a folder here: write ./{spec} for the set in the folder, or "
                        f"{spec}:{catalogue()[spec].default_format} for the source")  # fmt: skip
    return names_folder(spec)


def source_of(part: RecipePart) -> Source:
    """The source that a part names."""
    return find(name_of(part))


def name_of(part: RecipePart) -> str:
    """A part's source as `find` takes it: of `self`, with its strategy."""
    return part.source if part.strategy is None else f"{part.source}:{part.strategy}"


def check_part(part: RecipePart) -> None:
    """Raise ConfigError where a part names no source, or a format that its source has not, whatever files there are."""
    source = _in_recipe(part)
    if isinstance(source, FileSource) or source.made == "self":
        return
    format = parse_format(part.format or source.default_format)
    if not format.suits(source.formats):
        raise refuse(format, source.name, source.formats)


def _in_recipe(part: RecipePart) -> Source:
    source = source_of(part)
    if source.made == "set":
        if not os.path.isdir(part.source):
            find_source(part.source)  # says what there is
        refuse_texts(part.source)
        raise ConfigError(f"{part.source} is the folder of a built set: it is no part of a recipe, name it alone")
    return source
