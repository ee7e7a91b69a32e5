"""The allocations by name: which linear gets how much of the sparsity. One small file each, read beside its paper."""

from collections.abc import Iterable
from typing import ClassVar, Protocol, runtime_checkable

from calprune.allocation.alpha import Alpha
from calprune.allocation.budget import DenseBlock
from calprune.allocation.dlp import DLP
from calprune.allocation.from_file import FromFile
from calprune.allocation.linear import LinearInDepth
from calprune.allocation.owl import OWL
from calprune.allocation.uniform import Uniform
from calprune.base.calls import Registry
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


_KNOWN: dict[str, type] = {
    "alpha": Alpha,
    "dlp": DLP,
    "from_file": FromFile,
    "linear": LinearInDepth,
    "owl": OWL,
    "uniform": Uniform,
}


ALLOCATIONS = Registry("allocation", _KNOWN, '"uniform" or "owl(lambda_=0.08, m=5)"', Allocation)


def parse_allocation(text: str) -> Allocation:
    """Read "uniform", "owl(lambda_=0.08, m=5)", "from_file(path='table.yaml')", or one of your own.

    A table in a file is read at once, so that a mistake in it shows here."""
    made = ALLOCATIONS.make(text)
    return made.by_contents() if isinstance(made, FromFile) else made
