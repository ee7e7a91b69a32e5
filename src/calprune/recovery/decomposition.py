"""A model's linears as sparse plus low-rank, solved together, block after block.

The sparse matrices stay in the model: that is the base. The low-rank ones are an adapter's leaves, as compensation's.
With `propagate` "pruned" a block sees what the blocks before it give with both; with "dense", in one pass, what the
dense ones do.
"""

import time
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn

from calprune.base.progress import tracking
from calprune.base.tensors import is_finite
from calprune.base.values import UserError
from calprune.layers.blocks import Block, Propagate, Sequences, walk
from calprune.layers.inputs import StatsError, relative_error
from calprune.layers.linears import Linear, find_blocks, linears
from calprune.pruning.job import Pruned, Pruning
from calprune.pruning.report import LinearReport, Outcome
from calprune.pruning.scope import UNREACHED, scope_of
from calprune.recovery.adapter import check_takes
from calprune.recovery.basil import Basil
from calprune.recovery.compensation import Compensation, LinearCompensation


@dataclass(frozen=True, eq=False)
class Decomposed:
    """What became of a model: its linears hold the sparse matrices, the adapter has the low-rank ones."""

    pruned: Pruned  # its errors are of the sparse matrices alone
    adapter: Compensation


@torch.no_grad()
def decompose(
    model: nn.Module, data: Sequences, job: Pruning, device: torch.device, batch_size: int | None = None
) -> Decomposed:
    """Change `model` to its base, and give the adapter. `job.method` is a `Basil`.

    Raises UserError where the job does not fit the model, or experts that are stored as one tensor are among its
    linears: before a weight is changed.
    """
    started, (name, modules) = time.perf_counter(), find_blocks(model)
    planned = check_plan(model, job)
    made, left = _Made(job), list[tuple[Linear, Tensor]]()
    propagate = cast(Propagate, job.propagate)
    blocks = walk(model, data, batch_size=batch_size, device=device, propagate=propagate)
    for block in tracking(blocks, len(modules), f"decomposing {name}"):
        for site, sparse in left:
            site.write(sparse)
        left = made.decompose(block, planned)
        if propagate == "pruned":  # the block runs with both, and is the base afterwards
            for site, sparse in left:
                B, A = (made.leaves[f"{block.name}.{site.name}.{letter}"].to(sparse.device) for letter in "BA")
                site.write(sparse + (B @ A).to(sparse.dtype))
    for site, sparse in left:
        site.write(sparse)
    chosen = scope_of(model, job.ignore)
    unreached = dict.fromkeys(planned - {report.name for report in made.reports}, UNREACHED)
    dense = dict(sorted((chosen.dense | unreached).items()))
    pruned = Pruned(job, tuple(made.reports), time.perf_counter() - started, dense, chosen.notes)
    transposed = any(site.stored.transposed for site in linears(modules[0]))
    rank = cast(Basil, job.method).rank
    return Decomposed(pruned, Compensation(rank, made.leaves, tuple(made.found), transposed))


def check_plan(model: nn.Module, job: Pruning) -> set[str]:
    """The full names of the linears that will be decomposed. Raises UserError as `decompose`."""
    planned, sites = job.plan(model), scope_of(model, job.ignore).linears
    if fused := sorted(name for name in planned if sites[name].part):
        raise UserError(f"{fused[0]}: experts that are stored as one tensor have no adapters of their own; leave them "
                        "out with ignore")  # fmt: skip
    check_takes(model, sorted(planned), "leave it out with ignore")
    return planned


@dataclass
class _Made:
    """What the blocks so far gave."""

    job: Pruning
    leaves: dict[str, Tensor] = field(default_factory=dict)
    reports: list[LinearReport] = field(default_factory=list)
    found: list[LinearCompensation] = field(default_factory=list)

    def decompose(self, block: Block, planned: set[str]) -> list[tuple[Linear, Tensor]]:
        """Write the block's sparse matrices and keep the adapters; the linears, each with what it now holds."""
        stats = block.collect("gram", planned)
        outcome = Outcome([site for site in block.linears(planned) if site.name in stats], stats, {})
        for site in outcome.sites:
            self._linear(f"{block.name}.{site.name}", site, outcome)
        outcome.report(block.name, dict.fromkeys(planned, self.job.pattern))
        self.reports += outcome.reports
        return [(site, site.weight.clone()) for site in outcome.sites]

    def _linear(self, name: str, site: Linear, outcome: Outcome) -> None:
        sums, weight = outcome.stats[site.name], site.weight
        try:
            sums.check()
            solved = cast(Basil, self.job.method).solve(weight, sums, self.job.pattern)
            if not all(map(is_finite, (solved.sparse, solved.B, solved.A))):
                raise StatsError("the decomposed weights hold NaN or infinity")
        except Exception as e:
            e.add_note(f"while decomposing {name} {tuple(weight.shape)} to {self.job.pattern} with {self.job.method}")
            raise
        both = solved.sparse.double() + solved.B @ solved.A
        errors = [relative_error(weight, after, sums) for after in (solved.sparse, both)]
        self.found.append(LinearCompensation(name, *errors))
        self.leaves |= {f"{name}.{letter}": getattr(solved, letter).float().cpu() for letter in "BA"}
        site.write(solved.sparse)
