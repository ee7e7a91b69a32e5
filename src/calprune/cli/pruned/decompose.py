"""calprune decompose: a dense model as a sparse base and a low-rank adapter, solved together."""

from typing import Annotated, Any

from calprune.base.progress import current
from calprune.base.values import choice
from calprune.cli import options as opt
from calprune.cli.app import app
from calprune.cli.pruned import Watch, WatchTokens


@app.command(
    "decompose",
    example="calprune decompose demo --pattern 2:4 --rank 64 --calibration c4 --num-samples 32 --max-seq-length 512 "
    "--out parts",
)
def decompose_command(
    model: opt.Model,
    calibration: opt.CalibrationNeeded,
    pattern: opt.Pattern,
    out: opt.Out,
    rank: Annotated[int, opt.method_option(help="of each linear's adapter")] = 64,
    iterations: Annotated[int, opt.method_option(help="of the solver, at most")] = 300,
    damping: Annotated[float, opt.method_option(help="a fraction of the Gram matrix's mean diagonal")] = 0.01,
    propagate: Annotated[
        str,
        opt.method_option(
            help="pruned: blocks see what those before them give, with their adapters; dense: one pass, not two"
        ),
    ] = "pruned",
    ignore: opt.Ignore = None,
    watch: Watch = None,
    watch_tokens: WatchTokens = 2048,
    num_samples: opt.NumSamples = None,
    max_seq_length: opt.MaxSeqLength = None,
    seed: opt.Seed = None,
    data_root: opt.DataRoot = None,
    device: opt.Device = "auto",
    dtype: opt.Dtype = None,
    dequantize: opt.Dequantize = False,
    batch_size: opt.BatchSize = None,
    as_json: opt.Json = False,
) -> None:
    """Write a pruned base and a PEFT adapter that are solved together: sparse plus low-rank."""
    how: Any = choice(propagate, ("pruned", "dense"), "--propagate")
    from calprune.api.pruned.decompose import decompose
    from calprune.base.output import new_folder

    kind: Any = dtype
    with new_folder(out):
        report = decompose(
            model, calibration, pattern=pattern, rank=rank, ignore=tuple(ignore or ()), propagate=how,
            iterations=iterations, damping=damping, watch=watch, watch_tokens=watch_tokens, num_samples=num_samples,
            max_seq_length=max_seq_length, seed=seed, data_root=data_root, device=device, dtype=kind,
            dequantize=dequantize, batch_size=batch_size, progress=current(),
        ).save(out)  # fmt: skip
    print(report.json() if as_json else report.text())
