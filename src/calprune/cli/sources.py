"""calprune sources: the catalogue of calibration data."""

import json
from typing import Annotated

import typer

from calprune.cli import options as opt
from calprune.cli.app import app


@app.command("sources", example="calprune sources gsm8k")
def sources_command(
    name: Annotated[
        str | None, typer.Argument(help="a name of the catalogue or a YAML file", show_default="all")
    ] = None,
    data_root: opt.DataRoot = None,
    as_json: opt.Json = False,
) -> None:
    """List the sources of calibration data, or show one: where it is, its formats and wording, its licence."""
    from calprune.text.find import catalogue, find_source
    from calprune.text.listing import SourceList, described_source

    sources = [find_source(name)] if name else list(catalogue().values())
    described = [described_source(source, data_root) for source in sources]
    if as_json:
        print(json.dumps([source.record() for source in described], indent=1, ensure_ascii=False))
    else:
        print(described[0].text() if name else SourceList(tuple(described)).text())
