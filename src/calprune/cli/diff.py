"""calprune diff: two checkpoints, to the bit."""

from typing import Annotated

import typer

from calprune.cli import options as opt
from calprune.cli.app import app

_CHECKPOINT = "`demo`, a folder, or a hub name like owner/name@revision"


@app.command(
    "diff",
    example="calprune diff demo pruned\ncalprune diff demo pruned --json",
)
def diff_command(
    first: Annotated[str, typer.Argument(help=_CHECKPOINT)],
    second: Annotated[str, typer.Argument(help=_CHECKPOINT)],
    as_json: opt.Json = False,
) -> None:
    """Say what differs between two checkpoints: which tensors, how many of their numbers, their zeros, which files."""
    from calprune.models.checkpoint import open_checkpoint
    from calprune.models.difference import compare
    from calprune.models.load import find_folder

    found = compare(*(open_checkpoint(find_folder(name), name) for name in (first, second)))
    print(found.json() if as_json else found.text())
