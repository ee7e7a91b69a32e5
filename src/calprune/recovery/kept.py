"""The state of a training run on disk, so that a run that was stopped goes on where it was, to the bit.

folder/
    run.json            which run it is: another one's folder is refused
    state.safetensors   the leaves, AdamW's moments and the best leaves; replaced as one file
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from calprune.base.leftovers import sweep
from calprune.base.progress import current
from calprune.base.store import DamagedError, is_free, read_json, write_json
from calprune.base.tensors import read_tensors, write_tensors
from calprune.base.values import UserError

MOMENTS = ("exp_avg", "exp_avg_sq", "step")  # as torch's AdamW names them
NAME = "state.safetensors"


class KeptTraining:
    """A run's state in a folder."""

    def __init__(self, folder: str | Path, name: str) -> None:
        """name: of the run. Raises UserError where the folder holds something else."""
        self.folder = Path(folder)
        path = self.folder / "run.json"
        sweep(self.folder)
        if not path.exists():
            if not is_free(self.folder):
                raise UserError(f"{folder} holds something else; name a folder that is absent or empty, or one that "
                                "--resume filled")  # fmt: skip
            write_json(path, {"format": 1, "run": name})
        elif read_json(path, "the state of a recovery that was stopped")["run"] != name:
            raise UserError(f"{folder} holds the state of another run; name a folder that is absent or empty")

    def write(
        self, leaves: dict[str, Tensor], optimiser: torch.optim.Optimizer, best: dict[str, Tensor], about: Any
    ) -> None:
        """Keep a state in the place of the one before, whole."""
        tensors = {f"leaf/{name}": leaf.detach() for name, leaf in leaves.items()}
        tensors |= {f"best/{name}": leaf for name, leaf in best.items()}
        for name, leaf in leaves.items():
            tensors |= {f"{key}/{name}": optimiser.state[leaf][key] for key in MOMENTS if leaf in optimiser.state}
        write_tensors(self.folder / NAME, ({key: one.cpu().contiguous() for key, one in tensors.items()}, about))
        current().note(f"the run's state is kept in {self.folder}: if this is stopped, the same command goes on")

    @torch.no_grad()
    def read(
        self, leaves: dict[str, Tensor], optimiser: torch.optim.Optimizer
    ) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        """Fill the leaves and the optimiser with what was kept; gives the run's plain data and the best leaves. None:
        nothing was kept, or it is damaged, which is said."""
        path = self.folder / NAME
        if not path.exists():
            return None
        try:
            tensors, about = read_tensors(path)
        except DamagedError as e:
            current().say(f"note: {e}: the run begins again")
            return None
        for name, leaf in leaves.items():
            leaf.copy_(tensors[f"leaf/{name}"])
            if f"step/{name}" in tensors:
                # the fused AdamW that trains counts its steps where the leaf is, unlike the plain one
                optimiser.state[leaf] = {key: tensors[f"{key}/{name}"].to(leaf.device) for key in MOMENTS}
        return about, {name: tensors[f"best/{name}"].to(leaf.device) for name, leaf in leaves.items()}
