"""calprune calib: build a calibration set, and look at one.

calprune calib check: does a calibration set share wording with what will judge the model?

calprune calib export: a calibration set for other tools.
"""

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from calprune.base.values import UserError
from calprune.cli import options as opt
from calprune.cli.app import app

calib = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Build, look at and check calibration sets.")


app.add_typer(calib, name="calib")


AllowEvaluation = Annotated[bool, typer.Option(help="draw from a split that is meant for evaluation")]


Excluded = Annotated[
    list[str] | None, typer.Option(help="refuse sources with this licence tag (nc, research, ...); repeatable")
]


Folder = Annotated[Path, typer.Argument(help="the folder of a calibration set")]


ForModel = Annotated[str, typer.Option(help="the model whose tokenizer is used: `demo`, a folder or a hub name")]


@calib.command("build")
def build_command(
    spec: Annotated[str, typer.Argument(help='"c4*2 + gsm8k:icl + my_chat.jsonl:chat(responses)", or a recipe.yaml')],
    out: opt.Out,
    model: ForModel = "demo",
    num_samples: Annotated[int | None, typer.Option(help="sequences; default 128, or as the recipe says")] = None,
    max_seq_length: Annotated[int | None, typer.Option(help="tokens; default 2048, or as the recipe says")] = None,
    seed: Annotated[int | None, typer.Option(help="of the draw; default 0, or as the recipe says")] = None,
    layout: Annotated[str | None, typer.Option(help="concatenate (default), crop or pad: how text is laid out")] = None,
    selection: Annotated[str | None, typer.Option(help="which documents: random (default), unique_tokens, zipf, "
                                                       "cluster or herding(pool=512)")] = None,
    filters: Annotated[list[str] | None, typer.Option("--filter", help="drop documents: min_words(50), language(en), "
                                                      "near_duplicates, ...; repeatable, in this order")] = None,
    skip_first: Annotated[int | None, typer.Option(help="tokens at each sequence's beginning that weigh 0")] = None,
    allow_evaluation_split: AllowEvaluation = False,
    exclude_license: Excluded = None,
    data_root: opt.DataRoot = None,
    as_json: opt.Json = False,
) -> None:  # fmt: skip
    """Build a calibration set from sources of the catalogue or from your own files.

    Example: calprune calib build "c4*2 + gsm8k:icl" --model demo --num-samples 16 --max-seq-length 512 --out sets/mixed
    """
    from calprune.base.store import refuse_occupied
    from calprune.calibration.build import build, name_of
    from calprune.calibration.describe import describe
    from calprune.calibration.recipe import parse_spec
    from calprune.models.load import load, load_tokenizer
    from calprune.text.find import catalogue, refuse_licences

    if Path(spec).is_dir() and spec not in catalogue():  # a folder that is called like a source is not meant
        raise UserError(f"{spec} is a folder; give a recipe or sources, for a built set is built already")
    recipe = parse_spec(spec, num_samples=num_samples, max_seq_length=max_seq_length, seed=seed, layout=layout,
                        selection=selection, skip_first=skip_first, filters=filters or None,
                        allow_evaluation_split=allow_evaluation_split or None)  # fmt: skip
    refuse_licences(map(name_of, recipe.parts), exclude_license or [])
    if not (out / "counts.json").is_file():  # a set that is there may be this one: known when it is built
        refuse_occupied(out)
    loaded = load(model) if recipe.uses_model else None
    tokenizer = loaded.tokenizer if loaded else load_tokenizer(model)
    built = dataclasses.replace(build(recipe, tokenizer, data_root=data_root, model=loaded), made_for=model)
    built.save(out)
    summary = describe(built, tokenizer)
    print(summary.json(out=str(out)) if as_json else f"{out}: {summary.text()}")


@calib.command("show")
def show_command(
    folder: Folder,
    texts: Annotated[int, typer.Option(min=0, help="print so many sequences as text")] = 0,
    model: Annotated[str | None, typer.Option(help="the model that the set is for; default: as it says")] = None,
    html: Annotated[Path | None, typer.Option(help="write a page to this file instead")] = None,
    as_json: opt.Json = False,
) -> None:  # fmt: skip
    """Show what a calibration set holds: sources and shares, what was dropped and why, lengths, licences, texts.

    Example: calprune calib show sets/mixed --texts 3
    """
    from calprune.base.store import write_whole
    from calprune.calibration.describe import describe
    from calprune.calibration.set import CalibrationSet

    given = CalibrationSet.load(folder)
    tokenizer = set_tokenizer(given, model, needed=texts > 0)
    shown = 5 if html and not texts and tokenizer is not None else texts
    summary = describe(given, tokenizer, shown)
    if html:
        write_whole(html, summary.html())
        print(json.dumps({"format": 1, "html": str(html)}) if as_json else f"{html}: written")
    else:
        print(summary.json() if as_json else f"{folder}: {summary.text()}")


def set_tokenizer(given: Any, model: str | None, needed: bool) -> Any:
    """The tokenizer that made the set: of `model`, or of the model that the set names, where it is still there."""
    from calprune.models.load import load_tokenizer

    name = model or given.made_for
    if not name and needed:
        raise UserError(f"calibration set {given.id} does not say for which model it was made: say it with --model")
    if not name:
        return None
    try:
        tokenizer = load_tokenizer(name)
        given.check_tokenizer(tokenizer)
    except UserError:
        if model or needed:
            raise
        return None
    return tokenizer


MATCHES = 5  # shown of each evaluation set, where --show does not say


@calib.command("check")
def check_command(
    folder: Folder,
    against: Annotated[list[str] | None, typer.Option(help="evaluation sets: names of the catalogue, or files")] = None,
    more: Annotated[list[str] | None, typer.Argument(help="further evaluation sets", show_default=False)] = None,
    ngram: Annotated[int, typer.Option(help="so many words in a row count as shared")] = 13,
    short: Annotated[int, typer.Option(help="the same for evaluation texts of fewer words than that")] = 8,
    show: Annotated[int, typer.Option(min=0, help="print so many matches of each evaluation set")] = MATCHES,
    model: Annotated[str | None, typer.Option(help="the model that the set is for; default: as it says")] = None,
    data_root: opt.DataRoot = None,
    as_json: opt.Json = False,
) -> None:  # fmt: skip
    """Look for wording that a calibration set shares with evaluation sets: 13 words in a row, 8 of short texts.

    Example: calprune calib check sets/c4 --against gsm8k arc_easy
    """
    from calprune.calibration.describe import check_set
    from calprune.calibration.set import CalibrationSet
    from calprune.text.filters.contamination import Contamination
    from calprune.text.given import Given
    from calprune.text.shared_wording import Evaluations

    names = [*(against or []), *(more or [])]
    if not names:
        raise UserError(f"say what to check against: calprune calib check {folder} --against gsm8k arc_easy")
    asked = Contamination(tuple(names), ngram, short)
    given = CalibrationSet.load(folder)
    tokenizer = set_tokenizer(given, model, needed=True)
    check = check_set(given, tokenizer, Evaluations(asked.against, Given(data_root=data_root), ngram, short))
    print(check.json(folder=str(folder), id=given.id) if as_json else f"{folder}: {check.page(show).text()}")


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
