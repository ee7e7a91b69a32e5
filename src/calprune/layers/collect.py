"""Watch the inputs of a block's linears while the block runs, and add up their statistics.

A linear that no token reaches (its matrix is read by other code, or it is not run at all) has none afterwards.
"""

import math
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from calprune.base.checks import options
from calprune.base.values import ConfigError, plain
from calprune.layers.arguments import by_token
from calprune.layers.attention import TokenWeights
from calprune.layers.experts import inner_inputs, layout, sent_to
from calprune.layers.inputs import InputStats, Needs, StatsError
from calprune.layers.linears import Linear
from calprune.layers.together.processes import Processes, all_leaders, all_sums


@options
class Counting:
    """Which tokens count in whose statistics: the options of collecting.

    A linear's statistics are of all tokens; those of an expert's linears are of the tokens that were sent to it, each
    once, whatever weight the router gave it. An expert to which too few were sent takes all tokens' instead, as if
    they had all been sent to it.
    """

    tag: ClassVar[str] = "Counting"

    min_expert_tokens: int = 128  # fewer tokens that count are too few
    all_experts: bool = False  # every token counts in every expert's statistics; where it is sent is not changed
    token_weights: TokenWeights | None = None  # beside the calibration set's own, block by block

    def __post_init__(self):
        if self.min_expert_tokens < 1:
            raise ConfigError(f"min_expert_tokens must be at least 1, got {self.min_expert_tokens}")

    def is_few(self, tokens: float) -> bool:
        """Whether so many are too few. Tokens may weigh less than 1 each, so fewer than 1 are none."""
        return tokens < self.min_expert_tokens if self.min_expert_tokens > 1 else tokens == 0

    def summary(self) -> dict[str, Any]:
        """For a record of what statistics are of: nothing where they are counted as by default."""
        return {} if self == Counting() else {"counting": plain(self)}


@dataclass(frozen=True)
class Counted:
    """The tokens of a batch that count."""

    rows: Int[Tensor, "counted"] | None  # of b · T; None: all
    weight: Float[Tensor, "counted"] | None  # how often each of them counts; None: once
    shape: tuple[int, int]  # (b, T), padding included

    @property
    def tokens(self) -> int:
        """b · T."""
        return math.prod(self.shape)

    def of(self, name: str, x: Tensor) -> Tensor:
        """The rows of x, what the linear `name` reads, that belong to tokens that count."""
        x = x.reshape(-1, x.shape[-1])  # (b, T, in), or (b·T, in) in OPT's feed-forward
        if self.rows is None:
            return x
        if len(x) != self.tokens:
            raise StatsError(
                f"{name} sees {len(x)} rows where the batch has {self.tokens} tokens, so padding or weights cannot be "
                "told apart; leave it out with --ignore"
            )
        return x[self.rows]

    def with_weight(self, name: str, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """What of x counts, (rows, in), and how often each row does. A token may have several rows: one for each head,
        or for each of several streams of hidden states."""
        by = by_token(x, self.shape)
        if x.dim() < 4 or tuple(by.shape[:2]) != self.shape:
            return self.of(name, x), self.weight
        each = by.flatten(2, -2)  # (b, T, several, in)
        several = each.shape[2]
        counted = self.of(name, each.flatten(2)).reshape(-1, x.shape[-1])
        return counted, None if self.weight is None else self.weight.repeat_interleave(several)

    def is_input(self, module: nn.Module, x: Tensor) -> bool:
        """Whether x is what a linear reads of the batch: an expert that no token was sent to sees nothing; a class of
        its own that is given several rows for each token may give each to rows of its own (DeepSeek-V4's groups)."""
        usual = type(module).forward is nn.Linear.forward
        return x.numel() > 0 and (usual or x.numel() <= self.tokens * x.shape[-1])


def place_of(x: Tensor) -> tuple:
    """The same for two tensors that are one, as long as the first is held: its address may be another's later."""
    return (x.data_ptr(), x.shape, x.stride(), None if x.is_inference() else x._version)


class Enough(Exception):
    """Every linear has seen its input: the rest of the block need not run."""


class Once:
    """Which sums hold a batch already. Where memory runs out within a batch, its parts go the same way from the
    beginning, and are not added once more to sums that hold all of it."""

    def __init__(self) -> None:
        self.new_batch()

    def new_batch(self) -> None:
        self._begun: list[tuple[slice, Counter[Hashable]]] = []  # rows, and what was called how often with them
        self.start(slice(0, 0))

    def start(self, rows: slice) -> None:
        """Announce some rows of the batch: those that were begun with others, in vain, are anew."""
        self._calls: Counter[Hashable] = Counter()
        self._before: Counter[Hashable] = Counter()
        for over, calls in self._begun:
            if over.start <= rows.start and rows.stop <= over.stop:
                self._before |= calls
        self._begun.append((rows, self._calls))

    def add(self, key: Hashable, add: Callable[[], None]) -> None:
        """These rows' next call of what `key` names: its sums are added to, unless they hold it."""
        if self._calls[key] >= self._before[key]:
            add()
        self._calls[key] += 1


class Collector:
    """A context in which each linear's input is observed. Linears that read the same tensor share one InputStats."""

    def __init__(
        self,
        sites: list[Linear],
        needs: Needs,
        counting: Counting,
        *,
        stop_early: bool,
        processes: Processes | None = None,
    ):
        """processes: those whose sums are added to these at the end."""
        self.sites, self.needs, self.counting, self.stop_early = sites, needs, counting, stop_early
        self.processes = processes
        self.stats: dict[str, InputStats] = {}
        self._leader: dict[str, str] = {}  # linear -> the first linear that read the same tensor
        self._seen: dict[tuple, tuple[str, Tensor]] = {}  # a tensor of this batch -> who read it first, and itself
        self._routed: list[Routed] = []
        self._once = Once()

    def __enter__(self) -> "Collector":
        self._hooks = ExitStack()
        fused: dict[nn.Module, list[Linear]] = {}
        for site in self.sites:
            if site.part:
                fused.setdefault(site.module, []).append(site)
            else:
                self._hooks.callback(site.module.register_forward_pre_hook(self._hook(site)).remove)
        for module, sites in fused.items():
            self._routed.append(Routed(sites, self.needs, self.counting, self.processes))
            self._routed[-1].once = self._once
            hook = self._routed_hook(self._routed[-1])
            self._hooks.callback(module.register_forward_pre_hook(hook, with_kwargs=True).remove)
        return self

    def __exit__(self, *exception) -> None:
        self._hooks.close()
        self._seen.clear()
        if exception[0] is None:
            leaders = all_leaders(self._leader, self.processes)
            sums = all_sums({name: s for name, s in self.stats.items() if self._leader[name] == name}, self.processes)
            self.stats = {name: sums[leader] for name, leader in leaders.items()}
            for routed in self._routed:
                self.stats |= routed.finish()
            self.stats = {site.name: self.stats[site.name] for site in self.sites if site.name in self.stats}

    def new_batch(self) -> None:
        """Announce a batch, whose rows are then announced by `start`."""
        self._once.new_batch()

    def start(self, counted: Counted, rows: slice) -> None:
        """Announce these rows of the batch: all of them, or some where memory did not hold them all."""
        self._counted = counted
        self._once.start(rows)
        self._missing = {site.name for site in self.sites}

    def end(self) -> None:
        """The rows are through, or memory ran out."""
        self._seen.clear()

    def _hook(self, site: Linear):
        def observe(module, args) -> None:
            if self._counted.is_input(module, args[0]):
                self._observe(site.name, args[0])
            self._done(site.name)

        return observe

    def _routed_hook(self, routed: "Routed"):
        def observe(module, args, kwargs) -> None:
            routed.read(self._counted, args, kwargs)
            self._done(*(site.name for site in routed.sites))

        return observe

    def _done(self, *names: str) -> None:
        self._missing.difference_update(names)
        if self.stop_early and not self._missing:
            raise Enough

    def _observe(self, name: str, x: Tensor) -> None:
        key = place_of(x)  # x is held until `end`
        leader = self._seen.setdefault(key, (name, x))[0]
        if self._leader.setdefault(name, leader) != leader:
            raise StatsError(
                f"{name} shares its input with {leader}, but with {self._leader[name]} in an earlier batch"
            )
        if leader != name:
            self.stats[name] = self.stats[leader]
            return
        self._once.add(name, lambda: self._add(name, x))

    def _add(self, name: str, x: Tensor) -> None:
        x, weight = self._counted.with_weight(name, x)
        stats = self.stats.get(name) or self.stats.setdefault(name, InputStats(x.shape[1], self.needs, x.device))
        stats.observe(x, weight)


class Routed:
    """The sums of one fused module's experts. The batches' inputs are held on the CPU, for experts that see too few."""

    def __init__(self, sites: list[Linear], needs: Needs, counting: Counting, processes: Processes | None = None):
        self.sites, self.needs, self.counting, self.processes = sites, needs, counting, processes
        self.module = sites[0].module
        self.wanted = {(site.part.expert, site.part.reads_inner) for site in sites if site.part}
        self.experts = sorted({expert for expert, _ in self.wanted})
        self._sums: dict[tuple[int, bool], InputStats] = {}  # expert, and whether of what its down_proj reads
        self._sent = dict.fromkeys(self.experts, 0.0)  # tokens that were sent to each
        self._held: list[tuple[Tensor, Tensor | None]] = []
        self.once = Once()

    def read(self, counted: Counted, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """What the module is called with for a batch."""
        given = [*args, *kwargs.values()]
        name, held = self.sites[0].name, layout(self.module)
        if held and held.dispatched:
            each = given[0].reshape(len(self.module.get_parameter(held.down)), -1, given[0].shape[-1])
            self.observe_dispatched([counted.of(name, x) for x in each], counted.weight)
        else:
            hidden, chosen = (counted.of(name, t) for t in given[:2])
            self.observe(hidden, chosen, counted.weight)

    def observe(self, hidden: Tensor, chosen: Tensor, weight: Tensor | None) -> None:
        """hidden (tokens, width); chosen (tokens, k): the experts that each is sent to."""
        self._add_once("held", lambda: self._held.append((hidden.cpu(), None if weight is None else weight.cpu())))
        if self.counting.all_experts:
            return
        for expert in self.experts:
            self._add_sent(expert, hidden, sent_to(expert, chosen), weight)

    def observe_dispatched(self, each: list[Tensor], weight: Tensor | None) -> None:
        """each: what each expert reads (tokens, width), zero for tokens that are not sent to it.

        For experts that see too few, what a token's strongest expert reads of it stands in.
        """
        sizes = torch.stack([x.norm(dim=-1) for x in each])  # (experts, tokens)
        sent_to_none = torch.empty(sizes.shape[1], 0, dtype=torch.long, device=sizes.device)
        self.observe(torch.stack(each)[sizes.argmax(0), torch.arange(sizes.shape[1])], sent_to_none, weight)
        for expert in () if self.counting.all_experts else self.experts:
            self._add_sent(expert, each[expert], sizes[expert].nonzero().flatten(), weight)

    def _add_sent(self, expert: int, x: Tensor, sent: Tensor, weight: Tensor | None) -> None:
        """sent: the tokens that are sent to the expert."""
        if len(sent):
            count = None if weight is None else weight[sent]
            self._add_once(("sent", expert), lambda: self._add_count(expert, len(sent), count))
            for inner in (inner for inner in (False, True) if (expert, inner) in self.wanted):
                self._add_once((expert, inner), partial(self._add_inputs, expert, inner, x[sent], count))

    def _add_once(self, what: Hashable, add: Callable[[], None]) -> None:
        self.once.add((self.sites[0].name, what), add)

    def _add_count(self, expert: int, tokens: int, weight: Tensor | None) -> None:
        self._sent[expert] += tokens if weight is None else weight.sum().item()

    def _add_inputs(self, expert: int, inner: bool, x: Tensor, weight: Tensor | None) -> None:
        """x: what the expert reads, whose sums are added to, or (inner) those of what its down_proj reads."""
        self._add(expert, inner, inner_inputs(self.module, expert, x) if inner else x, weight)

    def _add(self, expert: int, inner: bool, x: Tensor, weight: Tensor | None) -> None:
        if (expert, inner) not in self._sums:
            self._sums[expert, inner] = InputStats(x.shape[1], self.needs, x.device)
        self._sums[expert, inner].observe(x, weight)

    def finish(self) -> dict[str, InputStats]:
        """The sums of each linear. Those that all tokens stand in for say how many were really sent."""
        sent = self._sent_to_each()
        self._sums = all_sums(self._sums, self.processes)
        few = {e for e in self.experts if self.counting.all_experts or self.counting.is_few(sent[e])}
        for expert in few:
            self._sums.pop((expert, False), None)
            self._sums.pop((expert, True), None)
        device = next(self.module.parameters()).device
        done, self._sums = self._sums, {}
        for held, count in self._held if few else ():
            x, weight = held.to(device), None if count is None else count.to(device)
            if any((expert, False) in self.wanted for expert in few):
                self._add(-1, False, x, weight)  # no expert's own: shared by all that see too few
            for expert in (e for e in few if (e, True) in self.wanted):
                self._add(expert, True, inner_inputs(self.module, expert, x), weight)
        self._sums = done | all_sums(self._sums, self.processes)
        found = {}
        for site in self.sites:
            assert site.part
            expert, inner = site.part.expert, site.part.reads_inner
            if (sums := self._sums.get((-1 if expert in few and not inner else expert, inner))) is not None:
                stood_in = expert in few and not self.counting.all_experts
                found[site.name] = sums.of_linear({}, sent[expert]) if stood_in else sums
        return found

    def _sent_to_each(self) -> dict[int, float]:
        """The tokens that were sent to each expert, in all processes."""
        if self.processes is None:
            return self._sent
        each = self.processes.each(self._sent)
        return {expert: sum(one[expert] for one in each) for expert in self.experts}
