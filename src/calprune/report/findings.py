"""What a study's rows show, by the statistics of `uncertainty`: cells, comparisons of sources and of methods, the
ranking of sources. Nothing is computed twice."""

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from calprune.base.values import UserError
from calprune.evaluation.metric import Interest
from calprune.pages.names import shared_options, short_names
from calprune.report.settings import SETTING, in_order, is_control, own_text, setting_name, varying
from calprune.studies.axes import NO_DATA
from calprune.studies.results import Result, Results
from calprune.uncertainty.difference import TURNED, Difference, Verdict, holm, paired_by_draw, paired_by_item, verdict
from calprune.uncertainty.effect import Effect, Word, effect_of_groups, range_of, word_of
from calprune.uncertainty.estimate import Estimate, Spread, exponential, over_draws
from calprune.uncertainty.power import SIGNIFICANCE, draws_needed
from calprune.uncertainty.share import shares_over_draws

DEFAULT = "c4"  # what the field calibrates with where nothing is said
WORDS: tuple[Word, ...] = ("matters", "not shown", "immaterial")  # what leads the answer where there are several


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
        return [row.measures.compared(row.value) for row in self.rows]

    @cached_property
    def counted(self) -> bool:
        """Whether its values are shares of items that are right."""
        return all(self.of.measures.counts(row.items) for row in self.rows)

    @cached_property
    def spread(self) -> Spread:
        """Mean and interval as the metric is read, so that no interval of perplexity ends below 1; SD as `values`."""
        spread = shares_over_draws(self.values, len(self.of.items)) if self.counted else over_draws(self.values)
        assert spread is not None
        if not self.of.measures.log:
            return spread
        least = 0.0 if self.of.metric == "perplexity" else -math.inf  # nats
        interval = spread.interval.map(lambda nats: exponential(max(nats, least)))
        return replace(spread, mean=exponential(spread.mean), interval=interval)

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
    apart: Estimate | None  # the range of the sources' means, simultaneous over the page; None: cannot be told
    of_interest: float | None  # the smallest difference that anyone would act on, in the unit of `apart`
    adjusted_p: float | None  # of the effect: Holm's over all comparisons of the page
    contrasts: tuple[Contrast, ...] = ()  # of all pairs of cells, the better first
    against_controls: tuple[Contrast, ...] = ()  # the best less each control

    @property
    def of(self) -> Result:
        return self.cells[0].of

    @property
    def worst(self) -> Cell:
        """The last source that is shown to be worse than the best; where none is, the last."""
        return next((cell for cell in reversed(self.cells) if cell.of.calibration in self.beaten), self.cells[-1])

    @property
    def word(self) -> Word:
        """Whether the choice of source matters, by the range and the smallest difference of interest."""
        return word_of(self.apart, self.of_interest)

    @property
    def distinguished(self) -> bool:
        """Whether the sources differ more than draws of one do, however little, after Holm's correction."""
        return self.adjusted_p is not None and self.adjusted_p < SIGNIFICANCE

    @cached_property
    def cost(self) -> float:
        """What pruning itself costs, in the unit of `apart`: dense less pruned, the mean over sources."""
        metric = self.of.measures
        lost = [metric.oriented(metric.compared(cell.of.dense) - math.fsum(cell.values) / len(cell.values))
                for cell in self.cells]  # fmt: skip
        return math.fsum(lost) / len(lost)

    @property
    def part_of_cost(self) -> float | None:
        """The range as a share of what pruning itself costs; None where it costs nothing."""
        return self.effect.range / self.cost if self.cost > 0 else None

    @property
    def costless(self) -> bool:
        """Whether pruning itself costs less than is of interest, so that no source could save anything."""
        return self.of_interest is not None and self.cost < self.of_interest

    @property
    def sources(self) -> list[str]:
        """Best first, without controls."""
        return [cell.of.calibration for cell in self.cells]

    @cached_property
    def of_best(self) -> list[Contrast]:
        """The best less every other, controls too."""
        return [one for one in self.contrasts if one.first == self.of.calibration] + list(self.against_controls)

    @cached_property
    def beaten(self) -> set[str]:
        """The sources and controls that are shown to be worse than the best."""
        return {one.second for one in self.of_best if one.verdict == "win"}

    @property
    def fair(self) -> list[str]:
        """The sources, best first, that are not judged on their own text."""
        return [cell.of.calibration for cell in self.cells if not cell.own]

    def draws_for_best(self) -> int | None:
        """Draws of each that separate the best from the next; None: not known."""
        best, following = (math.fsum(cell.values) / len(cell.values) for cell in self.cells[:2])
        try:
            return draws_needed(self.effect.sd, abs(best - following)) if self.effect.sd is not None else None
        except UserError:  # they do not differ, or by next to nothing
            return None


def setting(row: Result) -> tuple[str | int | None, ...]:
    """What a row shares with those of other sources: all but the source and the draw."""
    return tuple(getattr(row, field) for field in SETTING)


def comparisons_of(cells: Iterable[Cell], interest: Interest = Interest()) -> list[Comparison]:
    """Every setting and evaluation with two sources or more, corrected for their number: Holm's p of the effects,
    Bonferroni's intervals of the ranges."""
    groups: dict[tuple, list[Cell]] = defaultdict(list)
    for cell in cells:
        if cell.of.calibration != NO_DATA:
            groups[(*setting(cell.of), cell.of.evaluation, cell.of.measures)].append(cell)
    found = []
    for group in groups.values():
        best_first = sorted(group, key=lambda cell: cell.of.measures.oriented(cell.spread.mean), reverse=True)
        texts = [cell for cell in best_first if not is_control(cell.of)]
        texts, controls = (texts, best_first) if len(texts) > 1 else (best_first, [])
        if len(texts) > 1:
            values = {cell.of.calibration: cell.values for cell in texts}
            effect = effect_of_groups(values, counted=texts[0].counted)
            controls = [cell for cell in controls if cell not in texts]
            least = interest.of(texts[0].of.measures)
            found.append(Comparison(tuple(texts), tuple(controls), effect, None, least, None))
    adjusted = holm([comparison.effect.p for comparison in found])
    together = 1 - SIGNIFICANCE / max(1, sum(p is not None for p in adjusted))
    ranges = [range_of({cell.of.calibration: cell.values for cell in one.cells}, together, counted=one.cells[0].counted)
              for one in found]  # fmt: skip
    return [_contrasted(replace(one, adjusted_p=p, apart=apart))
            for one, p, apart in zip(found, adjusted, ranges, strict=True)]  # fmt: skip


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
        won = verdict(difference, p, a.of.measures.lower_is_better)
        found.append(Contrast(a.of.calibration, b.of.calibration, difference, p, won))
    return found


@dataclass(frozen=True)
class MethodContrast:
    """Two methods with the same draws of one source."""

    first: Result  # a row of it
    second: Result
    draws: int
    difference: Difference
    adjusted_p: float | None  # Holm's over all of these
    verdict: Verdict


@dataclass(frozen=True)
class Lead:
    """The answer of a study that was made to answer something else than which of its sources differ most."""

    sentence: str
    evaluation: str  # that it speaks of


class Findings:
    """What the page, the files and the sentences say; nothing is computed twice."""

    def __init__(self, results: Results, lead: Lead | None = None):
        self.results, self.lead = results, lead
        self.rows = tuple(row for row in results.rows if _finite(row))
        self.not_finite = tuple(row for row in results.rows if not _finite(row))
        self.fields = set(varying(self.rows))
        names, self.protocol = _names(self.rows)
        self.names = names | results.labels
        self.cells = _cells(self.rows)
        self.comparisons = comparisons_of(self.cells, results.interest)
        self.methods = _methods(self.cells)

    @property
    def sources(self) -> list[str]:
        """Calibrations as they come, controls too, without that of methods that read no data."""
        return [name for name in dict.fromkeys(row.calibration for row in self.rows) if name != NO_DATA]

    def method(self, row: Result) -> str:
        """The method, with the allocation, the propagation and the weights of tokens where the study has several."""
        return setting_name(row, {"method"} | self.fields & {"allocation", "propagate", "token_weights", "permute"})

    def setting(self, row: Result) -> str:
        """Method and pattern, and whatever else the study has several of: "wanda 60%"."""
        return setting_name(row, {"method", "pattern"} | self.fields)

    def words(self) -> dict[Word, int]:
        """How many comparisons have each word."""
        counts: dict[Word, int] = defaultdict(int)
        for comparison in self.comparisons:
            counts[comparison.word] += 1
        return dict(counts)

    @property
    def widest(self) -> Comparison | None:
        """The comparison that leads the answer: of the first of WORDS that there is, the widest range, in smallest
        differences of interest, so that metrics can be compared; where pruning costs something, if it does anywhere.
        None: nothing can be told."""
        word = next((one for one in WORDS if self.words().get(one)), None)
        found = [one for one in self.comparisons if one.word == word]
        return max(found, key=lambda one: (not one.costless, one.effect.range / (one.of_interest or 1.0)), default=None)

    @cached_property
    def ranking(self) -> list[tuple[str, float]]:
        """Sources by mean place, 0 the best to 1 the worst of a comparison, where not judged on their own text."""
        places: dict[str, list[float]] = defaultdict(list)
        for comparison in self.comparisons:
            fair = comparison.fair
            for place, source in enumerate(fair if len(fair) > 1 else ()):
                places[source].append(place / (len(fair) - 1))
        return sorted(((name, math.fsum(at) / len(at)) for name, at in places.items()), key=lambda one: one[1])

    def record(self, first: str, second: str) -> dict[Verdict, int]:
        """How often the first wins, ties and loses against the second, where neither reads its own text."""
        counts: dict[Verdict, int] = {"win": 0, "tie": 0, "loss": 0}
        for comparison in self.comparisons:
            if {first, second} <= set(comparison.fair):
                for one in comparison.contrasts:
                    if {one.first, one.second} == {first, second}:
                        counts[one.verdict if one.first == first else TURNED[one.verdict]] += 1
        return counts


def _names(rows: Iterable[Result]) -> tuple[dict[str, str], str]:
    """What is read otherwise than it is written, and the options that all evaluations share."""
    evaluations, protocol = shared_options(row.evaluation for row in rows)
    texts = {row.evaluation: evaluations.get(row.evaluation, row.evaluation) for row in rows}
    cut = short_names({*texts.values(), *(value for row in rows for value in row.axes.values())})
    read = {text: cut.get(short, short) for text, short in texts.items()}
    return cut | {text: short for text, short in read.items() if text != short}, protocol


def _finite(row: Result) -> bool:
    return all(map(math.isfinite, (row.value, row.dense, *row.items, *row.dense_items)))


def _cells(rows: Iterable[Result]) -> list[Cell]:
    groups: dict[tuple, list[Result]] = defaultdict(list)
    for row in rows:
        groups[(*row.cell, row.evaluation, row.measures)].append(row)
    cells = [Cell(tuple(sorted(group, key=lambda row: row.draw or 0))) for group in groups.values()]
    patterns = {pattern: i for i, pattern in enumerate(in_order(cell.of.pattern for cell in cells))}
    return sorted(cells, key=lambda cell: (cell.of.model, patterns[cell.of.pattern]))  # else as they come


def _methods(cells: Sequence[Cell]) -> list[MethodContrast]:
    groups: dict[tuple, list[Cell]] = defaultdict(list)
    for cell in cells:
        one = cell.of
        if one.calibration != NO_DATA:
            groups[one.model, one.calibration, one.pattern, one.num_samples, one.evaluation, one.measures].append(cell)
    found = []
    for group in groups.values():
        better_first = sorted(group, key=lambda cell: cell.of.measures.oriented(cell.spread.mean), reverse=True)
        for a, b in itertools.combinations(better_first, 2):
            first, second = (dict(zip([row.draw for row in cell.rows], cell.values, strict=True)) for cell in (a, b))
            if draws := [draw for draw in first if draw in second]:
                most = 1.0 if a.of.measures.retention == "above chance" else math.inf
                difference = paired_by_draw([first[draw] for draw in draws], [second[draw] for draw in draws], most)
                found.append((a.of, b.of, len(draws), difference))
    adjusted = holm([difference.p for *_, difference in found])
    return [
        MethodContrast(a, b, n, difference, p, verdict(difference, p, a.measures.lower_is_better))
        for (a, b, n, difference), p in zip(found, adjusted, strict=True)
    ]
