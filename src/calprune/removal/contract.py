"""What a method of removal is: it scores a model's units of one kind, and says which stay.

Three kinds of methods, by what they are called with; each is a frozen dataclass of its options.

    of channels   neurons and heads: one linear's weight, the sums at its input, and how many units stay
    of blocks     the whole model's sums over hidden states, or the model itself, and how many blocks go
    of experts    one block's sums for each expert, and how many stay
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from calprune.base.patterns import UnitKind

Reads = Literal["nothing", "moments", "gram", "blocks", "experts", "model"]
# of the data: nothing, the sums at linears' inputs, sums over each block's states, over experts' outputs, or sequences


@dataclass(frozen=True)
class KeptUnits:
    """What stays at one place."""

    stay: Int[Tensor, "stay"]  # the units, rising
    scores: Float[Tensor, "units"]  # the higher, the more worth keeping
    weight: Float[Tensor, "out kept"] | None = None  # of the reading linear; None: its columns as they are
    bias: Float[Tensor, "out"] | None = None  # what is added to its bias; None: nothing


@runtime_checkable
class RemovalMethod(Protocol):
    """A method of removal."""

    kinds: ClassVar[tuple[UnitKind, ...]]  # what it can remove
    version: ClassVar[int]  # in a trial's name; raised when it chooses otherwise

    @property
    def needs(self) -> Reads:
        """What it reads of the calibration data."""
        ...

    def __call__(self, *given: Any) -> Any:
        """As its kind has it."""
        ...


def highest(scores: Float[Tensor, "units"], stay: int) -> Int[Tensor, "stay"]:
    """The units with the highest scores, rising; of equal ones the later."""
    order = scores.double().argsort(stable=True)
    return order[len(order) - stay :].sort().values.cpu()
