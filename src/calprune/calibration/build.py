"""From a recipe to a calibration set: each part's documents are drawn, encoded and laid out, and all is counted."""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from calprune.base.progress import waiting
from calprune.base.values import ConfigError, UserError, identity, plain
from calprune.calibration.draw import HELD, Chosen, Draws, Pool, Run, read_pool
from calprune.calibration.layout import Crop, Making, Row, allocate
from calprune.calibration.part import OpenPart, is_folder, open_part
from calprune.calibration.provenance import Drawn
from calprune.calibration.recipe import Recipe, parse_spec, write_recipe
from calprune.calibration.selections import SELECTIONS
from calprune.calibration.selections.contract import Choosing, Random
from calprune.calibration.selections.states import by_contents
from calprune.calibration.set import CalibrationSet
from calprune.layers.readable import check_length
from calprune.text.chat import DAY
from calprune.text.document import Documents, Given
from calprune.text.encode import Encoded, Marks, encode, find_marks, tokenizer_hash

VERSION = 1  # in a set's identity: raise it when the same recipe gives other tokens
MEASURED = 32  # sequences of a part that are made to learn how long they are, where that varies
FEW_DRAWS = 10  # a pool of fewer makes draws alike, and the spread between them small


def make_set(
    spec: str, tokenizer: Any, *, data_root: Path | None = None, model: Any = None, **options: Any
) -> CalibrationSet:
    """The set that `spec` stands for: the folder of a built set, or what `parse_spec` takes with these options.

    Raises UserError where a folder is called like a source, for either may be meant."""
    if is_folder(spec):
        loaded = CalibrationSet.load(spec)
        loaded.check_tokenizer(tokenizer)
        if model is not None:
            loaded.check_model(model)
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
    if model is not None:
        check_sizes(recipe, model)
    marks = find_marks(tokenizer, recipe.begin_of_text)
    parts = [_Making(recipe, opened, marks) for opened in _open(recipe, Given(model, tokenizer, data_root))]
    with waiting("reading calibration data"):
        counts = _sequences(recipe, parts)
    drawn, rows = [], []
    for part, n in zip(parts, counts, strict=True):
        with waiting(f"drawing {part.opened.part.source}"):
            made, report = part.draw(n)
        rows += made
        drawn.append(replace(report, share=part.opened.part.share / sum(p.share for p in recipe.parts)))
    return _assemble(recipe, rows, tuple(drawn), parts, marks.pad)


def check_sizes(recipe: Recipe, model: Any, how: str = "--max-seq-length ") -> None:
    """Raise UserError where a `models.Model` cannot read sequences as long as the recipe's. Reads no source. `how`: the
    way to say how long they are, ending before the number."""
    check_length(model.model, recipe.max_seq_length, "sequences", how)


def identify(recipe: Recipe, tokenizer: str, given: Given = Given()) -> str:
    """The id of the set that `build` would make, without reading its documents. `tokenizer` is the `tokenizer_hash` of
    that of `given`, which itself is asked for its chat template alone.

    Raises UserError as `build` does where a source cannot be found."""
    return _identity(recipe, _open(recipe, given), tokenizer)


def _open(recipe: Recipe, given: Given) -> list[OpenPart]:
    parts = [open_part(part, recipe, given) for part in recipe.parts]
    seen: dict[tuple[str, str, str], str] = {}  # by what is read: a file has several paths, a format may be left out
    for part, opened in zip(recipe.parts, parts, strict=True):
        strategy = opened.source.identity(opened.given) if part.source == "self" else ""
        key = (opened.stream, strategy, str(opened.format))
        if key in seen:
            raise ConfigError(f"{seen[key]} and {part.source} are the same source in one format: the set would hold "
                              "each document twice; give it once, with a share")  # fmt: skip
        seen[key] = part.source
    return parts


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

    def __init__(self, recipe: Recipe, opened: OpenPart, marks: Marks) -> None:
        self.recipe, self.opened, self.given = recipe, opened, opened.given
        self.marks = replace(marks, begin=None) if opened.format.name == "chat" else marks  # the template writes it
        self.layout = opened.layout(recipe)
        self.held = HELD
        self.read = Documents(iter(()))  # the last reading of its documents, with its account
        self._draws: Draws | None = None
        self._chosen: dict[int, list[Encoded]] = {}  # by how many sequences they are for

    def draws(self) -> Draws:
        if self._draws is None:
            self.read = self.opened.documents()
            pool = read_pool(self.opened.stream, self.read, self.recipe.seed, self.held)
            self._draws = Draws(pool, self.given.tokenizer)
        return self._draws

    def apart(self, draws: float) -> int:
        """How many seeds' draws have no document in common, of a pool as large as so many: where the pool is not held
        whole, runs begin at 0, 1/2, 1/4, 3/4, 1/8, ..., so their gaps halve."""
        return int(draws) if self.draws().pool.whole else 2 ** int(math.log2(draws))

    def lengths(self, n: int) -> list[int]:
        """How long each of n sequences is to be."""
        if not self.recipe.lengths:
            return [self.recipe.max_seq_length] * n
        counts = allocate(n, [share for _, share in self.recipe.lengths])
        return [length for (length, _), k in zip(self.recipe.lengths, counts, strict=True) for _ in range(k)]

    def rows(self, run: Run, n: int) -> tuple[list[Row], Making]:
        making = Making(self.opened.part.source, self.opened.stream, self.given.tokenizer, self.marks, self.recipe.seed)
        return list(self.layout(run, self.lengths(n), making)), making

    def mean_length(self) -> float:
        """Tokens of a sequence; where it varies, of the first MEASURED in the source's random order, whatever the
        seed."""
        lengths = self.lengths(self.recipe.num_samples)
        if not self.layout.natural or self.opened.source.endless:
            return sum(lengths) / len(lengths)
        plain_draw = self.recipe.selection == Random()
        rows, _ = self.rows(
            self.draws().ordered() if plain_draw else Chosen(self.chosen(self.recipe.num_samples)), MEASURED
        )
        return sum(map(len, rows)) / len(rows) if rows else sum(lengths) / len(lengths)

    def draw(self, n: int) -> tuple[list[Row], Drawn]:
        """The sequences of this seed, and the account of them."""
        if self.opened.source.endless:
            self.read = self.opened.documents()
            run: Run = Run(encode(self.given.tokenizer, self.read))
            rows, making = self.rows(run, n)
            return rows, self._report(rows, run, None, making.dropped)
        while True:
            draws = self.draws()
            run = self._run(draws, n)
            rows, making = self.rows(run, n)
            dropped = making.dropped + self.read.skipped
            if len(rows) == n:
                return rows, self._report(rows, run, draws.pool, dropped)
            if draws.pool.whole or self._chosen:
                raise self._too_few(len(rows), n, draws.pool, dropped)
            self.held, self._draws = self.held * 4, None  # what was kept did not suffice: read again, keep more

    def chosen(self, n: int) -> list[Encoded]:
        """The candidates of this seed, in the order of the recipe's selection for n sequences of this part."""
        recipe, selection = self.recipe, self.recipe.selection
        if n not in self._chosen and not isinstance(selection, Random):
            while not (pool := self.draws().pool).whole and len(pool.documents) < selection.pool:
                self.held, self._draws = self.held * 4, None
            choosing = Choosing(self.given, recipe.max_seq_length, n, recipe.seed, self.marks)
            candidates = [c for c in self.draws().candidates(recipe.seed, selection.pool) if len(c.tokens)]
            self._chosen[n] = [candidates[i] for i in selection(candidates, choosing)] if candidates else []
        return self._chosen.get(n, [])

    def _run(self, draws: Draws, n: int) -> Run:
        if self.recipe.selection != Random():
            return Chosen(self.chosen(n))
        if self.recipe.with_replacement:
            return draws.with_replacement(self.recipe.seed)
        whole = self.recipe.num_samples

        def takes(k: int) -> Any:
            return lambda run: len(self.rows(run, k)[0]) == k

        return draws.run(self.recipe.seed, takes(whole), takes(n))

    def _too_few(self, found: int, wanted: int, pool: Pool, dropped: Counter[str]) -> UserError:
        why = ", ".join(f"{n:,} {reason}" for reason, n in dropped.most_common()) or "none"
        or_else = "use --layout concatenate" if isinstance(self.layout, Crop) else "add a source"
        looked_at = max(map(len, self._chosen.values()), default=pool.size)
        if looked_at < pool.size:
            or_else = f"choose among more documents than {looked_at:,} (--selection with a larger pool)"
        return UserError(
            f"{self.opened.part.source}: too few documents: {pool.size:,} gave {found} of {wanted} sequences of "
            f"{self.recipe.max_seq_length} tokens (dropped: {why}); ask for fewer (--num-samples) or shorter "
            f"(--max-seq-length) sequences, or {or_else}"
        )

    def _report(self, rows: list[Row], run: Run, pool: Pool | None, dropped: Counter[str]) -> Drawn:
        opened = self.opened
        return Drawn(
            source=opened.part.source, format=str(opened.format), share=1.0,
            licence=opened.source.licence_of(opened.given), pool=pool.size if pool else None, read=run.taken,
            sequences=len(rows), tokens=sum(map(len, rows)),
            used=len({piece.document for row in rows for piece in row.pieces}), dropped=dict(dropped),
            citation=opened.source.citation, stand_in=opened.stand_in, revision=opened.rows.revision,
            split=opened.split, chat=opened.chat, day=DAY.isoformat() if opened.chat else "",
        )  # fmt: skip


def _assemble(
    recipe: Recipe, rows: list[Row], drawn: tuple[Drawn, ...], parts: list[_Making], pad: int
) -> CalibrationSet:
    width = recipe.max_seq_length if recipe.count_padding else max(map(len, rows))
    real = torch.tensor([len(row) for row in rows])
    tokens = torch.full((len(rows), width), pad)
    weights = torch.ones(len(rows), width) if any(row.weights for row in rows) or recipe.skip_first else None
    left = bool(recipe.count_padding)  # the papers' tokenizers pad on the left
    pieces = []
    for i, row in enumerate(rows):
        first = width - len(row) if left else 0
        tokens[i, first : first + len(row)] = torch.tensor(row.tokens)
        if weights is not None:
            if row.weights is not None:
                weights[i, first : first + len(row)] = torch.tensor(row.weights)
            weights[i, first : first + recipe.skip_first] = 0.0
            weights[i, first + len(row) :] = 0.0
        pieces.append(tuple(replace(p, first=p.first + first, last=p.last + first) for p in row.pieces))
    tokenizer = tokenizer_hash(parts[0].given.tokenizer)
    named = _identity(recipe, [part.opened for part in parts], tokenizer)
    return CalibrationSet(
        tokens=tokens, lengths=torch.full_like(real, width) if left else real, weights=weights, pieces=tuple(pieces),
        masked=width - real if recipe.count_padding == "masked" else None,
        recipe=write_recipe(recipe), counts=_counts(drawn, int(real.sum()), len(rows) * width), drawn=drawn,
        notes=tuple(_notes(recipe, drawn, parts)), tokenizer=tokenizer, id=named,
    )  # fmt: skip


def _identity(recipe: Recipe, parts: list[OpenPart], tokenizer: str) -> str:
    """The hash of all that decides the tokens: sources count by their contents, wherever they lie."""
    recipe = replace(recipe, selection=by_contents(recipe.selection))
    described = plain(recipe) | {"parts": [opened.identity for opened in parts]}
    given = parts[0].given
    looked = {"model": given.model.computing} if recipe.selection.uses_model else {}
    if looked and (begin := find_marks(given.tokenizer, recipe.begin_of_text).begin) is not None:
        looked["after"] = begin  # before, selections read sequences without it
    padded = {"padding": find_marks(given.tokenizer).pad} if recipe.count_padding else {}  # it is of the tokens then
    chosen = len(parts) > 1 and recipe.selection != Random()  # 1: each part for as many sequences as the set has
    apart = {"selecting": 2} if chosen else {}
    again = {"windows": 2} if recipe.with_replacement else {}  # of 1 a document that came again gave the same window
    return identity({"build": VERSION, "recipe": described, "tokenizer": tokenizer} | looked | padded | apart | again)


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
        yield from making.read.notes
        if recipe.begin_of_text == "always" and making.opened.format.name == "chat":
            yield (f"{making.opened.part.source}: begin_of_text: always puts nothing before a conversation, which "
                   "begins as the chat template writes it")  # fmt: skip
    for making, part in zip(parts, drawn, strict=True):
        if part.split == "evaluation":
            yield f"{part.source}: drawn from its evaluation split: results on that benchmark do not count"
        if part.draws is not None and not recipe.with_replacement and (apart := making.apart(part.draws)) < FEW_DRAWS:
            yield (f"{part.source}: this draw read {part.read:,} of {part.pool:,} documents: from the "
                   f"{apart + 1}{_ordinal(apart + 1)} seed on draws share documents, and the "
                   "spread between them looks small")  # fmt: skip


def _ordinal(n: int) -> str:
    return {1: "st", 2: "nd", 3: "rd"}.get(n if n < 20 else n % 10, "th")
