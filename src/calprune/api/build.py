"""Build a calibration set."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from calprune.api.arguments import ModelLike, as_data_root, open_model
from calprune.api.progress import ProgressLike, shown
from calprune.base.checks import Count, checked
from calprune.base.values import UserError
from calprune.calibration.advice import advise, widest_of
from calprune.calibration.build import build as build_set
from calprune.calibration.part import name_of
from calprune.calibration.recipe import parse_spec
from calprune.calibration.set import CalibrationSet, is_set
from calprune.models.load import Model, load_tokenizer
from calprune.text.find import refuse_licences


@checked
def build(
    spec: str | Path,
    model: ModelLike,
    *,
    num_samples: Count | None = None,
    max_seq_length: Count | None = None,
    seed: int | None = None,
    layout: str | None = None,
    selection: str | None = None,
    filters: Sequence[str] = (),
    skip_first: int | None = None,
    allow_evaluation_split: bool = False,
    exclude_license: Sequence[str] = (),
    data_root: str | Path | None = None,
    progress: ProgressLike | None = None,
) -> CalibrationSet:
    """Build a calibration set: the same recipe, files and tokenizer give the same bytes on any machine.

        data = calprune.build("c4 + gsm8k:icl", "demo", num_samples=16)
        data.save("sets/mixed")
        calprune.prune("demo", data, pattern="50%")

    spec: sources of the catalogue and your files, each source:format*share, with a + between, or a recipe's YAML.
    model: whose tokenizer is used; its weights are loaded only where the recipe needs them (the source `self`, the
        filter perplexity, selections by activations).
    num_samples, max_seq_length: sequences, and tokens of the longest; None: as the recipe says, else 128 and 2048.
    seed: which draw; draws have no document in common while the source has enough. None: as the recipe says, else 0.
    layout: how text becomes sequences: "concatenate", "crop" or "pad". selection: which documents: "random",
        "unique_tokens", "zipf", "cluster(clusters=8)" or "herding(pool=512)".
    filters: which documents may be drawn, in this order: "min_words(50)", "language(en)", "near_duplicates", ...
    skip_first: so many tokens at each sequence's beginning weigh 0. allow_evaluation_split: of sources that have no
        other. exclude_license: refuse sources with one of these tags: "nc", "unknown", ...
    data_root: the folder of data sets on disk; None: CALPRUNE_DATA. progress: as for `prune`.

    Raises UserError for what cannot be read or found, and where a source has too few documents: how many there were and
    what became of them.
    """
    if is_set(spec):
        raise UserError(f"spec: {spec} is a set that is built already; read it with calprune.CalibrationSet.load")
    recipe = parse_spec(str(spec), num_samples=num_samples, max_seq_length=max_seq_length, seed=seed, layout=layout,
                        selection=selection, skip_first=skip_first, filters=list(filters) or None,
                        allow_evaluation_split=allow_evaluation_split or None)  # fmt: skip
    refuse_licences(map(name_of, recipe.parts), exclude_license)
    root = as_data_root(data_root)
    with shown(progress):
        loaded = open_model(model) if recipe.uses_model or isinstance(model, Model) else None
        tokenizer = loaded.tokenizer if loaded else load_tokenizer(str(model))
        made = build_set(recipe, tokenizer, data_root=root, model=loaded)
        made = replace(made, made_for=loaded.name if loaded else str(model))
        advise(made, tokenizer, widest=widest_of(loaded, str(model)))
    return made
