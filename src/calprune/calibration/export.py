"""A calibration set for other tools: JSON lines, a `datasets` folder, or plain text.

    jsonl   a sequence a line: input_ids, attention_mask, weights, decoded (its text), pieces (what it is made of)
    hf      a folder for datasets.load_from_disk with input_ids and attention_mask, for llm-compressor and GPTQModel
    txt     the sequences as text, a blank line between them, for llama.cpp's imatrix

Ids are the set's own, without padding, unless the recipe counts it; what no token attends to (`count_padding: masked`)
has an attention_mask of 0. The text is not called `text` and is left out of the folder, because GPTQModel tokenises a
column `text` anew where there is one, with a second begin-of-text. Weights and the boundaries of sequences are lost
where a format has no place for them; `export` says so.
"""

import json
from collections.abc import Callable, Iterator
from itertools import dropwhile
from pathlib import Path
from typing import Any

from calprune.base.output import check_new_file, check_new_folder
from calprune.base.store import is_special, whole_folder, write_whole
from calprune.base.values import ConfigError, UserError, did_you_mean
from calprune.calibration.set import CalibrationSet
from calprune.text.encode import find_marks

MASKED = "padding that counts here has an attention_mask of 0, and tools that leave such tokens out do not count it"
WEIGHTS_LOST = "token weights are left out: the tools that read this count each token once"


def export(given: CalibrationSet, tokenizer: Any, to: str, path: str | Path) -> list[str]:
    """Write `given` as the format `to` to `path`, whole or not at all; returns what is lost, one sentence each.

    Raises UserError for an unknown format, a target that is there already, or a tokenizer that did not make the set.
    """
    if to not in FORMATS:
        raise ConfigError(f"export: unknown format {to!r}{did_you_mean(to, FORMATS)}")
    given.check_tokenizer(tokenizer)
    path = Path(path)
    if to == "hf":
        check_new_folder(path, "output folder")
    elif path.exists() and not path.is_dir() and not is_special(path):
        raise UserError(f"output file {path}: it is there already; name another, or remove it")
    else:
        check_new_file(path, "output file")
    return FORMATS[to](given, tokenizer, path)


def _jsonl(given: CalibrationSet, tokenizer: Any, path: Path) -> list[str]:
    lines = []
    for i, ids in enumerate(_rows(given)):
        weights = given.weights[i, : len(ids)].tolist() if given.weights is not None else None
        pieces = [vars(piece) for piece in given.pieces[i]] if given.pieces else []
        line = {"input_ids": ids, "attention_mask": _mask(given, i, len(ids)), "weights": weights,
                "decoded": _text(tokenizer, ids), "pieces": pieces}  # fmt: skip
        lines.append(json.dumps(line, ensure_ascii=False) + "\n")
    write_whole(path, "".join(lines))
    return [MASKED] if given.masked is not None else []


def _hf(given: CalibrationSet, tokenizer: Any, path: Path) -> list[str]:
    try:
        import datasets
    except ImportError:
        raise UserError("writing a datasets folder needs: pip install 'calprune[hub]'; or export --to jsonl") from None
    rows = list(_rows(given))
    masks = [_mask(given, i, len(ids)) for i, ids in enumerate(rows)]
    data = datasets.Dataset.from_dict({"input_ids": rows, "attention_mask": masks})
    shown = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        with whole_folder(path) as beside:
            data.save_to_disk(beside)
            (beside / "README.md").write_text(given.card(), encoding="utf-8")  # licences travel with the tokens
    finally:
        if shown:
            datasets.enable_progress_bars()
    return ([MASKED] if given.masked is not None else []) + ([WEIGHTS_LOST] if given.weights is not None else [])


def _txt(given: CalibrationSet, tokenizer: Any, path: Path) -> list[str]:
    chat = any(part.format.startswith("chat") for part in given.drawn)  # where <|im_start|> is begin-of-text too
    texts = [_text(tokenizer, ids if chat else _bare(tokenizer, ids)) for ids in _rows(given)]
    write_whole(path, "\n\n".join(texts) + "\n")
    lost = ["the boundaries of sequences are lost: imatrix cuts the text anew, every -c tokens"]
    if any(token in text for token in tokenizer.all_special_tokens for text in texts):
        lost.append("the text holds special tokens: give llama-imatrix --parse-special")
    return lost + ([WEIGHTS_LOST] if given.weights is not None else [])


def _bare(tokenizer: Any, ids: list[int]) -> list[int]:
    """Without padding and begin-of-text; but where one of them is also what ends a document, it stays between two."""
    marks, end = {tokenizer.bos_token_id, tokenizer.pad_token_id} - {None}, find_marks(tokenizer).end
    return [i for i in dropwhile(marks.__contains__, ids) if i not in marks or i == end]


def _rows(given: CalibrationSet) -> Iterator[list[int]]:
    for tokens, length in zip(given.tokens.tolist(), given.lengths.tolist(), strict=True):
        yield tokens[:length]


def _mask(given: CalibrationSet, i: int, length: int) -> list[int]:
    masked = 0 if given.masked is None else int(given.masked[i])
    return [0] * masked + [1] * (length - masked)


def _text(tokenizer: Any, ids: list[int]) -> str:
    return tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)


FORMATS: dict[str, Callable[[CalibrationSet, Any, Path], list[str]]] = {"hf": _hf, "jsonl": _jsonl, "txt": _txt}
