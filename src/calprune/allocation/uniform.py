"""Uniform: every linear gets the pattern as given.

Each matrix meets it by itself, rounded as `keep_mask` says.
"""

from collections.abc import Iterable
from typing import ClassVar

from calprune.allocation.budget import DenseBlock
from calprune.base.checks import options
from calprune.layers.inputs import Needs
from calprune.pattern import Pattern


@options
class Uniform:
    tag: ClassVar[str] = "Uniform"
    needs: ClassVar[Needs] = "nothing"
    version: ClassVar[int] = 1

    def __call__(self, blocks: Iterable[DenseBlock], pattern: Pattern) -> dict[str, Pattern]:
        return {linear.name: pattern for block in blocks for linear in block.linears}
