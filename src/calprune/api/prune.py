"""Prune a model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, cast

from calprune.allocation.uniform import Uniform
from calprune.api.arguments import (
    AllocationLike,
    AnyPatternLike,
    DataLike,
    MethodLike,
    ModelLike,
    SetLike,
    Sizes,
    WeightsLike,
    as_allocation,
    as_any_pattern,
    as_counting,
    as_data_root,
    as_method,
    note_unread,
    open_job_data,
    open_model,
)
from calprune.api.models import Dtype
from calprune.api.progress import ProgressLike, shown
from calprune.base.checks import Count, checked
from calprune.base.patterns import Removal
from calprune.base.values import UserError
from calprune.calibration.advice import advise, widest_input
from calprune.calibration.set import CalibrationSet
from calprune.models.load import find_device
from calprune.pruning.checkpoint import PruneReport
from calprune.pruning.default import default_method
from calprune.pruning.job import Pruned, Pruning
from calprune.removal.job import Removing, removing
from calprune.removal.methods.contract import RemovalMethod
from calprune.removal.report import RemovalReport


@checked
def prune(
    model: ModelLike,
    data: DataLike | None = None,
    *,
    pattern: AnyPatternLike,
    method: MethodLike | RemovalMethod | None = None,
    allocation: AllocationLike = "uniform",
    num_samples: Count | None = None,
    max_seq_length: Count | None = None,
    seed: int | None = None,
    ignore: Sequence[str] = (),
    propagate: Literal["pruned", "dense", "sequential"] = "pruned",
    min_coverage: float = 0.5,
    refine_on: SetLike | None = None,
    resume: str | Path | None = None,
    permute: Literal["heuristic", "assignment"] | None = None,
    min_expert_tokens: Count = 128,
    all_experts: bool = False,
    token_weights: WeightsLike = "even",
    data_root: str | Path | None = None,
    device: str | None = "auto",
    dtype: Dtype | None = None,
    dequantize: bool = False,
    batch_size: Count | None = None,
    progress: ProgressLike | None = None,
) -> PruneReport | RemovalReport:
    """Prune a model; one that is loaded is changed in place.

        report = calprune.prune("demo", "c4", method="sparsegpt", pattern="2:4", num_samples=16, max_seq_length=256)
        report.save("pruned")

    model: `demo`, a folder, a hub name, or what `load` gave: load it anew to prune it in another way.
    data: what the method reads. A source ("c4"), a file, a mixture ("c4*2 + gsm8k:icl"), a recipe's YAML, a folder or
        object of a calibration set (`build`) or of saved sums (`collect`); None for a method that reads none.
    pattern: "50%" (as the method's paper has it), "50%/row", "50%/matrix", or n kept of m: "2:4". Or what is taken out,
        so that a smaller model is left and the dense one stays as it was: "neurons:25%", "heads:1", "blocks:4",
        "experts:25%" (docs/structured.md).
    method: "wanda", "sparsegpt(damping=0.1)", `calprune.SparseGPT(damping=0.1)`, "my_module:Mine(option=1)"; of what is
        taken out "flap", "block_influence", ... None: by the pattern, "admm" at n:m, "wanda" at a share, "flap" for
        neurons and heads, "block_influence" for blocks, "reap" for experts.
    allocation: which linear gets how much of the sparsity: "uniform", "owl(m=5)", `calprune.OWL(m=5)`.
    num_samples, max_seq_length, seed: sequences, tokens of a sequence, and the draw of a set that is built here; None:
        as its recipe says, else 128, 2048 and 0.
    ignore: linears left dense: "*.down_proj", "model.layers.0", "re:.*[qk]_proj".
    propagate: blocks see what the pruned blocks before them give, or, in one pass, what the dense ones do; sequential:
        in one pass, too, each linear sees what all before it give as pruned, those of its own block included.
    min_coverage: the share of a block's parameters that must be in linears, else the model is refused.
    refine_on: what a method that trains blocks trains on; None: `data`.
    resume: a folder that keeps the blocks that are done: the same call goes on where it was stopped.
    permute: order channels first, so that n:m keeps more; the dense model stays the same.
    min_expert_tokens: an expert that fewer tokens are sent to is pruned by all tokens. all_experts: so is every expert.
    token_weights: "even", or "attention(least=0.05)": tokens count by the attention that they receive.
    data_root: the folder of data sets on disk; None: CALPRUNE_DATA. device: where blocks are worked on, one at a time.
    dtype: of the weights of a model that is loaded here. dequantize: as for `load`.
    batch_size: sequences at a time; None: by the device.
    progress: a bar; None: in a terminal and a notebook.

    Raises UserError, in one line, before a weight is changed: for a model, data or text that cannot be read, and for a
    job that does not fit the model.
    """
    counting, wanted = as_counting(min_expert_tokens, all_experts, token_weights), as_any_pattern(pattern)
    method = method or default_method(wanted)
    if isinstance(wanted, Removal):
        job: Any = removing(cast(Any, method), wanted, propagate=propagate, counting=counting, ignore=ignore,
                            permute=permute, allocation=as_allocation(allocation) != Uniform(),
                            min_coverage=min_coverage != Pruning.min_coverage)  # fmt: skip
    else:
        job = Pruning(as_method(cast(MethodLike, method)), wanted, tuple(ignore), propagate, min_coverage,
                      as_allocation(allocation), counting, permute)  # fmt: skip
    target, root, sizes = find_device(device), as_data_root(data_root), Sizes(num_samples, max_seq_length, seed)
    _check_given(data, job, method if job.method.needs != "nothing" else allocation)
    with shown(progress):
        loaded = open_model(model, dtype, dequantize=dequantize)
        job.plan(loaded.model)
        loaded.prove_origin()
        if job.reads == "nothing":
            note_unread(method, data, Sizes() if refine_on else sizes, counting)
        given, trained = open_job_data(data if job.reads != "nothing" else None, refine_on, loaded, sizes, root)
        if given and isinstance(given.data, CalibrationSet) and isinstance(job, Pruning):
            advise(given.data, loaded.tokenizer, method=job.method, widest=widest_input(loaded.model))
        done = job.run(loaded.model, given.data if given else None, refine_on=trained, resume=resume, device=target,
                       batch_size=batch_size)  # fmt: skip
    about = given.about if given else None
    return PruneReport.of(loaded, done, about) if isinstance(done, Pruned) else RemovalReport.of(loaded, done, about)


def _check_given(data: DataLike | None, job: Pruning | Removing, reader: object) -> None:
    """Raise UserError where the job reads data and there is none. reader: its method or allocation, as given."""
    if data is None and job.reads != "nothing":
        raise UserError(f'data: {reader} reads calibration data; give a source ("c4"), a file, a set or saved sums')
