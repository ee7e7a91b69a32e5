"""calprune sources: the catalogue of calibration data."""

import json
from typing import Annotated, get_args

import typer

from calprune.base.values import UserError, choice
from calprune.cli import options as opt
from calprune.cli.app import app


@app.command(
    "sources", example="calprune sources gsm8k\ncalprune sources --domain code\ncalprune sources --language zh"
)
def sources_command(
    name: Annotated[
        str | None, typer.Argument(help="a name of the catalogue or a YAML file", show_default="all")
    ] = None,
    domain: Annotated[
        str | None,
        opt.data_option(help="those of one domain: general, commonsense, mathematics, code, knowledge, language"),
    ] = None,
    language: Annotated[str | None, opt.data_option(help="those of one language: en, zh, ...; many")] = None,
    data_root: opt.DataRoot = None,
    as_json: opt.Json = False,
) -> None:
    """List the sources of calibration data, or show one: where it is, its formats and wording, its licence."""
    from calprune.text.find import catalogue, find_source
    from calprune.text.listing import SourceList, described_source
    from calprune.text.source import Domain

    if name and (domain or language):
        raise UserError("a name stands for one source; leave --domain and --language out, or the name")
    sources = [find_source(name)] if name else list(catalogue().values())
    if domain:
        choice(domain, get_args(Domain), "--domain")
        sources = [source for source in sources if source.domain == domain]
    if language:
        choice(language, sorted({one.language for one in catalogue().values() if one.language}), "--language")
        sources = [source for source in sources if source.language == language]
    if not sources:
        raise UserError(f"no source of the catalogue is of the domain {domain} in {language}")
    described = [described_source(source, data_root) for source in sources]
    if as_json:
        print(json.dumps([source.record() for source in described], indent=1))
    else:
        print(described[0].text() if name else SourceList(tuple(described)).text())
