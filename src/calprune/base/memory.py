"""How much memory is free, and what running out of it looks like."""

from pathlib import Path

import torch

MEMORY_INFO = Path("/proc/meminfo")
GROUP = Path("/sys/fs/cgroup")  # a container's own limit


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


def _room_of_group() -> int | None:
    limit, used = (_number(GROUP / name) for name in ("memory.max", "memory.current"))
    return None if limit is None or used is None else limit - used


def _number(file: Path, name: str = "", unit: int = 1) -> int | None:
    try:
        line = next(line for line in file.read_text().splitlines() if line.startswith(name))
        return unit * int(line.removeprefix(name).split()[0])
    except (OSError, ValueError, StopIteration, IndexError):
        return None
