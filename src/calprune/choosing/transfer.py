"""The sums that mixtures are decided and judged by: of each source, and of each capability's text.

DIR/statistics/<name>/     as `calprune stats` writes them: whole or absent, read a block at a time

A capability's text to search on is cut into windows that go in turn to two parts: `own` calibrates, as data of just
this kind would, and `held` judges. Both are of the dense model, so that any mixture of sources is a sum of them.

What pruning by one mixture costs each capability, from sums alone: no forward pass.

    L[λ → t] = mean over linears of tr(ΔW C_t ΔWᵀ) / tr(W C_t Wᵀ)      ΔW = W - Ŵ(Σ_s λ_s C_s)
    regret R[λ → t] = L[λ → t] / L[t → t] - 1

C_s (in, in) are the second moments of source s per token, C_t those of a held-out text of capability t, and L[t → t] is
what calibrating on another part of t's own text costs t. A proxy: a lower error of the layers is not always a better
model (Shin et al., arXiv:2406.15524), so the best few are judged end to end.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import torch
from jaxtyping import Int
from torch import Tensor

from calprune.base.store import once
from calprune.layers.blocks import Sequences
from calprune.layers.collect import Counting
from calprune.layers.inputs import Needs
from calprune.layers.linears import find_blocks, linears
from calprune.layers.products import matmul
from calprune.layers.saved import BlockStats, Statistics, save_statistics
from calprune.likeness.sets import Rows
from calprune.methods.contract import Method
from calprune.models.load import Model
from calprune.pattern import Pattern
from calprune.pruning.job import Pruning
from calprune.removal.choices.choice import UnitChoice
from calprune.removal.job import Removing
from calprune.removal.methods.contract import Reads
from calprune.removal.sums import add_units

ADDED = Counting(min_expert_tokens=1)  # an expert's sums are its own tokens', however few: only those add
LEAST_SHARE = 1e-3  # of scores: less is as good as nothing, and regret divides by it
Shares = Mapping[str, float]  # source -> its share of the tokens; they add up to 1


@dataclass(frozen=True)
class Sums:
    """Collected sums by name. A share is of all tokens of a set, as a recipe's is, also of those that weigh less."""

    of: Mapping[str, Statistics]

    def mixed(self, shares: Shares, block: str) -> BlockStats:
        """The sums at a block's inputs of a mixture whose tokens have these shares."""
        first, *rest = (
            share / self.of[name].about["tokens"] * self._block(name, block)
            for name, share in shares.items()
            if share > 0
        )
        return sum(rest, first).blocks[block]

    def _block(self, name: str, block: str) -> Statistics:
        return Statistics(self.of[name].needs, {}, {block: self.of[name].of_block(block)})

    def statistics(self, shares: Shares, needs: Needs, blocks: Sequence[str] | None = None) -> Statistics:
        """The sums of a mixture in memory: of the whole model or of these blocks, and those that units are chosen by,
        as of one token."""
        names = next(iter(self.of.values())).names() if blocks is None else blocks
        mixed = Statistics(needs, {"shares": dict(shares)}, {name: self.mixed(shares, name) for name in names})
        for name, share in shares.items():
            if share > 0:
                part = share / self.of[name].about["tokens"] * Statistics(needs, {}, units=self.of[name].units)
                mixed.units = (Statistics(needs, {}, units=mixed.units) + part).units if mixed.units else part.units
        return mixed


def collected(
    folder: Path, model: Model, sequences: Sequences, reads: Reads | Needs, batch_size: int | None = None
) -> Statistics:
    """The sums in `folder`; collected by one dense pass where they are not there yet, or are damaged. reads: those of
    linears' inputs, or what blocks or experts are chosen by."""
    needs: Needs = "nothing" if reads in ("blocks", "experts") else cast(Needs, reads)
    about = {"model": {"name": model.name, "id": model.id}, "calibration": {"id": getattr(sequences, "id", None)},
             "tokens": int(sequences.lengths.sum())} | ADDED.summary()  # fmt: skip

    def read(folder: Path) -> Statistics | None:
        there = Statistics.load(folder)
        there.check()
        return there if there.about.get("counting") == about["counting"] else None

    def write(folder: Path, made: Statistics) -> None:
        walked = made.collecting(model.model, sequences, batch_size=batch_size, counting=ADDED)
        blocks = walked if needs != "nothing" else iter(())
        save_statistics(folder, needs, about, blocks, lambda: units_of(made))

    def units_of(made: Statistics) -> dict[str, Tensor]:
        add_units(made, model.model, sequences, cast(Reads, reads), batch_size=batch_size)
        return made.units

    once(folder, lambda: Statistics(needs, about), read, write)
    return Statistics.load(folder)


def in_turn(windows: Int[Tensor, "n T"]) -> tuple[Rows, Rows]:
    """A text's windows as two parts: the first, third, ... and the second, fourth, ..."""
    first, second = windows[0::2], windows[1::2]
    return tuple(Rows(part, torch.full((len(part),), part.shape[1]), None) for part in (first, second))  # type: ignore


def block_names(model: Model) -> list[str]:
    name, modules = find_blocks(model.model)
    return [f"{name}.{i}" for i in range(len(modules))]


@dataclass
class Transfer:
    """The dense model with the sums of sources and of capabilities; its weights are read, never changed."""

    model: Model
    method: Method
    pattern: Pattern
    sources: Sums
    held: Sums  # of capabilities
    evaluations: int = 0  # mixtures whose masks were decided
    _dense: dict[tuple[str, str], float] = field(default_factory=dict)  # (linear, capability) -> tr(W C_t Wᵀ)

    @torch.no_grad()
    def loss(self, shares: Shares, blocks: Sequence[str], sources: Sums | None = None) -> dict[str, float]:
        """L[λ → t] of each capability, over the linears of these blocks."""
        self.evaluations += 1
        chosen = Pruning(self.method, self.pattern).plan(self.model.model)
        found: dict[str, list[float]] = {name: [] for name in self.held.of}
        for block in blocks:
            stats = (sources or self.sources).mixed(shares, block)
            held = {name: sums.of_block(block) for name, sums in self.held.of.items()}
            for site in linears(self.model.model.get_submodule(block)):
                reached = site.name in stats and all(site.name in of for of in held.values())
                if (full := f"{block}.{site.name}") in chosen and reached:
                    weight = site.weight.float()
                    sums = stats[site.name].named(site.name)
                    moved = weight - self.method(site.weight, sums, self.pattern).float()
                    for name, of in held.items():
                        whole = self._whole(full, name, weight, of[site.name].covariance)
                        found[name].append(_energy(moved, of[site.name].covariance) / whole if whole > 0 else 0.0)
        return {name: sum(values) / len(values) for name, values in found.items()}

    def _whole(self, linear: str, capability: str, weight: Tensor, covariance: Tensor) -> float:
        if (linear, capability) not in self._dense:
            self._dense[linear, capability] = _energy(weight, covariance)
        return self._dense[linear, capability]


@dataclass
class UnitTransfer:
    """The same where units are taken out:

        L[λ → t] = mean over places of Σ_u∈gone(λ) s_t(u) / Σ_u s_t(u)

    s_t(u) is the score that the method gives unit u by the sums of capability t, the higher the more worth keeping. A
    place: a feed-forward network, an attention, a bank of experts; all blocks are one.
    """

    model: Model
    job: Removing
    sources: Sums
    held: Sums  # of capabilities
    evaluations: int = 0  # mixtures that were decided
    _known: dict[tuple[str, tuple[str, ...]], dict[str, Tensor]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.places = self.job.plan(self.model.model)

    def loss(self, shares: Shares, blocks: Sequence[str], sources: Sums | None = None) -> dict[str, float]:
        """L[λ → t] of each capability, LEAST_SHARE at least, over the places of these blocks; where none is in them, as
        where blocks go, over all places."""
        self.evaluations += 1
        taken, found = self._decide(sources or self.sources, shares, blocks), dict[str, float]()
        for name in self.held.of:
            scores = self._scores(name, tuple(blocks))
            gone = [(scores[one.place][one.gone].sum() / scores[one.place].sum()).item()
                    for one in taken if one.place in scores and scores[one.place].sum() > 0]  # fmt: skip
            found[name] = max(LEAST_SHARE, sum(gone) / len(gone) if gone else 0.0)
        return found

    def _scores(self, name: str, blocks: tuple[str, ...]) -> dict[str, Tensor]:
        """Of each unit by a capability's own sums, 0 at least; one that must stay counts as the best of its place."""
        if (name, blocks) not in self._known:
            found = {}
            for one in self._decide(self.held, {name: 1.0}, blocks):
                scores = torch.tensor(one.scores, dtype=torch.double)
                finite = scores[scores.isfinite()]
                least, most = (finite.min().clamp_max(0), finite.max()) if len(finite) else (0.0, 0.0)
                found[one.place] = scores.where(scores.isfinite(), most) - least
            self._known[name, blocks] = found
        return self._known[name, blocks]

    def _decide(self, sums: Sums, shares: Shares, blocks: Sequence[str]) -> list[UnitChoice]:
        inside = {block: [name for name in self.places if name.startswith(f"{block}.")] for block in blocks}
        inside = {block: names for block, names in inside.items() if names} or _by_block(self.model, self.places)
        needs, names = self.job.needs, [name for names in inside.values() for name in names]
        mixed = sums.statistics(shares, needs, [*inside] if needs != "nothing" else ())
        if needs != "nothing":  # a linear that no token of these reached says nothing
            names = [name for block, there in inside.items() for name in there
                     if name.removeprefix(f"{block}.") in mixed.blocks[block]]  # fmt: skip
        return self.job.decide(self.model.model, mixed, {name: self.places[name] for name in names})


def _by_block(model: Model, places: Iterable[str]) -> dict[str, list[str]]:
    """The places of each block that has some."""
    found = {block: [name for name in places if name.startswith(f"{block}.")] for block in block_names(model)}
    return {block: names for block, names in found.items() if names}


def _energy(weight: Tensor, covariance: Tensor) -> float:
    """tr(W C Wᵀ)."""
    return (matmul(weight, covariance) * weight).sum().item()


@dataclass(frozen=True)
class TransferTable:
    """Losses of calibrating on single sources, and of what each capability's own text would give."""

    loss: Mapping[str, Mapping[str, float]]  # source -> capability -> L
    own: Mapping[str, float]  # capability -> L[t → t]

    def regret(self, loss: Mapping[str, float]) -> dict[str, float]:
        """R of each capability."""
        return {name: value / self.own[name] - 1 for name, value in loss.items()}


def transfer_table(
    transfer: Transfer | UnitTransfer, own: Sums, blocks: Sequence[str], report: Callable[[str], None]
) -> TransferTable:
    """The loss of each source, and of each capability's own text."""
    losses = {}
    for source in transfer.sources.of:
        losses[source] = transfer.loss({source: 1.0}, blocks)
        report(f"from sums: what pruning with {source} would lose of each capability")
    best = {name: transfer.loss({name: 1.0}, blocks, own)[name] for name in own.of}
    return TransferTable(losses, best)
