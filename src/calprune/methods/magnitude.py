"""Magnitude: keep the largest |w_ij|.

Han, Pool, Tran, Dally, "Learning both Weights and Connections for Efficient Neural Networks", NeurIPS 2015,
arXiv:1506.02626. The baseline that reads no calibration data; all weights of the matrix compete. The paper's text was
not at hand: checked against the baseline of Wanda's released code, 8e8fc87, which zeroes one weight more, and ties.
"""

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from calprune.base.checks import options
from calprune.layers.inputs import InputStats, Needs
from calprune.pattern import Pattern, competing, keep_mask, masked


@options
class Magnitude:
    tag: ClassVar[str] = "Magnitude"
    needs: ClassVar[Needs] = "nothing"
    version: ClassVar[int] = 1

    def __call__(
        self, weight: Float[Tensor, "out in"], stats: InputStats | None, pattern: Pattern
    ) -> Float[Tensor, "out in"]:
        return masked(weight, keep_mask(weight.abs().float(), competing(pattern, "matrix")))
