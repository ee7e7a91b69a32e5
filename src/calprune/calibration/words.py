"""Words of a text, and n-grams of words as numbers: what filters count, compare and look up."""

import random
import re
import zlib
from collections.abc import Sequence

import numpy as np

# A run of letters and digits; a Thai, Japanese or Chinese character alone, for no spaces tell their words apart.
_UNSPACED = r"\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")
_ASCII = bytes(i if chr(i).isalnum() or chr(i) == "_" else ord(" ") for i in range(128)) + bytes(128)
_REMEMBERED = 1_000_000  # words whose hashes are kept
_FACTORS = np.array([random.Random(i).getrandbits(64) | 1 for i in range(64)], dtype=np.uint64)

LONGEST = len(_FACTORS)  # the most words of an n-gram


def words(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation."""
    if text.isascii():  # the same words, four times as fast
        return text.lower().encode().translate(_ASCII).decode().split()
    return _WORD.findall(text.lower())


class _Hashes(dict[str, int]):
    """CRC-32 of words, the same on every machine; remembered, for most words come again."""

    def __missing__(self, word: str) -> int:
        if len(self) > _REMEMBERED:
            self.clear()
        self[word] = found = zlib.crc32(word.encode("utf-8", "surrogatepass"))
        return found


_HASHES = _Hashes()


def word_hashes(given: Sequence[str]) -> list[int]:
    """32 bits for each word."""
    return list(map(_HASHES.__getitem__, given))


def gram_hashes(given: Sequence[str], n: int) -> np.ndarray:
    """64 bits for each n-gram of words, (len(given) - n + 1,); equal for equal n-grams, nearly always for no others."""
    count = len(given) - n + 1
    if count < 1:
        return np.empty(0, dtype=np.uint64)
    hashes = np.array(word_hashes(given), dtype=np.uint64)
    total = np.zeros(count, dtype=np.uint64)
    for i in range(n):
        total += hashes[i : i + count] * _FACTORS[i]
    return total
