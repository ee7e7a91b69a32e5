"""calprune calib compare: two calibration sets, by what they do to a model."""

from pathlib import Path
from typing import Annotated, Any

import typer

from calprune.base.values import UserError
from calprune.cli import options as opt
from calprune.cli.calib import calib

_SET = "the folder of a built set, a source or a recipe"


@calib.command("compare", example="calprune calib compare sets/self sets/c4 --model demo --method wanda --pattern 60%")
def compare_command(
    a: Annotated[str, typer.Argument(help=_SET)],
    b: Annotated[str, typer.Argument(help=_SET)],
    model: opt.ForModel = "demo",
    method: opt.Method = "wanda",
    pattern: opt.Pattern = "50%",
    energy: Annotated[
        float, opt.method_option(help="the first set's top directions: those that hold this share")
    ] = 0.95,
    halves: Annotated[
        bool,
        opt.method_option(
            "--halves/--no-halves",
            help="whether each set is large enough: halves of it of growing size are pruned with, too",
        ),
    ] = True,
    num_samples: opt.NumSamples = None,
    max_seq_length: opt.MaxSeqLength = None,
    seed: opt.Seed = None,
    ignore: opt.Ignore = None,
    data_root: opt.DataRoot = None,
    device: opt.Device = "auto",
    dtype: opt.Dtype = None,
    batch_size: opt.BatchSize = None,
    as_json: opt.Json = False,
) -> None:
    """Compare two calibration sets by the masks they lead to, their statistics, and whether each is large enough. The
    model is not changed; it stands whole on the device."""
    from calprune.calibration.build import make_set
    from calprune.likeness.sets import SetComparison
    from calprune.likeness.verdict import summarise
    from calprune.methods import parse_method
    from calprune.models.load import load
    from calprune.pattern import parse_pattern
    from calprune.pruning.job import Pruning

    if a == b:
        raise UserError(f"{a} is named twice; name two sets (two draws of one recipe: build them with two seeds)")
    for spec in (a, b):
        if (Path(spec) / "statistics.json").is_file():
            raise UserError(f"{spec} holds saved statistics, whose sequences cannot be separated; name the set itself")
    job = Pruning(parse_method(method), parse_pattern(pattern), tuple(ignore or ()))
    loaded = load(model, dtype=dtype, device=device)
    sizes = {"num_samples": num_samples, "max_seq_length": max_seq_length, "seed": seed}
    sets: dict[str, Any] = {
        spec: make_set(spec, loaded.tokenizer, data_root=data_root, model=loaded, **sizes) for spec in (a, b)
    }
    comparison = SetComparison(job, sets, energy, halves)
    found = list(opt.following(comparison.blocks(loaded.model, batch_size), loaded.model, "comparing"))
    summary = summarise(comparison, found)
    print(summary.json(model={"name": loaded.name, "id": loaded.id}) if as_json else summary.text())
