"""What a comparison of two sets comes to: overall figures, whether each set is large enough, a verdict in words."""

from collections.abc import Sequence
from typing import Any

from calprune.likeness.sets import FLAT, BlockComparison, Comparison, InputComparison, Overlap, enough
from calprune.methods import METHODS

FEW_TOKENS = 4.0  # for each input of a linear: with fewer than one its Gram matrix has not even full rank

_FIGURES = ("diagonal_correlation", "frobenius", "bures", "coverage")


def tell(comparison: Comparison, blocks: Sequence[BlockComparison]) -> dict[str, Any]:
    """Plain data: what `calprune calib compare --json` prints. Figures of inputs are means, overlaps are pooled."""
    kept, pruned = _pooled([block.kept for block in blocks]), _pooled([block.pruned for block in blocks])
    weights = kept.either + pruned.both  # pruned by both, or kept by either
    share = (kept.both + kept.either) / (2 * weights)  # of the weights that a set keeps
    inputs = [one for block in blocks for one in block.inputs]
    sets = [_set(comparison, name, i, blocks, inputs) for i, name in enumerate(comparison.sets)]
    told = {
        "format": 1,
        "method": METHODS.write(comparison.job.method),
        "pattern": str(comparison.job.pattern),
        "share_of_energy": comparison.share,
        "kept_iou": kept.iou,
        "pruned_iou": pruned.iou,
        "kept_iou_by_chance": share / (2 - share),
        **_means(inputs),
        "sets": sets,
        "blocks": [_block(block) for block in blocks],
        "notes": [_few(one) for one in sets if one["tokens_per_width"] < FEW_TOKENS],
    }
    return told | {"verdict": _verdict(told)}


def _set(
    comparison: Comparison, name: str, which: int, blocks: Sequence[BlockComparison], inputs: Sequence[InputComparison]
) -> dict[str, Any]:
    given = comparison.sets[name]
    least = min(inputs, key=lambda one: one.tokens[which] / one.width)
    told = {
        "name": name, "id": getattr(given, "id", None), "sequences": len(given.tokens),
        "tokens": max(one.tokens[which] for one in inputs), "width": least.width, "narrowest": least.name,
        "tokens_per_width": least.tokens[which] / least.width,
        "effective_rank": _mean([one.effective_rank[which] for one in inputs]), "halves": None, "enough": None,
    }  # fmt: skip
    if comparison.halvings:
        budgets = comparison.halvings[which].budgets
        overlaps = [_pooled([block.halves[which][k] for block in blocks]).iou for k in range(len(budgets))]
        told["halves"] = [{"sequences": b, "kept_iou": iou} for b, iou in zip(budgets, overlaps, strict=True)]
        told["enough"] = enough(budgets, overlaps)
    return told


def _block(block: BlockComparison) -> dict[str, Any]:
    ranks = [_mean([one.effective_rank[which] for one in block.inputs]) for which in (0, 1)]
    return {"name": block.name, "kept_iou": block.kept.iou, "pruned_iou": block.pruned.iou, **_means(block.inputs),
            "effective_rank": ranks, "inputs": [vars(one) for one in block.inputs]}  # fmt: skip


def _means(inputs: Sequence[InputComparison]) -> dict[str, float]:
    return {name: _mean([getattr(one, name) for one in inputs]) for name in _FIGURES}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _pooled(overlaps: Sequence[Overlap]) -> Overlap:
    total = Overlap(0, 0)
    for overlap in overlaps:
        total = total.plus(overlap)
    return total


def _few(one: dict[str, Any]) -> str:
    return (
        f"{one['name']} has {one['tokens_per_width']:.2g} tokens for each of the {one['width']:,} inputs of "
        f"{one['narrowest']}: under {FEW_TOKENS:g} a Gram matrix is far from settled; take more sequences"
    )


def _verdict(told: dict[str, Any]) -> str:
    a, b = told["sets"]
    said = (f"{a['name']} and {b['name']} lead {told['method']} at {told['pattern']} to an overlap of "
            f"{told['kept_iou']:.1%} of the weights kept (chance: {told['kept_iou_by_chance']:.1%})")  # fmt: skip
    if a["halves"] is None:
        return said
    within = [one["halves"][-1]["kept_iou"] for one in (a, b)]
    apart = told["kept_iou"] < min(within)
    more = "so which of them is taken makes a difference to the mask" if apart else \
           "so they differ no more than two draws of one may"  # fmt: skip
    sizes = "; ".join(_size(one) for one in (a, b))
    return f"{said}, two halves of each to {within[0]:.1%} and {within[1]:.1%}, {more}; {sizes}"


def _size(one: dict[str, Any]) -> str:
    largest = one["halves"][-1]["sequences"]
    if one["enough"] is None:
        return (f"{one['name']} is not large enough: at {largest} sequences a doubling still adds {FLAT:.0%} or more "
                "to the overlap of its halves")  # fmt: skip
    return (f"{one['name']} is large enough: {one['enough']} sequences were, for doublings beyond them add less than "
            f"{FLAT:.0%}")  # fmt: skip
