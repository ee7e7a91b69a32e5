"""What a filter is: options that open into a judge, which gives each document of a stream its reason to go, or ""."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from calprune.text.document import Document

Judge = Callable[[Sequence[Document]], list[str]]  # one reason a document, "" where it stays; called in stream order


@runtime_checkable
class Filter(Protocol):
    """A frozen dataclass of its options. It may have `depends(given)`, what its answers depend on beside them, and
    `uses_model`, where it looks at the model's weights."""

    version: ClassVar[int]  # in a set's identity; raised when the same options drop other documents

    def open(self, given: "Opening") -> Judge:
        """The judge of one source's documents."""
        ...


@dataclass(frozen=True)
class Opening:
    """What a filter may need beside documents."""

    tokenizer: Any = None
    data_root: Path | None = None
    model: Any = None  # a models.Model
    notes: list[str] = field(default_factory=list)  # a judge adds what a reader of the set should see
