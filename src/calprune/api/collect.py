"""Collect the sums that methods read, once, to prune from them again and again."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from calprune.api.arguments import (
    ModelLike,
    SetLike,
    Sizes,
    WeightsLike,
    as_counting,
    as_data_root,
    open_model,
    open_set,
)
from calprune.api.models import Dtype
from calprune.api.progress import ProgressLike, shown
from calprune.base.checks import Count, checked
from calprune.base.progress import tracking
from calprune.base.values import UserError
from calprune.layers.linears import find_blocks
from calprune.layers.saved import Statistics
from calprune.models.load import find_device
from calprune.removal.sums import add_units


@checked
def collect(
    model: ModelLike,
    data: SetLike,
    *,
    needs: Literal["nothing", "moments", "gram", "regional", "gradients"] = "gram",
    units: Sequence[Literal["blocks", "experts"]] = (),
    num_samples: Count | None = None,
    max_seq_length: Count | None = None,
    seed: int | None = None,
    min_expert_tokens: Count = 128,
    all_experts: bool = False,
    token_weights: WeightsLike = "even",
    data_root: str | Path | None = None,
    device: str | None = "auto",
    dtype: Dtype | None = None,
    dequantize: bool = False,
    batch_size: Count | None = None,
    progress: ProgressLike | None = None,
) -> Statistics:
    """The sums of the dense model on a calibration set, by one pass: what `prune` takes as `data`.

        sums = calprune.collect("demo", "c4", num_samples=16, max_seq_length=256)
        sums.save("sums")
        calprune.prune("demo", sums, pattern="2:4", method="sparsegpt")

    model, data, num_samples, max_seq_length, seed, min_expert_tokens, all_experts, token_weights, data_root, device,
    dtype, dequantize, batch_size and progress are as for `prune`.
    needs: "moments" is enough for wanda and ria (8 bytes an input), "gram" for most methods (4 bytes for each pair of
        inputs), "regional" for wanda_plus_plus and "gradients" for gblm and pruner_zero (16 bytes a weight). Each holds
        those before it. All of it is held in memory: `calprune stats` writes a block at a time.
    units: "blocks", "experts": also what these are chosen by, for patterns like "blocks:25%"; a pass each. needs
        "nothing": only that.

    Raises UserError where the model or the data cannot be read.
    """
    if needs == "nothing" and not units:
        raise UserError('needs: "nothing" goes with units=["blocks"] or ["experts"]; without units write "gram"')
    counting = as_counting(min_expert_tokens, all_experts, token_weights)
    target, root = find_device(device), as_data_root(data_root)
    with shown(progress):
        loaded = open_model(model, dtype, dequantize=dequantize)
        given = open_set(data, loaded, Sizes(num_samples, max_seq_length, seed), root)
        sums = Statistics(needs, given.of_sums(loaded, counting))
        name, modules = find_blocks(loaded.model)
        blocks = sums.collecting(loaded.model, given.data, batch_size=batch_size, device=target, counting=counting)
        if needs != "nothing":
            sums.blocks |= tracking(blocks, len(modules), f"collecting {name}")
        for kind in units:
            add_units(sums, loaded.model, given.data, kind, batch_size=batch_size, device=target, counting=counting)
    return sums
