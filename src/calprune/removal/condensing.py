"""Experts ranked by what a block's states lose when a few of them, with constant gates, stand for all: CD-MoE.

With w̄_e the mean of the router's weight of expert e over the tokens that are sent to it, f_e(x) what it gives for every
token, and h the state after the block,

    J(S) = mean over tokens of JS(softmax(h) ‖ softmax(h - routed + Σ_{e in S} w̄_e f_e(x)))

over the channels of the state, JS(p ‖ q) = ½ KL(p ‖ m) + ½ KL(q ‖ m), m = ½ (p + q). Experts are added one at a time,
each time the one that makes J smallest: the first ones are worth most. Of a group-limited router each group keeps as
many, so nothing is added to a group that is full. Cao et al., "Condense, Don't Just Prune:
Enhancing Efficiency and Performance in MoE Layer Pruning", 2024, arXiv:2412.00069; as the released code (008b00c)
has it.

Only the ranking is taken. A condensed block, whose gates are constants, is of no family's config: no ordinary runtime
loads it, so what is saved keeps the router, with fewer experts.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from calprune.base.progress import tracking
from calprune.layers.blocks import Sequences, walk
from calprune.layers.experts import experts_in, is_fused, layout, outputs
from calprune.layers.linears import ModelError, find_blocks
from calprune.removal.config import GROUPS, first_number
from calprune.removal.smaller import UnitPlace

CONDENSING = "condensing experts"  # what the progress calls it
TINY = 1e-10  # added to probabilities before their logarithm, as in the released code


@dataclass(frozen=True)
class _Longest:
    """The longest sequences of a set."""

    tokens: Int[Tensor, "n T"]
    lengths: Int[Tensor, "n"]
    weights: Float[Tensor, "n T"] | None

    @classmethod
    def of(cls, data: Sequences, sequences: int) -> "_Longest":
        rows = data.lengths.argsort(descending=True, stable=True)[:sequences]
        return cls(data.tokens[rows], data.lengths[rows], None if data.weights is None else data.weights[rows])


@torch.no_grad()
def condensed_ranks(
    model: nn.Module, data: Sequences, places: Mapping[str, UnitPlace], sequences: int, **knobs: Any
) -> Iterator[tuple[str, Float[Tensor, "experts"]]]:
    """Of each bank, how early each expert was added, the earliest the highest; 0: not among those that stay.

    Raises ModelError for experts that are not fused, or that are called with their own input each.
    """
    _, modules = find_blocks(model)
    rows = _Longest.of(data, sequences)
    for block in tracking(walk(model, rows, propagate="dense", **knobs), len(modules), CONDENSING):
        inside = [name for name in places if name.startswith(f"{block.name}.")]
        seen: dict[str, list[tuple[Tensor, ...]]] = {name: [] for name in inside}
        states = []
        with ExitStack() as stack:
            for name in inside:
                stack.enter_context(_watched(name, model.get_submodule(name), seen[name]))
            for batch in block.batches:
                batch.hidden = block.forward(batch)
                counted = batch.counts().flatten() > 0
                states.append((batch.by_token(batch.hidden).flatten(0, -2), counted))
        block.passed = True
        for name in inside:
            bank = _OneBank.of(model.get_submodule(name), states, seen[name])
            yield name, bank.ranks(places[name].stay, first_number(cast(Any, model).config, GROUPS) or 1)


def _watched(name: str, module: Any, seen: list[tuple[Tensor, ...]]) -> Any:
    held = layout(module) if is_fused(module) else None
    if held is None or held.dispatched:
        raise ModelError(f"{name}: {type(module).__name__} does not give its experts the tokens' states, so it is not "
                         "condensed; take reap, or another that reads sums")  # fmt: skip

    def keep(module: nn.Module, args: tuple, kwargs: dict, given: Tensor) -> None:
        hidden, chosen, share = [*args, *kwargs.values()][:3]
        x = hidden.reshape(-1, hidden.shape[-1])
        seen.append((x, chosen.reshape(len(x), -1), share.reshape(len(x), -1), given.reshape(x.shape)))

    return module.register_forward_hook(keep, with_kwargs=True)


@dataclass
class _OneBank:
    """One bank on some tokens."""

    state: Float[Tensor, "tokens hidden"]  # after the block
    rest: Float[Tensor, "tokens hidden"]  # the same without what the experts gave
    given: Float[Tensor, "experts tokens hidden"]  # w̄_e f_e(x)

    @classmethod
    def of(cls, module: Any, states: list[tuple[Tensor, Tensor]], seen: list[tuple[Tensor, ...]]) -> "_OneBank":
        states = [(state.to(one[0].device), counted.to(one[0].device)) for one, (state, counted)
                  in zip(seen, states, strict=True)]  # fmt: skip
        x, chosen, share, routed = (
            torch.cat([one[i][counted] for one, (_, counted) in zip(seen, states, strict=True)]) for i in range(4)
        )
        state = torch.cat([one[counted] for one, counted in states]).float()
        given = []
        for expert in range(experts_in(module)):
            at = chosen == expert
            gates = share[at] if share.shape == chosen.shape else share[at.any(1), expert]
            mean = gates.float().mean() if len(gates) else torch.zeros(())
            given.append(mean * outputs(module, expert, x).float())
        return cls(state, state - routed.float(), torch.stack(given))

    def ranks(self, stay: int, groups: int = 1) -> Float[Tensor, "experts"]:
        """The first added the highest; 0: never. groups: of a group-limited router, each of which keeps as many."""
        experts = len(self.given)
        size, room = experts // groups, [stay // groups] * groups
        found, mixed = torch.zeros(experts, dtype=torch.double), self.rest.clone()
        dense = self.state.softmax(-1)
        for rank in range(stay):
            left = [e for e in range(experts) if found[e] == 0 and room[e // size]]
            best = min(left, key=lambda e: divergence(dense, (mixed + self.given[e]).softmax(-1)))
            found[best] = experts - rank
            room[best // size] -= 1
            mixed += self.given[best]
        return found


def divergence(p: Float[Tensor, "tokens n"], q: Float[Tensor, "tokens n"]) -> float:
    """The mean over rows of the Jensen-Shannon divergence, nats."""
    middle = (p + q) / 2

    def kl(a: Tensor) -> Tensor:
        return (a * ((a + TINY).log() - (middle + TINY).log())).sum(-1)

    return float((kl(p) / 2 + kl(q) / 2).mean())
