"""What sources, filters, strategies and selections need beside their own options, as one object."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


def ignore(line: str) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class Given:
    """The model, its tokenizer, where data are, and `say`, which gets notes for a reader of the results."""

    model: Any = None  # a loaded models.Model; None: not loaded
    tokenizer: Any = None  # None: the model's
    data_root: Path | None = None  # None: the folder that CALPRUNE_DATA names
    report: Callable[[str], None] = ignore  # called with one line

    def __post_init__(self) -> None:
        if self.tokenizer is None and self.model is not None:
            object.__setattr__(self, "tokenizer", self.model.tokenizer)
