"""Several processes, each with a share of the sequences: torchrun --nproc-per-node N -m calprune prune ...

Sums add. So each process collects those of its share, and where they are finished all are added up: each process then
holds what one alone would have collected, to the rounding of the order, and makes the same weights of it. Who starts
the processes, finds them and adds is torch.distributed: gloo on a CPU, NCCL on GPUs.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from jaxtyping import Float, Int
from torch import Tensor

from calprune.base.values import UserError, first_line
from calprune.layers.inputs import InputStats, StatsError, of_sums

K = TypeVar("K")
T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """The processes of a job, of which this one is the `rank`-th of `size`. All of them make the same calls."""

    rank: int
    size: int
    device: torch.device  # where this one works

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and prints."""
        return self.rank == 0

    def each(self, value: T) -> list[T]:
        """What every process gives here, by their ranks. Raises UserError where one of them has ended."""
        found: list[Any] = [None] * self.size
        self._call(partial(dist.all_gather_object, found, value))
        return found

    def added(self, found: Mapping[K, tuple[Tensor, ...]]) -> dict[K, tuple[Tensor, ...]]:
        """Each key's tensors, summed over all processes in place; what one does not have is zero there."""
        mine = {key: [(t.shape, t.dtype) for t in tensors] for key, tensors in found.items()}
        shapes = {key: shape for one in self.each(mine) for key, shape in one.items()}
        total = {}
        for key, shape in shapes.items():
            tensors = found.get(key) or tuple(torch.zeros(s, dtype=d, device=self.device) for s, d in shape)
            for tensor in tensors:
                self._call(partial(dist.all_reduce, tensor))
            total[key] = tensors
        return total

    def _call(self, call: Callable[[], Any]) -> None:
        try:
            call()
        except RuntimeError as e:
            raise UserError(f"process {self.rank} of {self.size} cannot go on: another one has ended or cannot be "
                            f"reached ({first_line(e)[:120]})") from e  # fmt: skip


def all_sums(sums: dict[K, InputStats], processes: Processes | None) -> dict[K, InputStats]:
    """The sums of all processes' tokens; None: there is this process alone, and they are as they are."""
    if processes is None:
        return sums
    parts: dict[K, tuple[Tensor, ...]] = {}
    for key, own in sums.items():
        tokens = torch.tensor([own.tokens], dtype=torch.float64, device=own.sum_x.device)
        parts[key] = (tokens, own.sum_x, own.sum_xx) if own.gram is None else (tokens, own.sum_x, own.gram)
    return {
        key: of_sums(tokens.item(), sum_x, rest if rest.dim() == 1 else rest.diagonal().clone(),
                     rest if rest.dim() == 2 else None)
        for key, (tokens, sum_x, rest) in processes.added(parts).items()
    }  # fmt: skip


def all_leaders(leaders: dict[str, str], processes: Processes | None) -> dict[str, str]:
    """For each linear that tokens reach in any process, the first that reads the same tensor. Raises StatsError where
    processes disagree."""
    if processes is None:
        return leaders
    total: dict[str, str] = {}
    for one in processes.each(leaders):
        for name, leader in one.items():
            if total.setdefault(name, leader) != leader:
                raise StatsError(f"{name} shares its input with {leader} in some sequences alone; prune in one process")
    return total


@dataclass(frozen=True)
class DataShare:
    """A process's share of a calibration set, as `walk` reads a set. Its sums are those of the whole set."""

    tokens: Int[Tensor, "n T"]
    lengths: Int[Tensor, "n"]
    weights: Float[Tensor, "n T"] | None
    masked: Int[Tensor, "n"] | None
    id: str
    processes: Processes

    @classmethod
    def of(cls, data: Any, processes: Processes) -> "DataShare":
        """Of a `CalibrationSet`: long sequences and short ones in turn. Raises UserError where there are too few."""
        n = len(data.lengths)
        if n < processes.size:
            raise UserError(f"{processes.size} processes share {n} sequences, and each needs one: start {n} at most "
                            f"(torchrun --nproc-per-node {n}), or take more (--num-samples)")  # fmt: skip
        rows = data.lengths.argsort(descending=True, stable=True)[processes.rank :: processes.size]
        weights, masked = (None if one is None else one[rows] for one in (data.weights, data.masked))
        return cls(data.tokens[rows], data.lengths[rows], weights, masked, data.id, processes)


def processes_of(data: Any) -> Processes | None:
    """Those that share the data; None: this one has all of it."""
    return getattr(data, "processes", None)


@contextmanager
def joined(device: torch.device) -> Iterator[Processes | None]:
    """Inside, the processes that torchrun started with this one; None: it was started alone.

    device: where it is to work; of several GPUs each process takes its own. Raises UserError where there is none left,
    or the others cannot be reached.
    """
    size, rank = (int(os.environ.get(name) or default) for name, default in (("WORLD_SIZE", 1), ("RANK", 0)))
    if size < 2:
        yield None
        return
    if device.type == "cuda":
        device = torch.device("cuda", here := int(os.environ.get("LOCAL_RANK", rank)))
        if here >= (there := torch.cuda.device_count()):
            raise UserError(f"process {here + 1} of this machine finds {there} GPUs: start {there} at most "
                            f"(torchrun --nproc-per-node {there}), or give --device cpu")  # fmt: skip
        torch.cuda.set_device(device)
    try:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    except (RuntimeError, ValueError) as e:
        raise UserError(f"process {rank} of {size} cannot reach the others: {first_line(e)}; start them by "
                        "torchrun --nproc-per-node N -m calprune prune ...") from e  # fmt: skip
    if rank and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # it makes no file, so it may end at once where torchrun ends it
    yield Processes(rank, size, device)
    dist.destroy_process_group()
