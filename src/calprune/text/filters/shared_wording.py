"""Wording that a text has in common with evaluation sets.

Two texts overlap where 13 words in a row are the same, whatever their case and punctuation (Brown et al. 2020,
arXiv:2005.14165, appendix C); an evaluation text of fewer than 13 words is looked for by 8 words in a row, and one of
fewer than 8 cannot be told from ordinary wording and is counted as too short. Eight words that more than 3 examples of
short texts have in common ("which is not true according to the passage") are usual wording and no match. The texts of
an evaluation set are the strings of its records (question, choices, passage, answer, ...) each by itself: the wording
of a prompt, which every prompt of a format has in common, is not among them. Equal hashes are checked against the
words, so a match is one.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from calprune.base.values import ConfigError, identity
from calprune.text.document import Given
from calprune.text.find import find
from calprune.text.source import Source
from calprune.text.words import gram_hashes, word_hashes, words

USUAL = 3  # examples whose short texts may have an n-gram in common before it is usual wording
ALIKE = 8  # places of one n-gram in the evaluation sets that are looked at: some wordings are in every record


class Match(NamedTuple):
    """Words that a text has in common with an example of an evaluation set."""

    evaluation: str  # the set's name
    example: str  # its place: "test.jsonl.gz:17"
    words: str  # the longest run of them, as compared


class _Text(NamedTuple):
    """A text of an evaluation set."""

    evaluation: str
    example: str
    text: str


class _Table(NamedTuple):
    """The n-grams of all texts, by rising hash: which text, and the number of its first word there."""

    hashes: np.ndarray
    texts: np.ndarray
    places: np.ndarray


@dataclass
class ReferenceSet:
    """An evaluation set as it was read."""

    name: str
    split: str
    examples: int = 0
    too_short: int = 0  # examples of which no text can be looked for


class Evaluations:
    """The n-grams of evaluation sets, to look texts up in. Memory: 16 bytes a word, and the texts."""

    def __init__(self, names: Sequence[str], given: Given = Given(), ngram: int = 13, short: int = 8) -> None:
        self.ngram, self.short = ngram, short
        self.sets: list[ReferenceSet] = []
        self._texts: list[_Text] = []
        found: dict[int, list[tuple[np.ndarray, int]]] = {short: [], ngram: []}
        for name in dict.fromkeys(names):
            source, split = _find(name, given)
            evaluation = ReferenceSet(name, split)
            self.sets.append(evaluation)
            for example, texts in _examples(source, split, given):
                usable = 0
                hashes, bounds = word_hashes(texts)
                for text, (first, last) in zip(texts, pairwise(bounds), strict=True):
                    n = ngram if last - first >= ngram else short
                    if last - first >= n:
                        found[n].append((gram_hashes(hashes[first:last], n), len(self._texts)))
                        self._texts.append(_Text(name, example, text))
                        usable += 1
                evaluation.examples += 1
                evaluation.too_short += not usable
        self._tables = {n: _table(grams) for n, grams in found.items() if grams}
        if short in self._tables and short < ngram:
            self._tables[short] = _unusual(self._tables[short], [text[:2] for text in self._texts])

    def matches(self, text: str) -> list[Match]:
        """For each example that shares wording with the text its longest shared run, in the order of the text."""
        given, (hashes, _) = words(text), word_hashes([text])
        best: dict[tuple[str, str], tuple[int, int]] = {}
        for n, table in self._tables.items():
            for which, first, last in self._runs(given, gram_hashes(hashes, n), n, table):
                key = self._texts[which][:2]
                if key not in best or last - first > best[key][1] - best[key][0]:
                    best[key] = (first, last)
        runs = sorted(best.items(), key=lambda item: item[1][0])
        return [Match(*key, " ".join(given[first:last])) for key, (first, last) in runs]

    def _runs(self, given: list[str], hashes: np.ndarray, n: int, table: _Table) -> Iterator[tuple[int, int, int]]:
        """(text, first, last) of runs of shared words: n-grams that follow one another in both are one run."""
        low = np.searchsorted(table.hashes, hashes, "left")
        high = np.minimum(np.searchsorted(table.hashes, hashes, "right"), low + ALIKE)
        open_runs: dict[tuple[int, int], tuple[int, int]] = {}  # (text, shift) -> (first, last)
        for i in np.flatnonzero(high > low).tolist():
            for j in range(low[i], high[i]):
                which, place = int(table.texts[j]), int(table.places[j])
                if self._words(which)[place : place + n] != given[i : i + n]:
                    continue
                key = (which, place - i)
                first, last = open_runs.get(key, (i, i + n))
                if last < i + n - 1:  # not the next one of this run
                    yield which, first, last
                    first = i
                open_runs[key] = (first, i + n)
        yield from ((which, first, last) for (which, _), (first, last) in open_runs.items())

    def _words(self, which: int) -> list[str]:
        if which not in self._split:
            if len(self._split) > 1000:
                self._split.clear()
            self._split[which] = words(self._texts[which].text)
        return self._split[which]

    @cached_property
    def _split(self) -> dict[int, list[str]]:
        return {}


def _find(name: str, given: Given) -> tuple[Source, str]:
    """A source and the split to compare with: a file is all there is of it."""
    source = find(name)
    if source.made:
        raise ConfigError(f"contamination: {source.name} is made, not an evaluation set")
    return source, source.split_for("evaluation", given)


def _examples(source: Source, split: str, given: Given) -> Iterator[tuple[str, list[str]]]:
    """The records of a split: where each is, and its strings."""
    for at, record in source.rows(split, given, Counter()):
        yield at, list(_strings(record))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _strings(inner)


def contents_of(name: str, given: Given) -> str:
    """The hash of what an evaluation set holds: of a user's YAML, as it reads its files."""
    source, split = _find(name, given)
    rows = source.rows_read(split, given)
    if source.root:
        return identity([split, source.identity(given), rows.pinned])
    return identity([split, rows.contents or [source.identity(given), rows.pinned]])


def _table(grams: list[tuple[np.ndarray, int]]) -> _Table:
    hashes = np.concatenate([found for found, _ in grams])
    texts = np.concatenate([np.full(len(found), which, dtype=np.int32) for found, which in grams])
    places = np.concatenate([np.arange(len(found), dtype=np.int32) for found, _ in grams])
    order = np.argsort(hashes, kind="stable")
    return _Table(hashes[order], texts[order], places[order])


def _unusual(table: _Table, examples: list[tuple[str, str]]) -> _Table:
    """The table without the n-grams of more than USUAL examples."""
    _, first, count = np.unique(table.hashes, return_index=True, return_counts=True)
    keep = np.ones(len(table.hashes), dtype=bool)
    for at, n in zip(first[count > USUAL].tolist(), count[count > USUAL].tolist(), strict=True):
        keep[at : at + n] = len({examples[which] for which in table.texts[at : at + n].tolist()}) <= USUAL
    return _Table(*(column[keep] for column in table))
