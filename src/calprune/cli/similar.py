"""calprune calib similar: how like a reference text the text of sets, sources and files is."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from calprune.base.values import UserError
from calprune.cli import options as opt
from calprune.cli.calib import calib

_TEXT = "folders of built sets, sources (c4, gsm8k:icl) or files"


@calib.command(
    "similar",
    example="calprune calib similar sets/self c4 --to fineweb_edu --model demo --html similar.html",
)
def similar_command(
    texts: Annotated[list[str], typer.Argument(help=_TEXT)],
    to: Annotated[
        str, opt.data_option(help="the reference: a source (its evaluation split, where it has one) or a file")
    ],
    model: Annotated[
        str | None,
        opt.data_option(
            help="whose perplexity and Min-K%++ to measure: `demo`, a folder or a hub name", show_default="neither"
        ),
    ] = None,
    ngram: Annotated[int, opt.method_option(help="words of an n-gram")] = 3,
    draws: Annotated[int, opt.method_option(help="draws of each text, for the intervals")] = 5,
    words: Annotated[
        int, opt.method_option(help="words of a draw, at most; all texts' draws are of one size")
    ] = 10_000,
    permutations: Annotated[int, opt.method_option(help="permutations of MinHash")] = 128,
    min_k: Annotated[float, opt.method_option(help="the K of Min-K%++, in per cent")] = 20.0,
    window: Annotated[int, opt.method_option(help="tokens that the model reads at a time")] = 256,
    windows: Annotated[int, opt.method_option(help="windows that it reads of each text, at most")] = 32,
    seed: opt.Seed = 0,
    html: Annotated[Path | None, opt.output_option(help="write a page with a picture to this file, too")] = None,
    data_root: opt.DataRoot = None,
    device: opt.Device = "auto",
    dtype: opt.Dtype = None,
    as_json: opt.Json = False,
) -> None:
    """How like a reference text are these texts: in their words (Jaccard index, MinHash, KL of unigrams), and to a
    model (perplexity, Min-K%++), each beside the reference itself."""
    from calprune.base.progress import tracking
    from calprune.base.store import write_whole
    from calprune.calibration.build import open_source
    from calprune.calibration.similarity_page import similarity_page
    from calprune.likeness.texts import Similarity, compare_texts, texts_of
    from calprune.models.load import load
    from calprune.text.given import Given

    how = Similarity(ngram=ngram, permutations=permutations, draws=draws, words=words, share=min_k / 100,
                     window=window, windows=windows, seed=seed)  # fmt: skip
    if len(set(texts)) < len(texts):
        raise UserError("a text is named twice; name each once")
    loaded = load(model, dtype=dtype, device=device) if model else None
    given = Given(loaded, data_root=data_root)
    opened = [open_source(spec, given, "calibration") for spec in texts]
    reference = open_source(to, given, "reference")
    if to in texts and reference.split != "evaluation":
        raise UserError(f"{to} has no evaluation split here, so it would be compared with its own rows: "
                        "it is compared with itself without being named")  # fmt: skip
    corpora = [how.read(spec, texts_of(text)) for spec, text in zip(texts, opened, strict=True)]
    other = how.read(to, texts_of(reference))
    told = compare_texts(how, corpora, other, loaded, lambda them: tracking(them, len(them), "comparing"))
    for text, row in zip([*opened, reference], told["texts"], strict=True):
        row["split"] = text.split
    if html:
        write_whole(html, similarity_page(told))
    if as_json:
        print(json.dumps(told | {"html": str(html) if html else None}, indent=1, allow_nan=False, ensure_ascii=False))
    else:
        _show(told)
        print(f"{html}: written" if html else "", end="\n" if html else "")


def _show(told: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("text", overflow="fold")
    table.add_column("words", justify="right")
    for kind in told["measures"].values():
        arrow = "↑" if kind["higher_is_more_alike"] else "↓"
        table.add_column(f"{kind['title']} {arrow}", overflow="fold")
    for row in told["texts"]:
        label = f"{row['name']} ({'itself' if row['is_reference'] else row['split']})"
        table.add_row(label, f"{row['words']:,}", *map(_shown, row["measures"].values()))
    Console(width=None if sys.stdout.isatty() else 160, highlight=False).print(table)
    options = told["options"]
    print(f"\nto {told['to']}; on {options['draws']} draws of {options['words']:,} words of each text; ↑ higher is "
          "more alike, ↓ lower;")  # fmt: skip
    print(f"brackets: 95 % intervals. N-grams are of words. KL: symmetric, in nats, {options['smoothing']:g} added to "
          "each word's count.")  # fmt: skip
    if told["model"]:
        print(f"Min-K%++ and perplexity: {told['model']['name']} on up to {options['windows']} windows of "
              f"{options['window']} tokens.")  # fmt: skip
    for note in told["notes"]:
        print(f"note: {note}")


def _shown(found: dict[str, Any] | None) -> str:
    if found is None:
        return "not measured"
    return f"{found['value']:.3g}" + (f" [{found['low']:.3g}, {found['high']:.3g}]" if found["low"] is not None else "")
