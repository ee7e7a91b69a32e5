"""Sources that are made, not read: the papers' controls, and text that every Python carries.

`ellipses` and `random_characters` are the controls of Bandari et al. (EMNLP 2024, arXiv:2410.07461): 1,000 full stops,
and 1,000 random letters and digits, each a document, as many as are asked for. `random_tokens` is the control of
Williams et al., "Self-calibration for Language Model Quantization and Pruning" (NAACL 2025, arXiv:2410.17170): tokens
drawn uniformly from the vocabulary. Whether they drew special tokens too is not stated; here they are never drawn.
"""

import string
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

from calprune.base.values import UserError, rng
from calprune.text.document import Document

TOKENS = 2048  # of a document of random_tokens; a longer sequence takes several

Maker = Callable[[int, str, Any], Iterator[Document]]


def ellipses(seed: int, split: str, tokenizer: Any) -> Iterator[Document]:
    """Endless: 1,000 full stops a document."""
    for i in count(1):
        yield Document("." * 1000, f"{split}:{i}")


def random_characters(seed: int, split: str, tokenizer: Any) -> Iterator[Document]:
    """Endless: 1,000 random ASCII letters and digits a document."""
    stream, letters = rng(seed, f"random_characters/{split}"), string.ascii_letters + string.digits
    for i in count(1):
        yield Document("".join(stream.choices(letters, k=1000)), f"{split}:{i}")


def random_tokens(seed: int, split: str, tokenizer: Any) -> Iterator[Document]:
    """Endless: `TOKENS` ids a document, uniform over the vocabulary without its special tokens."""
    if tokenizer is None:
        raise UserError("random_tokens are drawn from a vocabulary: say of which model (--model)")
    special = set(tokenizer.all_special_ids)
    ids = sorted(i for i in tokenizer.get_vocab().values() if i not in special)
    stream = rng(seed, f"random_tokens/{split}")
    for i in count(1):
        yield Document("", f"{split}:{i}", tokens=tuple(stream.choices(ids, k=TOKENS)))


def pydoc_topics(seed: int, split: str, tokenizer: Any) -> Iterator[Document]:
    """The help texts of the running Python, by topic; every fourth in alphabetical order is for evaluation."""
    from pydoc_data.topics import topics

    texts = {text: name for name, text in sorted(topics.items(), reverse=True)}  # two topics may share a text
    for i, (name, text) in enumerate(sorted((name, text) for text, name in texts.items())):
        if (i % 4 == 3) == (split == "evaluation"):
            yield Document(text, name)


def pydoc_file() -> Path:
    """The file that `pydoc_topics` reads: its text differs between versions of Python."""
    import pydoc_data.topics

    return Path(pydoc_data.topics.__file__)


MAKERS: dict[str, Maker] = {
    "ellipses": ellipses,
    "pydoc_topics": pydoc_topics,
    "random_characters": random_characters,
    "random_tokens": random_tokens,
}
