"""calprune speed: how fast models are beside the first of them."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from calprune.base.progress import current
from calprune.cli import options as opt
from calprune.cli.app import app, as_typed

_MODELS = "`demo`, folders, .gguf files, or hub names; all are compared with the first"


@app.command("speed", example="calprune speed demo pruned\ncalprune speed demo pruned --html speed.html")
def speed_command(
    models: Annotated[list[str], typer.Argument(help=_MODELS)],
    rounds: Annotated[int, opt.method_option(min=1, help="times that each is timed; intervals need six")] = 7,
    html: Annotated[Path | None, opt.output_option(help="write a page with a picture to this file, too")] = None,
    device: Annotated[str, opt.run_option(help="auto, cpu, cuda, cuda:1: where all of them run")] = "auto",
    dtype: opt.Dtype = None,
    dequantize: opt.Dequantize = False,
    as_json: opt.Json = False,
) -> None:
    """Time models in turns, in transformers: prefill at 512 and 2,048 tokens, decoding at batch 1 and 8, with their
    bytes on the disk and in memory, beside the first. All of them are loaded at once, each in a process of its own.
    A run that is interrupted keeps no round: times of two runs do not compare."""
    from calprune.api.speed import speed
    from calprune.base.output import check_new_file
    from calprune.base.store import write_whole

    check_new_file(html, "--html")
    kind: Any = dtype  # what is no dtype is named there
    found = speed(models, rounds=rounds, device=device, dtype=kind, dequantize=dequantize, progress=current())
    found = replace(found, command=as_typed())
    if html:
        write_whole(html, found.html())
    print(found.json(html=str(html) if html else None) if as_json else found.text())
    if html and not as_json:
        print(f"{html}: written")
