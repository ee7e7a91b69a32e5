"""calprune quantize: codes of few bits in place of the weights, zeros held."""

from typing import Annotated, Any

from calprune.base.progress import current
from calprune.base.values import choice
from calprune.cli import options as opt
from calprune.cli.app import app


@app.command(
    "quantize",
    example="calprune quantize pruned --bits 4 --group 64 --calibration c4 --num-samples 16 --max-seq-length 512 "
    "--out quantised",
)
def quantize_command(
    model: opt.Model,
    out: opt.Out,
    bits: Annotated[int, opt.method_option(help="of a code, 2 to 8")] = 4,
    group: Annotated[int, opt.method_option(help="inputs of a row that share a scale; 0: the whole row")] = 128,
    method: Annotated[str, opt.method_option(help="gptq, or rtn: round to nearest, which reads no data")] = "gptq",
    damping: Annotated[float, opt.method_option(help="of gptq: share of the Gram matrix's mean diagonal")] = 0.01,
    calibration: opt.Calibration = None,
    num_samples: opt.NumSamples = None,
    max_seq_length: opt.MaxSeqLength = None,
    seed: opt.Seed = None,
    ignore: opt.Ignore = None,
    data_root: opt.DataRoot = None,
    device: opt.Device = "auto",
    batch_size: opt.BatchSize = None,
    as_json: opt.Json = False,
) -> None:
    """Quantise a model, a pruned one under its mask, to a checkpoint of compressed-tensors."""
    how: Any = choice(method, ("gptq", "rtn"), "--method")
    from calprune.api.pruned.quantize import quantize
    from calprune.base.output import new_folder

    with new_folder(out):
        report = quantize(
            model, calibration, bits=bits, group=group, method=how, damping=damping,
            num_samples=num_samples, max_seq_length=max_seq_length, seed=seed, ignore=ignore or [],
            data_root=data_root, device=device, batch_size=batch_size, progress=current(),
        ).save(out)  # fmt: skip
    print(report.json() if as_json else report.text())
