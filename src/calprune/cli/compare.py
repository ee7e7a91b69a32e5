"""calprune calib compare: two calibration sets, by what they do to a model."""

import json
import sys
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
    num_samples: opt.NumSamples = 128,
    max_seq_length: opt.MaxSeqLength = 2048,
    seed: opt.Seed = 0,
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
    from calprune.likeness.sets import Comparison
    from calprune.likeness.verdict import tell
    from calprune.methods import parse_method
    from calprune.models.load import load
    from calprune.pattern import parse_pattern
    from calprune.pruning.job import Pruning

    if a == b:
        raise UserError(f"{a} is named twice; name two sets (two draws of one recipe: build them with two seeds)")
    for spec in (a, b):
        if (Path(spec) / "statistics.json").is_file():
            raise UserError(f"{spec} holds saved statistics, whose sequences cannot be told apart; name the set itself")
    job = Pruning(parse_method(method), parse_pattern(pattern), tuple(ignore or ()))
    loaded = load(model, dtype=dtype, device=device)
    sizes = {"num_samples": num_samples, "max_seq_length": max_seq_length, "seed": seed}
    sets: dict[str, Any] = {
        spec: make_set(spec, loaded.tokenizer, data_root=data_root, model=loaded, **sizes) for spec in (a, b)
    }
    comparison = Comparison(job, sets, energy, halves)
    found = list(opt.following(comparison.blocks(loaded.model, batch_size), loaded.model, "comparing"))
    told = {"model": {"name": loaded.name, "id": loaded.id}} | tell(comparison, found)
    if as_json:
        print(json.dumps(told, indent=1, allow_nan=False, ensure_ascii=False))
    else:
        _show(told)


def _show(told: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("block", overflow="fold")
    ranks = [f"rank of {one['name']}" for one in told["sets"]]
    for column in ("kept in common", "diagonal corr.", "Frobenius", "Bures", "covered", *ranks):
        table.add_column(column, justify="right", overflow="fold")
    overall = told | {"name": "all", "effective_rank": [one["effective_rank"] for one in told["sets"]]}
    for row in [*told["blocks"], overall]:
        figures = [f"{row[name]:.3f}" for name in ("diagonal_correlation", "frobenius", "bures")]
        table.add_row(row["name"], f"{row['kept_iou']:.1%}", *figures, f"{row['coverage']:.1%}",
                      *(f"{rank:.1f}" for rank in row["effective_rank"]))  # fmt: skip
    Console(width=None if sys.stdout.isatty() else 160, highlight=False).print(table)
    first, second = (one["name"] for one in told["sets"])
    print("\nkept in common: intersection over union of the weights kept (by chance "
          f"{told['kept_iou_by_chance']:.1%}); of those pruned {told['pruned_iou']:.1%}.")  # fmt: skip
    print(f"covered: of the energy of {second}, by the directions that hold {told['share_of_energy']:.0%} of that of "
          f"{first}, beside the most that so many can. Rank: effective.")  # fmt: skip
    for one in told["sets"]:
        print(_size(one))
    for note in told["notes"]:
        print(f"note: {note}")
    print(f"\n{told['verdict']}")


def _size(one: dict[str, Any]) -> str:
    said = (f"{one['name']}: {one['sequences']:,} sequences, {one['tokens']:,.0f} tokens, "
            f"{one['tokens_per_width']:.1f} for each input of {one['narrowest']}")  # fmt: skip
    if one["halves"] is None:
        return said
    grown = ", ".join(f"{step['kept_iou']:.1%} at {step['sequences']}" for step in one["halves"])
    return f"{said}; two halves of it keep in common {grown} sequences"
