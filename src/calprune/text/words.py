"""Words of a text, and words and n-grams of words as numbers: what filters count, compare and look up."""

import re
import sys
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np

_UNSPACED = r"\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"  # Thai, Japanese and Chinese

_UNSEEN = re.compile("[\u00ad\u061c\u200c-\u200f\u202a-\u202e\u2060-\u206f\ufeff]")  # soft hyphens, joiners, directions

_ASCII = bytes(i if chr(i).isalnum() or chr(i) == "_" else ord(" ") for i in range(128)) + bytes(128)

_SPACE = ord(" ")

_WINDOW = 1 << 16  # bytes that are hashed at once: some twenty times as much memory is needed
_OF_WORDS = 1 << 32  # where the factors of words in n-grams begin: no word has so many letters

_NONE = np.empty(0, dtype=np.uint64)

LONGEST = 64  # the most words of an n-gram


def words(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation."""
    return _spaced(text).decode("utf-8", "surrogatepass").split()


def word_hashes(texts: Sequence[str]) -> tuple[np.ndarray, list[int]]:
    """64 bits for each word of these texts, one text after the other, and where each text's begin and the last's end.

    Equal for equal words on every machine, nearly always for no others: Σ letterᵢ · factorᵢ mod 2^64 over a word's
    bytes in UTF-8, with fixed random odd factors (multilinear hashing: Carter, Wegman 1979).
    """
    spaced = [_spaced(text) for text in texts]
    given = b" ".join([b"", *spaced, b""])  # so that a space is on both sides of every word
    cuts = _cuts(given)
    found = [_hashed(given[first : last + 1]) for first, last in pairwise(cuts)]
    firsts = [first + places for first, (_, places) in zip(cuts, found, strict=False)]
    bounds = np.cumsum([1, *(len(one) + 1 for one in spaced)])
    return (np.concatenate([_NONE, *(hashes for hashes, _ in found)]),
            np.searchsorted(np.concatenate([[], *firsts]), bounds).tolist())  # fmt: skip


def gram_hashes(hashes: np.ndarray, n: int) -> np.ndarray:
    """64 bits for each n-gram of words with these `hashes`, (len(hashes) - n + 1,), alike as those are."""
    count = max(len(hashes) - n + 1, 0)
    total = np.zeros(count, dtype=np.uint64)
    # with the factors of letters, letter i of word j would count as letter j of word i: "it no" as "in to"
    for i, factor in enumerate(_factors(n, first=_OF_WORDS)):
        total += hashes[i : i + count] * factor
    return total


def _spaced(text: str) -> bytes:
    """The words of a text in UTF-8, between spaces."""
    if text.isascii():  # the same words, ten times as fast
        return text.lower().encode().translate(_ASCII)
    plain = _UNSEEN.sub("", unicodedata.normalize("NFKC", text)).lower()  # one way to write a letter
    return " ".join(_word().findall(plain)).encode("utf-8", "surrogatepass")


@lru_cache(maxsize=1)
def _word() -> re.Pattern[str]:
    """A run of letters, digits and the marks on them (Hindi's vowels); a Thai, Japanese or Chinese character alone, for
    no spaces tell their words apart."""
    marks = "".join(letter for letter in map(chr, range(128, sys.maxunicode)) if unicodedata.category(letter)[0] == "M")
    return re.compile(rf"[{_UNSPACED}]|(?:[^\W{_UNSPACED}]|(?![{_UNSPACED}])[{marks}])+")


def _cuts(given: bytes) -> list[int]:
    """Places of spaces, the first and the last among them, some _WINDOW bytes apart."""
    cuts = [0]
    while cuts[-1] < len(given) - 1:
        within = given.rfind(b" ", cuts[-1] + 1, cuts[-1] + _WINDOW)
        cuts.append(within if within > 0 else given.find(b" ", cuts[-1] + 1))
    return cuts


def _hashed(given: bytes) -> tuple[np.ndarray, np.ndarray]:
    """The hash of each word, and where it begins."""
    letters = np.frombuffer(given, dtype=np.uint8)
    space = letters == _SPACE
    edges = np.flatnonzero(space[1:] != space[:-1]) + 1  # where a word begins, where it ends, where the next begins
    firsts, lengths = edges[::2], edges[1::2] - edges[::2]
    if not len(firsts):
        return _NONE, firsts
    starts = np.cumsum(lengths) - lengths  # as firsts, but without the spaces
    places = np.arange(lengths.sum()) - np.repeat(starts, lengths)
    return np.add.reduceat(letters[~space] * _factors(int(lengths.max()))[places], starts), firsts


@lru_cache(maxsize=256)
def _factors(count: int, first: int = 1) -> np.ndarray:
    """`count` odd numbers of 64 bits, the same on every machine: splitmix64 (Steele, Lea, Flood, OOPSLA 2014) from its
    `first` on."""
    bits = np.arange(first, first + count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31)) | np.uint64(1)
