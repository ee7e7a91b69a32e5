"""The pruning methods by name. To add one: write a file like wanda.py, add a line here (docs/add-a-method.md)."""

import importlib
from collections.abc import Mapping
from typing import ClassVar, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from calprune.config import ConfigError, parse_call
from calprune.methods.magnitude import Magnitude
from calprune.methods.ria import RIA
from calprune.methods.sparsegpt import SparseGPT
from calprune.methods.wanda import Wanda, WandaVariant
from calprune.pattern import Pattern
from calprune.stats import InputStats, Needs


@runtime_checkable
class Method(Protocol):
    """A pruning method: a frozen dataclass of its options, called with one matrix and its input statistics."""

    needs: ClassVar[Needs]  # which sums it reads
    version: ClassVar[int]  # in a trial's name; raised when the numbers it gives change

    def __call__(
        self, weight: Float[Tensor, "out in"], stats: InputStats | None, pattern: Pattern
    ) -> Float[Tensor, "out in"]:
        """The new weight, zero where pruned, of the dtype that came. `weight` itself is not changed."""
        ...


METHODS: dict[str, type] = {
    "magnitude": Magnitude,
    "ria": RIA,
    "sparsegpt": SparseGPT,
    "wanda": Wanda,
    "wanda_variant": WandaVariant,
}


def parse_method(text: str, known: Mapping[str, type] = METHODS) -> Method:
    """Read "wanda", "sparsegpt(damping=0.1)", or a method of your own: "package.module:MyMethod(option=1)"."""
    place, colon, call = text.partition(":")
    if not colon:
        return parse_call(text, known, "method")
    name = call.split("(")[0].strip()
    try:
        cls = getattr(importlib.import_module(place.strip()), name)
    except (ImportError, AttributeError) as e:
        raise ConfigError(
            f'cannot import method {text!r} ({e}); write it like "package.module:MyMethod(option=1)"'
        ) from None
    if missing := [a for a in ("needs", "version", "__call__") if not hasattr(cls, a)]:
        raise ConfigError(f"{text!r} is no method: it has no {missing[0]} (docs/add-a-method.md)")
    return parse_call(call, {**known, name: cls}, "method")
