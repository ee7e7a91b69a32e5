"""OWL: a block with more outliers keeps more of its weights.

Yin, Wu, Zhang, Hsieh, Wang, Jia, Li, Jaiswal, Pechenizkiy, Liang, Bendersky, Wang, Liu, "Outlier Weighed Layerwise
Sparsity (OWL): A Missing Secret Sauce for Pruning LLMs to High Sparsity", ICML 2024, arXiv:2310.05175, eq. 1:

    A_ij = ‖X_j‖₂ · |w_ij|        over all linears of a block
    D    = 100 · #{A_ij > m · mean(A)} / #{A_ij}
    keep = 1 - sparsity + r - mean(r),  with r the D of all blocks, mapped onto [0, 2 · lambda_]

So sparsities lie within 2 · lambda_ of each other. `per="linear"` does the same for each linear by itself.
"""

from collections.abc import Iterable
from typing import ClassVar, Literal

from calprune.allocation.budget import DenseBlock, DenseLinear, meet, share_of, shares_of, spread
from calprune.base.checks import options
from calprune.base.values import ConfigError
from calprune.layers.inputs import Needs
from calprune.pattern import Pattern


@options
class OWL:
    lambda_: float = 0.08  # half of the width of the sparsities
    m: float = 5.0  # an outlier is a score above m times the mean
    per: Literal["block", "linear"] = "block"

    tag: ClassVar[str] = "OWL"
    needs: ClassVar[Needs] = "moments"
    version: ClassVar[int] = 1

    def __post_init__(self):
        if not 0 <= self.lambda_ <= 0.5:
            raise ConfigError(f"lambda_ is half the width of the sparsities, 0 to 0.5, got {self.lambda_}")
        if not 0 < self.m < float("inf"):
            raise ConfigError(f"m is how many times the mean an outlier is, above 0, got {self.m}")

    def __call__(self, blocks: Iterable[DenseBlock], pattern: Pattern) -> dict[str, Pattern]:
        if self.per == "block":
            rated = [share for block in blocks for share in shares_of(block, self._outliers(block.linears))]
        else:
            rated = [share_of(linear, self._outliers([linear])) for block in blocks for linear in block.linears]
        return meet(spread(rated, 2 * self.lambda_, pattern.sparsity), pattern)

    def _outliers(self, linears: list[DenseLinear]) -> float:
        """The percentage of their scores that are outliers."""
        scores = [linear.score for linear in linears]
        count = max(sum(score.numel() for score in scores), 1)
        mean = sum(score.double().sum().item() for score in scores) / count
        return 100 * sum(int((score > self.m * mean).sum()) for score in scores) / count
