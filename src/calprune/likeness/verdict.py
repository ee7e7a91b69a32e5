"""What a comparison of two sets comes to: overall figures, whether each set is large enough, a verdict in words."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from calprune.base.patterns import Removal
from calprune.likeness.sets import FLAT, BlockComparison, InputComparison, Overlap, SetComparison, enough
from calprune.pages.chart import Dots, Panel
from calprune.pages.drawing import Point, ValueAxis
from calprune.pages.names import short_names
from calprune.pages.numbers import percent
from calprune.pages.page import HasPage, Page, Section, TextBlock
from calprune.pages.table import Column, Table, Value

FEW_TOKENS = 4.0  # for each input of a linear: with fewer than one its Gram matrix has not even full rank


@dataclass(frozen=True)
class Figures:
    """Means over inputs."""

    diagonal_correlation: float
    frobenius: float
    bures: float
    coverage: float

    @classmethod
    def of(cls, inputs: Sequence[InputComparison]) -> "Figures":
        return cls(*(_mean([getattr(one, name) for one in inputs]) for name in cls.__dataclass_fields__))


@dataclass(frozen=True)
class HalvesOverlap:
    """How far two halves of so many sequences agree on what is kept."""

    sequences: int
    kept_iou: float


@dataclass(frozen=True)
class SetFigures:
    """One of the two sets."""

    name: str
    id: str | None
    sequences: int
    tokens: float
    width: int  # of the input with the fewest tokens for each of its channels
    narrowest: str  # the linear that reads it
    tokens_per_width: float
    effective_rank: float
    halves: tuple[HalvesOverlap, ...] | None  # None: not asked for
    enough: int | None  # sequences from which on a doubling changes less than 1 %; None: more, or halves are None

    def within(self, sequences: int) -> float:
        """How far two halves of so many sequences agree. It was measured."""
        assert self.halves is not None
        return next(step.kept_iou for step in self.halves if step.sequences == sequences)

    @property
    def size(self) -> str:
        """Whether it is large enough, in words."""
        assert self.halves is not None
        if self.enough is None:
            return (f"{self.name} is not large enough: at {self.halves[-1].sequences} sequences a doubling still "
                    f"changes the overlap of its halves by {percent(FLAT, 0)} or more")  # fmt: skip
        return (f"{self.name} is large enough: {self.enough} sequences were, for doublings beyond them change the "
                f"overlap by less than {percent(FLAT, 0)}")  # fmt: skip


@dataclass(frozen=True, repr=False)
class ComparisonSummary(HasPage):
    """Two sets by the masks that they lead to and by their statistics. Overlaps are pooled over blocks."""

    method: str
    pattern: str
    share_of_energy: float
    kept_iou: float
    pruned_iou: float
    kept_iou_by_chance: float
    figures: Figures
    sets: tuple[SetFigures, SetFigures]
    blocks: tuple[BlockComparison, ...]
    command: str = ""  # that made it, to be copied
    what: str = "weights"  # that are kept: "neurons" where these are taken out
    across: HalvesOverlap | None = None  # a half of one set and a half of the other: the most alike of the four pairs

    @property
    def notes(self) -> tuple[str, ...]:
        """What whoever reads the figures should know."""
        return tuple(
            f"{one.name} has {one.tokens_per_width:.2g} tokens for each of the {one.width:,} inputs of "
            f"{one.narrowest}: under {FEW_TOKENS:g} a Gram matrix is far from settled; take more sequences"
            for one in self.sets if one.tokens_per_width < FEW_TOKENS
        )  # fmt: skip

    @property
    def verdict(self) -> str:
        """Whether it matters which of them is taken."""
        a, b = self.sets
        first = (f"{a.name} and {b.name} lead {self.method} at {self.pattern} to an overlap of "
                 f"{percent(self.kept_iou)} of the {self.what} kept (chance: "
                 f"{percent(self.kept_iou_by_chance)})")  # fmt: skip
        if self.across is None:
            return first
        more = ("so which of them is taken makes a difference to the mask" if self.matters else
                "so they differ no more than two draws of one may")  # fmt: skip
        shares = " and ".join(percent(one.within(self.across.sequences)) for one in self.sets)
        return (f"{first}, halves of {self.across.sequences} sequences, one of each, to "
                f"{percent(self.across.kept_iou)} at most, two halves of each to {shares}, {more}; "
                f"{a.size}; {b.size}")  # fmt: skip

    @property
    def matters(self) -> bool:
        """Whether every half of one set agrees less with every half of the other than two halves of either agree: of
        two sets of one kind that is so once in 15 times. All halves are of one size, for smaller ones agree less."""
        assert self.across is not None
        return self.across.kept_iou < min(one.within(self.across.sequences) for one in self.sets)

    @property
    def plain(self) -> str:
        """The verdict in plain words."""
        a, b = self.sets
        both = f"{a.name} and {b.name} agree on {percent(self.kept_iou)} of the {self.what} that either keeps"
        if self.across is None:
            return (f"{both}; by chance it would be {percent(self.kept_iou_by_chance)}. Whether that is much is not "
                    "said without halves of each set: leave --no-halves out.")  # fmt: skip
        least = percent(min(one.within(self.across.sequences) for one in self.sets))
        most = f"a half of one and a half of the other on {percent(self.across.kept_iou)} at most"
        if self.matters:
            return f"Yes, it matters to the mask: {both}, {most}, two halves of one set on {least} or more."
        return f"No: {both}, {most}, which is no less than two halves of one set do ({least})."

    def record(self) -> dict[str, Any]:
        return {
            "format": 1, "method": self.method, "pattern": self.pattern, "share_of_energy": self.share_of_energy,
            "kept_iou": self.kept_iou, "pruned_iou": self.pruned_iou, "kept_iou_by_chance": self.kept_iou_by_chance,
            **vars(self.figures), "sets": [asdict(one) for one in self.sets],
            "across": self.across and asdict(self.across),
            "blocks": [_block(block) for block in self.blocks], "notes": list(self.notes), "verdict": self.verdict,
        }  # fmt: skip

    def page(self) -> Page:
        first, second = self.sets
        covered = (f"Covered: of the energy of {second.name}, by the directions that hold "
                   f"{percent(self.share_of_energy, 0)} of that of {first.name}, beside the most that so many can. "
                   "Rank: effective.")  # fmt: skip
        common = (f"Kept in common: intersection over union of the {self.what} kept (by chance "
                  f"{percent(self.kept_iou_by_chance)}); of those pruned {percent(self.pruned_iou)}.")  # fmt: skip
        made = Page(
            f"{first.name} and {second.name}",
            (
                Section("blocks", "Masks and statistics", (), (Panel((self._chart(),), wide=True),), (self._table(),),
                        notes=(common, covered)),
                Section("sizes", "Is each set large enough?", tables=(self._sizes(),), notes=self.notes),
                Section("verdict", "Verdict", (self.verdict,)),
                Section("again", "Reproduce", blocks=TextBlock.commands(self.command)),
            ),
            "calprune calib compare", "Does it matter which of the two sets is taken?",
            f"{self.method}, {self.pattern}", (self.plain,),
        )  # fmt: skip
        return made.read_as(short_names([first.name, second.name]))

    def _chart(self) -> Dots:
        """How much the two keep in common, beside two halves of one set and beside chance."""
        blocks = [block for block in self.blocks if block.decided]
        found = [_point(f"{' and '.join(one.name for one in self.sets)}", self.kept_iou,
                        [block.kept.iou for block in blocks])]  # fmt: skip
        n = self.across.sequences if self.across else 0
        if self.across:
            found.append(_point(f"a half of each, {n} sequences each", self.across.kept_iou,
                                [max(one.iou for one in block.across) for block in blocks]))  # fmt: skip
        for i, one in enumerate(self.sets if self.across else ()):
            at = [step.sequences for step in one.halves or ()].index(n)
            found.append(_point(f"two halves of {one.name}, {n} sequences each", one.within(n),
                                [block.halves[i][at].iou for block in blocks]))  # fmt: skip
        zone = (min(point.value for point in found[2:]), 1.0) if self.across else None
        axis = ValueAxis(f"of the {self.what} that either keeps, kept by both", percent=True)
        return Dots("Kept in common: all blocks together, and from the lowest block to the highest", axis.title,
                    tuple(found), axis, [point.source for point in found], ("",), self.kept_iou_by_chance, "by chance",
                    zone, "halves: no difference, as two of one set or more alike")  # fmt: skip

    def _table(self) -> Table:
        heads = (Column("block"), Column("kept in common", "number", percent=True),
                 Column("diagonal corr.", "number"), Column("Frobenius", "number"), Column("Bures", "number"),
                 Column("covered", "number", percent=True),
                 *(Column(f"rank of {one.name}", "number") for one in self.sets))  # fmt: skip
        rows = [_row(block.name, block.kept.iou if block.decided else None, Figures.of(block.inputs), _ranks(block))
                for block in self.blocks]  # fmt: skip
        rows.append(_row("all", self.kept_iou, self.figures, [one.effective_rank for one in self.sets]))
        return Table("blocks", "Means over the inputs of each block", heads, tuple(rows))

    def _sizes(self) -> Table:
        steps = self.sets[0].halves or ()
        most = max((one.halves or () for one in self.sets), key=len, default=steps)
        heads = (Column("set"), Column("sequences", "number"), Column("tokens", "number"),
                 Column("tokens for each input", "number"), Column("of"),
                 *(Column(f"halves of {step.sequences}", "number", percent=True) for step in most))  # fmt: skip
        rows = tuple(
            (one.name, one.sequences, round(one.tokens), one.tokens_per_width, one.narrowest,
             *(dict((s.sequences, s.kept_iou) for s in one.halves or ()).get(step.sequences) for step in most))
            for one in self.sets
        )  # fmt: skip
        note = ("Halves: what two halves of the set, of so many sequences each, keep in common.",) if most else ()
        return Table("sets", "The sets", heads, rows, note)


def _point(name: str, value: float, blocks: Sequence[float]) -> Point:
    low, high = min(blocks, default=value), max(blocks, default=value)
    return Point(name, "", "", value, low, high, f"{percent(value)} (blocks: {percent(low)} to {percent(high)})", 1)


def summarise(comparison: SetComparison, blocks: Sequence[BlockComparison]) -> ComparisonSummary:
    """The blocks of a comparison together. Figures of inputs are means, overlaps are pooled."""
    kept, pruned = _pooled([block.kept for block in blocks]), _pooled([block.pruned for block in blocks])
    weights = kept.either + pruned.both  # pruned by both, or kept by either
    share = (kept.both + kept.either) / (2 * weights)  # of the weights that a set keeps
    first, second = (_set(comparison, which, blocks) for which in range(2))
    return ComparisonSummary(
        comparison.job.method_text, str(comparison.job.pattern), comparison.share, kept.iou,
        pruned.iou, share / (2 - share), Figures.of([one for block in blocks for one in block.inputs]),
        (first, second), tuple(blocks), across=_across(comparison, blocks),
        what=comparison.job.pattern.kind if isinstance(comparison.job.pattern, Removal) else "weights",
    )  # fmt: skip


def _across(comparison: SetComparison, blocks: Sequence[BlockComparison]) -> HalvesOverlap | None:
    if comparison.shared is None:
        return None
    pairs = zip(*(block.across for block in blocks), strict=True)
    return HalvesOverlap(comparison.shared, max(_pooled(pair).iou for pair in pairs))


def _set(comparison: SetComparison, which: int, blocks: Sequence[BlockComparison]) -> SetFigures:
    name, inputs = list(comparison.sets)[which], [one for block in blocks for one in block.inputs]
    given = comparison.sets[name]
    least = min(inputs, key=lambda one: one.tokens[which] / one.width)
    halves = fill = None
    if comparison.halvings:
        budgets = comparison.halvings[which].budgets
        overlaps = [_pooled([block.halves[which][k] for block in blocks]).iou for k in range(len(budgets))]
        halves = tuple(HalvesOverlap(b, iou) for b, iou in zip(budgets, overlaps, strict=True))
        fill = enough(budgets, overlaps)
    return SetFigures(
        name, getattr(given, "id", None), len(given.tokens), max(one.tokens[which] for one in inputs), least.width,
        least.name, least.tokens[which] / least.width, _mean([one.effective_rank[which] for one in inputs]), halves,
        fill,
    )  # fmt: skip


def _block(block: BlockComparison) -> dict[str, Any]:
    kept, pruned = (block.kept.iou, block.pruned.iou) if block.decided else (None, None)
    return {"name": block.name, "kept_iou": kept, "pruned_iou": pruned,
            **vars(Figures.of(block.inputs)), "effective_rank": _ranks(block),
            "inputs": [vars(one) for one in block.inputs]}  # fmt: skip


def _ranks(block: BlockComparison) -> list[float]:
    return [_mean([one.effective_rank[which] for one in block.inputs]) for which in (0, 1)]


def _row(name: str, kept: float | None, figures: Figures, ranks: Sequence[float]) -> tuple[Value, ...]:
    return (name, kept, figures.diagonal_correlation, figures.frobenius, figures.bures, figures.coverage, *ranks)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _pooled(overlaps: Sequence[Overlap]) -> Overlap:
    total = Overlap(0, 0)
    for overlap in overlaps:
        total = total.plus(overlap)
    return total
