"""calprune calib export: a calibration set for other tools."""

import json
from pathlib import Path
from typing import Annotated

import typer

from calprune.cli import options as opt
from calprune.cli.calib import Folder, calib, set_tokenizer


@calib.command("export")
def export_command(
    folder: Folder,
    path: Annotated[Path, typer.Argument(help="the file, or for hf the folder, to write; it must not be there yet")],
    to: Annotated[str, typer.Option(help="jsonl, hf (a datasets folder: llm-compressor, GPTQModel) or txt (imatrix)")],
    model: Annotated[str | None, typer.Option(help="the model that the set is for; default: as it says")] = None,
    as_json: opt.Json = False,
) -> None:
    """Write a calibration set for llm-compressor, GPTQModel, llama.cpp's imatrix, or anything that reads JSON lines.

    Example: calprune calib export sets/mixed --to hf exported/mixed
    """
    from calprune.calibration.export import export
    from calprune.calibration.set import CalibrationSet

    given = CalibrationSet.load(folder)
    notes = export(given, set_tokenizer(given, model, needed=True), to, path)
    n, tokens = len(given.tokens), int(given.lengths.sum())
    if as_json:
        print(json.dumps({"format": 1, "out": str(path), "to": to, "id": given.id, "sequences": n, "tokens": tokens,
                          "licences": given.licences, "notes": notes}, indent=1, ensure_ascii=False))  # fmt: skip
        return
    print(f"{path}: {n:,} sequences, {tokens:,} tokens of calibration set {given.id}")
    for note in notes:
        print(f"note: {note}")
