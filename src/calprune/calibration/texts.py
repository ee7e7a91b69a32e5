"""From what a user names (a set's folder, a source, a file) to documents whose words can be compared."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from calprune.calibration.document import Document
from calprune.calibration.opened import open_part
from calprune.calibration.places import local_files
from calprune.calibration.recipe import make_set
from calprune.calibration.set import CalibrationSet
from calprune.calibration.spec import parse_spec
from calprune.config import UserError

ENDLESS = 256  # documents of a source that never ends


@dataclass(frozen=True)
class Text:
    """Documents to compare, and what they are."""

    name: str  # as asked for
    split: str  # "set", "calibration" or "evaluation"
    documents: Iterable[Document]  # each with its text
    stand_in: str = ""  # what they are, where they are not the data set of that name


def open_texts(
    spec: str, tokenizer: Any = None, *, data_root: Path | None = None, model: Any = None, reference: bool = False
) -> Text:
    """The text that `spec` names: the folder of a built set, a source, a recipe of one source, a file.

    `reference`: of a source that has an evaluation split here take that, so that what is compared with it shares none
    of its rows. `tokenizer` is needed by what is made of tokens, `model` (a `models.Model`) by the source `self`.
    Raises UserError for a mixture, for a set that another tokenizer made, and where a tokenizer or model is missing.
    """
    if Path(spec).is_dir():
        if tokenizer is None:
            raise UserError(f"{spec} is the folder of a built set, of tokens: say with --model whose, to have its text")
        return Text(spec, "set", _with_text(_of_set(make_set(spec, tokenizer)), tokenizer))
    recipe = parse_spec(spec)
    if len(recipe.parts) > 1:
        raise UserError(f"cannot compare the mixture {spec!r} as it stands: build it with calprune calib build, "
                        "and name its folder")  # fmt: skip
    if recipe.parts[0].source == "self" and model is None:
        raise UserError(f"{spec} is what a model writes: say which with --model")
    opened = open_part(recipe.parts[0], replace(recipe, allow_evaluation_split=reference), data_root, model)
    if reference and opened.part.source != "self" and local_files(opened.source, "evaluation", data_root):
        opened.split = "evaluation"
    documents: Iterable[Document] = opened.documents(tokenizer)
    shown = _with_text(islice(documents, ENDLESS if opened.endless else None), tokenizer)
    return Text(spec, opened.split, shown, opened.stand_in)


def _of_set(built: CalibrationSet) -> Iterator[Document]:
    """Each document's part of each sequence."""
    for i, length in enumerate(built.lengths.tolist()):
        pieces = built.pieces[i] if built.pieces else ()
        for first, last in [(piece.first, piece.last) for piece in pieces] or [(0, length)]:
            yield Document("", f"{i}.{first}", tokens=tuple(built.tokens[i, first:last].tolist()))


def _with_text(documents: Iterable[Document], tokenizer: Any) -> Iterator[Document]:
    """The same documents; one that was made as tokens has the text that they spell."""
    for document in documents:
        if document.tokens is not None and not document.text:
            text = tokenizer.decode(document.tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
            document = replace(document, text=text)
        yield document
