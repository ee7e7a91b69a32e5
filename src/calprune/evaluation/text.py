"""Find the text that a model is judged on: a source's evaluation split, a file, or a calibration set."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from calprune.base.values import ConfigError
from calprune.calibration.recipe import parse_spec
from calprune.calibration.set import CalibrationSet
from calprune.text.document import Document
from calprune.text.find import check_part, is_file
from calprune.text.formats import parse_format
from calprune.text.places import files_hash, local_files
from calprune.text.source import file_source, find_source

Held = Literal["evaluation split", "file", "calibration text"]


@dataclass(frozen=True)
class Text:
    """Documents to judge a model on, and what they are."""

    name: str  # as asked for
    held: Held  # "calibration text": a model pruned with it is judged on what it was fitted to
    documents: Iterable[Document]


def open_text(spec: str, tokenizer: Any, data_root: Path | None = None, model: Any = None) -> Text:
    """The text that `spec` names: a source of the catalogue (`name` or `name:format`; its evaluation split), a text
    file of any kind that calibration reads, the folder of a built set, or `self`: what `model` writes, other texts
    than it calibrates with.

    Raises UserError when it is none of these, or a set that another tokenizer made.
    """
    if Path(spec).is_dir():
        built = CalibrationSet.load(spec)
        built.check_tokenizer(tokenizer)
        rows = enumerate(zip(built.tokens.tolist(), built.lengths.tolist(), strict=True))
        real = (Document("", str(i), tokens=tuple(row[:length])) for i, (row, length) in rows)
        return Text(spec, "calibration text", real)
    check_text(spec)
    parts = parse_spec(spec).parts
    if parts[0].source == "self":
        from calprune.writing.source import open_self  # it runs a model: transformers' models are imported

        written = open_self(parts[0].strategy, model)
        return Text(spec, "evaluation split", written.documents(parse_format(written.default_format), "evaluation"))
    own = is_file(parts[0].source)
    source = file_source(Path(parts[0].source)) if own else find_source(parts[0].source)
    format, split = parse_format(parts[0].format or source.default_format), "calibration" if own else "evaluation"
    documents = source.documents(format, split, data_root=data_root, tokenizer=tokenizer)
    return Text(spec, "file" if own else "evaluation split", documents)


def check_text(spec: str) -> None:
    """Raise ConfigError where `spec` can name no text to judge on, whatever files there are."""
    if Path(spec).is_dir():
        return
    parts = parse_spec(spec).parts
    if len(parts) > 1:
        raise ConfigError(f"cannot judge on the mixture {spec!r}: name one source at a time, each is judged by itself")
    check_part(parts[0])


def text_identity(spec: str, data_root: Path | None) -> list[Any]:
    """What the documents that `spec` names depend on: contents, not places."""
    if Path(spec).is_dir():
        return ["set", CalibrationSet.load(spec).id]
    part = parse_spec(spec).parts[0]
    if part.source == "self":
        return ["self", part.strategy]
    if is_file(part.source):
        return ["file", part.format, files_hash([Path(part.source)])]
    source = find_source(part.source)
    files = local_files(source, "evaluation", data_root)
    read_from = files_hash(files) if files else source.hub.revision if source.hub else None
    return [source.identity, part.format, read_from]
