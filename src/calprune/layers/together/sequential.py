"""One pass through a block whose linears are changed on the way ("true sequential").

    for site, stats in in_turn(block, "gram"):
        site.write(...)     # the tokens go on through the new weights: the next linear's inputs have seen them

All batches are on their way side by side. Each stops before a linear that is still as it was; when all have stopped, or
are through, the first such linear has its sums, is given out, and the batches that wait for it go on. Linears that read
the same tensor (q, k and v) share their sums, as ever. A bank of fused experts is given out in two steps: what reads
the tokens, then what reads the inner states, worked out with the first step's new weights.

What is held is all batches' activations between two linears, where the block runs: about the hidden states and the
widest input of a linear. What stands still in the middle of a block is a thread (`pausing`).
"""

from collections import deque
from collections.abc import Container, Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from calprune.layers.agreement import short_batch
from calprune.layers.blocks import Batch, Block, Sequences, usual_batch_size, walk
from calprune.layers.collect import Counted, Routed, place_of
from calprune.layers.inputs import InputStats, Needs, StatsError
from calprune.layers.linears import Linear, find_blocks
from calprune.layers.products import faster_products
from calprune.layers.together.pausing import Pausing
from calprune.layers.together.processes import Processes, all_leaders, all_sums

OTHERWISE = 'choose propagate "pruned" or "dense"'
WORKERS = 2048  # threads at most of a CPU's library of products, which keeps some for each thread that calls it


def few_batches(calibration: Sequences, device: torch.device) -> int:
    """The usual batch size, or a larger one, where batches would be too many to be on their way at once."""
    most = max(8, WORKERS // torch.get_num_threads()) if device.type == "cpu" else WORKERS
    return max(usual_batch_size(calibration, device), -(-len(calibration.tokens) // most))


@dataclass(frozen=True)
class _Short:
    """What is read of a calibration set, of a few tokens."""

    tokens: Int[Tensor, "n T"]
    lengths: Int[Tensor, "n"]
    weights: None = None


def check_in_turn(model: nn.Module, only: Container[str]) -> None:
    """Raise StatsError where a linear of `only` would be reached after its turn: a short batch goes through a block of
    each class, and no weight is changed."""
    short = short_batch(model)  # its first sequence alone: padding is refused where experts are modules of their own
    given = _Short(short.tokens[:1], torch.tensor(short.lengths[:1]))
    open_ = {type(module) for module in find_blocks(model)[1]}
    with closing(cast(Any, walk(model, given))) as blocks:
        for block in blocks:
            if type(block.module) in open_:
                try:
                    deque(in_turn(block, "moments", only), maxlen=0)
                except StatsError as e:
                    raise StatsError(f"{block.name}: {e}") from None
                open_.discard(type(block.module))
            if not open_:
                break


def in_turn(
    block: Block, needs: Needs, only: Container[str] | None = None
) -> Generator[tuple[Linear, InputStats], None, None]:
    """The block's linears (those of `only`, by full names) that tokens reach, each with its sums, to be changed before
    the next is asked for. At the end the batches hold what leaves the block; it has run once.

    To be closed where it is left early (`contextlib.closing`): then no batch stands in the block any more.
    Raises StatsError where tokens reach a linear that was given out without them: in a model that calls one twice.
    """
    with ExitStack() as stack:
        stack.enter_context(faster_products(block.module))
        batches = [_Passing(block, batch) for batch in block.batches]
        stops = _stops(block.linears(only), needs)
        passing = _Batches(batches)
        for stop in stops:
            hook = partial(passing.arrive, stop)
            stack.callback(stop.module.register_forward_pre_hook(hook, with_kwargs=True).remove)
        stack.callback(passing.stop)
        passing.go_on(batches)
        while (first := _first(stops, batches, block.processes)) is not None:
            yield from first.given_out(block)
            passing.go_on([one for one in batches if one.at is first])
        for one in batches:
            assert one.call.result is not None, "it is through"
            one.batch.hidden = one.call.result
    block.passed = True


def _first(stops: list["_Stop"], batches: list["_Passing"], processes: Processes | None) -> "_Stop | None":
    """The first stop at which a batch of any process stands; None: all are through."""
    places = [stops.index(one.at) for one in batches if one.at is not None]
    if processes:
        places = [place for each in processes.each(places[:1] and [min(places)]) for place in each]
    return stops[min(places)] if places else None


class _Stop:
    """Where batches stop: a linear, or a module of fused experts."""

    def __init__(self, module: nn.Module, sites: list[Linear], needs: Needs, totals: dict[str, InputStats]):
        """totals: of linears that were given out, by the first that read the tensor; of all stops."""
        self.module, self.sites, self.needs, self.totals = module, sites, needs, totals
        self.open = True  # not given out yet
        self.leader: _Stop | None = None  # the first that read the same tensor: the sums are its
        self.stats: InputStats | None = None  # of this process
        self.calls: list[tuple[Counted, tuple, dict]] = []  # of fused experts, one a batch

    @property
    def name(self) -> str:
        return self.sites[0].name

    def given_out(self, block: Block) -> Iterator[tuple[Linear, InputStats]]:
        """Its linears with their sums, once all tokens have reached it."""
        self.open = False
        if self.sites[0].part is None:
            yield self.sites[0], self._total(block.processes)
        for inner in (False, True):
            sites = {site.name: site for site in self.sites if site.part and site.part.reads_inner is inner}
            yield from ((sites[name], stats) for name, stats in self._of_experts(block, list(sites.values())).items())
        self.calls.clear()

    @torch.no_grad()
    def _of_experts(self, block: Block, sites: list[Linear]) -> dict[str, InputStats]:
        """The sums of these matrices of fused experts, with the experts as they now are."""
        if not sites:
            return {}
        routed = Routed(sites, self.needs, block.counting, block.processes)
        for call in self.calls:
            routed.read(*call)
        return routed.finish()

    @torch.no_grad()
    def _total(self, processes: Processes | None) -> InputStats:
        """The sums of a linear, of all processes: its own, or those of the first that read the same tensor."""
        mine = {self.name: self.leader.name} if self.leader else {self.name: self.name} if self.stats else {}
        leader = all_leaders(mine, processes)[self.name]
        if leader == self.name:
            self.totals |= all_sums({self.name: self.stats} if self.stats else {}, processes)
        return self.totals[leader]

    def add(self, counted: Counted, x: Tensor) -> None:
        """The sums of a batch that reaches a linear."""
        if self.leader:
            self.follow(self)
        rows, weight = counted.with_weight(self.name, x)
        self.stats = self.stats or InputStats(rows.shape[1], self.needs, rows.device)
        self.stats.observe(rows, weight)

    def follow(self, leader: "_Stop") -> None:
        """It reads what `leader` read."""
        if self.stats is not None or self.leader not in (None, leader):
            raise StatsError(f"{self.name} shares its input with another linear in some batches alone; {OTHERWISE}")
        self.leader = leader


def _stops(sites: list[Linear], needs: Needs) -> list[_Stop]:
    """In the order in which the block names its linears."""
    modules: dict[nn.Module, list[Linear]] = {}
    for site in sites:
        modules.setdefault(site.module, []).append(site)
    totals: dict[str, InputStats] = {}
    return [_Stop(module, inside, needs, totals) for module, inside in modules.items()]


class _Passing:
    """A batch on its way through the block."""

    @torch.no_grad()
    def __init__(self, block: Block, batch: Batch):
        self.batch, self.counted = batch, Counted(batch.rows, block.weight_of(batch), batch.shape)
        self.call: Pausing[Float[Tensor, "*_ hidden"]] = Pausing(lambda: block.forward(batch))
        self.at: _Stop | None = None  # where it stands
        self.read: tuple[tuple, _Stop, Tensor] | None = None  # the last tensor that a linear read: where, who first


class _Batches:
    """The batches of a block, of which one moves at a time."""

    def __init__(self, batches: list[_Passing]):
        self.batches = batches

    def go_on(self, batches: list[_Passing]) -> None:
        """Each of these to its next stop, or through the block."""
        for one in batches:
            self.moving, one.at = one, None
            if not one.call.go_on():
                one.read = None

    def stop(self) -> None:
        for one in self.batches:
            one.call.stop()

    def arrive(self, stop: _Stop, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """The batch that moves is about to be given to a module: a hook of it."""
        one, fused = self.moving, stop.sites[0].part is not None
        if not fused and not one.counted.is_input(module, args[0]):
            return
        if not stop.open:
            raise StatsError(f"propagate sequential prunes each linear once all tokens have reached it, and they reach "
                             f"{stop.name} again later; leave it out with --ignore, or {OTHERWISE}")  # fmt: skip
        if fused:
            stop.calls.append((one.counted, args, kwargs))
        elif one.read and one.read[0] == place_of(args[0]):
            stop.follow(one.read[1])
        else:
            stop.add(one.counted, args[0])
            one.read = (place_of(args[0]), stop, args[0])
        one.at = stop
        one.call.pause()
