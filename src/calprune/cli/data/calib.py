"""calprune calib: build a calibration set, show, check and export one; compare two by what they do to a model."""

import dataclasses
import json
import os
import shlex
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from calprune.base.progress import current, duration
from calprune.base.values import UserError
from calprune.cli import options as opt
from calprune.cli.app import Commands, app, as_typed, note
from calprune.cli.names import check, complete

calib = Commands(help="Build, look at, check, compare and export calibration sets.")
app.add_typer(calib, name="calib")

Folder = Annotated[Path, typer.Argument(help="the folder of a calibration set")]


@calib.command(
    "build",
    example='calprune calib build "c4*2 + gsm8k:icl" --model demo --num-samples 16 --max-seq-length 512 '
    "--out sets/mixed",
)
def build_command(
    spec: Annotated[str, typer.Argument(help='"c4*2 + gsm8k:icl + my_chat.jsonl:chat", or a recipe.yaml')],
    out: opt.Out,
    model: Annotated[str, opt.data_option(help="the model whose tokenizer is used: `demo`, a folder or a hub name")]
    = "demo",
    num_samples: opt.NumSamples = None,
    max_seq_length: opt.MaxSeqLength = None,
    seed: opt.Seed = None,
    layout: Annotated[str | None, opt.data_option(
        callback=check("layout"), autocompletion=complete("layout"), show_default="as the recipe says, or concatenate",
        help="how text is laid out: concatenate, crop or pad")] = None,
    selection: Annotated[str | None, opt.data_option(
        callback=check("selection"), autocompletion=complete("selection"),
        show_default="as the recipe says, or random",
        help="which documents: random, unique_tokens, zipf, cluster or herding(pool=512)")] = None,
    filters: opt.Filters = None,
    skip_first: Annotated[int | None, opt.data_option(
        help="tokens at each sequence's beginning that weigh 0", show_default="as the recipe says, or 0")] = None,
    allow_evaluation_split: Annotated[bool, opt.data_option(
        "--allow-evaluation-split", help="draw from a split that is meant for evaluation")] = False,
    exclude_license: Annotated[list[str] | None, opt.data_option(
        help="refuse sources with this licence tag (nc, research, ...); repeatable")] = None,
    data_root: opt.DataRoot = None,
    dequantize: opt.Dequantize = False,
    as_json: opt.Json = False,
) -> None:  # fmt: skip
    """Build a calibration set from sources of the catalogue or from your own files."""
    from calprune.base.output import filled_folder, new_folder
    from calprune.calibration.advice import advise, widest_of
    from calprune.calibration.build import build
    from calprune.calibration.describe import describe
    from calprune.calibration.part import name_of
    from calprune.calibration.recipe import parse_spec
    from calprune.calibration.set import refuse_texts
    from calprune.models.load import load, load_tokenizer
    from calprune.text.find import catalogue, refuse_licences

    if os.path.isdir(spec) and spec not in catalogue():  # a folder that is called like a source is not meant
        refuse_texts(spec)
        raise UserError(f"{spec} is a folder; give a recipe or sources, for a built set is built already")
    recipe = parse_spec(spec, num_samples=num_samples, max_seq_length=max_seq_length, seed=seed, layout=layout,
                        selection=selection, skip_first=skip_first, filters=filters or None,
                        allow_evaluation_split=allow_evaluation_split or None)  # fmt: skip
    refuse_licences(map(name_of, recipe.parts), exclude_license or [])
    # a set that is there may be this one: known when it is built
    with filled_folder(out) if os.path.isfile(out / "counts.json") else new_folder(out):
        loaded = load(model, dequantize=dequantize) if recipe.uses_model else None
        tokenizer = loaded.tokenizer if loaded else load_tokenizer(model)
        built = dataclasses.replace(build(recipe, tokenizer, data_root=data_root, model=loaded), made_for=model)
        built.save(out)
        advise(built, tokenizer, widest=widest_of(loaded, model))
    summary = describe(built, tokenizer)
    print(summary.json(out=str(out)) if as_json else f"{out}: {summary.text()}")


@calib.command("show", example="calprune calib show sets/mixed --texts 3")
def show_command(
    folder: Folder,
    texts: Annotated[
        int | None,
        opt.output_option(min=0, help="print so many sequences as text", show_default="0; of a page 5"),
    ] = None,
    model: opt.OfSet = None,
    html: Annotated[Path | None, opt.output_option(help="write a page to this file instead")] = None,
    as_json: opt.Json = False,
) -> None:
    """Show what a calibration set holds: sources and shares, what was dropped and why, lengths, licences, texts."""
    from calprune.base.output import check_new_file
    from calprune.base.store import write_whole
    from calprune.calibration.describe import describe
    from calprune.calibration.set import CalibrationSet

    check_new_file(html, "--html")
    given = CalibrationSet.load(folder)
    tokenizer = set_tokenizer(given, model, needed=bool(texts))
    shown = 5 if html and texts is None and tokenizer is not None else texts or 0
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


@calib.command("check", example="calprune calib check sets/c4 --against gsm8k --against arc_easy")
def check_command(
    folder: Folder,
    against: Annotated[
        list[str] | None,
        opt.data_option(help="an evaluation set: a name of the catalogue, or a file; repeatable"),
    ] = None,
    more: Annotated[list[str] | None, typer.Argument(hidden=True)] = None,
    ngram: Annotated[int, opt.method_option(help="so many words in a row count as shared")] = 13,
    short: Annotated[int, opt.method_option(help="the same for evaluation texts of fewer words than that")] = 8,
    show: Annotated[int, opt.output_option(min=0, help="print so many matches of each evaluation set")] = 5,
    model: opt.OfSet = None,
    data_root: opt.DataRoot = None,
    as_json: opt.Json = False,
) -> None:
    """Look for wording that a calibration set shares with evaluation sets: 13 words in a row, 8 of short texts."""
    from calprune.calibration.describe import check_set
    from calprune.calibration.set import CalibrationSet
    from calprune.text.document import Given
    from calprune.text.filters.contamination import Contamination
    from calprune.text.filters.shared_wording import Evaluations

    if not against:
        here = shlex.join(["calprune", "calib", "check", str(folder)])
        raise UserError(f"say what to check against: {here} --against gsm8k --against arc_easy")
    asked = Contamination(opt.with_more("--against", against, more), ngram, short)
    given = CalibrationSet.load(folder)
    tokenizer = set_tokenizer(given, model, needed=True)
    check = check_set(given, tokenizer, Evaluations(asked.against, Given(data_root=data_root), ngram, short))
    print(check.json(folder=str(folder), id=given.id) if as_json else f"{folder}: {check.page(show).text()}")


@calib.command("export", example="calprune calib export sets/mixed exported/mixed --to hf")
def export_command(
    folder: Folder,
    path: Annotated[Path, typer.Argument(help="the file, or for hf the folder, to write; it must not be there yet")],
    to: Annotated[
        str, opt.output_option(help="jsonl, hf (a datasets folder: llm-compressor, GPTQModel) or txt (imatrix)")
    ],
    model: opt.OfSet = None,
    as_json: opt.Json = False,
) -> None:
    """Write a calibration set for llm-compressor, GPTQModel, llama.cpp's imatrix, or anything that reads JSON lines."""
    from calprune.calibration.export import export
    from calprune.calibration.set import CalibrationSet

    given = CalibrationSet.load(folder)
    notes = export(given, set_tokenizer(given, model, needed=True), to, path)
    n, tokens = len(given.tokens), int(given.lengths.sum())
    if as_json:
        print(json.dumps({"format": 1, "out": str(path), "to": to, "id": given.id, "sequences": n, "tokens": tokens,
                          "licences": given.licences, "notes": notes}, indent=1))  # fmt: skip
        return
    print(f"{path}: {n:,} sequences, {tokens:,} tokens of calibration set {given.id}")
    for one in notes:
        note(one)


DISTANCES = 6  # what the distances of two sets' Gram matrices take, in solves of all linears; on the demo model
SMALL = (16, 256)  # sequences and tokens of each, of sets that are compared without sizes
_SET = "the folder of a built set, a source or a recipe"


def _sizes(
    specs: tuple[str, str], num_samples: int | None, max_seq_length: int | None
) -> tuple[dict[str, dict[str, int | None]], str]:
    """Sequences and tokens of each set: as given, else a recipe's own, else those of a built set that is compared with,
    else small ones; and what is to be said of them."""
    from calprune.calibration.set import CalibrationSet, is_set

    given = {"num_samples": num_samples, "max_seq_length": max_seq_length}
    made = [one for one in specs if not is_set(one) and not one.endswith((".yaml", ".yml"))]
    own = dict.fromkeys(specs, given)
    if not made or all(given.values()):
        return own, ""
    built = next((one for one in specs if is_set(one)), None)
    tokens = CalibrationSet.load(built).tokens.shape if built else SMALL
    found: dict[str, int | None] = {
        name: value or size for (name, value), size in zip(given.items(), tokens, strict=True)
    }
    why = f"as {built}" if built else "small, to say something soon"
    size = f"{found['num_samples']} sequences of {found['max_seq_length']} tokens"
    said = f"{' and '.join(made)}: {size}, {why}; --num-samples and --max-seq-length say others"
    return own | dict.fromkeys(made, found), said


def _seconds(model: Any, job: Any, sets: list[Any], halves: bool, device: str) -> float:
    """What a comparison takes, about: a pass over each set, and what the halves solve."""
    from calprune.pruning.job import SOLVED
    from calprune.studies.time_left import seconds_of

    parameters = sum(p.numel() for p in model.parameters())
    tokens = sum(float(one.lengths.sum()) for one in sets)
    solves = sum(1 + 2 * len(one.tokens).bit_length() * halves for one in sets)
    passes = parameters * (tokens + solves * sum(job.costs("", 0.0).values()) + DISTANCES * SOLVED)
    return seconds_of(passes, device=device)


@calib.command("compare", example="calprune calib compare sets/self sets/c4 --model demo --method wanda --pattern 60%")
def compare_command(
    a: Annotated[str, typer.Argument(help=_SET)],
    b: Annotated[str, typer.Argument(help=_SET)],
    model: opt.ForModel = "demo",
    method: opt.MethodToCompare = None,
    pattern: opt.PatternOrRemoval = "50%",
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
    num_samples: opt.NumSamples = None,
    max_seq_length: opt.MaxSeqLength = None,
    seed: opt.Seed = None,
    ignore: opt.Ignore = None,
    data_root: opt.DataRoot = None,
    device: opt.Device = "auto",
    dtype: opt.Dtype = None,
    dequantize: opt.Dequantize = False,
    batch_size: opt.BatchSize = None,
    html: Annotated[Path | None, opt.output_option(help="write a page with a picture to this file, too")] = None,
    as_json: opt.Json = False,
) -> None:
    """Compare two calibration sets by the masks they lead to, their statistics, and whether each is large enough. The
    model is not changed; it stands whole on the device."""
    from calprune.api.arguments import Sizes, as_method_and_pattern
    from calprune.base.output import check_new_file
    from calprune.base.patterns import Removal
    from calprune.base.store import write_whole
    from calprune.calibration.build import make_set
    from calprune.calibration.set import is_set
    from calprune.layers.collect import Counting
    from calprune.layers.saved import is_saved
    from calprune.likeness.sets import SetComparison
    from calprune.likeness.verdict import summarise
    from calprune.models.load import load
    from calprune.pruning.job import Pruning
    from calprune.removal.job import Removing, removing

    if a == b:
        raise UserError(f"{a} is named twice; name two sets (two draws of one recipe: build them with two seeds)")
    for spec in (a, b):
        if is_saved(spec):
            raise UserError(f"{spec} holds saved statistics, whose sequences cannot be separated; name the set itself")
    if is_set(a) and is_set(b):
        Sizes(num_samples, max_seq_length, seed).refuse("each of the two sets")
    check_new_file(html, "--html")
    how, wanted = as_method_and_pattern(method, pattern)
    job: Pruning | Removing
    if isinstance(wanted, Removal):
        job = removing(cast(Any, how), wanted, propagate="dense", counting=Counting(), ignore=ignore)
    else:
        job = Pruning(cast(Any, how), wanted, tuple(ignore or ()))
    sizes, said = _sizes((a, b), num_samples, max_seq_length)
    loaded = load(model, dtype=dtype, device=device, dequantize=dequantize)
    sets: dict[str, Any] = {
        spec: make_set(spec, loaded.tokenizer, data_root=data_root, model=loaded, seed=seed, **sizes[spec])
        for spec in (a, b)
    }
    if said:
        current().note(said)
    comparison = SetComparison(job, sets, energy, halves)
    job.plan(loaded.model)
    wait = duration(_seconds(loaded.model, job, list(sets.values()), halves, device))
    current().say(f"the comparison takes about {wait}")
    found = list(opt.following(comparison.blocks(loaded.model, batch_size), loaded.model, "comparing"))
    summary = summarise(comparison, found)
    if html:
        write_whole(html, dataclasses.replace(summary, command=as_typed()).html())
        note(f"{html}: written")
    print(summary.json(model={"name": loaded.name, "id": loaded.id}) if as_json else summary.text())
