"""Numbers with many zeros in few bytes: a bit for each number, and the bytes of those that are not zero.

A zero is a number all of whose bits are zero, so that −0.0 is kept. Bits and survivors are written by zstd, whose
entropy coding is what n:m and exponents have to gain: of the 256 bytes that eight bits make, 2:4 has 36; and exponents
of weights take few values. So the bytes of each place are a stream of their own, after the sign has gone from the front
of a number to its end, which puts a bfloat16's exponent into one byte.
"""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import zstandard

MASK, BYTE = "mask", "byte {}"  # the streams of a tensor
LEVEL = 1  # of zstd: higher ones look for repeated stretches, find them by chance, and come out larger and slower


def streams_of(size: int) -> tuple[str, ...]:
    """Their names, for numbers of `size` bytes."""
    return (MASK, *(BYTE.format(place) for place in range(size)))


def pack_numbers(pieces: Iterable[bytes], size: int) -> dict[str, bytes]:
    """The streams of numbers of `size` bytes each. A piece holds a multiple of eight numbers, but for the last."""
    names = streams_of(size)
    streams = {name: zstandard.ZstdCompressor(LEVEL).compressobj() for name in names}
    found: dict[str, list[bytes]] = {name: [] for name in names}
    for piece in pieces:
        numbers = np.frombuffer(piece, f"<u{size}")
        kept = numbers != 0
        survivors = _rotated(numbers[kept], 1).view(np.uint8).reshape(-1, size)
        found[MASK].append(streams[MASK].compress(np.packbits(kept).tobytes()))
        for place, name in enumerate(names[1:]):
            found[name].append(streams[name].compress(survivors[:, place].tobytes()))
    return {name: b"".join([*found[name], streams[name].flush()]) for name in names}


def unpack_numbers(streams: Mapping[str, bytes], size: int, count: int, piece: int) -> Iterator[bytes]:
    """The bytes of `count` numbers of `size` bytes each, `piece` numbers (a multiple of eight) at a time."""
    readers = {name: zstandard.ZstdDecompressor().stream_reader(held) for name, held in streams.items()}
    for begin in range(0, count, piece):
        here = min(piece, count - begin)
        bits = np.frombuffer(_exactly(readers[MASK], (here + 7) // 8), np.uint8)
        kept = np.unpackbits(bits, count=here).astype(bool)
        survivors = np.empty((int(kept.sum()), size), np.uint8)
        for place in range(size):
            survivors[:, place] = np.frombuffer(_exactly(readers[BYTE.format(place)], len(survivors)), np.uint8)
        numbers = np.zeros(here, f"<u{size}")
        numbers[kept] = _rotated(survivors.reshape(-1).view(numbers.dtype), 8 * size - 1)
        yield numbers.tobytes()


def _rotated(numbers: np.ndarray, left: int) -> np.ndarray:
    """The bits of each number moved to the left; those that fall off come back at the right."""
    bits = 8 * numbers.itemsize
    return (numbers << numbers.dtype.type(left)) | (numbers >> numbers.dtype.type(bits - left))


def _exactly(reader: zstandard.ZstdDecompressionReader, count: int) -> bytes:
    parts, left = [], count
    while left:
        if not (part := reader.read(left)):
            raise ValueError("a stream ends too early")
        parts.append(part)
        left -= len(part)
    return b"".join(parts)
