"""Looking a calibration set up in evaluation sets: which sequences share wording with which examples.

What there is to say of a calibration set: shares, lengths, vocabulary, repetition, texts with their weights.
"""

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

from calprune.calibration.set import CalibrationSet
from calprune.text.shared_wording import Evaluations, Match


@dataclass(frozen=True)
class Found:
    """A match in a calibration set."""

    sequence: int  # from 0
    source: str
    document: str
    match: Match


@dataclass
class Check:
    """What there was to find in a calibration set."""

    evaluations: Evaluations
    sequences: int
    found: list[Found] = field(default_factory=list)

    def told(self) -> dict[str, Any]:
        """Plain data."""
        sets = []
        for evaluation in self.evaluations.sets:
            here = [one for one in self.found if one.match.evaluation == evaluation.name]
            sets.append(vars(evaluation) | {
                "sequences_found": len({one.sequence for one in here}),
                "examples_found": len({one.match.example for one in here}),
            })  # fmt: skip
        matches = [{"sequence": one.sequence, "source": one.source, "document": one.document}
                   | one.match._asdict() for one in self.found]  # fmt: skip
        return {
            "format": 1,
            "sequences": self.sequences,
            "sequences_found": len({one.sequence for one in self.found}),
            "against": sets,
            "matches": matches,
        }


def check_set(given: Any, tokenizer: Any, evaluations: Evaluations) -> Check:
    """Look up each document's part of each sequence of a CalibrationSet, decoded, in the evaluation sets."""
    check = Check(evaluations, len(given.tokens))
    for i, length in enumerate(given.lengths.tolist()):
        pieces = given.pieces[i] if given.pieces else ()
        stretches = [(p.source, p.document, p.first, p.last) for p in pieces] or [("", "", 0, length)]
        for source, document, first, last in stretches:
            text = tokenizer.decode(given.tokens[i, first:last], skip_special_tokens=True,
                                    clean_up_tokenization_spaces=False)  # fmt: skip
            check.found += [Found(i, source, document, match) for match in evaluations.matches(text)]
    return check


BINS = 16  # of the length histogram


REPEATED = 4  # tokens of the n-grams whose repetition is reported


class Stretch(NamedTuple):
    """A piece of a sequence's text of which each token has the same weight."""

    text: str
    weight: float


class Text(NamedTuple):
    """A sequence as text."""

    sequence: int  # from 1, as it lies in the set
    source: str  # "" where it is not known
    tokens: int
    stretches: list[Stretch]


def describe(given: CalibrationSet, tokenizer: Any = None) -> dict[str, Any]:
    """Plain data: what `calprune calib show` prints. `tokenizer` is needed for the share of the vocabulary that occurs.

    Repetition is 1 - distinct / all over the 4-grams of tokens of each sequence: 0 where none occurs twice in the set.
    """
    n, width = given.tokens.shape
    tokens = int(given.lengths.sum())
    distinct = len(given.tokens[given.real].unique())
    return {
        "format": 1,
        "id": given.id,
        "sequences": n,
        "width": width,
        "tokens": tokens,
        "padding": n * width - tokens,
        "weight": float((given.weights * given.real).sum()) if given.weights is not None else float(tokens),
        "sources": [_source(part, tokens) for part in given.drawn],
        "counts": dict(given.counts),
        "lengths": _lengths(given),
        "vocabulary": {"distinct": distinct, "share": distinct / len(tokenizer) if tokenizer is not None else None},
        "repetition": _repetition(given),
        "licences": given.licences,
        "notes": list(given.notes),
        "recipe": given.recipe,
        "tokenizer": given.tokenizer,
        "made_for": given.made_for,
    }


def texts(given: CalibrationSet, count: int, tokenizer: Any) -> list[Text]:
    """`count` sequences as text, all sources in turn: the first of each, then the second of each."""
    turns, order = Counter[str](), []
    for i, length in enumerate(given.lengths.tolist()):
        source = " + ".join(dict.fromkeys(piece.source for piece in given.pieces[i])) if given.pieces else ""
        turns[source] += 1
        order.append((turns[source], i, source, length))
    return [
        Text(i + 1, source, length, stretches(given, i, tokenizer)) for _, i, source, length in sorted(order)[:count]
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


def _source(part: Any, tokens: int) -> dict[str, Any]:
    draws = part.draws
    return (
        {"name": part.source}
        | vars(part)
        | {
            "share_of_tokens": part.tokens / tokens if tokens else 0.0,
            "draws_in_pool": None if draws is None else round(draws, 2),
        }
    )


def _lengths(given: CalibrationSet) -> dict[str, Any]:
    lengths = given.lengths.double()
    width = given.tokens.shape[1]
    edges = sorted({round(width * i / BINS) for i in range(BINS + 1)})
    histogram = [
        {"from": a + 1, "to": b, "sequences": int(((lengths > a) & (lengths <= b)).sum())} for a, b in pairwise(edges)
    ]
    return {
        "min": int(lengths.min()),
        "median": float(lengths.median()),
        "mean": float(lengths.mean()),
        "max": int(lengths.max()),
        "histogram": histogram,
    }


def _repetition(given: CalibrationSet) -> float | None:
    grams: Counter[tuple[int, ...]] = Counter()
    for row, length in zip(given.tokens.tolist(), given.lengths.tolist(), strict=True):
        grams.update(zip(*(row[i:length] for i in range(REPEATED)), strict=False))
    total = sum(grams.values())
    return 1 - len(grams) / total if total else None
