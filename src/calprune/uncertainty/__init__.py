"""How sure a measured number is: intervals, differences, effects, and what a number of draws can show.

| module | what |
|---|---|
| `estimate` | a value with its interval; the spread over draws |
| `crossed` | the mean of a table of draws × items, both being samples |
| `difference` | sources paired by item, methods paired by draw; Holm; win, tie or loss |
| `effect` | does the data matter here? |
| `power` | draws needed, and the smallest difference that can be seen |
| `ranks` | rank correlation |
| `retention` | pruned ÷ dense |
| `share` | accuracies: intervals that stay in 0 … 1, also near its ends |
| `spread` | how far sources, or draws, lie apart, and where they do so more |

`benchmarks/intervals.md` has the coverage of each interval on simulated data of known answer.
"""

from calprune.uncertainty.crossed import Weighed
from calprune.uncertainty.difference import (
    Difference,
    Verdict,
    holm,
    paired_by_draw,
    paired_by_item,
    verdict,
    weighed_sum,
)
from calprune.uncertainty.effect import RULE, Effect, Word, effect_of_groups, range_of, word_of
from calprune.uncertainty.estimate import Estimate, Spread, exponential, mean_of, over_draws
from calprune.uncertainty.power import detectable, draws_needed, items_needed
from calprune.uncertainty.ranks import rank_correlation
from calprune.uncertainty.retention import AT_FEW_DRAWS, Kept, mean_retention, retention, retention_of_perplexity
from calprune.uncertainty.share import share_of, shares_over_draws
from calprune.uncertainty.spread import larger_by, luck_per_doubling, ratio_of_luck, spread_between

__all__ = [
    "AT_FEW_DRAWS",
    "RULE",
    "Difference",
    "Effect",
    "Estimate",
    "Kept",
    "Spread",
    "Verdict",
    "Weighed",
    "Word",
    "detectable",
    "draws_needed",
    "effect_of_groups",
    "exponential",
    "holm",
    "items_needed",
    "larger_by",
    "luck_per_doubling",
    "mean_of",
    "mean_retention",
    "over_draws",
    "paired_by_draw",
    "paired_by_item",
    "range_of",
    "rank_correlation",
    "ratio_of_luck",
    "retention",
    "retention_of_perplexity",
    "share_of",
    "shares_over_draws",
    "spread_between",
    "verdict",
    "weighed_sum",
    "word_of",
]
