"""Compensate a pruned model by a low-rank adapter, without training."""

import time
from pathlib import Path

import torch

from calprune.api.arguments import ModelLike, SetLike, Sizes
from calprune.api.models import Dtype
from calprune.api.progress import ProgressLike, shown
from calprune.api.pruned.pairs import open_pair
from calprune.base.checks import Count, checked
from calprune.models.load import Model, find_device
from calprune.recovery.adapter import added, check_peft
from calprune.recovery.compensated import CompensationReport
from calprune.recovery.compensation import Compensation
from calprune.recovery.compensation import compensate as adapters
from calprune.recovery.job import BATCH, OtherText, check_same_shapes
from calprune.recovery.watched import Watched


@checked
def compensate(
    pruned: ModelLike,
    data: SetLike,
    *,
    dense: ModelLike,
    rank: Count = 64,
    watch: str | None = None,
    watch_tokens: Count = 2048,
    num_samples: Count | None = None,
    max_seq_length: Count | None = None,
    seed: int | None = None,
    data_root: str | Path | None = None,
    device: str | None = "auto",
    dtype: Dtype | None = None,
    batch_size: Count | None = None,
    progress: ProgressLike | None = None,
) -> CompensationReport:
    """A low-rank adapter of what pruning took from each linear, nearest for the inputs that the data give (EoRA).

        report = calprune.compensate("pruned", "c4", dense="demo", rank=64, num_samples=32, max_seq_length=512)
        report.save("adapter")      # peft.PeftModel.from_pretrained(base, "adapter")

    pruned, dense, data, watch, watch_tokens: as for `recover`; nothing is held out of the data, and the model stays as
    it was. rank: of each linear's adapter. num_samples, max_seq_length, seed, data_root, device, dtype, batch_size and
    progress are as for `prune`.

    Raises UserError where the two models are of different shapes or tokenizers, or have the same linears.
    """
    check_peft()
    started, target = time.perf_counter(), find_device(device)
    with shown(progress):
        pair = open_pair(pruned, dense, data, Sizes(num_samples, max_seq_length, seed), data_root, None, dtype)
        check_same_shapes(pair.pruned, pair.dense)
        other = pair.other(watch, watch_tokens)
        done = adapters((pair.pruned, pair.dense), pair.given.data, rank, target, batch_size)
        kl = _judged(pair.pruned, pair.dense, done, other) if other else {}
    took = time.perf_counter() - started
    return CompensationReport(pair.pruned, pair.dense.name, done, pair.given.about, kl, took)


@torch.no_grad()
def _judged(pruned: Model, dense: Model, done: Compensation, other: OtherText) -> dict[str, tuple[float, float]]:
    """The divergence from the dense model without and with the adapter; the model ends as it was."""
    watched = Watched.of(other.name, dense.model, [other.windows], BATCH)
    before = watched.kl(pruned.model)
    with added(done, pruned.model):
        return {other.name: (before, watched.kl(pruned.model))}
