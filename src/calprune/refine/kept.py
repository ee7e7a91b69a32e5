"""The blocks of a job that are done, on disk, so that a job that was stopped goes on where it was.

folder/
    job.json             what the job is: another job is refused
    model.layers.0/      one folder a block: weights.safetensors, block.json (reports, digests of weights and file)
"""

import hashlib
from collections.abc import Callable, Container, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from calprune.base.leftovers import sweep
from calprune.base.memory import leave_to_file
from calprune.base.progress import current
from calprune.base.store import (
    DamagedError,
    check_files,
    file_digests,
    is_free,
    once,
    read_json,
    whole_folder,
    write_json,
)
from calprune.base.tensors import save_tensors
from calprune.base.values import UserError
from calprune.layers.linears import Linear, find_blocks, linears

Reports = list[dict[str, Any]]


class KeptBlocks:
    """Blocks that were pruned and refined before."""

    def __init__(self, folder: str | Path, job: dict[str, Any]):
        """`job`: plain data, all that the weights depend on beside the model. Raises UserError for another job's."""
        self.folder = Path(folder)
        self._read: list[Tensor] = []  # the linears of the block before, in its file
        path = self.folder / "job.json"
        sweep(self.folder)
        if not path.exists():
            if not is_free(self.folder):
                raise UserError(f"{folder} holds something else; name a folder that is absent or empty, or one that "
                                "--resume filled")  # fmt: skip
            write_json(path, {"format": 1, "job": job})
        elif read_json(path, "the blocks of a job that was stopped")["job"] != job:
            raise UserError(f"{folder} holds the blocks of another job or model; name a folder that is absent or empty")

    def block(
        self,
        name: str,
        sites: list[Linear],
        before: list[Linear],
        prune: Callable[[], Reports],
        beside: dict[str, Tensor] | None = None,
    ) -> Reports:
        """The block's reports, with its weights as they were kept; where it is not done, `prune` does it.

        To be called while the block is dense. before: linears of the block before, where they change with this one's.
        beside: other tensors of the block that change, by their names in it.
        A kept block that is damaged is done again, with a warning.
        """
        dense = digest(sites)
        named = {site.name: site for site in sites} | {f"before.{site.name}": site for site in before}
        others = {f"beside.{key}": tensor for key, tensor in (beside or {}).items()}

        def read(folder: Path) -> Reports:
            about = read_json(folder / "block.json", "a block of a job that was stopped")
            if about["dense"] != dense:
                raise UserError(f"{folder} was made from other weights of {name}: of another model")
            check_files(folder, about.get("files", {}))
            try:
                weights = load_file(folder / "weights.safetensors")
            except (OSError, SafetensorError) as e:
                raise DamagedError(f"{folder / 'weights.safetensors'} is damaged ({e})") from None
            for key in (*named, *others):  # a folder that calprune 0.1 wrote holds no digests
                if key not in weights or not weights[key].isfinite().all():
                    raise DamagedError(f"{folder / 'weights.safetensors'} is damaged ({key} is no matrix of numbers)")
            for key, site in named.items():
                site.write(weights[key].to(site.weight.device))
            for key, tensor in others.items():
                tensor.copy_(weights[key])
            return about["reports"]

        def write(folder: Path, reports: Reports) -> None:
            with whole_folder(folder) as making:
                weights = {key: site.weight.contiguous().cpu() for key, site in named.items()}
                weights |= {key: tensor.contiguous().cpu() for key, tensor in others.items()}
                save_tensors(weights, making / "weights.safetensors")
                about = {"format": 1, "dense": dense, "reports": reports, "files": file_digests(making)}
                write_json(making / "block.json", about)
            current().note(f"done blocks are kept in {self.folder}: if this is stopped, the same command goes on")

        leave_to_file(self._read)
        _to_memory(named)
        reports = once(self.folder / name, prune, read, write)
        self._read = _to_file(self.folder / name / "weights.safetensors", named)
        return reports


def _whole(named: dict[str, Linear]) -> Iterator[tuple[str, nn.Parameter]]:
    """The linears that are a parameter of their own on the CPU, held as (out, in): no fused expert."""
    for key, site in named.items():
        if not site.part and not site.stored.transposed:
            held = site.module.get_parameter(site.stored.weight)
            if held.device.type == "cpu" and held.is_contiguous():
                yield key, held


def _to_memory(named: dict[str, Linear]) -> None:
    """Before the linears are changed: what is loaded is one mapping of the checkpoint's file, and a page of it that is
    written to stays in memory as long as the mapping does."""
    for _, held in _whole(named):
        stored, held.data = held.data, held.data.clone()
        leave_to_file([stored])


def _to_file(file: Path, named: dict[str, Linear]) -> list[Tensor]:
    """Afterwards the linears that are given back are in the file, and no longer in memory: the system reads what is
    used of it. So a model takes the memory of the block at work. We never write into such a file; who does changes the
    model."""
    weights, read = load_file(file), []
    for key, held in _whole(named):
        if (weights[key].dtype, weights[key].shape) == (held.dtype, held.shape):
            held.data = weights[key]
            read.append(held.data)
    return read


def digest(sites: list[Linear]) -> str:
    """16 characters that name the linears' weights."""
    found = hashlib.sha256()
    for site in sites:
        found.update(site.weight.contiguous().cpu().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]


def digest_beside(model: nn.Module, pruned: Container[str]) -> str:
    """16 characters that name all parameters but the weights of these linears, by full names: embeddings, norms, what
    stays dense."""
    name, modules = find_blocks(model)
    left_out = {id(own[site.parameter]) for i, block in enumerate(modules)
                for own in [dict(block.named_parameters())]
                for site in linears(block) if f"{name}.{i}.{site.name}" in pruned}  # fmt: skip
    found = hashlib.sha256()
    for key, parameter in model.named_parameters():
        if id(parameter) not in left_out:
            found.update(key.encode())
            found.update(parameter.detach().contiguous().cpu().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]
