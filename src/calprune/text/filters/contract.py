"""What a filter is: options that open into a judge, which gives each document of a stream its reason to go, or ""."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from calprune.text.document import Document

Judge = Callable[[Sequence[Document]], list[str]]  # one reason a document, "" where it stays; called in stream order


@dataclass(frozen=True)
class Opening:
    """What a filter may need beside documents."""

    tokenizer: Any = None
    data_root: Path | None = None
    model: Any = None  # a models.Model
    notes: list[str] = field(default_factory=list)  # a judge adds what a reader of the set should see
