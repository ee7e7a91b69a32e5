"""Where the tokens of a set come from: the document of each run of tokens, and what each source gave. No torch."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from calprune.pages.table import Column, Table

SOURCES = (
    Column("source"), Column("format"), Column("share asked", "number", percent=True),
    Column("of tokens", "number", percent=True), Column("sequences", "number"), Column("tokens", "number"),
    Column("documents used", "number"), Column("read", "number"), Column("of", "number"), Column("licence"),
)  # fmt: skip


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
    chat: str = ""  # the hash of the chat template that its conversations went through
    day: str = ""  # today, as a chat template sees it: 2024-07-26

    @property
    def draws(self) -> float | None:
        """How many draws like this one the pool holds with no document in two of them; None: any number."""
        written = self.source == "self" and self.format == "plain"  # anew for each seed; responses share their prompts
        return None if self.pool is None or written else self.pool / max(self.read, 1)


def sources_table(drawn: Sequence[Drawn], tokens: int) -> Table:
    """A row a part of the recipe; `tokens`: of the whole set. What was dropped and what stands in is noted under it."""
    rows = tuple(
        (one.source, one.format, one.share, one.tokens / tokens if tokens else 0.0, one.sequences, one.tokens, one.used,
         one.read, "endless" if one.pool is None else one.pool, one.licence)
        for one in drawn
    )  # fmt: skip
    notes = [f"{one.source} stands in: {one.stand_in}" for one in drawn if one.stand_in]
    notes += [
        f"{one.source}: through chat template {one.chat}, to which today is {one.day}" for one in drawn if one.chat
    ]
    notes += [f"{one.source}: {n:,} documents dropped: {reason}" for one in drawn for reason, n in one.dropped.items()]
    return Table("sources", "What each source gave", SOURCES, rows, tuple(notes))
