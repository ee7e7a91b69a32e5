"""calprune synth: a calibration set of texts that the model writes itself."""

import dataclasses
import os
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

from calprune.base.values import UserError
from calprune.cli import options as opt
from calprune.cli.app import app, goes_on
from calprune.cli.names import check, complete

_WAYS = "--from-prefixes SOURCE, --from-bos, --respond-to FILE, --from-random-token or --strategy TEXT"


@app.command("synth", example="calprune synth demo --from-prefixes wikipedia --documents 500 --out sets/self")
def synth_command(
    model: opt.Model,
    out: opt.Out,
    from_prefixes: Annotated[str | None, opt.method_option(
        help="begin with the first tokens of this source's texts")] = None,
    prefix_tokens: Annotated[int | None, opt.method_option(
        help="--from-prefixes: so many tokens", show_default="8")] = None,
    from_bos: Annotated[bool, opt.method_option("--from-bos", help="begin with the start token alone")] = False,
    start: Annotated[str | None, opt.method_option(
        help="--from-bos: this start token", show_default="the model's own")] = None,
    from_random_token: Annotated[bool, opt.method_option(
        "--from-random-token", help="begin with a random token")] = False,
    respond_to: Annotated[str | None, opt.method_option(
        help="a file of prompts (.jsonl), or a source: the model's own responses through its chat template")] = None,
    responses: Annotated[int | None, opt.method_option(
        help="--respond-to: responses to each prompt", show_default="1")] = None,
    strategy: Annotated[str | None, opt.method_option(
        callback=check("strategy"), autocompletion=complete("strategy"),
        help='all at once: "prefixes(of=c4, tokens=4, top_p=0.9)"')] = None,
    temperature: Annotated[str | None, opt.method_option(
        help="temperature of the sampling; 2.0:1.0 falls over the first tokens", show_default="by the way to begin")]
    = None,
    documents: Annotated[int | None, opt.method_option(
        help="documents to write", show_default="500, or all prompts")] = None,
    max_new_tokens: Annotated[int | None, opt.method_option(
        help="tokens of a document, at most", show_default="2048")] = None,
    engine: Annotated[str | None, opt.run_option(
        help="what runs the model: calprune, or vllm where calprune[vllm] is installed", show_default="calprune")]
    = None,
    filters: opt.Filters = None,
    num_samples: opt.NumSamples = None,
    max_seq_length: opt.MaxSeqLength = None,
    seed: opt.Seed = None,
    data_root: opt.DataRoot = None,
    dequantize: opt.Dequantize = False,
    as_json: opt.Json = False,
) -> None:  # fmt: skip
    """Let the model write its own calibration data and build a set of it. A run that was stopped goes on."""
    chosen = [
        from_prefixes and ("prefixes", {"of": from_prefixes, "tokens": prefix_tokens}),
        from_bos and ("bos", {"start": start}),
        from_random_token and ("random_token", {}),
        respond_to and ("respond", {"of": respond_to, "responses": responses}),
    ]
    ways: list[Any] = [way for way in chosen if way]
    if len(ways) + (strategy is not None) != 1:
        raise UserError(f"say one way to begin: {_WAYS}")
    general = {"temperature": temperature, "documents": documents, "max_new_tokens": max_new_tokens,
               "engine": engine}  # fmt: skip
    for option, value, way in (("--prefix-tokens", prefix_tokens, "--from-prefixes"), ("--start", start, "--from-bos"),
                               ("--responses", responses, "--respond-to")):  # fmt: skip
        if value is not None and not {"--from-prefixes": from_prefixes, "--from-bos": from_bos}.get(way, respond_to):
            raise UserError(f"{option} goes with {way}")
    if strategy and any(value is not None for value in general.values()):
        raise UserError("with --strategy, say temperature, documents, max_new_tokens and engine in its brackets")
    text = strategy or _text(ways[0][0], ways[0][1], general)
    from calprune.calibration.recipe import Recipe, RecipePart
    from calprune.text.filters import read_filters

    parts = (RecipePart("self", strategy=text),)
    given = {"num_samples": num_samples, "max_seq_length": max_seq_length, "seed": seed}
    sizes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    recipe = Recipe(parts, **sizes, filters=read_filters(filters, "--filter"))
    _make(model, recipe, out, data_root, as_json, dequantize)


def _text(name: str, own: dict[str, Any], general: dict[str, Any]) -> str:
    """The strategy as text."""
    given = [f"{key}={value!r}" for key, value in (own | general).items() if value is not None]
    return f"{name}({', '.join(given)})" if given else name


def _make(model: str, recipe: Any, out: Path, data_root: Path | None, as_json: bool, dequantize: bool) -> None:
    from calprune.base.output import filled_folder, new_folder
    from calprune.base.store import cache_folder
    from calprune.calibration.advice import advise, widest_input
    from calprune.calibration.build import build
    from calprune.calibration.describe import describe
    from calprune.models.load import load
    from calprune.writing.strategies import parse_strategy
    from calprune.writing.vllm import version

    if parse_strategy(recipe.parts[0].strategy).engine == "vllm":  # a mistake shows before the model is loaded
        version()
    # a set that is there may be this one
    with filled_folder(out) if os.path.isfile(out / "counts.json") else new_folder(out):
        loaded = load(model, dequantize=dequantize)
        goes_on("what was written is kept", cache_folder() / "self")
        built = build(recipe, loaded.tokenizer, data_root=data_root, model=loaded)
        built = dataclasses.replace(built, made_for=model)
        built.save(out)
        advise(built, loaded.tokenizer, widest=widest_input(loaded.model))
    summary = describe(built, loaded.tokenizer)
    print(summary.json(out=str(out)) if as_json else
          f"{out}: {summary.text()}\n\nwritten as {recipe.parts[0].strategy}")  # fmt: skip
    if not as_json:
        print(f"look at it: {shlex.join(['calprune', 'calib', 'show', str(out)])} --texts 3", file=sys.stderr)
