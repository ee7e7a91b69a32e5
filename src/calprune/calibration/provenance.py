"""Where a calibration set's tokens came from: the pieces of a sequence, and what each source gave out of what."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Piece:
    """A run of tokens of one sequence, [first, last), that one document gave."""

    source: str
    document: str  # its id within the source: "train.jsonl.gz:17"
    first: int
    last: int


@dataclass(frozen=True)
class Drawn:
    """What one part of a recipe gave."""

    source: str
    format: str
    share: float  # of the set's tokens, as asked: the parts' shares sum to 1
    licence: str
    pool: int | None  # documents that the source has; None: it never runs out
    read: int  # documents taken from the pool, in the order of this draw
    used: int  # documents of which tokens are in the set
    sequences: int
    tokens: int
    dropped: dict[str, int] = field(default_factory=dict)  # documents by the reason why they gave nothing
    citation: str = ""
    stand_in: str = ""  # what the data are, where they are not the data set of that name
    revision: str = ""  # the hash of the files read, or the hub's pinned commit
    split: str = "calibration"

    @property
    def draws(self) -> float | None:
        """How many draws like this one the pool holds with no document in two of them; None: any number."""
        return None if self.pool is None else self.pool / max(self.read, 1)
