"""Documents to tokens: through the tokenizer in batches, with their weights, and the marks of a sequence."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, Literal, NamedTuple

from calprune.base.values import ConfigError, UserError
from calprune.text.document import Document

BATCH = 64  # documents given to the tokenizer at once: enough for its threads, few enough to read little ahead

END_OF_TEXT = ("<|endoftext|>", "<|end_of_text|>")  # what separates documents where a chat model ends turns otherwise

BeginOfText = Literal["auto", "always", "never"]


class Encoded(NamedTuple):
    """A document's tokens, without marks."""

    document: str  # its id
    tokens: Sequence[int]
    weights: Sequence[float] | None  # one a token; None: all 1


@dataclass(frozen=True)
class Marks:
    """The ids that a tokenizer has for where a sequence begins, where a document ends, and padding."""

    begin: int | None  # put before each sequence; None: this tokenizer puts none
    end: int | None  # between documents
    pad: int

    def starts(self, tokens: Sequence[int]) -> bool:
        """Whether these tokens have a begin-of-text already (a chat template may write it) or need none."""
        return self.begin is None or (len(tokens) > 0 and tokens[0] == self.begin)


def find_marks(tokenizer: Any, begin: BeginOfText = "auto") -> Marks:
    """`auto`: a begin-of-text where the tokenizer has one and adds it by itself. The end is <|endoftext|> or
    <|end_of_text|> where the vocabulary has it (an instruct model's end-of-sequence ends turns, not documents)."""
    bos = tokenizer.bos_token_id
    if begin == "always" and bos is None:
        raise ConfigError("begin_of_text: always, but this model's tokenizer has no begin-of-text; write auto or never")
    added = list(tokenizer("a", verbose=False)["input_ids"][:1]) == [bos]
    vocabulary = tokenizer.get_vocab()
    end = next((vocabulary[text] for text in END_OF_TEXT if text in vocabulary), tokenizer.eos_token_id)
    pad = next((i for i in (tokenizer.pad_token_id, end) if i is not None), 0)
    return Marks(bos if begin == "always" or (begin == "auto" and added) else None, end, pad)


def encode_text(tokenizer: Any, text: str) -> list[int]:
    """The ids of a piece of text: special tokens written in it count as such, and none is added."""
    _check_text(text, "a text")
    return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def _check_text(text: str, where: str) -> None:
    r"""Raise UserError for half a character, as "\ud800" in JSON is: no tokenizer reads it."""
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as e:
            raise UserError(f"{where}: half a character (U+{ord(text[e.start]):04X}) is no text; it was cut by what "
                            "wrote the file") from None  # fmt: skip


def encode(tokenizer: Any, documents: Iterable[Document]) -> Iterator[Encoded]:
    """The tokens of each document, in order. Reads up to BATCH documents ahead.

    A token takes the weight of its last character's span: so a word's token with its leading space is the word's.
    """
    for batch in batches(documents):
        texts = [document.text for document in batch if document.tokens is None]
        offsets = any(document.spans for document in batch)
        if offsets and not tokenizer.is_fast:
            raise UserError(f"token weights need a fast tokenizer; {type(tokenizer).__name__} has no offsets")
        found: Any = {"input_ids": []}
        for document in batch:
            if document.tokens is None:
                _check_text(document.text, document.id)
        if texts:
            found = tokenizer(texts, add_special_tokens=False, return_attention_mask=False,
                              return_offsets_mapping=offsets, verbose=False)  # fmt: skip
        ids, places = iter(found["input_ids"]), iter(found.get("offset_mapping", ()))
        for document in batch:
            if document.tokens is not None:
                yield Encoded(document.id, document.tokens, document.token_weights)
                continue
            place = next(places, ())
            yield Encoded(document.id, next(ids), _weights(document, place) if document.spans else None)


def batches(things: Iterable[Any]) -> Iterator[list[Any]]:
    """Lists of BATCH of them, the last one shorter."""
    stream = iter(things)
    while batch := list(islice(stream, BATCH)):
        yield batch


def _weights(document: Document, places: Iterable[tuple[int, int]]) -> list[float]:
    characters = [1.0] * len(document.text)
    for first, last, weight in document.spans:
        characters[first:last] = [weight] * (min(last, len(characters)) - first)
    # the last character of a token that has none left, as of trimmed spaces, is the one before it
    return [characters[last - 1] if last else 1.0 for _, last in places]


def tokenizer_hash(tokenizer: Any) -> str:
    """The 16-character hash of how a tokenizer turns text into ids: of its contents, wherever it lies.

    How it was last asked to cut or pad, and its chat template, are not part of it.
    """
    ends = (tokenizer.bos_token_id, tokenizer.eos_token_id)
    if (backend := getattr(tokenizer, "backend_tokenizer", None)) is not None:
        return _hash_of_backend(backend.to_str(), *ends)
    return _hash_of({"type": type(tokenizer).__name__, "vocabulary": tokenizer.get_vocab()}, *ends)


@lru_cache(maxsize=2)
def _hash_of_backend(text: str, begin: int | None, end: int | None) -> str:
    """By what the tokenizer says of itself: megabytes that take half a second to read, asked for at every set."""
    return _hash_of(json.loads(text) | {"truncation": None, "padding": None}, begin, end)


def _hash_of(contents: dict[str, Any], begin: int | None, end: int | None) -> str:
    described = json.dumps([contents, begin, end], sort_keys=True)
    return hashlib.sha256(described.encode()).hexdigest()[:16]
