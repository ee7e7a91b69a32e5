"""calprune sources: the catalogue of calibration data."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from calprune.cli import options as opt
from calprune.cli.app import app

if TYPE_CHECKING:
    from calprune.text.records import Place
    from calprune.text.source import RecordSource


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

    sources = [find_source(name)] if name else list(catalogue().values())
    described = [_described(source, data_root) for source in sources]
    if as_json:
        print(json.dumps(described, indent=1, ensure_ascii=False))
    elif name:
        print(_page(described[0]))
    else:
        _table(described)


def _described(source: "RecordSource", data_root: Path | None) -> dict[str, Any]:
    from calprune.text.places import available

    wordings = ("prompt", "answer", "rationale", "cot", "user") if source.prompt else ("text",)
    return {
        "name": source.name, "title": source.title, "kind": source.kind, "about": source.about,
        "formats": list(source.formats), "default_format": source.default_format,
        "licence": source.licence, "licence_tags": list(source.licence_tags), "citation": source.citation,
        "stand_in": source.stand_in or None, "here": available(source, data_root), "made": source.made or None,
        "local": _place(source.local), "hub": _place(source.hub),
        "wording": {w: getattr(source, w) for w in wordings if getattr(source, w)} if source.kind != "control" else {},
    }  # fmt: skip


def _place(place: "Place | None") -> dict[str, Any] | None:
    if place is None:
        return None
    splits = {split: list(place.files(split)) for split in place.splits}
    there = {"path": place.path, "config": place.config, "revision": place.revision, "tried": place.tried}
    return (there if place.path else {}) | splits


def _table(described: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("name", "formats", "licence", "here"):
        table.add_column(column, no_wrap=True)
    table.add_column("what", overflow="fold")
    for d in described:
        what = d["title"] + (" (a stand-in)" if d["stand_in"] and d["here"] else "")
        here = " ".join(d["here"]) or ("on the hub" if d["hub"] else "no")
        table.add_row(d["name"], " ".join(d["formats"]), " ".join(d["licence_tags"]), here, what)
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    print("\nhere: the splits that can be read without a network, from --data-root (CALPRUNE_DATA) or made.\n"
          "calprune sources NAME shows one: where it is, how it is worded, its licence and citation.")  # fmt: skip


def _page(d: dict[str, Any]) -> str:
    lines = [f"{d['name']}: {d['title']}", d["about"]]
    if d["stand_in"]:
        lines.append(f"stand-in   the local copy is {d['stand_in']}")
    lines += [f"formats    {', '.join(d['formats'])} (a bare name means {d['default_format']})",
              f"licence    {d['licence']} [{', '.join(d['licence_tags'])}]",
              f"citation   {d['citation'] or 'not stated'}",
              f"here       {', '.join(d['here']) or 'nothing'}"]  # fmt: skip
    for place in ("local", "hub"):
        for key, value in (d[place] or {}).items():
            if key == "config" and value is None:
                continue
            said = {None: "not pinned", True: "yes", False: "no"}
            text = ", ".join(value) if isinstance(value, list) else said.get(value, value)
            lines.append(f"{place:10} {key}: {text}")
    for key, value in d["wording"].items():
        lines.append(f"{key:10} {value!r}")
    return "\n".join(line for line in lines if line)
