"""How much memory is free, what running out of it looks like, how work goes on where it ran out, what can leave it."""

import ctypes
import mmap
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from calprune.base.progress import current
from calprune.base.values import UserError

T = TypeVar("T")
MEMORY_INFO = Path("/proc/meminfo")
GROUP = Path("/sys/fs/cgroup")  # a container's own limit
PAGES = Path("/proc/self/pagemap")  # of Linux: eight bytes a page of this process
OF_FILE, SWAPPED, IN_MEMORY = (np.uint64(1 << bit) for bit in (61, 62, 63))
MADV_DONTNEED = 4


def free_memory(device: torch.device) -> int | None:
    """Bytes that can still be taken where a model is or will be; None where the system does not say.

    On a GPU, what torch holds and does not use counts as free. On a CPU it is the machine's or the container's,
    whichever is less.
    """
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + unused
    free = [_number(MEMORY_INFO, "MemAvailable:", 1024), _room_of_group()]
    return min((one for one in free if one is not None), default=None)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch could not get the memory that it wanted: on a GPU a class of its own, on a CPU the text alone."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def leave_to_file(tensors: Iterable[Tensor]) -> None:
    """What of the tensors is a file's pages leaves the memory, and is read from the file again where it is used.

    A tensor of which anything was written since it was mapped, or that is of no file, stays as it is; where the system
    does not say what a page is (all but Linux), all do. The system itself would let such pages go, but only when memory
    is short: until then they count as this process's.
    """
    with suppress(OSError), PAGES.open("rb", buffering=0) as pages:
        for tensor in tensors:
            if tensor.device.type == "cpu" and tensor.layout == torch.strided and tensor.is_contiguous():
                _leave(tensor.data_ptr(), tensor.numel() * tensor.element_size(), pages.fileno())


def _leave(start: int, length: int, pages: int) -> None:
    """The whole pages within `length` bytes from `start`. pages: the open PAGES."""
    first, last = -(-start // mmap.PAGESIZE), (start + length) // mmap.PAGESIZE
    if last <= first:
        return
    held = np.frombuffer(os.pread(pages, 8 * (last - first), 8 * first), np.uint64)
    there = held[(held & (IN_MEMORY | SWAPPED)) != 0]
    if len(there) and (there & OF_FILE).all():
        place, size = ctypes.c_void_p(first * mmap.PAGESIZE), ctypes.c_size_t(len(held) * mmap.PAGESIZE)
        ctypes.CDLL(None).madvise(place, size, MADV_DONTNEED)


class Fitting:
    """How many rows of some work a device's memory holds at once: half as many from where it ran out.

    row: what a row is, in the singular.
    """

    def __init__(self, device: torch.device, row: str = "sequence") -> None:
        self.device, self.row = device, row
        self.most: int | None = None  # all, so far

    def each(self, lengths: Sequence[int], work: Callable[[slice], T]) -> Iterator[T]:
        """What the work gives for all rows, or in their order for parts of them that fit.

        lengths: each row's tokens. work: where memory runs out in it, it is done anew with fewer rows, so what it adds
        to sums elsewhere it must not add twice. Raises UserError where one row does not fit.
        """
        waiting = [slice(0, len(lengths))]
        while waiting:
            rows = waiting.pop(0)
            count, most = rows.stop - rows.start, self.most or len(lengths)
            if count > most:
                waiting[:0] = [slice(i, min(i + most, rows.stop)) for i in range(rows.start, rows.stop, most)]
            elif done := _tried(work, rows):
                yield from done
            else:
                self._halve(count, lengths[rows.start])
                waiting.insert(0, rows)

    def _halve(self, count: int, tokens: int) -> None:
        if count < 2:
            raise UserError(f"the memory of {self.device} does not hold one {self.row} of {tokens:,} tokens beside the "
                            f"model: free some, take shorter {self.row}s, or another device (--device)")  # fmt: skip
        self.most = count // 2
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        current().note(f"the memory of {self.device} does not hold {count} {self.row}s at once: {self.most} go on")


def _tried(work: Callable[[slice], T], rows: slice) -> list[T]:
    """What the work gives; nothing where memory ran out. By then what the work held is free again."""
    try:
        return [work(rows)]
    except RuntimeError as error:
        if is_out_of_memory(error):
            return []
        raise


def _room_of_group() -> int | None:
    limit, used = (_number(GROUP / name) for name in ("memory.max", "memory.current"))
    return None if limit is None or used is None else limit - used


def _number(file: Path, name: str = "", unit: int = 1) -> int | None:
    try:
        line = next(line for line in file.read_text().splitlines() if line.startswith(name))
        return unit * int(line.removeprefix(name).split()[0])
    except (OSError, ValueError, StopIteration, IndexError):
        return None
