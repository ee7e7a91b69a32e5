"""What a pruning method is, and what one that begins from another takes from it."""

import inspect
import math
from collections.abc import Callable
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from calprune.base.tensors import is_finite, most_left, zeros
from calprune.base.values import ConfigError
from calprune.layers.inputs import LADDER, Needs
from calprune.pattern import KeepNofM, Pattern, PatternError


@runtime_checkable
class Method(Protocol):
    """A pruning method: a frozen dataclass of its options, called with one matrix and its input statistics."""

    needs: ClassVar[Needs]  # which sums it reads
    version: ClassVar[int]  # in a trial's name; raised when the numbers it gives change

    def __call__(self, weight: Float[Tensor, "out in"], stats: Any, pattern: Pattern) -> Float[Tensor, "out in"]:
        """The new weight, zero where pruned, of the dtype that came. `weight` itself is not changed.

        stats: the `InputStats` of what `needs` says; None where that is "nothing".
        """
        ...


def check_given(method: Method, after: Any, before: Float[Tensor, "out in"], pattern: Pattern) -> None:
    """Raise ConfigError unless what a method gave for `before` is a new weight in the pattern: of its shape and dtype,
    finite, with no more than n of each m, or as many zeros as a share asks for. What a method declares that it does not
    do (`prunes`, `exact_count`) is not asked of it."""
    name = type(method).__name__
    wanted = f"expected its new weight, {_described(before)}"
    if not isinstance(after, Tensor) or after.shape != before.shape or after.dtype != before.dtype:
        came = _described(after) if isinstance(after, Tensor) else type(after).__name__
        mask = isinstance(after, Tensor) and after.dtype == torch.bool
        raise ConfigError(f"{name} gave {came}; {wanted}" + (": return masked(weight, keep)" if mask else ""))
    if not is_finite(after):
        raise ConfigError(f"{name} gave weights that hold NaN or infinity")
    if not getattr(method, "prunes", True):
        return
    if isinstance(pattern, KeepNofM):
        most = most_left(after, pattern.of)
        if most > pattern.keep:
            raise ConfigError(f"{name} left {most} of {pattern.of} neighbours; {pattern} allows {pattern.keep}")
        return
    if not getattr(method, "exact_count", True):
        return
    pruned = zeros(after)
    if pruned < pattern.sparsity * after.numel() - len(after):  # a row's count is rounded
        raise ConfigError(f"{name} set {100 * pruned / after.numel():.3g} % to zero; {pattern} asks for more (a method "
                          "that counts otherwise says exact_count = False)")  # fmt: skip


def _described(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def check_damping(damping: float) -> None:
    """Raise ConfigError unless it is a fraction: what is added to a Gram matrix's diagonal, of the diagonal's mean."""
    if not 0 <= damping <= 1:
        raise ConfigError(f"damping is a fraction of the mean diagonal, 0 to 1, got {damping}")


def check_above_0(options: Any, *names: str) -> None:
    """Raise ConfigError unless each of these options is a finite number above 0."""
    for name in names:
        if not 0 < (value := getattr(options, name)) < math.inf:
            raise ConfigError(f"{name} must be a number above 0, got {value}")


def check_at_least_0(options: Any, *names: str) -> None:
    """Raise ConfigError unless each of these options is a finite number, 0 or more."""
    for name in names:
        if not 0 <= (value := getattr(options, name)) < math.inf:
            raise ConfigError(f"{name} must be a number, at least 0, got {value}")


def refuse_zeros(pattern: Pattern, name: str) -> None:
    """Raise PatternError unless the pattern asks for none. For methods with `prunes: ClassVar[bool] = False`."""
    if pattern.sparsity:
        raise PatternError(f'{name} prunes nothing and takes the pattern "0%", got {pattern}')


Start = Any  # the type of a field that holds a Method: what reads options from files cannot check a protocol


def begin_from(start: Start, method: Any) -> None:
    """Check, in its `__post_init__`, a method that holds a `start`.

    Raises ConfigError where `start` is no method. A start is a method and not a name, so that its options are its own.
    """
    name = type(method).__module__.rpartition(".")[2]  # a method's file has its name
    if not isinstance(start, Method) or isinstance(start, type):
        came = "nothing" if start is None else repr(start)
        raise ConfigError(f"{name} begins from what another method prunes: write {name}(start=wanda), got {came}")
    if not getattr(start, "prunes", True):
        raise ConfigError(f"{name} begins from what another method prunes, and {type(start).__name__} prunes nothing")
    if hasattr(start, "refine"):
        own = getattr(start, "start", "wanda")
        raise ConfigError(f"{name} begins from one matrix, and {type(start).__name__} trains whole blocks, which a "
                          f"start never does: begin from its own start, {own}")  # fmt: skip
    if not isinstance(inspect.getattr_static(method, "needs"), _WithStart):
        own = type(method).needs
        raise ConfigError(f'{name} reads what its start reads too: write needs: ClassVar[Needs] = with_start("{own}")')


class _WithStart:
    """A class attribute that is of the method and its start together, where there is an object with a start."""

    def __init__(self, own: Any, name: str, together: Callable[[Any, Any], Any]) -> None:
        self.own, self.name, self.together = own, name, together

    def __get__(self, method: Any, cls: type) -> Any:
        return self.own if method is None else self.together(self.own, getattr(method.start, self.name, self.own))


def with_start(own: Needs) -> Any:
    """The `needs` of a method that begins from another: the higher of its own and its start's."""
    return _WithStart(own, "needs", lambda own, start: max(own, start, key=LADDER.index))


def exact_as_start() -> Any:
    """The `exact_count` of a method that zeroes as many weights as its start."""
    return _WithStart(True, "exact_count", lambda own, start: start)
