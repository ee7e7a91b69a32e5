"""calprune calib: build a calibration set, and look at one."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from calprune.cli import options as opt
from calprune.cli.app import app
from calprune.config import UserError

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
    from calprune.calibration.describe import describe
    from calprune.calibration.licences import refuse_licences
    from calprune.calibration.recipe import build, parse_spec
    from calprune.calibration.sources import catalogue
    from calprune.models import load, load_tokenizer
    from calprune.store import refuse_occupied

    if Path(spec).is_dir() and spec not in catalogue():  # a folder that is called like a source is not meant
        raise UserError(f"{spec} is a folder; give a recipe or sources, for a built set is built already")
    recipe = parse_spec(spec, num_samples=num_samples, max_seq_length=max_seq_length, seed=seed, layout=layout,
                        selection=selection, skip_first=skip_first, filters=filters or None,
                        allow_evaluation_split=allow_evaluation_split or None)  # fmt: skip
    refuse_licences(recipe, exclude_license or [])
    if not (out / "counts.json").is_file():  # a set that is there may be this one: known when it is built
        refuse_occupied(out)
    loaded = load(model) if recipe.uses_model else None
    tokenizer = loaded.tokenizer if loaded else load_tokenizer(model)
    built = dataclasses.replace(build(recipe, tokenizer, data_root=data_root, model=loaded), made_for=model)
    built.save(out)
    told = describe(built, tokenizer)
    print(json.dumps({"out": str(out), **told}, indent=1, ensure_ascii=False) if as_json else _told(told, str(out)))


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
    from calprune.calibration.describe import describe
    from calprune.calibration.describe import texts as find_texts
    from calprune.calibration.page import page
    from calprune.calibration.set import CalibrationSet
    from calprune.store import write_whole

    given = CalibrationSet.load(folder)
    tokenizer = set_tokenizer(given, model, needed=texts > 0)
    told = describe(given, tokenizer)
    shown = 5 if html and not texts and tokenizer is not None else texts
    found = find_texts(given, shown, tokenizer)
    if html:
        write_whole(html, page(told, found))
        print(json.dumps({"format": 1, "html": str(html)}) if as_json else f"{html}: written")
    elif as_json:
        told["texts"] = [[stretch._asdict() for stretch in text.stretches] for text in found]
        print(json.dumps(told, indent=1, ensure_ascii=False))
    else:
        print(_told(told, str(folder)))
        for text in found:
            source = f" of {text.source}" if text.source else ""
            print(f"\n--- sequence {text.sequence}{source}\n" + "".join(stretch.text for stretch in text.stretches))


def set_tokenizer(given: Any, model: str | None, needed: bool) -> Any:
    """The tokenizer that made the set: of `model`, or of the model that the set names, where it is still there."""
    from calprune.models import load_tokenizer

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


def _told(told: dict[str, Any], where: str) -> str:
    from calprune.calibration.page import facts

    lines = [
        f"{where}: calibration set {told['id']}",
        f"{told['sequences']:,} sequences of up to {told['width']:,} tokens: {told['tokens']:,} tokens counted "
        f"(weight {told['weight']:,.1f}), {told['padding']:,} of padding",
    ]
    for s in told["sources"]:
        pool = "endless" if s["pool"] is None else f"{s['pool']:,}"
        lines.append(f"  {s['name']}:{s['format']}  {s['share_of_tokens']:.1%} of tokens ({s['share']:.1%} asked), "
                     f"{s['sequences']:,} sequences, {s['used']:,} documents used of {s['read']:,} read of {pool}; "
                     f"licence: {s['licence']}")  # fmt: skip
        if s["stand_in"]:
            lines.append(f"    stands in: {s['stand_in']}")
        lines += [f"    dropped {n:,}: {reason}" for reason, n in s["dropped"].items()]
    return "\n".join([*lines, facts(told), *[f"note: {note}" for note in told["notes"]]])
