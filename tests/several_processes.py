"""One of several processes that share a job: python several_processes.py RANK SIZE FOLDER writes FOLDER/RANK.pt.

What each case gives is worked out by `results`, which a test calls alone, too.
"""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from calprune.calibration.set import CalibrationSet
from calprune.layers.blocks import walk
from calprune.layers.collect import Counting
from calprune.layers.experts import is_fused
from calprune.layers.gradients import walk_sums
from calprune.layers.together.processes import DataShare, Processes
from calprune.methods.sparsegpt import SparseGPT
from calprune.methods.wanda import Wanda
from calprune.pattern import KeepNofM
from calprune.pruning.job import Pruning
from tests.families import tiny_model
from tests.test_blocks import calibration
from tests.test_experts import OWN, Separate

FEW = Counting(min_expert_tokens=30)  # some experts' tokens are too few, of some they are not


def written_out(family: str):
    """The family with its experts as linears of their own, some of which no token of a process's share reaches."""
    model = tiny_model(family)
    for name, module in list(model.named_modules()):
        if is_fused(module):
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, Separate(family, module))
    return model


CASES = {  # the model, the method, and how
    "padded": (lambda: tiny_model("llama"), SparseGPT(), {}),
    "dense": (lambda: tiny_model("gpt2"), Wanda(), {"propagate": "dense"}),
    "experts": (lambda: tiny_model("mixtral"), SparseGPT(), {"counting": FEW}),
    "experts in one pass": (lambda: tiny_model("mixtral"), Wanda(), {"counting": FEW, "propagate": "sequential"}),
    "written out": (lambda: written_out("mixtral"), Wanda(), {}),
    "written out in one pass": (lambda: written_out("mixtral"), Wanda(), {"propagate": "sequential"}),
}


def results(processes: Processes | None) -> dict[str, dict[str, Tensor]]:
    """By cases: the pruned weights by their names, and the sums of a dense walk."""
    short = CalibrationSet.from_tokens(calibration().tokens[:4, :2])  # some experts see none of a process's tokens
    data = calibration(weights=torch.rand(5, 24, generator=torch.Generator().manual_seed(1)))
    short, data = (one if processes is None else DataShare.of(one, processes) for one in (short, data))
    found: dict[str, dict[str, Tensor]] = {}
    for case, (make, method, how) in CASES.items():
        model, read = make(), short if case.startswith("written out") else data
        done = Pruning(method, KeepNofM(2, 4), **how).run(model, read, batch_size=2)
        found[case] = {name: p.detach() for name, p in model.named_parameters()}
        found[case] |= {f"tokens of {r.name}": torch.tensor([r.tokens, r.routed or 0.0]) for r in done.reports}
    found["sums"] = {}
    for family in ("llama", "mixtral"):
        for block in walk(tiny_model(family), data, batch_size=2, propagate="dense", counting=OWN):
            for name, sums in block.collect("gram").items():
                found["sums"][f"{family}.{block.name}.{name}"] = torch.cat([sums.sum_x[None], sums.gram])
    for block, stats in walk_sums(tiny_model("llama"), data, "gradients", batch_size=2, propagate="dense"):
        for name, one in stats.items():
            for of in ("output", "loss"):
                found["sums"][f"{of} in {block.name}.{name}"] = one.gradient(of).squares / one.gradient(of).sequences
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    rank, size, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=size)
    torch.save(results(Processes(rank, size, torch.device("cpu"))), folder / f"{rank}.pt")
    dist.destroy_process_group()
