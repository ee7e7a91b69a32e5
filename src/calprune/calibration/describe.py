"""Looking a calibration set up in evaluation sets: which sequences share wording with which examples.

What a calibration set holds: shares, lengths, vocabulary, repetition, texts with their weights.
"""

import shlex
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import yaml

from calprune.calibration.provenance import Drawn, sources_table
from calprune.calibration.set import CalibrationSet
from calprune.pages.chart import Bar, Bars, Panel
from calprune.pages.names import short_names
from calprune.pages.numbers import MISSING, counted, listed, percent
from calprune.pages.page import HasPage, Page, Section, Stretch, TextBlock
from calprune.pages.table import Column, Table
from calprune.text.filters.shared_wording import ALIKE, Evaluations, Match
from calprune.text.source import NOT_STATED

MATCHES = 5  # shown of each evaluation set


CHARACTERS = 240  # of the words of a match that are shown


SETS = (
    Column("evaluation set"), Column("split"), Column("sequences that share wording", "number"),
    Column("examples found", "number"), Column("of", "number"), Column("too short to look for", "number"),
)  # fmt: skip


@dataclass(frozen=True)
class Found:
    """A match in a calibration set."""

    sequence: int  # from 0
    source: str
    document: str
    match: Match


@dataclass(frozen=True, repr=False)
class Check(HasPage):
    """What a calibration set has in common with evaluation sets."""

    evaluations: Evaluations
    sequences: int
    found: tuple[Found, ...]

    @property
    def sequences_found(self) -> int:
        """Sequences with a match."""
        return len({one.sequence for one in self.found})

    def of(self, evaluation: str) -> list[Found]:
        """The matches with one evaluation set."""
        return [one for one in self.found if one.match.evaluation == evaluation]

    def record(self) -> dict[str, Any]:
        sets = [
            vars(evaluation)
            | {
                "sequences_found": len({one.sequence for one in self.of(evaluation.name)}),
                "examples_found": len({one.match.example for one in self.of(evaluation.name)}),
            }
            for evaluation in self.evaluations.sets
        ]
        matches = [{"sequence": one.sequence, "source": one.source, "document": one.document}
                   | one.match._asdict() for one in self.found]  # fmt: skip
        return {"format": 1, "ngram": self.evaluations.ngram, "short": self.evaluations.short,
                "sequences": self.sequences, "sequences_found": self.sequences_found, "against": sets,
                "matches": matches}  # fmt: skip

    def page(self, show: int = MATCHES) -> Page:
        """`show`: matches of each evaluation set."""
        evaluations = self.evaluations
        rows = tuple(
            (one.name, one.split, len({f.sequence for f in self.of(one.name)}),
             len({f.match.example for f in self.of(one.name)}), one.examples, one.too_short)
            for one in evaluations.sets
        )  # fmt: skip
        note = f"Of wording that more than {ALIKE} examples have in common, {ALIKE} are counted."
        table = Table("against", "Evaluation sets", SETS, rows, (note,))
        details = [self._matches(one.name, show) for one in evaluations.sets] if show else []
        return Page(
            f"{self.sequences_found:,} of {self.sequences:,} sequences share wording with an evaluation set",
            (Section("against", tables=(table,)), Section("matches", "Matches", tables=tuple(details))),
            "calprune calib check",
            summary=f"{evaluations.ngram} words in a row; {evaluations.short} of texts that are shorter",
        )

    def _matches(self, evaluation: str, show: int) -> Table:
        found = self.of(evaluation)
        rows = tuple(
            (one.sequence + 1, f"{one.source} {one.document}".strip(), one.match.example,
             one.match.words if len(one.match.words) <= CHARACTERS else one.match.words[:CHARACTERS] + "...")
            for one in found[:show]
        )  # fmt: skip
        more = (f"and {len(found) - show:,} more (--show {len(found)}, or --json)",) if len(found) > show else ()
        heads = (Column("sequence", "number"), Column("document"), Column("example"), Column("words in common"))
        return Table(f"matches-{evaluation}", evaluation, heads, rows, more)


def check_set(given: Any, tokenizer: Any, evaluations: Evaluations) -> Check:
    """Look up each document's part of each sequence of a CalibrationSet, decoded, in the evaluation sets."""
    found: list[Found] = []
    for i, length in enumerate(given.lengths.tolist()):
        pieces = given.pieces[i] if given.pieces else ()
        stretches = [(p.source, p.document, p.first, p.last) for p in pieces] or [("", "", 0, length)]
        for source, document, first, last in stretches:
            text = tokenizer.decode(given.tokens[i, first:last], skip_special_tokens=True,
                                    clean_up_tokenization_spaces=False)  # fmt: skip
            found += [Found(i, source, document, match) for match in evaluations.matches(text)]
    return Check(evaluations, len(given.tokens), tuple(found))


BINS = 16  # of the length histogram


SHADED = "Shaded in the page: how much a token weighs in the statistics; not shaded weighs 0."


REPEATED = 4  # tokens of the n-grams whose repetition is reported


@dataclass(frozen=True)
class LengthBin:
    """Sequences of `first` to `last` tokens."""

    first: int
    last: int
    sequences: int


@dataclass(frozen=True)
class Lengths:
    """The sequences' lengths in tokens."""

    min: int
    median: float
    mean: float
    max: int
    histogram: tuple[LengthBin, ...]


@dataclass(frozen=True)
class SequenceText:
    """A sequence as text, cut where the weight of its tokens changes."""

    sequence: int  # from 1, as it lies in the set
    source: str  # "" where it is not known
    tokens: int
    stretches: tuple[Stretch, ...]

    def block(self) -> TextBlock:
        """The text with its title."""
        source = f" of {self.source}" if self.source else ""
        return TextBlock(f"sequence {self.sequence}{source}, {self.tokens:,} tokens", self.stretches)


@dataclass(frozen=True, repr=False)
class SetSummary(HasPage):
    """A calibration set in figures. `repetition` is 1 - distinct / all over the 4-grams of tokens of each sequence."""

    id: str
    sequences: int
    width: int
    tokens: int
    padding: int
    weight: float
    drawn: tuple[Drawn, ...]
    counts: dict[str, int]
    lengths: Lengths
    distinct: int  # tokens of the vocabulary that occur
    share: float | None  # of the vocabulary; None: no tokenizer was given
    repetition: float | None  # None: no sequence has four tokens
    notes: tuple[str, ...]
    recipe: Mapping[str, Any] | None  # None: of tokens that were given
    tokenizer: str | None
    made_for: str | None
    texts: tuple[SequenceText, ...] | None = None  # None: they were not looked at

    def record(self) -> dict[str, Any]:
        lengths = vars(self.lengths) | {
            "histogram": [{"from": b.first, "to": b.last, "sequences": b.sequences} for b in self.lengths.histogram]
        }
        found = {
            "format": 1, "id": self.id, "sequences": self.sequences, "width": self.width, "tokens": self.tokens,
            "padding": self.padding, "weight": self.weight, "sources": [self._source(part) for part in self.drawn],
            "counts": self.counts, "lengths": lengths, "vocabulary": {"distinct": self.distinct, "share": self.share},
            "repetition": self.repetition, "licences": {part.source: part.licence for part in self.drawn},
            "notes": list(self.notes), "recipe": self.recipe, "tokenizer": self.tokenizer, "made_for": self.made_for,
        }  # fmt: skip
        if self.texts is None:
            return found
        return found | {"texts": [[stretch._asdict() for stretch in text.stretches] for text in self.texts]}

    def _source(self, part: Drawn) -> dict[str, Any]:
        draws = None if part.draws is None else round(part.draws, 2)
        of_tokens = part.tokens / self.tokens if self.tokens else 0.0
        return {"name": part.source} | vars(part) | {"share_of_tokens": of_tokens, "draws_in_pool": draws}

    def page(self) -> Page:
        size = (f"{self.sequences:,} sequences of up to {self.width:,} tokens: {self.tokens:,} tokens counted (weight "
                f"{self.weight:,.1f}), {self.padding:,} of padding")  # fmt: skip
        unknown = () if self.drawn else ("Made of tokens that were given; their sources are not known.",)
        bars = tuple(
            Bar(str(b.last), b.sequences, f"{b.first} to {b.last} tokens: {counted(b.sequences, 'sequence')}")
            for b in self.lengths.histogram
        )
        histogram = Bars("Sequences by length in tokens", "a bar a range of lengths", (), bars)
        given = Bars("Tokens by source", "a bar a source", (), tuple(
            Bar(f"{one.source}:{one.format}" if one.format else one.source, one.tokens, counted(one.tokens, "token"))
            for one in self.drawn), rows=True)  # fmt: skip
        shaded = (SHADED,) if self.texts else ()
        made = Page(
            f"Calibration set {self.id}",
            (
                Section("sources", "Sources", unknown, (Panel((given,), wide=True),),
                        (sources_table(self.drawn, self.tokens),)),
                Section("lengths", "Lengths and vocabulary", (), (Panel((histogram,), wide=True),),
                        facts=self._facts()),
                Section("counts", "Counts", facts=tuple((name, f"{n:,}") for name, n in self.counts.items())),
                Section("texts", "Texts", shaded, blocks=tuple(text.block() for text in self.texts or ())),
                Section("again", "Reproduce", blocks=self._again()),
            ),
            "calprune calib show", "What is in this calibration set?", size, (self._plain(),), self.notes,
        )  # fmt: skip
        return made.read_as(short_names([*(one.source for one in self.drawn), self.made_for or ""]))

    def _plain(self) -> str:
        """What it holds, in a sentence."""
        parts = sorted(self.drawn, key=lambda one: one.tokens, reverse=True)
        shares = [
            f"{percent(one.tokens / self.tokens if self.tokens else 0.0, 0)} of {one.source}" for one in parts[:3]
        ]
        more = [f"{len(parts) - 3} more"] if len(parts) > 3 else []
        of = f": by tokens, {listed([*shares, *more])}" if len(parts) > 1 else f" of {parts[0].source}" if parts else ""
        licences = sorted({one.licence for one in parts if one.licence and one.licence != NOT_STATED})
        lacking = [one.source for one in parts if one.licence == NOT_STATED]
        under = f", under {listed(licences)}" if licences else ""
        if lacking:
            which = f"{counted(len(lacking), 'source')} " if len(parts) > 1 else ""
            under += f"{'; ' if licences else ', '}{which}without a stated licence"
        return f"{counted(self.sequences, 'sequence')} of up to {counted(self.width, 'token')}{of}{under}."

    def _again(self) -> tuple[TextBlock, ...]:
        """The recipe's file, and the command that makes the set of it."""
        if self.recipe is None:
            return ()
        model = shlex.quote(self.made_for) if self.made_for else "MODEL"
        recipe = yaml.safe_dump(dict(self.recipe), sort_keys=False, allow_unicode=True)
        return (TextBlock.of("recipe.yaml", recipe),
                TextBlock.of("Commands", f"calprune calib build recipe.yaml --model {model} --out set"))  # fmt: skip

    def _facts(self) -> tuple[tuple[str, str], ...]:
        lengths = self.lengths
        share = f"share {MISSING}: no tokenizer" if self.share is None else f"{percent(self.share)} of the vocabulary"
        again = f"{MISSING} (no four tokens in a row)" if self.repetition is None else percent(self.repetition)
        return (
            ("lengths", f"{lengths.min:,} to {lengths.max:,}, median {lengths.median:,.0f}, mean {lengths.mean:,.1f}"),
            ("distinct tokens", f"{self.distinct:,} ({share})"),
            (f"repeated {REPEATED}-grams of tokens", again),
        )


def describe(given: CalibrationSet, tokenizer: Any = None, shown: int | None = None) -> SetSummary:
    """A set in figures. `tokenizer` is needed for the share of the vocabulary that occurs, and for `shown` texts."""
    n, width = given.tokens.shape
    tokens = int(given.lengths.sum())
    distinct = len(given.tokens[given.real].unique())
    return SetSummary(
        id=given.id,
        sequences=n,
        width=width,
        tokens=tokens,
        padding=n * width - tokens,
        weight=float((given.weights * given.real).sum()) if given.weights is not None else float(tokens),
        drawn=tuple(given.drawn),
        counts=dict(given.counts),
        lengths=_lengths(given),
        distinct=distinct,
        share=distinct / len(tokenizer) if tokenizer is not None else None,
        repetition=_repetition(given),
        notes=tuple(given.notes),
        recipe=given.recipe,
        tokenizer=given.tokenizer,
        made_for=given.made_for,
        texts=None if shown is None else tuple(texts(given, shown, tokenizer)),
    )


def texts(given: CalibrationSet, count: int, tokenizer: Any) -> list[SequenceText]:
    """`count` sequences as text, all sources in turn: the first of each, then the second of each."""
    turns, order = Counter[str](), []
    for i, length in enumerate(given.lengths.tolist()):
        source = " + ".join(dict.fromkeys(piece.source for piece in given.pieces[i])) if given.pieces else ""
        turns[source] += 1
        order.append((turns[source], i, source, length))
    return [
        SequenceText(i + 1, source, length, tuple(stretches(given, i, tokenizer)))
        for _, i, source, length in sorted(order)[:count]
    ]


def stretches(given: CalibrationSet, index: int, tokenizer: Any) -> list[Stretch]:
    """One sequence's text, cut where the weight of its tokens changes. A character that is several tokens stays
    whole."""
    length = int(given.lengths[index])
    ids = given.tokens[index, :length].tolist()
    weights = given.weights[index, :length].tolist() if given.weights is not None else [1.0] * length
    found, first = [], 0
    for i in range(1, length + 1):
        if i < length and weights[i] == weights[first]:
            continue
        found.append(Stretch(tokenizer.decode(ids[first:i], clean_up_tokenization_spaces=False), weights[first]))
        first = i
    return found


def _lengths(given: CalibrationSet) -> Lengths:
    lengths = given.lengths.double()
    width = given.tokens.shape[1]
    edges = sorted({round(width * i / BINS) for i in range(BINS + 1)})
    histogram = tuple(LengthBin(a + 1, b, int(((lengths > a) & (lengths <= b)).sum())) for a, b in pairwise(edges))
    return Lengths(int(lengths.min()), float(lengths.median()), float(lengths.mean()), int(lengths.max()), histogram)


def _repetition(given: CalibrationSet) -> float | None:
    grams: Counter[tuple[int, ...]] = Counter()
    for row, length in zip(given.tokens.tolist(), given.lengths.tolist(), strict=True):
        grams.update(zip(*(row[i:length] for i in range(REPEATED)), strict=False))
    total = sum(grams.values())
    return 1 - len(grams) / total if total else None
