"""calprune calib similar: how like a reference text the text of sets, sources and files is."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from calprune.base.values import UserError
from calprune.cli import options as opt
from calprune.cli.app import as_typed
from calprune.cli.data.calib import calib

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
    seed: Annotated[int, opt.data_option(help="seed of the draws")] = 0,
    html: Annotated[Path | None, opt.output_option(help="write a page with a picture to this file, too")] = None,
    data_root: opt.DataRoot = None,
    device: opt.Device = "auto",
    dtype: opt.Dtype = None,
    dequantize: opt.Dequantize = False,
    as_json: opt.Json = False,
) -> None:
    """How like a reference text are these texts: in their words (Jaccard index, MinHash, KL of unigrams), and to a
    model (perplexity, Min-K%++), each beside the reference itself."""
    from calprune.base.output import check_new_file
    from calprune.base.progress import tracking
    from calprune.base.store import write_whole
    from calprune.calibration.part import open_source
    from calprune.likeness.texts import Similarity, compare_texts, texts_of
    from calprune.models.load import load
    from calprune.text.document import Given

    how = Similarity(ngram=ngram, permutations=permutations, draws=draws, words=words, share=min_k / 100,
                     window=window, windows=windows, seed=seed)  # fmt: skip
    if len(set(texts)) < len(texts):
        raise UserError("a text is named twice; name each once")
    check_new_file(html, "--html")
    loaded = load(model, dtype=dtype, device=device, dequantize=dequantize) if model else None
    if loaded:
        how.check(loaded)
    given = Given(loaded, data_root=data_root)
    opened = [open_source(spec, given, "calibration") for spec in texts]
    reference = open_source(to, given, "reference")
    for spec, text in zip(texts, opened, strict=True):
        if (spec == to and reference.split != "evaluation") or text.rows.overlaps(reference.rows):
            raise UserError(f"{spec} would be compared with its own rows: leave it out, for {to} is compared with "
                            "itself without being named")  # fmt: skip
    corpora = [how.read(spec, texts_of(text)) for spec, text in zip(texts, opened, strict=True)]
    other = how.read(to, texts_of(reference))
    found = compare_texts(how, corpora, other, loaded, lambda them: tracking(them, len(them), "comparing"))
    splits = [text.split for text in (*opened, reference)]
    named = tuple(replace(text, split=split) for text, split in zip(found.texts, splits, strict=True))
    found = replace(found, texts=named)
    if html:
        write_whole(html, replace(found, command=as_typed()).html())
    print(found.json(html=str(html) if html else None) if as_json else found.text())
    if html and not as_json:
        print(f"{html}: written")
