"""Round to nearest: each weight becomes the nearest of a few evenly spaced values; the data is not looked at.

Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", CVPR 2018,
arXiv:1712.05877, eq. 1; of a group of inputs of a row. What GPTQ is compared with. A quantiser, and no pruning: it is
here so that the two can be compared through one contract. With l and h a group's least and greatest weight, or zero:

    s = (h - l) / (2^bits - 1)    z = round(-l / s)    ŵ = s · (clamp(round(w / s) + z, 0, 2^bits - 1) - z)

`symmetric` puts zero in the middle: s = max|w| / (2^(bits-1) - 1), z = 2^(bits-1). What is returned are the rounded
weights themselves in the dtype that came (fake quantisation), so nothing gets smaller or faster.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from calprune.base.checks import options
from calprune.base.values import ConfigError
from calprune.layers.inputs import InputStats, Needs
from calprune.methods.contract import refuse_zeros
from calprune.pattern import Pattern


@options
class RoundToNearest:
    bits: int = 4
    group_size: int | None = (
        128  # inputs of a row that share s and z; the last group may have fewer; None: the whole row
    )
    symmetric: bool = False

    tag: ClassVar[str] = "RoundToNearest"
    needs: ClassVar[Needs] = "nothing"
    version: ClassVar[int] = 1
    prunes: ClassVar[bool] = False

    def __post_init__(self):
        check_levels(self.bits, self.group_size)

    def __call__(
        self, weight: Float[Tensor, "out in"], stats: InputStats | None, pattern: Pattern
    ) -> Float[Tensor, "out in"]:
        refuse_zeros(pattern, "round_to_nearest")
        return self.quantised(weight, stats).weight.to(weight.dtype)

    def quantised(
        self,
        weight: Float[Tensor, "out in"],
        stats: InputStats | None,
        keep: Bool[Tensor, "out in"] | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> "Quantised":
        """The rounded weights with their scales, which are numbers of `dtype`. A zero is rounded to zero: `keep`, as
        `GPTQ.quantised` has it, changes nothing."""
        W = weight.T.float()
        groups = W.split(self.group_size or len(W))
        levels = [Levels.of(group, self.bits, self.symmetric, dtype) for group in groups]
        rounded = [each.nearest(group) for each, group in zip(levels, groups, strict=True)]
        return Quantised.of(torch.cat(rounded), levels)


def check_levels(bits: int, group_size: int | None) -> None:
    """Raise ConfigError for a number of bits or a group that there cannot be."""
    if not 2 <= bits <= 8:
        raise ConfigError(f"bits must be 2 to 8, got {bits}")
    if group_size is not None and group_size < 1:
        raise ConfigError(f"group_size is a number of inputs, or None for the whole row, got {group_size}")


@dataclass(frozen=True, eq=False)
class Levels:
    """The values that a group's weights may have: scale · (code - zero), code from 0 to `most`."""

    scale: Float[Tensor, "out"]
    zero: Float[Tensor, "out"]
    most: int

    @classmethod
    def of(
        cls, group: Float[Tensor, "inputs out"], bits: int, symmetric: bool, dtype: torch.dtype = torch.float32
    ) -> "Levels":
        """Those that reach from the least to the greatest weight of each output; the scale is a number of `dtype`."""
        low, high = group.amin(0).clamp(max=0), group.amax(0).clamp(min=0)
        most, half = 2**bits - 1, 2 ** (bits - 1)
        scale = torch.maximum(high, -low) / (half - 1) if symmetric else (high - low) / most
        scale = scale.to(dtype).float()
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))  # a group of zeros
        return cls(scale, torch.full_like(scale, half) if symmetric else (-low / scale).round(), most)

    def nearest(self, weights: Float[Tensor, "*inputs out"]) -> Float[Tensor, "*inputs out"]:
        return ((weights / self.scale).round().add(self.zero).clamp(0, self.most) - self.zero) * self.scale


@dataclass(frozen=True, eq=False)
class Quantised:
    """A quantised matrix with what its codes mean: a weight is scale · (code - zero) of its group, float32."""

    weight: Float[Tensor, "out in"]
    scale: Float[Tensor, "out groups"]
    zero: Float[Tensor, "out groups"]

    @classmethod
    def of(cls, rounded: Float[Tensor, "in out"], levels: list[Levels]) -> "Quantised":
        """Of the rounded weights, transposed, and the levels of their groups, in order."""
        scale, zero = (torch.stack([getattr(each, name) for each in levels], 1) for name in ("scale", "zero"))
        return cls(rounded.T.contiguous(), scale, zero)
