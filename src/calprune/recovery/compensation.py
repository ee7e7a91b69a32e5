"""The part of what pruning took from a linear that its inputs see most, as a low-rank adapter; without training.

Liu, Khadkevich, Fung, Sakr and others, "EoRA: Fine-tuning-free Compensation for Compressed LLM with Eigenspace Low-Rank
Approximation", 2024, arXiv:2410.21271. With Δ = W - Ŵ and the inputs' Gram matrix H = Q Λ Qᵀ, the B A of rank r of
least error tr((Δ - BA) H (Δ - BA)ᵀ) is

    U S Vᵀ = Δ Q √Λ     B = U_r S_r     A = V_rᵀ √Λ⁻¹ Qᵀ

(Eckart, Young: the best rank-r fit of Δ Q √Λ, folded back). Directions in which no input goes are left out. Inputs are
those of the dense model, in one pass: so adapters of full rank give it back, block after block, on what it read.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from calprune.base.progress import tracking
from calprune.base.values import UserError
from calprune.layers.blocks import Sequences, walk
from calprune.layers.linears import find_blocks, linears
from calprune.models.load import Model
from calprune.recovery.adapter import check_takes

NOISE = 1e-10  # eigenvalues below this share of the largest are directions without inputs


@dataclass(frozen=True, eq=False)
class LinearCompensation:
    """What an adapter does to the error of one linear."""

    name: str
    before: float  # tr(Δ H Δᵀ) / tr(W H Wᵀ)
    after: float  # the same with the adapter


@dataclass(frozen=True, eq=False)
class Compensation:
    """An adapter for each linear that pruning changed."""

    rank: int
    leaves: Mapping[str, Tensor]  # NAME.A (rank, in) and NAME.B (out, rank), float32
    linears: tuple[LinearCompensation, ...]
    transposed: bool = False  # the model's linears are stored as (in, out)
    scale: float = 1.0


def low_rank(
    lost: Float[Tensor, "out in"], gram: Float[Tensor, "in in"], rank: int
) -> tuple[Float[Tensor, "out rank"], Float[Tensor, "rank in"]]:
    """B and A, float64, whose product is nearest to `lost` for these inputs; where fewer directions are there than
    `rank`, the rest is zero."""
    values, Q = torch.linalg.eigh(gram.double())
    seen = values > NOISE * values.max()
    root, Q = values[seen].sqrt(), Q[:, seen]
    U, S, Vt = torch.linalg.svd(lost.double() @ Q * root, full_matrices=False)
    count = min(rank, len(S))
    B = torch.zeros(lost.shape[0], rank, dtype=torch.float64, device=lost.device)
    A = torch.zeros(rank, lost.shape[1], dtype=torch.float64, device=lost.device)
    B[:, :count], A[:count] = U[:, :count] * S[:count], (Vt[:count] / root) @ Q.T
    return B, A


@torch.no_grad()
def compensate(
    models: tuple[Model, Model], data: Sequences, rank: int, device: torch.device, batch_size: int | None = None
) -> Compensation:
    """Adapters for the first model's linears towards the second, dense one's. Neither is changed.

    Raises UserError where no linear of the two differs, experts are stored as one tensor, or PEFT refuses an adapter.
    """
    pruned, dense = (one.model for one in models)
    name, modules = find_blocks(pruned)
    were = dict(dense.named_parameters())
    differ = (key.removesuffix(".weight") for key, p in pruned.named_parameters()
              if key.startswith(f"{name}.") and p.dim() == 2 and not torch.equal(p.cpu(), were[key].cpu()))  # fmt: skip
    check_takes(pruned, differ, "prune with it left out (--ignore), or recover the weights themselves")
    leaves: dict[str, Tensor] = {}
    found: list[LinearCompensation] = []
    dense_blocks = walk(dense, data, batch_size=batch_size, device=device, propagate="dense")
    blocks = tracking(dense_blocks, len(modules), f"compensating {name}")
    for block, module in zip(blocks, modules, strict=True):
        left = {site.name: site.weight for site in linears(module)}
        changed = [s for s in block.linears() if not torch.equal(s.weight.cpu(), left[s.name].cpu())]
        if any(site.part for site in changed):
            raise UserError(f"{block.name}: experts that are stored as one tensor have no adapters of their own")
        stats = block.collect("gram", {f"{block.name}.{site.name}" for site in changed})
        for site in (one for one in changed if one.name in stats):
            full, gram = f"{block.name}.{site.name}", stats[site.name].covariance.double()
            W = site.weight.double()
            lost = W - left[site.name].to(W)
            B, A = low_rank(lost, gram, rank)
            leaves |= {f"{full}.A": A.float().cpu(), f"{full}.B": B.float().cpu()}
            total = error(W, gram) or 1.0
            found.append(LinearCompensation(full, error(lost, gram) / total, error(lost - B @ A, gram) / total))
    if not found:
        raise UserError(f"{models[0].name} and {models[1].name} have the same linears: nothing was pruned")
    transposed = any(site.stored.transposed for site in linears(modules[0]))
    return Compensation(rank, leaves, tuple(found), transposed)


def error(delta: Float[Tensor, "out in"], gram: Float[Tensor, "in in"]) -> float:
    """tr(Δ H Δᵀ), not below 0."""
    return max(0.0, float(((delta @ gram) * delta).sum()))
