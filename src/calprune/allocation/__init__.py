"""The allocations by name: which linear gets how much of the sparsity. One small file each, read beside its paper."""

from collections.abc import Iterable, Mapping
from typing import ClassVar, Protocol, runtime_checkable

from calprune.allocation.alpha import Alpha
from calprune.allocation.budget import DenseBlock
from calprune.allocation.dlp import DLP
from calprune.allocation.from_file import FromFile
from calprune.allocation.owl import OWL
from calprune.allocation.uniform import Uniform
from calprune.base.values import parse_call
from calprune.layers.inputs import Needs
from calprune.pattern import Pattern


@runtime_checkable
class Allocation(Protocol):
    """A frozen dataclass of its options, called with the dense model's blocks before a weight is changed."""

    needs: ClassVar[Needs]  # which sums of the dense model it reads
    version: ClassVar[int]  # in a trial's name; raised when the patterns that it gives change

    def __call__(self, blocks: Iterable[DenseBlock], pattern: Pattern) -> dict[str, Pattern]:
        """The pattern of each linear, by its full name: together they zero as many weights as `pattern` asks for."""
        ...


ALLOCATIONS: dict[str, type] = {
    "alpha": Alpha,
    "dlp": DLP,
    "from_file": FromFile,
    "owl": OWL,
    "uniform": Uniform,
}


def parse_allocation(text: str, known: Mapping[str, type] = ALLOCATIONS) -> Allocation:
    """Read "uniform", "owl(lambda_=0.08, m=5)", "from_file(path='table.yaml')"."""
    return parse_call(text, known, "allocation")
