"""Watch the inputs of a block's linears while the block runs, and add up their statistics."""

from contextlib import ExitStack

from torch import Tensor

from calprune.linears import Linear
from calprune.stats import InputStats, Needs, StatsError


class Enough(Exception):
    """Every linear has seen its input: the rest of the block need not run."""


class Collector:
    """A context in which each linear's input is observed. Linears that read the same tensor share one InputStats."""

    def __init__(self, sites: list[Linear], needs: Needs, *, stop_early: bool):
        self.sites, self.needs, self.stop_early = sites, needs, stop_early
        self.stats: dict[str, InputStats] = {}
        self._leader: dict[str, str] = {}  # linear -> the first linear that read the same tensor
        self._seen: dict[tuple, tuple[str, Tensor]] = {}  # a tensor of this batch -> who read it first, and itself

    def __enter__(self) -> "Collector":
        self._hooks = ExitStack()
        for site in self.sites:
            self._hooks.callback(site.module.register_forward_pre_hook(self._hook(site)).remove)
        return self

    def __exit__(self, *exception) -> None:
        self._hooks.close()
        self._seen.clear()
        if exception[0] is None and (unseen := [s.name for s in self.sites if s.name not in self.stats]):
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
            self._missing.discard(site.name)
            if self.stop_early and not self._missing:
                raise Enough

        return observe

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
        x = x.reshape(-1, x.shape[-1])  # (b, T, in), or (b·T, in) in OPT's feed-forward
        if self._rows is not None:
            if len(x) != self._tokens:
                raise StatsError(
                    f"{name} sees {len(x)} of {self._tokens} tokens, so padding or weights cannot be told apart"
                )
            x = x[self._rows]
        stats = self.stats.get(name) or self.stats.setdefault(name, InputStats(x.shape[1], self.needs, x.device))
        stats.observe(x, self._weight)
