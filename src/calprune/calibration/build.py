"""A part of a recipe with its source found: what it is called, what its documents are, what names them.

From a recipe to a calibration set: each part's documents are drawn, encoded and laid out, and all is counted.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from calprune.base.values import UserError, identity, plain
from calprune.calibration.draw import HELD, Chosen, Draws, Pool, Run, read_pool
from calprune.calibration.layout import Concatenate, Crop, Layout, Making, Pad, Row, allocate
from calprune.calibration.recipe import Part, Recipe, parse_spec, write_recipe
from calprune.calibration.selection import SELECTIONS, Choosing, Random, by_contents
from calprune.calibration.set import CalibrationSet, Drawn, tokenizer_hash
from calprune.text.document import Document
from calprune.text.encode import Encoded, Marks, encode, find_marks
from calprune.text.filters.contract import Filter, Opening
from calprune.text.filters.reading import depends, filtered
from calprune.text.find import is_file
from calprune.text.formats import Format, parse_format
from calprune.text.places import files_hash, local_files
from calprune.text.source import catalogue, file_source, find_source

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

    def layout(self, recipe: Recipe) -> Layout:
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


def _open_self(part: Part, recipe: Recipe, data_root: Path | None, model: Any) -> Opened:
    from calprune.writing.source import open_self  # it runs a model: transformers' models are imported

    source = open_self(part.strategy, model)
    return Opened(
        part=part, source=source, format=parse_format(source.default_format), split="calibration", stream="self",
        revision=source.revision(recipe.seed, data_root), seed=recipe.seed, first=recipe.first, data_root=data_root,
        filters=recipe.filters, model=model,
    )  # fmt: skip


VERSION = 1  # in a set's identity: raise it when the same recipe gives other tokens


MEASURED = 32  # sequences of a part that are made to learn how long they are, where that varies


FEW_DRAWS = 10  # a pool of fewer makes draws alike, and the spread between them small


def make_set(
    spec: str, tokenizer: Any, *, data_root: Path | None = None, model: Any = None, **options: Any
) -> CalibrationSet:
    """The set that `spec` stands for: the folder of a built set, or what `parse_spec` takes with these options.

    Raises UserError where a folder is called like a source, for either may be meant."""
    if Path(spec).is_dir() and spec in catalogue():
        raise UserError(f"{spec} is a source and a folder here: write ./{spec} for the set in the folder, or "
                        f"{spec}:{catalogue()[spec].default_format} for the source")  # fmt: skip
    if Path(spec).is_dir():
        loaded = CalibrationSet.load(spec)
        loaded.check_tokenizer(tokenizer)
        return loaded
    return build(parse_spec(spec, **options), tokenizer, data_root=data_root, model=model)


def build(recipe: Recipe, tokenizer: Any, *, data_root: Path | None = None, model: Any = None) -> CalibrationSet:
    """Make a calibration set. The same recipe, files and tokenizer give the same bytes on any machine.

    `model` is a loaded model, for the source that it writes itself and for selections that look at its activations.
    Raises UserError for a source that is absent, of no such format, or has too few documents; it says how many there
    were and what became of them.
    """
    if recipe.selection.uses_model and model is None:
        chosen = SELECTIONS.write(recipe.selection)
        raise UserError(f"selection {chosen} looks at a model's activations: give the model")
    marks = find_marks(tokenizer, recipe.begin_of_text)
    parts = [_Making(recipe, opened, tokenizer, marks, model) for opened in _open(recipe, data_root, model)]
    counts = _sequences(recipe, parts)
    drawn, rows = [], []
    for part, n in zip(parts, counts, strict=True):
        made, report = part.draw(n)
        rows += made
        drawn.append(replace(report, share=part.opened.part.share / sum(p.share for p in recipe.parts)))
    return _assemble(recipe, rows, tuple(drawn), parts, marks.pad)


def identify(recipe: Recipe, tokenizer: str, *, data_root: Path | None = None, model: Any = None) -> str:
    """The id of the set that `build` would make, without reading its documents; `tokenizer` is its `tokenizer_hash`.
    Raises UserError as `build` does where a source cannot be found."""
    return _identity(recipe, _open(recipe, data_root, model), tokenizer)


def _open(recipe: Recipe, data_root: Path | None, model: Any) -> list[Opened]:
    return [open_part(part, recipe, data_root, model) for part in recipe.parts]


def _sequences(recipe: Recipe, parts: list["_Making"]) -> list[int]:
    """How many sequences each part gives, so that its share of the set's tokens is as asked."""
    if len(parts) == 1:
        return [recipe.num_samples]
    counts = allocate(recipe.num_samples, [p.opened.part.share / p.mean_length() for p in parts])
    for part, n in zip(parts, counts, strict=True):
        if n == 0:
            raise UserError(f"the share of {part.opened.part.source} is less than one of {recipe.num_samples} "
                            "sequences; raise --num-samples or its share")  # fmt: skip
    return counts


class _Making:
    """One part of a recipe while its sequences are made."""

    def __init__(self, recipe: Recipe, opened: Opened, tokenizer: Any, marks: Marks, model: Any) -> None:
        self.recipe, self.opened, self.tokenizer, self.model = recipe, opened, tokenizer, model
        self.marks = replace(marks, begin=None) if opened.format.name == "chat" else marks  # the template writes it
        self.layout = opened.layout(recipe)
        self.held = HELD
        self._draws: Draws | None = None
        self._chosen: list[Encoded] | None = None

    def draws(self) -> Draws:
        if self._draws is None:
            pool = read_pool(self.opened.stream, self.opened.documents(self.tokenizer), self.recipe.seed, self.held)
            self._draws = Draws(pool, self.tokenizer)
        return self._draws

    def lengths(self, n: int) -> list[int]:
        """How long each of n sequences is to be."""
        if not self.recipe.lengths:
            return [self.recipe.max_seq_length] * n
        counts = allocate(n, [share for _, share in self.recipe.lengths])
        return [length for (length, _), k in zip(self.recipe.lengths, counts, strict=True) for _ in range(k)]

    def rows(self, run: Run, n: int) -> tuple[list[Row], Making]:
        making = Making(self.opened.part.source, self.opened.stream, self.tokenizer, self.marks, self.recipe.seed)
        return list(self.layout(run, self.lengths(n), making)), making

    def mean_length(self) -> float:
        """Tokens of a sequence; where it varies, of the first MEASURED in the source's random order, whatever the
        seed."""
        lengths = self.lengths(self.recipe.num_samples)
        if not self.layout.natural or self.opened.endless:
            return sum(lengths) / len(lengths)
        plain_draw = self.recipe.selection == Random()
        rows, _ = self.rows(self.draws().ordered() if plain_draw else Chosen(self.chosen()), MEASURED)
        return sum(map(len, rows)) / len(rows) if rows else sum(lengths) / len(lengths)

    def draw(self, n: int) -> tuple[list[Row], Drawn]:
        """The sequences of this seed, and the account of them."""
        if self.opened.endless:
            run: Run = Run(encode(self.tokenizer, self.opened.documents(self.tokenizer)))
            rows, making = self.rows(run, n)
            return rows, self._report(rows, run, None, making.dropped)
        while True:
            draws = self.draws()
            run = self._run(draws, n)
            rows, making = self.rows(run, n)
            dropped = making.dropped + self.opened.skipped
            if len(rows) == n:
                return rows, self._report(rows, run, draws.pool, dropped)
            if draws.pool.whole or self._chosen is not None:
                raise self._too_few(len(rows), n, draws.pool, dropped)
            self.held, self._draws = self.held * 4, None  # what was kept did not suffice: read again, keep more

    def chosen(self) -> list[Encoded]:
        """The candidates of this seed, in the order of the recipe's selection."""
        recipe, selection = self.recipe, self.recipe.selection
        if self._chosen is None and not isinstance(selection, Random):
            while not (pool := self.draws().pool).whole and len(pool.documents) < selection.pool:
                self.held, self._draws = self.held * 4, None
            choosing = Choosing(self.tokenizer, self.model, recipe.max_seq_length, recipe.num_samples, recipe.seed)
            candidates = [c for c in self.draws().candidates(recipe.seed, selection.pool) if len(c.tokens)]
            self._chosen = [candidates[i] for i in selection(candidates, choosing)] if candidates else []
        return self._chosen or []

    def _run(self, draws: Draws, n: int) -> Run:
        if self.recipe.selection != Random():
            return Chosen(self.chosen())
        if self.recipe.with_replacement:
            return draws.with_replacement(self.recipe.seed)
        whole = self.recipe.num_samples

        def takes(k: int) -> Any:
            return lambda run: len(self.rows(run, k)[0]) == k

        return draws.run(self.recipe.seed, takes(whole), takes(n))

    def _too_few(self, found: int, wanted: int, pool: Pool, dropped: Counter[str]) -> UserError:
        why = ", ".join(f"{n:,} {reason}" for reason, n in dropped.most_common()) or "none"
        or_else = "use --layout concatenate" if isinstance(self.layout, Crop) else "add a source"
        if self._chosen is not None and len(self._chosen) < pool.size:
            or_else = f"choose among more documents than {len(self._chosen):,} (--selection with a larger pool)"
        return UserError(
            f"{self.opened.part.source}: too few documents: {pool.size:,} gave {found} of {wanted} sequences of "
            f"{self.recipe.max_seq_length} tokens (dropped: {why}); ask for fewer (--num-samples) or shorter "
            f"(--max-seq-length) sequences, or {or_else}"
        )

    def _report(self, rows: list[Row], run: Run, pool: Pool | None, dropped: Counter[str]) -> Drawn:
        opened = self.opened
        return Drawn(
            source=opened.part.source, format=str(opened.format), share=1.0, licence=opened.source.licence,
            pool=pool.size if pool else None, read=run.taken, sequences=len(rows), tokens=sum(map(len, rows)),
            used=len({piece.document for row in rows for piece in row.pieces}), dropped=dict(dropped),
            citation=opened.source.citation, stand_in=opened.stand_in, revision=opened.revision,
            split=opened.split,
        )  # fmt: skip


def _assemble(
    recipe: Recipe, rows: list[Row], drawn: tuple[Drawn, ...], parts: list[_Making], pad: int
) -> CalibrationSet:
    width = recipe.max_seq_length if recipe.count_padding else max(map(len, rows))
    real = torch.tensor([len(row) for row in rows])
    tokens = torch.full((len(rows), width), pad)
    weights = torch.ones(len(rows), width) if any(row.weights for row in rows) or recipe.skip_first else None
    left = recipe.count_padding  # the papers' tokenizers pad on the left
    pieces = []
    for i, row in enumerate(rows):
        first = width - len(row) if left else 0
        tokens[i, first : first + len(row)] = torch.tensor(row.tokens)
        if weights is not None:
            if row.weights is not None:
                weights[i, first : first + len(row)] = torch.tensor(row.weights)
            weights[i, : recipe.skip_first] = 0.0
            weights[i, first + len(row) :] = 0.0
        pieces.append(tuple(replace(p, first=p.first + first, last=p.last + first) for p in row.pieces))
    tokenizer = tokenizer_hash(parts[0].tokenizer)
    named = _identity(recipe, [part.opened for part in parts], tokenizer)
    return CalibrationSet(
        tokens=tokens, lengths=torch.full_like(real, width) if left else real, weights=weights, pieces=tuple(pieces),
        recipe=write_recipe(recipe), counts=_counts(drawn, int(real.sum()), len(rows) * width), drawn=drawn,
        notes=tuple(_notes(recipe, drawn, parts)), tokenizer=tokenizer, id=named,
    )  # fmt: skip


def _identity(recipe: Recipe, parts: list[Opened], tokenizer: str) -> str:
    """The hash of all that decides the tokens: sources count by their contents, wherever they lie."""
    recipe = replace(recipe, selection=by_contents(recipe.selection))
    described = plain(recipe) | {"parts": [opened.identity for opened in parts]}
    looked = {"model": parts[0].model.id} if recipe.selection.uses_model else {}
    return identity({"build": VERSION, "recipe": described, "tokenizer": tokenizer} | looked)


def _counts(drawn: tuple[Drawn, ...], tokens: int, places: int) -> dict[str, int]:
    dropped: Counter[str] = Counter()
    for part in drawn:
        dropped.update({f"dropped: {reason}": n for reason, n in part.dropped.items()})
    return {
        "documents read": sum(part.read for part in drawn),
        "documents used": sum(part.used for part in drawn),
        **dict(sorted(dropped.items())),
        "sequences": sum(part.sequences for part in drawn),
        "tokens": tokens,
        "padding": places - tokens,
    }


def _notes(recipe: Recipe, drawn: tuple[Drawn, ...], parts: list[_Making]) -> Iterator[str]:
    """What whoever reads the set's figures should know."""
    for making in parts:
        yield from making.opened.notes
    for part in drawn:
        if part.split == "evaluation":
            yield f"{part.source}: drawn from its evaluation split: results on that benchmark do not count"
        if part.draws is not None and part.draws < FEW_DRAWS and not recipe.with_replacement:
            yield (f"{part.source}: this draw read {part.read:,} of {part.pool:,} documents: from the "
                   f"{int(part.draws) + 1}{_ordinal(int(part.draws) + 1)} seed on draws share documents, and the "
                   "spread between them looks small")  # fmt: skip


def _ordinal(n: int) -> str:
    return {1: "st", 2: "nd", 3: "rd"}.get(n if n < 20 else n % 10, "th")
