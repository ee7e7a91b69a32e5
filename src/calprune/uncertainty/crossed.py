"""The mean of a table of draws × items, where both are samples of more, and how sure that mean is.

An outcome of draw k and item i is μ + D_k + I_i + e_ki. The mean over K draws and n items has the variance
σ_D²/K + σ_I²/n + σ_e²/(Kn). The variance of the draws' means over K estimates the first and the third term, that of
the items' means over n the second and the third: their sum counts the third twice, so it is taken off once. The sum of
mean squares is nearly a χ² with Satterthwaite's degrees of freedom. It is how readers × cases studies are analysed
(Obuchowski and Rockette 1995; Hillis, "A comparison of denominator degrees of freedom methods for multiple observer ROC
analysis", Statistics in Medicine 26, 2007).
"""

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import stdtr, stdtrit

from calprune.base.values import UserError
from calprune.uncertainty.estimate import Estimate

Rows = Sequence[Sequence[float]] | np.ndarray  # one row a draw, one column an item
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Weighed:
    """A table of draws × items with its weight in a sum of means."""

    weight: float
    draws: Hashable  # tables whose draws have the same name have the same draws, in the same order
    items: Hashable  # and those whose items have it, the same items
    rows: Rows


@dataclass(frozen=True)
class Term:
    """A term of the variance of a mean, with the degrees of freedom that it was estimated with."""

    variance: float
    freedom: int


def table_of(rows: Rows, what: str) -> Float[np.ndarray, "draws items"]:
    """The rows as a table; UserError where draws have different items or a value is not a number."""
    lengths = {len(row) for row in rows}
    if len(lengths) != 1:
        raise UserError(f"{what}: wanted the same items for each draw, got rows of {sorted(lengths)} items")
    table = np.asarray(rows, dtype=float)
    if not table.size or not np.isfinite(table).all():
        raise UserError(f"{what}: wanted at least one item with a finite value for each draw")
    return table


def of_means(means: Float[np.ndarray, "n"]) -> Term:
    """The variance of the mean of these means: s²/n, with n - 1 degrees of freedom; n of at least 2."""
    return Term(float(means.var(ddof=1)) / len(means), len(means) - 1)


def of_rest(table: Float[np.ndarray, "draws items"]) -> Term:
    """What draws' and items' means have both counted: the mean square of the interaction over all outcomes."""
    draws, items = table.shape
    rest = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean()
    freedom = (draws - 1) * (items - 1)
    return Term(float((rest**2).sum()) / freedom / table.size, freedom)


@dataclass(frozen=True)
class Variance:
    """Of a mean over draws and items."""

    draws: tuple[Term, ...]
    items: tuple[Term, ...]
    twice: tuple[Term, ...]  # counted in both

    @property
    def value(self) -> float:
        draws, items, twice = (_sum(parts) for parts in (self.draws, self.items, self.twice))
        return max(draws + items - twice, draws, items)  # no component is below zero

    @property
    def freedom(self) -> float:
        """Satterthwaite's; infinite where nothing varies."""
        parts = (*self.draws, *self.items, *self.twice)
        doubt = math.fsum(part.variance**2 / part.freedom for part in parts)
        return self.value**2 / doubt if doubt and self.value else math.inf

    def interval(self, value: float, n: int, confidence: float = CONFIDENCE) -> Estimate:
        """Student's t interval round `value`."""
        half = float(stdtrit(min(self.freedom, 1e9), (1 + confidence) / 2)) * math.sqrt(self.value)
        return Estimate(value, value - half, value + half, n, confidence)

    def p(self, value: float) -> float:
        """Two-sided: how often chance alone gives a value as far from zero."""
        if value == 0 or self.value == 0:
            return float(value == 0)
        return min(1.0, 2 * float(stdtr(min(self.freedom, 1e9), -abs(value) / math.sqrt(self.value))))


def _sum(parts: Iterable[Term]) -> float:
    return math.fsum(part.variance for part in parts)


def variance_of(parts: Sequence[Weighed]) -> Variance:
    """The variance of Σ weight · mean: what parts have in common, draws or items, moves them together.

    Tables of the same draws and items have the same shape, and each at least two rows and two columns.
    """
    tables: dict[tuple[Hashable, Hashable], Float[np.ndarray, "draws items"]] = {}
    for part in parts:
        table, at = part.weight * np.asarray(part.rows, dtype=float), (part.draws, part.items)
        tables[at] = tables[at] + table if at in tables else table
    by_draw: dict[Hashable, list] = defaultdict(list)
    by_item: dict[Hashable, list] = defaultdict(list)
    for (draws, items), table in tables.items():
        by_draw[draws].append(table.mean(axis=1))
        by_item[items].append(table.mean(axis=0))
    return Variance(
        draws=tuple(of_means(np.sum(means, axis=0)) for means in by_draw.values()),
        items=tuple(of_means(np.sum(means, axis=0)) for means in by_item.values()),
        twice=tuple(map(of_rest, tables.values())),
    )
