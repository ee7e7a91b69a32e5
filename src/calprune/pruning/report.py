"""What pruning did to the linears of a block."""

from dataclasses import dataclass, replace

from calprune.base.tensors import zeros
from calprune.layers.blocks import Block
from calprune.layers.inputs import InputStats, relative_error
from calprune.layers.linears import Linear
from calprune.pattern import Pattern


@dataclass(frozen=True)
class LinearReport:
    """What happened to one matrix."""

    name: str  # "model.layers.3.mlp.down_proj"
    shape: tuple[int, int]  # (out, in)
    pattern: str
    zeros: int  # counted, those that were there before included
    tokens: float | None  # that its statistics are of; None: the method read none
    relative_error: float | None  # ‖(W-Ŵ)X‖² / ‖WX‖² on the calibration inputs; None without a Gram matrix
    damping: float | None  # that its Gram matrix took to be factorised; None where none was
    routed: float | None = None  # tokens sent to its expert, where too few: the statistics are of all tokens instead
    channels: str | None = None  # whether its input channels were permuted, or why not; None: it was not asked for

    @property
    def sparsity(self) -> float:
        return self.zeros / (self.shape[0] * self.shape[1])


class Outcome:
    """A block's linears as they were and as they now are."""

    def __init__(
        self,
        sites: list[Linear],
        stats: dict[str, InputStats],
        channels: dict[str, str],
        running: Block | None = None,
    ):
        """running: the block, where the linears get their statistics only while it runs."""
        self.sites, self.stats, self.channels, self.running = sites, stats, channels, running
        self.before = {site.name: site.weight.clone() for site in sites}
        self.reports: tuple[LinearReport, ...] = ()

    def report(self, name: str, patterns: dict[str, Pattern]) -> None:
        named = {f"{name}.{site.name}": site for site in self.sites}
        self.reports = tuple(self._report(full, site, str(patterns[full])) for full, site in named.items())

    def again(self) -> tuple[LinearReport, ...]:
        """The reports, of weights that were trained once more since."""
        return tuple(
            replace(self._report(r.name, s, r.pattern), damping=r.damping)  # as it was when they were pruned
            for r, s in zip(self.reports, self.sites, strict=True)
        )

    def _report(self, name: str, site: Linear, pattern: str) -> LinearReport:
        before, stats = self.before[site.name], self.stats.get(site.name)
        after = site.weight.to(before.device)  # the block may be home again
        gram = stats if stats is not None and stats.gram is not None else None
        return LinearReport(
            name,
            (before.shape[0], before.shape[1]),
            pattern,
            zeros(after),
            stats.tokens if stats is not None else None,
            relative_error(before, after, gram) if gram else None,
            gram.damping_used if gram else None,
            stats.routed if stats is not None else None,
            self.channels.get(name),
        )
