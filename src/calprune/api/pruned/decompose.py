"""Take a dense model apart into a sparse base and a low-rank adapter, solved together."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from calprune.api.arguments import (
    ModelLike,
    PatternLike,
    SetLike,
    Sizes,
    as_data_root,
    as_pattern,
    open_model,
    open_set,
)
from calprune.api.models import Dtype
from calprune.api.progress import ProgressLike, shown
from calprune.api.pruned.pairs import check_masked, other_text
from calprune.base.checks import Count, checked
from calprune.models.load import find_device
from calprune.pruning.job import Pruning
from calprune.recovery.adapter import added, check_peft
from calprune.recovery.basil import Basil
from calprune.recovery.decomposed import DecompositionReport
from calprune.recovery.decomposition import check_plan
from calprune.recovery.decomposition import decompose as take_apart
from calprune.recovery.job import BATCH
from calprune.recovery.watched import Watched


@checked
def decompose(
    model: ModelLike,
    data: SetLike,
    *,
    pattern: PatternLike,
    rank: Count = 64,
    ignore: Sequence[str] = (),
    propagate: Literal["pruned", "dense"] = "pruned",
    iterations: Count = 300,
    damping: float = 0.01,
    watch: str | None = None,
    watch_tokens: Count = 2048,
    num_samples: Count | None = None,
    max_seq_length: Count | None = None,
    seed: int | None = None,
    data_root: str | Path | None = None,
    device: str | None = "auto",
    dtype: Dtype | None = None,
    dequantize: bool = False,
    batch_size: Count | None = None,
    progress: ProgressLike | None = None,
) -> DecompositionReport:
    """A sparse matrix and a low-rank one for each linear, solved together so that their sum is nearest to the dense
    weights for the inputs that the data give (3BASiL); a model that is loaded becomes the base.

        report = calprune.decompose("demo", "c4", pattern="2:4", rank=64, num_samples=32, max_seq_length=512)
        report.save("parts")        # peft.PeftModel.from_pretrained(<model of "parts/base">, "parts/adapter")

    The base alone is no good model: its zeros were chosen with the adapter in mind. For an adapter of a model that is
    pruned already: `compensate`.

    model: the dense one. data: a calibration set, as for `prune`; no saved sums. pattern: of the sparse matrices:
    "2:4", "50%". rank: of each linear's adapter. propagate: "pruned": a block sees what the blocks before it give, with
    their adapters; "dense": one pass, what the dense ones do. iterations: of the solver, at most. damping: a fraction
    of the Gram matrix's mean diagonal. watch, watch_tokens: a text of another source that the divergence from the dense
    model is given on, as for `recover`. ignore, num_samples, max_seq_length, seed, data_root, device, dtype,
    dequantize, batch_size, progress: as for `prune`.

    Raises UserError, before a weight is changed, for data that cannot be read and a job that does not fit the model.
    """
    check_peft()
    solver = Basil(rank=rank, iterations=iterations, damping=damping)
    job = Pruning(solver, as_pattern(pattern), tuple(ignore), propagate)
    target, root, started = find_device(device), as_data_root(data_root), time.perf_counter()
    with shown(progress):
        loaded = open_model(model, dtype, dequantize=dequantize)
        check_plan(loaded.model, job)
        loaded.prove_origin()
        given = open_set(data, loaded, Sizes(num_samples, max_seq_length, seed), root)
        check_masked(given.data)
        other = other_text(loaded, given.data, root, watch, watch_tokens)
        watched = Watched.of(other.name, loaded.model, [other.windows], BATCH) if other else None
        done = take_apart(loaded.model, given.data, job, target, batch_size)
        kl = {}
        if watched:
            base = watched.kl(loaded.model)
            with added(done.adapter, loaded.model):
                kl[watched.name] = (base, watched.kl(loaded.model))
    return DecompositionReport(loaded, done, given.about, kl, time.perf_counter() - started)
