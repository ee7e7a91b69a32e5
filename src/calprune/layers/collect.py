"""Watch the inputs of a block's linears while the block runs, and add up their statistics."""

from contextlib import ExitStack
from typing import Any, ClassVar

from torch import Tensor, nn

from calprune.base.checks import options
from calprune.base.values import ConfigError, plain
from calprune.layers.attention import TokenWeights
from calprune.layers.experts import inner_inputs, sent_to
from calprune.layers.inputs import InputStats, Needs, StatsError
from calprune.layers.linears import Linear


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

    def summary(self) -> dict[str, Any]:
        """For a record of what statistics are of: nothing where they are counted as by default."""
        return {} if self == Counting() else {"counting": plain(self)}


class Enough(Exception):
    """Every linear has seen its input: the rest of the block need not run."""


class Collector:
    """A context in which each linear's input is observed. Linears that read the same tensor share one InputStats."""

    def __init__(self, sites: list[Linear], needs: Needs, counting: Counting, *, stop_early: bool):
        self.sites, self.needs, self.counting, self.stop_early = sites, needs, counting, stop_early
        self.stats: dict[str, InputStats] = {}
        self._leader: dict[str, str] = {}  # linear -> the first linear that read the same tensor
        self._seen: dict[tuple, tuple[str, Tensor]] = {}  # a tensor of this batch -> who read it first, and itself
        self._routed: list[_Routed] = []

    def __enter__(self) -> "Collector":
        self._hooks = ExitStack()
        fused: dict[nn.Module, list[Linear]] = {}
        for site in self.sites:
            if site.part:
                fused.setdefault(site.module, []).append(site)
            else:
                self._hooks.callback(site.module.register_forward_pre_hook(self._hook(site)).remove)
        for module, sites in fused.items():
            self._routed.append(_Routed(sites, self.needs, self.counting))
            self._hooks.callback(module.register_forward_pre_hook(self._routed_hook(self._routed[-1])).remove)
        return self

    def __exit__(self, *exception) -> None:
        self._hooks.close()
        self._seen.clear()
        if exception[0] is None:
            for routed in self._routed:
                self.stats |= routed.finish()
            if unseen := [s.name for s in self.sites if s.name not in self.stats]:
                raise StatsError(f"no token reached {', '.join(unseen)}, so there is nothing to prune by")

    def start(self, rows: Tensor | None, weight: Tensor | None, tokens: int) -> None:
        """Announce a batch of `tokens` (padding included), of which `rows` count, `weight` often."""
        self._rows, self._weight, self._tokens = rows, weight, tokens
        self._seen.clear()
        self._missing = {site.name for site in self.sites}

    def _hook(self, site: Linear):
        def observe(module, args) -> None:
            x = args[0]
            if x.numel():  # an expert that no token was sent to sees an empty input
                self._observe(site.name, x)
            self._done(site.name)

        return observe

    def _routed_hook(self, routed: "_Routed"):
        def observe(module, args) -> None:
            hidden, chosen = (self._counted(routed.sites[0].name, t) for t in args[:2])
            routed.observe(hidden, chosen, self._weight)
            self._done(*(site.name for site in routed.sites))

        return observe

    def _done(self, *names: str) -> None:
        self._missing.difference_update(names)
        if self.stop_early and not self._missing:
            raise Enough

    def _observe(self, name: str, x: Tensor) -> None:
        # the tensor is held until the batch ends, so that its address cannot belong to another one meanwhile
        key = (x.data_ptr(), x.shape, x.stride(), x._version)
        leader = self._seen.setdefault(key, (name, x))[0]
        if self._leader.setdefault(name, leader) != leader:
            raise RuntimeError(
                f"{name} shares its input with {leader}, but with {self._leader[name]} in an earlier batch"
            )
        if leader != name:
            self.stats[name] = self.stats[leader]
            return
        x = self._counted(name, x)
        stats = self.stats.get(name) or self.stats.setdefault(name, InputStats(x.shape[1], self.needs, x.device))
        stats.observe(x, self._weight)

    def _counted(self, name: str, x: Tensor) -> Tensor:
        """The rows of x that belong to tokens that count."""
        x = x.reshape(-1, x.shape[-1])  # (b, T, in), or (b·T, in) in OPT's feed-forward
        if self._rows is None:
            return x
        if len(x) != self._tokens:
            raise StatsError(
                f"{name} sees {len(x)} of {self._tokens} tokens, so padding or weights cannot be told apart"
            )
        return x[self._rows]


class _Routed:
    """The sums of one fused module's experts. The batches' inputs are held on the CPU, for experts that see too few."""

    def __init__(self, sites: list[Linear], needs: Needs, counting: Counting):
        self.sites, self.needs, self.counting = sites, needs, counting
        self.module = sites[0].module
        self.experts = sorted({site.part.expert for site in sites if site.part})
        self._sums: dict[tuple[int, bool], InputStats] = {}  # expert, and whether of what its down_proj reads
        self._held: list[tuple[Tensor, Tensor | None]] = []

    def observe(self, hidden: Tensor, chosen: Tensor, weight: Tensor | None) -> None:
        """hidden (tokens, width); chosen (tokens, k): the experts that each is sent to."""
        self._held.append((hidden.cpu(), None if weight is None else weight.cpu()))
        if self.counting.all_experts:
            return
        for expert in self.experts:
            if len(sent := sent_to(expert, chosen)):
                count = None if weight is None else weight[sent]
                self._add(expert, False, hidden[sent], count)
                self._add(expert, True, inner_inputs(self.module, expert, hidden[sent]), count)

    def _add(self, expert: int, inner: bool, x: Tensor, weight: Tensor | None) -> None:
        if (expert, inner) not in self._sums:
            self._sums[expert, inner] = InputStats(x.shape[1], self.needs, x.device)
        self._sums[expert, inner].observe(x, weight)

    def finish(self) -> dict[str, InputStats]:
        """The sums of each linear. Those that all tokens stand in for say how many were really sent."""
        sent = {e: self._sums[e, False].tokens if (e, False) in self._sums else 0.0 for e in self.experts}
        few = {e for e in self.experts if self.counting.all_experts or sent[e] < self.counting.min_expert_tokens}
        for expert in few:
            self._sums.pop((expert, False), None)
            self._sums.pop((expert, True), None)
        device = next(self.module.parameters()).device
        for held, count in self._held if few else ():
            x, weight = held.to(device), None if count is None else count.to(device)
            self._add(-1, False, x, weight)  # no expert's own: shared by all that see too few
            for expert in few:
                self._add(expert, True, inner_inputs(self.module, expert, x), weight)
        found = {}
        for site in self.sites:
            assert site.part
            expert, inner = site.part.expert, site.part.reads_inner
            if (sums := self._sums.get((-1 if expert in few and not inner else expert, inner))) is not None:
                stood_in = expert in few and not self.counting.all_experts
                found[site.name] = sums.of_linear({}, sent[expert]) if stood_in else sums
        return found
