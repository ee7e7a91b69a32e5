"""How much of what the dense model can do is left: pruned ÷ dense, with its interval."""

import math
from collections.abc import Sequence

import numpy as np

from calprune.config import UserError
from calprune.uncertainty.crossed import Rows, Variance, of_means, of_rest, table_of
from calprune.uncertainty.estimate import Estimate, mean_of


def retention(pruned: Rows, dense: Sequence[float], chance: float = 0.0) -> Estimate | None:
    """(pruned - chance) / (dense - chance) of accuracies; None, "not measurable", where dense may be at chance.

    `pruned` holds one row a draw and one column an item, `dense` the same items. The interval is over draws and items,
    by the ratio's linear part pruned - chance - R (dense - chance), whose mean is zero. One draw: no interval.
    """
    table, reference = _same_items(pruned, dense)
    above = mean_of([float(value) for value in reference])
    assert above is not None
    if above.low is None or above.low <= chance:
        return None
    whole = above.value - chance
    value = (float(table.mean()) - chance) / whole
    return _interval((table - chance - value * (reference - chance)) / whole, value)


def retention_of_perplexity(pruned: Rows, dense: Sequence[float]) -> Estimate:
    """Dense perplexity ÷ pruned, from nats per token of equal windows: `pruned` one row a draw, `dense` one row.

    It is the exponential of a paired difference; the mean over draws is geometric. One draw: no interval.
    """
    table, reference = _same_items(pruned, dense)
    nats = reference - table
    return _interval(nats, float(nats.mean())).map(math.exp)


def _same_items(pruned: Rows, dense: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    table, reference = table_of(pruned, "the pruned model"), table_of([dense], "the dense model")[0]
    if table.shape[1] != len(reference):
        raise UserError(f"wanted the same items pruned and dense, got {table.shape[1]} and {len(reference)}")
    return table, reference


def _interval(table: np.ndarray, value: float) -> Estimate:
    """Round `value`, whose estimate varies as the mean of `table` does."""
    draws, items = table.shape
    if min(draws, items) < 2:
        return Estimate(value, None, None, items)
    variance = Variance(
        draws=(of_means(table.mean(axis=1)),), items=(of_means(table.mean(axis=0)),), twice=(of_rest(table),)
    )
    return variance.interval(value, items)
