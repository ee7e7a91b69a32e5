"""How much of what the dense model can do is left: pruned ÷ dense, with its interval.

Both the draws and the items are samples; the pruned and the dense model answer the same items. The ratio's interval is
that of its linear part, (pruned - chance) - R (dense - chance) for accuracies, which is a mean over draws × items.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from calprune.base.values import UserError
from calprune.uncertainty.crossed import Rows, Weighed, table_of, variance_of
from calprune.uncertainty.estimate import Estimate, exponential, mean_of

# The draws of one source alone have few degrees of freedom, and where they differ more than items do Satterthwaite's
# approximation is then too sure: benchmarks/intervals.md.
AT_FEW_DRAWS = "at 3 draws the intervals of retention may hold the truth in 92 % of studies instead of 95 %"


@dataclass(frozen=True)
class Kept:
    """One evaluation's outcomes, pruned and dense."""

    pruned: Rows  # one row a draw, one column an item
    dense: Sequence[float]  # the same items
    chance: float | None  # accuracies: the value of guessing, 0 where there is none; None: nats of a perplexity


def retention(pruned: Rows, dense: Sequence[float], chance: float = 0.0) -> Estimate | None:
    """(pruned - chance) / (dense - chance) of accuracies; None, "not measurable", where dense may be at chance.

    `pruned` holds one row a draw and one column an item, `dense` the same items. One draw: no interval.
    """
    linear = _linear(Kept(pruned, dense, chance))
    return None if linear is None else _estimate([linear])


def retention_of_perplexity(pruned: Rows, dense: Sequence[float]) -> Estimate:
    """Dense perplexity ÷ pruned, from nats per token of equal windows: `pruned` one row a draw, `dense` one row.

    It is the exponential of a paired difference; the mean over draws is geometric. One draw: no interval.
    """
    table, reference = _same_items(Kept(pruned, dense, None))
    nats = reference - table
    return _estimate([_Linear(float(nats.mean()), nats)]).map(exponential)


def retention_of_one(pruned: Sequence[float], dense: Sequence[float], chance: float | None) -> Estimate | None:
    """What one model has left, with the interval over its items alone: of this model, not of another draw's. One value
    an item; `chance` and None as in `Kept` and `retention`."""
    if chance is None:
        return _retention_of_nats(pruned, dense)
    if (linear := _linear(Kept([pruned], dense, chance))) is None:
        return None
    found = mean_of(linear.table[0].tolist())
    if found is None or found.low is None or found.high is None:
        return Estimate(linear.value, None, None, len(pruned))
    low, high = found.low - found.value, found.high - found.value
    return Estimate(linear.value, linear.value + low, linear.value + high, len(pruned))


def _retention_of_nats(pruned: Sequence[float], dense: Sequence[float]) -> Estimate:
    """The ratio of one model's perplexities; their mean's interval goes through the exponential."""
    table, reference = _same_items(Kept([pruned], dense, None))
    nats = reference - table[0]
    found = mean_of(nats.tolist())
    assert found is not None, "an evaluation has items"
    return found.map(exponential)


def mean_retention(evaluations: Sequence[Kept]) -> Estimate | None:
    """The mean of the evaluations' retentions, of a capability; None where none of them can be measured.

    All have the same draws in the same order, for a draw's luck moves them together; their items are separate samples.
    An evaluation whose dense model may be at chance is left out.
    """
    linear = [part for part in map(_linear, evaluations) if part is not None]
    if len({len(part.table) for part in linear}) > 1:
        raise UserError(f"wanted the same draws of each evaluation, got {sorted({len(p.table) for p in linear})}")
    return _estimate(linear) if linear else None


@dataclass(frozen=True)
class _Linear:
    """A retention, and a table whose mean varies as its estimate does."""

    value: float
    table: Float[np.ndarray, "draws items"]


def _linear(kept: Kept) -> _Linear | None:
    table, reference = _same_items(kept)
    if kept.chance is None:
        value = exponential(float((reference - table).mean()))
        return _Linear(value, value * (reference - table))
    dense = mean_of(reference.tolist())
    if dense is None or dense.low is None or dense.low <= kept.chance:
        return None
    above = dense.value - kept.chance
    value = (float(table.mean()) - kept.chance) / above
    return _Linear(value, (table - kept.chance - value * (reference - kept.chance)) / above)


def _same_items(kept: Kept) -> tuple[Float[np.ndarray, "draws items"], Float[np.ndarray, "items"]]:
    table, reference = table_of(kept.pruned, "the pruned model"), table_of([kept.dense], "the dense model")[0]
    if table.shape[1] != len(reference):
        raise UserError(f"wanted the same items pruned and dense, got {table.shape[1]} and {len(reference)}")
    return table, reference


def _estimate(parts: Sequence[_Linear]) -> Estimate:
    """The mean of the parts' values."""
    value, items = math.fsum(part.value for part in parts) / len(parts), sum(part.table.shape[1] for part in parts)
    if min(min(part.table.shape) for part in parts) < 2:
        return Estimate(value, None, None, items)
    shared = [Weighed(1 / len(parts), "draws", i, part.table) for i, part in enumerate(parts)]
    return variance_of(shared).interval(value, items)
