"""Recipes: how a calibration set is made, written as a short text or as a YAML file.

    c4*2 + gsm8k:icl + my_chat.jsonl:chat(responses)

is three parts, `source:format*share`; format and share may be left out. A YAML file has the fields of `Recipe`.
"""

import dataclasses
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from calprune.base.calls import split, unquoted
from calprune.base.values import ConfigError, UserError, plain, read
from calprune.base.yamls import read_yaml
from calprune.calibration.layout import LAYOUTS, Concatenate, Crop, Layout, Pairs
from calprune.calibration.selections import SELECTIONS
from calprune.calibration.selections.contract import Random, Selection
from calprune.text.encode import BeginOfText
from calprune.text.filters import FILTERS, read_filters, use_model
from calprune.text.filters.contract import Filter
from calprune.text.formats import OwnFormat, parse_format

HOW = 'write it like "c4*2 + gsm8k:icl + my_chat.jsonl:chat"'


@dataclass(frozen=True)
class RecipePart:
    """One source of a recipe, in one format, with its share of the tokens."""

    tag: ClassVar[str] = "Part"

    source: str  # a name of the catalogue, `self`, or the path of a file
    format: str | None = None  # None: the source's own
    share: float = 1.0  # beside the other parts' shares
    strategy: str | None = None  # of `self`: how the model writes

    def __post_init__(self) -> None:
        if not self.share > 0 or self.share == float("inf"):
            raise ConfigError(f"the share of {self.source} must be a number above 0; got {self.share:g}")
        if self.source == "self" and self.format is not None:
            raise ConfigError(f"self has no format {self.format!r}; say its strategy: self:bos or strategy: bos")
        if self.source != "self" and self.strategy is not None:
            raise ConfigError(f"{self.source} has no strategy; only self has, what the model writes")
        if self.format is not None:
            object.__setattr__(self, "format", str(parse_format(self.format)))


@dataclass(frozen=True)
class Recipe:
    """All that decides a calibration set's tokens, beside the bytes of its sources, the tokenizer and the model."""

    tag: ClassVar[str] = "Recipe"
    __pydantic_config__: ClassVar[Any] = {"arbitrary_types_allowed": True}  # layouts and the like are contracts

    parts: tuple[RecipePart, ...]
    num_samples: int = 128  # sequences
    max_seq_length: int = 2048  # tokens of the longest
    seed: int = 0  # draws of seeds 0, 1, 2, ... have no document in common while the source has enough
    layout: Layout = Concatenate()  # noqa: RUF009  of text; pairs have a packing of their own
    lengths: tuple[tuple[int, float], ...] = ()  # sequences of several lengths: (tokens, share of the sequences)
    skip_first: int = 0  # this many tokens at the beginning of each sequence weigh 0 (attention sinks)
    begin_of_text: BeginOfText = "auto"  # auto: once a sequence, where the tokenizer adds one by itself
    pairs: Pairs = Pairs()  # noqa: RUF009  how icl and icl_cot fill a sequence
    filters: tuple[Filter, ...] = ()  # which documents may be drawn; each looks at what those before it left
    selection: Selection = Random()  # noqa: RUF009  which documents of a source
    with_replacement: bool = False  # quirk of the papers' code: a document may be drawn again
    # quirk of the papers' code: padding, on the left, is counted like tokens; masked: no token attends to it
    count_padding: bool | Literal["masked"] = False
    allow_evaluation_split: bool = False  # draw from the split that evaluates, where a source has no other
    first: int | None = None  # choose among so many documents at a source's beginning; None: all (hub: 20,000)

    def __post_init__(self) -> None:
        if not self.parts:
            raise ConfigError(f"a recipe needs a source; {HOW}")
        for name, least in (("num_samples", 1), ("max_seq_length", 2), ("seed", 0), ("skip_first", 0), ("first", 1)):
            if (value := getattr(self, name)) is not None and value < least:
                raise ConfigError(f"{name} must be at least {least}; got {value}")
            if value is not None and value >= 2**31:
                raise ConfigError(f"{name} must be below {2**31:,}; got {value:,}")
        if self.with_replacement and self.selection != Random():
            raise ConfigError(f"with_replacement draws at random, so it cannot go with selection "
                              f"{SELECTIONS.write(self.selection)}; leave one of them out")  # fmt: skip
        if self.selection != Random() and isinstance(self.layout, Crop):
            raise ConfigError(f"selection {SELECTIONS.write(self.selection)} looks at the beginning of a text, and "
                              "layout crop takes a random window of it; take pad or concatenate")  # fmt: skip
        if self.skip_first >= self.max_seq_length:
            raise ConfigError(f"skip_first must be below max_seq_length {self.max_seq_length}; got {self.skip_first}")
        for length, share in self.lengths:
            if not (2 <= length <= self.max_seq_length and 0 < share < math.inf):
                raise ConfigError(f"lengths: expected [tokens, share], tokens from 2 to max_seq_length "
                                  f"{self.max_seq_length} and a share above 0; got [{length}, {share:g}]")  # fmt: skip
        if len({(part.source, part.format, part.strategy) for part in self.parts}) < len(self.parts):
            raise ConfigError("a recipe names the same source and format twice; give it once, with a share")

    @property
    def own_formats(self) -> tuple[Any, ...]:
        """The formats of its parts that are the user's own code."""
        formats = [parse_format(part.format) for part in self.parts if part.format]
        return tuple(one.own for one in formats if isinstance(one, OwnFormat))

    @property
    def uses_model(self) -> bool:
        """Whether building takes a model, not only its tokenizer."""
        looks = self.selection.uses_model or use_model(self.filters)
        return looks or any(part.source == "self" for part in self.parts)


def parse_spec(spec: str, **options: Any) -> Recipe:
    """The recipe written as text, or in a YAML file; `options` are fields of Recipe that are not None.

    An option overrides the file's. `layout` may be text: "crop". Raises ConfigError where anything cannot be read.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if spec.endswith((".yaml", ".yml")) and "parts" in (data := _yaml(Path(spec))):
        return read_recipe(data | given, spec)
    return read_recipe({"parts": spec} | given, f"calibration {spec!r}")


def read_recipe(data: dict[str, Any], where: str) -> Recipe:
    """The recipe of plain data, as a YAML file holds it. Parts may be mappings or texts, or all one text."""
    data = dict(data)
    parts = data.pop("parts")
    layout, selection = data.pop("layout", None), data.pop("selection", None)
    filters = read_filters(data.pop("filters", None), where)
    parts = [parts] if isinstance(parts, str) else parts
    if not isinstance(parts, (list, tuple)):
        raise ConfigError(f"{where}: parts: expected a list of sources; {HOW}")
    found: list[RecipePart] = []
    for part in parts:
        found += _parts(part) if isinstance(part, str) else [read(RecipePart, part, f"{where}: parts")]
    recipe = read(Recipe, data | {"parts": [dataclasses.asdict(part) for part in found]}, where)
    chosen: dict[str, Any] = {"filters": filters} if filters else {}
    chosen |= {"layout": LAYOUTS.read(layout, where)} if layout is not None else {}
    chosen |= {"selection": SELECTIONS.read(selection, where)} if selection is not None else {}
    return dataclasses.replace(recipe, **chosen)


def write_recipe(recipe: Recipe) -> dict[str, Any]:
    """Plain data that `read_recipe` reads as this recipe; what is as usual is left out, but for the sizes."""
    sizes = {name: getattr(recipe, name) for name in ("num_samples", "max_seq_length", "seed")}
    rest = {k: v for k, v in plain(recipe).items() if k not in ("type", "parts", "layout", *sizes)}
    if "selection" in rest:
        rest["selection"] = SELECTIONS.write(recipe.selection)
    if recipe.filters:
        rest["filters"] = [FILTERS.write(one) for one in recipe.filters]
    for name, value in rest.items():
        if isinstance(value, dict):
            rest[name] = {k: v for k, v in value.items() if k != "type"}
    parts = [{k: v for k, v in plain(part).items() if k != "type"} for part in recipe.parts]
    return {"parts": parts, **sizes, "layout": LAYOUTS.write(recipe.layout), **rest}


def _parts(text: str) -> list[RecipePart]:
    """The parts of "a*2 + b:icl(pairs=5)". A text that names a file as it stands is that file."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"calibration {text!r}: a name that is not UTF-8; give the file another one") from None
    if os.path.isfile(text):
        return [RecipePart(text)]
    try:
        return [_part(term, text) for term in split(text, "+")]
    except UserError:
        raise
    except ValueError as e:
        raise ConfigError(f"cannot read calibration {text!r} ({e}); {HOW}") from None


def _part(term: str, text: str) -> RecipePart:
    """The part that a term is: source:format*share, the share on either side."""
    factors = split(term, "*")
    share = 1.0
    if len(factors) == 2:
        source, number = factors if _number(factors[1]) is not None or _number(factors[0]) is None else factors[::-1]
        if (found := _number(number)) is None:
            raise ConfigError(f"the share of {source} must be a number; got {number!r}; {HOW}")
        share, factors = found, [source]
    source, *formats = split(factors[0], ":")
    format = factors[0].partition(f"{source}:")[2].strip() if formats else None
    if len(factors) > 1 or not source or format == "":
        raise ConfigError(f"cannot read {term!r} in calibration {text!r}; {HOW}")
    if source == "self":
        return RecipePart("self", share=share, strategy=format)
    return RecipePart(unquoted(source), format, share)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _yaml(path: Path) -> dict[str, Any]:
    data = read_yaml(path, "the recipe")
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected a mapping with parts, num_samples, max_seq_length, ...")
    return data
