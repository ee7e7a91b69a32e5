"""Sources beside each other: cells, and comparisons of all the sources of one setting judged by one evaluation."""

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from calprune.base.values import UserError
from calprune.report.names import SETTING, is_control, oriented, own_text
from calprune.studies.axes import NO_DATA
from calprune.studies.results import LOWER_IS_BETTER, Result
from calprune.uncertainty.difference import Difference, Verdict, holm, paired_by_item, verdict
from calprune.uncertainty.effect import Effect, effect_of_groups
from calprune.uncertainty.estimate import Spread, exponential, over_draws
from calprune.uncertainty.power import SIGNIFICANCE, draws_needed


@dataclass(frozen=True)
class Cell:
    """All draws of one source in one setting, judged by one evaluation."""

    rows: tuple[Result, ...]  # by draw

    @property
    def of(self) -> Result:
        """A row of it, for what all of its rows share."""
        return self.rows[0]

    @cached_property
    def values(self) -> list[float]:
        """By draw, on the scale on which draws are compared: of perplexity its logarithm, nats a token."""
        return [math.log(row.value) if row.metric == "perplexity" else row.value for row in self.rows]

    @cached_property
    def spread(self) -> Spread:
        """Mean and interval as the metric is read, so that no interval of perplexity ends below 1; SD as `values`."""
        spread = over_draws(self.values)
        assert spread is not None
        if self.of.metric != "perplexity":
            return spread
        return replace(spread, mean=exponential(spread.mean), interval=spread.interval.map(exponential))

    @property
    def items(self) -> list[tuple[float, ...]]:
        """One row a draw. A method without data gives the same at every draw, so its row stands twice."""
        rows = [row.items for row in self.rows]
        return rows * 2 if self.of.calibration == NO_DATA and len(rows) == 1 else rows

    @property
    def own(self) -> bool:
        """Whether the source is judged on its own text."""
        return own_text(self.of)


@dataclass(frozen=True)
class Contrast:
    """One source less another, whose mean is no better."""

    first: str
    second: str
    difference: Difference
    adjusted_p: float | None  # Holm's; between texts it is not below the effect's
    verdict: Verdict


@dataclass(frozen=True)
class Comparison:
    """The sources of one setting judged by one evaluation.

    Controls are no choice of text, so they are kept apart: that random tokens do harm says nothing of which text to
    take. They count as sources where there are not two texts.
    """

    cells: tuple[Cell, ...]  # best first
    controls: tuple[Cell, ...]
    effect: Effect
    adjusted_p: float | None  # of the effect: Holm's over all comparisons of the page
    contrasts: tuple[Contrast, ...] = ()  # of all pairs of cells, the better first
    against_controls: tuple[Contrast, ...] = ()  # the best less each control

    @property
    def of(self) -> Result:
        return self.cells[0].of

    @property
    def word(self) -> str:
        """The effect's word, after Holm's correction over the page."""
        shown = self.adjusted_p is not None and self.adjusted_p < SIGNIFICANCE
        return self.effect.word if shown or self.effect.word == "cannot be told" else "immaterial"

    @property
    def sources(self) -> list[str]:
        """Best first, without controls."""
        return [cell.of.calibration for cell in self.cells]

    @property
    def of_best(self) -> list[Contrast]:
        """The best less every other, controls too."""
        return [one for one in self.contrasts if one.first == self.sources[0]] + list(self.against_controls)

    @property
    def fair(self) -> list[str]:
        """The sources, best first, that are not judged on their own text."""
        return [cell.of.calibration for cell in self.cells if not cell.own]

    def draws_to_tell(self) -> int | None:
        """Draws of each that the best needs to be told from the next; None: it cannot be said."""
        best, following = (math.fsum(cell.values) / len(cell.values) for cell in self.cells[:2])
        try:
            return draws_needed(self.effect.sd, abs(best - following)) if self.effect.sd is not None else None
        except UserError:  # they do not differ, or by next to nothing
            return None


def setting(row: Result) -> tuple[str | int | None, ...]:
    """What a row shares with those of other sources: all but the source and the draw."""
    return tuple(getattr(row, field) for field in SETTING)


def comparisons_of(cells: Iterable[Cell]) -> list[Comparison]:
    """Every setting and evaluation with two sources or more, with Holm's correction of their effects."""
    groups: dict[tuple, list[Cell]] = defaultdict(list)
    for cell in cells:
        if cell.of.calibration != NO_DATA:
            groups[(*setting(cell.of), cell.of.evaluation, cell.of.metric)].append(cell)
    found = []
    for group in groups.values():
        best_first = sorted(group, key=lambda cell: oriented(cell.of.metric, cell.spread.mean), reverse=True)
        texts = [cell for cell in best_first if not is_control(cell.of)]
        texts, controls = (texts, best_first) if len(texts) > 1 else (best_first, [])
        if len(texts) > 1:
            effect = effect_of_groups({cell.of.calibration: cell.values for cell in texts})
            found.append(Comparison(tuple(texts), tuple(cell for cell in controls if cell not in texts), effect, None))
    adjusted = holm([comparison.effect.p for comparison in found])
    return [_contrasted(replace(one, adjusted_p=p)) for one, p in zip(found, adjusted, strict=True)]


def _contrasted(comparison: Comparison) -> Comparison:
    """With the differences. Those between texts are one family, and count only where the text is shown to matter at
    all: their p is the larger of Holm's and of the effect's. Those of the best from the controls are another."""
    texts = _contrasts(list(itertools.combinations(comparison.cells, 2)), comparison.adjusted_p)
    controls = _contrasts([(comparison.cells[0], control) for control in comparison.controls], 0.0)
    return replace(comparison, contrasts=tuple(texts), against_controls=tuple(controls))


def _contrasts(pairs: Sequence[tuple[Cell, Cell]], least: float | None) -> list[Contrast]:
    differences = [paired_by_item(a.items, b.items) for a, b in pairs]
    found = []
    for (a, b), difference, p in zip(pairs, differences, holm([d.p for d in differences]), strict=True):
        p = None if p is None or least is None else max(p, least)
        won = verdict(difference, p, a.of.metric in LOWER_IS_BETTER)
        found.append(Contrast(a.of.calibration, b.of.calibration, difference, p, won))
    return found
