"""The blocks of a job that are done, on disk, so that a job that was stopped goes on where it was.

folder/
    job.json             what the job is: another job is refused
    model.layers.0/      one folder a block, whole or absent: weights.safetensors, block.json (reports, dense weights)
"""

import hashlib
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from calprune.base.store import read_json, whole_folder, write_json
from calprune.base.values import UserError
from calprune.layers.linears import Linear


class Kept:
    """Blocks that were pruned and refined before."""

    def __init__(self, folder: str | Path, job: dict[str, Any]):
        """`job`: plain data, all that the weights depend on beside the model. Raises UserError for another job's."""
        self.folder = Path(folder)
        self._dense = ""  # the digest of the weights of the block that was last asked for, before they change
        path = self.folder / "job.json"
        if not path.exists():
            write_json(path, {"format": 1, "job": job})
        elif read_json(path, "the blocks of a job that was stopped")["job"] != job:
            raise UserError(f"{folder} holds the blocks of another job; name a folder that is absent or empty")

    def restore(self, name: str, sites: list[Linear], before: list[Linear]) -> list[dict[str, Any]] | None:
        """Write the block's weights as they were kept, and return its reports; None: it is still to be done.

        To be called while the block is dense. before: linears of the block before, where they change with this one's.
        """
        self._dense = digest(sites)
        folder = self.folder / name
        if not folder.is_dir():
            return None
        about = read_json(folder / "block.json", "a block of a job that was stopped")
        if about["dense"] != self._dense:
            raise UserError(f"{folder} was made from other weights of {name}: of another model")
        weights = load_file(folder / "weights.safetensors")
        for key, site in _named(sites, before).items():
            site.write(weights[key].to(site.weight.device))
        return about["reports"]

    def keep(self, name: str, sites: list[Linear], before: list[Linear], reports: list[dict[str, Any]]) -> None:
        """Keep the block as it now is."""
        with whole_folder(self.folder / name) as making:
            weights = {key: site.weight.contiguous().cpu() for key, site in _named(sites, before).items()}
            save_file(weights, making / "weights.safetensors")
            write_json(making / "block.json", {"format": 1, "dense": self._dense, "reports": reports})


def _named(sites: list[Linear], before: list[Linear]) -> dict[str, Linear]:
    return {site.name: site for site in sites} | {f"before.{site.name}": site for site in before}


def digest(sites: list[Linear]) -> str:
    """16 characters that name the linears' weights."""
    found = hashlib.sha256()
    for site in sites:
        found.update(site.weight.contiguous().cpu().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]
