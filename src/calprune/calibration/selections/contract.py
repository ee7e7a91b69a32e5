"""What a selection is and what it may look at; and no selection, which is the usual one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

from calprune.base.values import ConfigError
from calprune.text.document import Given
from calprune.text.encode import Encoded, Marks

DIMENSIONS = 64  # that hidden states are projected to, to be told apart by their distance


@dataclass(frozen=True)
class Choosing:
    """What a selection may look at beside the candidates."""

    given: Given  # with a loaded model, where the selection uses one
    length: int  # tokens that a sequence holds
    sequences: int  # that are made of what is chosen
    seed: int
    marks: Marks | None = None  # with what each sequence begins, where the tokenizer puts something there

    def texts(self, candidates: Sequence[Encoded]) -> list[str]:
        """What a sequence would hold of each candidate."""
        cut = [list(candidate.tokens[: self.length]) for candidate in candidates]
        return self.given.tokenizer.batch_decode(cut, clean_up_tokenization_spaces=False)

    def rows(self, candidates: Sequence[Encoded]) -> list[list[int]]:
        """What the model reads of each candidate: as in a sequence, after its begin-of-text."""
        begin = self.marks.begin if self.marks else None
        found = []
        for tokens in (candidate.tokens for candidate in candidates):
            lead = [] if begin is None or self.marks is None or self.marks.starts(tokens) else [begin]
            found.append([*lead, *tokens][: self.length])
        return found


@runtime_checkable
class Selection(Protocol):
    """A frozen dataclass of its options."""

    @property
    def pool(self) -> int:
        """How many candidates it wants to see."""
        ...

    @property
    def uses_model(self) -> bool:
        """Whether it looks at the model, and not only at its tokenizer."""
        ...

    def __call__(self, candidates: Sequence[Encoded], choosing: Choosing) -> list[int]:
        """The candidates' numbers, the best first."""
        ...


@dataclass(frozen=True)
class Random:
    """No choice: the documents of the draw as they come."""

    tag: ClassVar[str] = "Random"
    uses_model: ClassVar[bool] = False
    pool: ClassVar[int] = 0  # no candidates are collected

    def __call__(self, candidates: Sequence[Encoded], choosing: Choosing) -> list[int]:
        return [*range(len(candidates))]


@dataclass(frozen=True)
class Among:
    """A selection among `pool` candidates."""

    pool: int = 2000

    def __post_init__(self) -> None:
        if self.pool < 2:
            raise ConfigError(f"pool must be at least 2 documents; got {self.pool}")
