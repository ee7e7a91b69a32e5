"""calprune compensate: a low-rank adapter of what pruning took, without training."""

from typing import Annotated, Any

from calprune.base.progress import current
from calprune.cli import options as opt
from calprune.cli.app import app
from calprune.cli.pruned import Dense, Pruned, Watch, WatchTokens


@app.command(
    "compensate",
    example="calprune compensate pruned --dense demo --calibration c4 --num-samples 32 --max-seq-length 512 --rank 64 "
    "--out adapter",
)
def compensate_command(
    pruned: Pruned,
    dense: Dense,
    calibration: opt.CalibrationNeeded,
    out: opt.Out,
    rank: Annotated[int, opt.method_option(help="of each linear's adapter")] = 64,
    watch: Watch = None,
    watch_tokens: WatchTokens = 2048,
    num_samples: opt.NumSamples = None,
    max_seq_length: opt.MaxSeqLength = None,
    seed: opt.Seed = None,
    data_root: opt.DataRoot = None,
    device: opt.Device = "auto",
    dtype: opt.Dtype = None,
    batch_size: opt.BatchSize = None,
    as_json: opt.Json = False,
) -> None:
    """Write a PEFT adapter of what pruning took from a model, nearest for the inputs that the data give."""
    from calprune.api.pruned.compensate import compensate
    from calprune.base.output import new_folder

    kind: Any = dtype
    with new_folder(out):
        report = compensate(
            pruned, calibration, dense=dense, rank=rank, watch=watch, watch_tokens=watch_tokens,
            num_samples=num_samples, max_seq_length=max_seq_length, seed=seed, data_root=data_root, device=device,
            dtype=kind, batch_size=batch_size, progress=current(),
        ).save(out)  # fmt: skip
    print(report.json() if as_json else report.text())
