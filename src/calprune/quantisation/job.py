"""Quantise the linears of a model's blocks in place, one block at a time; what is zero stays zero.

It is the loop of pruning with a quantiser in the method's place and a pattern that asks for no zeros.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from calprune.base.checks import options
from calprune.base.patterns import parse_pattern
from calprune.base.values import ConfigError, UserError
from calprune.layers.blocks import Sequences
from calprune.layers.inputs import InputStats, Needs
from calprune.layers.linears import Linear
from calprune.layers.saved import Statistics
from calprune.methods.gptq import GPTQ
from calprune.methods.round_to_nearest import Quantised, RoundToNearest
from calprune.pattern import Pattern
from calprune.pruning.job import Pruned, Pruning
from calprune.pruning.scope import scope_of

Quantiser = GPTQ | RoundToNearest


@options
class _Held:
    """A quantiser as a pruning method: the mask is held, and the codes' scales are noted in the order of the calls."""

    quantiser: Any
    needs: Needs = "nothing"
    made: list[Quantised] = field(default_factory=list)

    tag: ClassVar[str] = "Held"
    version: ClassVar[int] = 1
    prunes: ClassVar[bool] = False

    def __call__(
        self, weight: Float[Tensor, "out in"], stats: InputStats | None, pattern: Pattern
    ) -> Float[Tensor, "out in"]:
        found = self.quantiser.quantised(weight, stats, weight != 0, weight.dtype)
        self.made.append(Quantised(*(each.cpu() for each in (found.weight, found.scale, found.zero))))
        return found.weight.to(weight.dtype)


@dataclass(frozen=True, eq=False)
class QuantisedModel:
    """What was done to a model: its weights now are what the codes mean (fake quantisation)."""

    quantiser: Quantiser
    matrices: dict[str, Quantised]  # by the linear's full name
    done: Pruned
    zeros: tuple[int, int]  # of these linears, before and after: those of before are zero still


@torch.no_grad()
def quantise(
    model: nn.Module,
    quantiser: Quantiser,
    data: Sequences | Statistics | None,
    *,
    ignore: tuple[str, ...] = (),
    batch_size: int | None = None,
    device: torch.device | str | None = None,
) -> QuantisedModel:
    """Quantise the linears of the model's blocks in place.

    Raises UserError where a group does not divide a linear's inputs, or codes of it cannot be packed.
    """
    linears = linears_to_quantise(model, quantiser, ignore)
    before = {name: (site.weight == 0).cpu() for name, site in linears.items()}
    method: Any = _Held(quantiser, quantiser.needs)
    job = Pruning(method, parse_pattern("0%"), ignore)
    done = job.run(model, data, batch_size=batch_size, device=device)
    matrices = dict(zip((report.name for report in done.reports), method.made, strict=True))
    counts = [0, 0]
    for name, made in matrices.items():
        if bool((before[name] & (made.weight != 0)).any()):
            raise UserError(f"{name}: weights that were pruned are no zeros any more: this is a fault of calprune")
        counts = [counts[0] + int(before[name].sum()), counts[1] + int((made.weight == 0).sum())]
    return QuantisedModel(quantiser, matrices, done, (counts[0], counts[1]))


def linears_to_quantise(model: nn.Module, quantiser: Quantiser, ignore: tuple[str, ...] = ()) -> dict[str, Linear]:
    """By their full names. Raises UserError as `quantise` does, before any work."""
    linears = scope_of(model, ignore).linears
    check_groups(quantiser, {name: site.weight.shape[1] for name, site in linears.items()})
    for name, site in linears.items():
        if site.part or site.stored.transposed:
            raise UserError(f"{name}: codes are packed for linears that are stored as (out, in), each by itself; "
                            "leave it out with --ignore")  # fmt: skip
    return linears


def check_groups(quantiser: Quantiser, widths: dict[str, int]) -> None:
    """Raise ConfigError where a group does not divide the inputs of a linear: the format has no shorter last group."""
    size = quantiser.group_size
    for name, width in widths.items():
        if size is not None and width % size:
            fits = [n for n in (256, 128, 96, 64, 32, 16, 8) if not any(w % n for w in widths.values())]
            instead = f"--group {fits[0]} divides all" if fits else "--group 0 takes whole rows"
            raise ConfigError(f"--group {size}: {name} has {width} inputs, which is no multiple of it; {instead}")
