"""calprune pack and unpack: a checkpoint in few bytes, and back."""

import json
from pathlib import Path
from typing import Annotated

import typer

from calprune.cli import options as opt
from calprune.cli.app import app


@app.command("pack", example="calprune pack pruned --out pruned.packed\ncalprune unpack pruned.packed --out again")
def pack_command(model: opt.Model, out: opt.Out, as_json: opt.Json = False) -> None:
    """Write a checkpoint in few bytes, for a download or to be kept: a bit for each number, and those that are not
    zero. Nothing is lost; `calprune unpack` gives the same bytes back, which is tried out first."""
    from calprune.api.archive import pack

    found = pack(model, out)
    print(found.json() if as_json else found.text())


@app.command("unpack", example="calprune unpack pruned.packed --out pruned")
def unpack_command(
    packed: Annotated[Path, typer.Argument(help="a folder that `calprune pack` wrote")],
    out: opt.Out,
    as_json: opt.Json = False,
) -> None:
    """Give the folder back that was packed, byte for byte."""
    from calprune.api.archive import unpack

    files = unpack(packed, out)
    if as_json:
        print(json.dumps({"format": 1, "out": str(out), "files": [str(path) for path in files]}, indent=1))
    else:
        print(f"{out}: {len(files)} files, the same bytes as they were packed from")
