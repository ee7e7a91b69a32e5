"""Take units out of a model: the job that `calprune prune --pattern neurons:25%` and a study's trial are.

The dense model is as it was afterwards; the smaller one is another model, which shares with it the tensors that did not
change.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from calprune.base.checks import options
from calprune.base.pace import TimeLeft
from calprune.base.patterns import Removal
from calprune.base.progress import tracking, whole
from calprune.base.values import ConfigError, UserError, identity, plain
from calprune.evaluation.divergence import DenseReference
from calprune.layers.blocks import Propagate, Sequences
from calprune.layers.collect import Counting
from calprune.layers.gradients import loss_gradients, walk_sums
from calprune.layers.inputs import InputStats, Needs, StatsError
from calprune.layers.linears import Linear, find_blocks, linears
from calprune.layers.saved import Statistics
from calprune.removal import REMOVALS, check_method, parse_removal_method
from calprune.removal.condensing import CONDENSING, condensed_ranks
from calprune.removal.config import GROUPS, first_number
from calprune.removal.coverage import Coverage, check_reached, coverage_notes
from calprune.removal.masked import prove, skipping
from calprune.removal.methods.channels import OBS, channels
from calprune.removal.methods.contract import KeptUnits, Reads, RemovalMethod, highest
from calprune.removal.methods.depth import Angular, Loss, RandomUnits
from calprune.removal.methods.experts import in_groups, super_experts
from calprune.removal.methods.suite import ExpertWeights
from calprune.removal.outputs import WATCHING, ExpertSums, expert_sums
from calprune.removal.smaller import Cut, Outline, UnitPlace, expert_matrices, router_of, same_kinds
from calprune.removal.states import state_sums
from calprune.removal.sums import held_experts, held_states

TRYING = "trying to remove blocks"  # what the progress calls it


@dataclass(frozen=True)
class UnitChoice:
    """What a method chose at one place, or of the blocks."""

    place: str  # "model.layers.3.mlp.down_proj"; "" where blocks go
    units: int  # how many there were
    stay: tuple[int, ...]
    scores: tuple[float, ...]  # of each unit, the higher the more worth keeping; (): the method gives none
    tokens: float | None = None  # that its sums are of; None: it read none
    coverage: Coverage | None = None  # of experts that were chosen by data

    @property
    def gone(self) -> list[int]:
        """The units that went."""
        return sorted(set(range(self.units)) - set(self.stay))


@dataclass(frozen=True)
class Removed:
    """What a job made of a model. `report.describe_removed` makes its description."""

    job: "Removing"
    smaller: Any  # the model, of transformers' class
    outline: Outline
    choices: tuple[UnitChoice, ...]
    seconds: float
    off: float  # how far the smaller model was from the masked one, before weights were updated
    notes: tuple[str, ...] = ()

    @property
    def tokens(self) -> float | None:
        """The most that any choice's sums are of; None: none were read."""
        return max((one.tokens for one in self.choices if one.tokens is not None), default=None)


@options
class Removing:
    """A job: which units to take out of a model, by what."""

    tag: ClassVar[str] = "Removing"

    method: RemovalMethod
    pattern: Removal
    propagate: Propagate = "dense"  # neurons and heads: "pruned": sums are of what smaller blocks before give
    counting: Counting = field(default_factory=Counting)

    def __post_init__(self) -> None:
        check_method(self.method, self.pattern)

    @property
    def reads(self) -> Reads:
        """What the method reads of the data."""
        return self.method.needs

    @property
    def needs(self) -> Needs:
        """Which of the sums at linears' inputs it reads."""
        return cast(Needs, self.reads) if self.reads in ("moments", "gram") else "nothing"

    def plan(self, model: nn.Module) -> dict[str, UnitPlace]:
        """Where units will go. Raises UserError where the job does not fit the model."""
        return self._outline(model).places()

    def _outline(self, model: nn.Module, blocks: tuple[int, ...] | None = None) -> Outline:
        return Outline.of(model, self.pattern, blocks, biased=getattr(self.method, "bias", False))

    @torch.no_grad()
    def run(
        self,
        model: nn.Module,
        data: Sequences | Statistics | None = None,
        *,
        refine_on: Any = None,
        resume: str | Path | None = None,
        batch_size: int | None = None,
        device: torch.device | str | None = None,
    ) -> Removed:
        """The smaller model. `data` is a calibration set, saved `Statistics`, or None for a method that reads none;
        batch_size and device as for `walk`.

        Raises UserError where the job does not fit the model or the data.
        """
        started = time.perf_counter()
        self._refuse(data, refine_on, resume)
        knobs = {"batch_size": batch_size, "device": device, "counting": self.counting}
        with whole(TimeLeft(self.phases(model, data))):
            outline = self._outline(model)
            places = outline.places()
            choices, new = self._choices(model, data, knobs, places)
            self._check_reached(choices, places)
            if self.pattern.kind == "blocks":
                outline = self._outline(model, choices[0].stay)
        cut = _cut_of(choices, len(outline.blocks))
        same_kinds(outline, cut)
        smaller = outline.filled(cut)
        off = prove(model, smaller, self.pattern, cut, places)
        lost = _write(smaller, new)
        notes = [f"{lost} linears have no bias, so what went is not made up for there"] if lost else []
        notes += coverage_notes({one.place: one.coverage for one in choices if one.coverage}, self.counting)
        return Removed(self, smaller, outline, tuple(choices), time.perf_counter() - started, off, tuple(notes))

    @property
    def by_sums(self) -> bool:
        """Whether each unit's score by sums of the dense model decides what goes, so that those of several sets can be
        added and compared."""
        return self.reads in ("blocks", "experts", "moments", "gram") and not isinstance(self.method, (Angular, OBS))

    @torch.no_grad()
    def decide(self, model: nn.Module, sums: Statistics, places: Mapping[str, UnitPlace]) -> list[UnitChoice]:
        """What would go by these sums, with every unit's score. Nothing is taken out, so that experts which no token
        reached are the first to go, however many there are. places: of what `plan` gives. Raises UserError where the
        sums do not fit the model."""
        return self._choices(model, sums, {}, dict(places))[0]

    def _choices(
        self, model: nn.Module, data: Any, knobs: dict[str, Any], places: dict[str, UnitPlace]
    ) -> tuple[list[UnitChoice], dict[str, KeptUnits]]:
        """What goes at these places, and the new weights of what stays, where the method works them out."""
        if self.pattern.kind == "blocks":
            return self._blocks(model, data, knobs), {}
        if self.pattern.kind == "experts":
            return self._experts(model, data, knobs, places), {}
        return self._units(model, data, knobs, places)

    def _check_reached(self, choices: Iterable[UnitChoice], places: Mapping[str, UnitPlace]) -> None:
        for one in choices:
            if one.coverage is not None:
                check_reached(one.place, one.coverage, places[one.place], self.pattern)

    def _refuse(self, data: Any, refine_on: Any, resume: Any) -> None:
        name = self.pattern.kind
        if refine_on is not None:
            raise UserError(f"{self.pattern} trains nothing: leave refine_on out")
        if resume is not None:
            raise UserError(f"{self.pattern} keeps no blocks that are done: leave resume out")
        if self.reads != "nothing" and data is None:
            raise UserError(f"the method reads calibration data to choose {name}: give it a calibration set")
        if isinstance(data, Statistics) and self.reads in ("model", "gradients"):
            raise UserError("the method runs the model on sequences, and saved statistics hold none: give a set")

    def _units(
        self, model: nn.Module, data: Any, knobs: dict[str, Any], places: dict[str, UnitPlace]
    ) -> tuple[list[UnitChoice], dict[str, KeptUnits]]:
        """Neurons or heads, block by block."""
        choices: list[UnitChoice] = []
        new: dict[str, KeptUnits] = {}
        for name, sites, stats in self._visits(model, data, knobs, places):
            for site in sites:
                place = places[f"{name}.{site.name}"]
                sums = stats.get(site.name)
                chosen = self._chosen(f"{name}.{site.name}", site, sums, place)
                new[f"{name}.{site.name}"] = chosen
                tokens = sums.tokens if sums is not None else None
                choices.append(UnitChoice(f"{name}.{site.name}", place.units, tuple(chosen.stay.tolist()),
                                      tuple(chosen.scores.tolist()), tokens))  # fmt: skip
                if self.propagate == "pruned":  # later blocks see what a smaller one gives; then it is as it was
                    site.write(_masked_weight(site.weight, chosen, place.units))
        return choices, new

    def _chosen(self, name: str, site: Linear, sums: InputStats | None, place: UnitPlace) -> KeptUnits:
        if isinstance(self.method, RandomUnits):
            scores = self.method.draw(name, place.units)
            return KeptUnits(highest(scores, place.stay), scores)
        if self.reads != "nothing":
            if sums is None:
                raise StatsError(f"{name}: no token reached it, so its {self.pattern.kind} cannot be chosen by data; "
                                 "take magnitude, or more data")  # fmt: skip
            sums.check()
            weight = site.weight.to(sums.sum_x.device)
            if len(sums.sum_x) != weight.shape[1]:
                raise StatsError(f"{name}: the statistics are of {len(sums.sum_x)} inputs: of another model")
            return self.method(weight, sums, place.units, place.stay)
        return self.method(site.weight, None, place.units, place.stay)

    def _visits(
        self, model: nn.Module, data: Any, knobs: dict[str, Any], places: dict[str, UnitPlace]
    ) -> Iterator[tuple[str, list[Linear], Mapping[str, InputStats]]]:
        """Each block with its places' linears and their sums: none, saved, or collected on the way."""
        name, modules = find_blocks(model)
        if self.reads == "nothing" or isinstance(data, Statistics):
            for i, module in enumerate(modules):
                sites = [s for s in linears(module) if f"{name}.{i}.{s.name}" in places]
                held = self.reads != "nothing" and sites
                with _as_it_was(sites):
                    yield f"{name}.{i}", sites, data.of_block(f"{name}.{i}") if held else {}
            return
        walked = walk_sums(model, data, self.needs, places, propagate=self.propagate, **knobs)
        for block, stats in tracking(walked, len(modules), f"choosing {self.pattern.kind} of {name}"):
            sites = [s for s in block.linears() if f"{block.name}.{s.name}" in places]
            with _as_it_was(sites):
                yield block.name, sites, stats
                if self.propagate == "pruned":
                    block.run()

    def _experts(
        self, model: nn.Module, data: Any, knobs: dict[str, Any], places: dict[str, UnitPlace]
    ) -> list[UnitChoice]:
        """The experts of each bank."""
        groups = first_number(cast(Any, model).config, GROUPS) or 1
        if self.reads == "nothing":
            return [_of_scores(name, place, self._blind(model, name, place), groups) for name, place in places.items()]
        if self.reads == "gradients":
            return self._by_gradients(model, data, knobs, places, groups)
        if self.reads == "model":
            method: Any = self.method
            found = condensed_ranks(model, data, places, method.sequences, **knobs)
            return [_of_scores(name, places[name], ranks, groups) for name, ranks in found]
        if isinstance(data, Statistics):
            halves = held_experts(data, places)
        else:
            walked = expert_sums(model, data, places, **knobs)
            halves = {name: both for _, found in walked for name, both in found.items()}
        protected = {name: torch.zeros(places[name].units, dtype=torch.bool) for name in halves}
        if getattr(self.method, "protect_super", False):
            largest = [torch.maximum(a.largest, b.largest) for a, b in halves.values()]
            protected = dict(zip(halves, super_experts(largest), strict=True))
        return [self._expert_choice(name, places[name], both, protected[name], groups) for name, both in halves.items()]

    def _expert_choice(
        self, name: str, place: UnitPlace, halves: tuple[ExpertSums, ExpertSums], protected: Tensor, groups: int
    ) -> UnitChoice:
        """Of one bank, with whether each half of the data would have chosen the same."""
        total = halves[0] + halves[1]
        scores = [self.method(sums).double().masked_fill(protected, torch.inf) for sums in (total, *halves)]
        stay = [in_groups(one, place.stay, groups).tolist() for one in scores[1:]]
        coverage = Coverage.of(total, scores[1:], stay, min(float(half.tokens.sum()) for half in halves))
        tokens = float(total.tokens.sum())
        return replace(_of_scores(name, place, scores[0], groups), tokens=tokens, coverage=coverage)

    def _by_gradients(
        self, model: nn.Module, data: Sequences, knobs: dict[str, Any], places: dict[str, UnitPlace], groups: int
    ) -> list[UnitChoice]:
        """By Σ g² of each weight of an expert, g the gradient of the loss: 8 bytes a weight, one backward pass."""
        matrices = {name: expert_matrices(model, name, place.units) for name, place in places.items()}
        blocks = find_blocks(model)[0]
        full = {name: f"{blocks}.{name.removeprefix(f'{blocks}.').partition('.')[0]}" for name in places}
        only = {f"{full[name]}.{site.name}" for name, banks in matrices.items() for one in banks for site in one}
        sums = loss_gradients(model, data, knobs.get("batch_size"), knobs.get("device"), only)
        choices = []
        for name, place in places.items():
            squares = [torch.cat([sums[f"{full[name]}.{site.name}"].squares.flatten() for site in one])
                       for one in matrices[name]]  # fmt: skip
            scores = self.method(ExpertWeights(matrices[name], None, squares))
            choices.append(replace(_of_scores(name, place, scores, groups), tokens=float(data.lengths.sum())))
        return choices

    def _blind(self, model: nn.Module, name: str, place: UnitPlace) -> Tensor:
        """Scores that read no data."""
        if isinstance(self.method, RandomUnits):
            return self.method.draw(name, place.units)
        return self.method(
            ExpertWeights(expert_matrices(model, name, place.units), router_of(model, name, place.units))
        )

    def _blocks(self, model: nn.Module, data: Any, knobs: dict[str, Any]) -> list[UnitChoice]:
        """Which blocks stay."""
        total = len(find_blocks(model)[1])
        gone, tokens = self.pattern.of(total), None
        scores: list[float] = []
        if self.reads == "nothing":
            removed = self.method(total, gone)
        elif self.reads == "model":
            loss, tokens = self._loss(model, data, total, gone)
            removed = self.method(loss, total, gone)
        else:
            sums = held_states(data) if isinstance(data, Statistics) else state_sums(model, data, **knobs)
            tokens, scores = sums.tokens, self.method.scores(sums)  # type: ignore[attr-defined]
            removed = self.method(sums, gone)
        stay = tuple(i for i in range(total) if i not in removed)
        return [UnitChoice("", total, stay, tuple(scores), tokens)]

    def _loss(self, model: nn.Module, data: Sequences, total: int, gone: int) -> tuple[Loss, float]:
        """KL(dense || without these blocks) on the longest sequences of the data, and the tokens of those."""
        method: Any = self.method
        count = min(method.sequences, len(data.lengths))
        longest = data.lengths.argsort(descending=True, stable=True)[:count]
        length = int(data.lengths[longest].min())
        if length < 2:
            raise UserError(f"the calibration set has no {count} sequences of two tokens or more to choose blocks by")
        windows = data.tokens[longest, :length]
        dense, modules = DenseReference(cast(Any, model), windows), find_blocks(model)[1]
        known: dict[tuple[int, ...], float] = {}
        passes = method.passes(total, gone)
        steps = iter(tracking(iter(range(passes)), passes, TRYING))

        def loss(removed: tuple[int, ...]) -> float:
            if removed not in known:
                next(steps, None)
                with skipping(modules, [*removed]):
                    known[removed] = dense.divergence(cast(Any, model)).estimate().value
            return known[removed]

        return loss, float(windows.numel())

    def marks(
        self, model: nn.Module, block: str, sums: Statistics, places: Mapping[str, UnitPlace]
    ) -> dict[str, Tensor]:
        """Which units of a block stay by these sums, by places: True for each that does. places: as `plan` gives."""
        if self.pattern.kind == "blocks":
            stay = self._blocks(model, sums, {})[0].stay
            return {"": torch.tensor([int(block.rpartition(".")[2]) in stay])}
        here = {name: place for name, place in places.items() if name.startswith(f"{block}.")}
        if self.pattern.kind == "experts":
            choices = self._experts(model, sums, {}, here)
            self._check_reached(choices, here)
            return {one.place: _marked(torch.tensor(one.stay), one.units) for one in choices}
        stats, found = sums.of_block(block), {}
        for site in linears(model.get_submodule(block)):
            if (name := f"{block}.{site.name}") in here:
                kept = self._chosen(name, site, stats.get(site.name), here[name])
                found[site.name] = _marked(kept.stay, here[name].units)
        return found

    @property
    def method_text(self) -> str:
        """The method as it is written."""
        return REMOVALS.write(self.method)

    def phases(self, model: nn.Module, data: Any) -> dict[str, float]:
        """What the phases of `run` cost, by their names, in tokens that go through the model once."""
        name, modules = find_blocks(model)
        if data is None or isinstance(data, Statistics) or self.reads == "nothing":
            return {}
        tokens = float(data.lengths.sum())
        if self.reads == "gradients":
            return {"gradients of the loss": 3 * tokens}
        if self.reads == "model" and self.pattern.kind == "experts":
            return {CONDENSING: tokens}
        if self.reads == "model":
            method: Any = self.method
            passes = method.passes(len(modules), self.pattern.of(len(modules)))
            return {TRYING: passes * tokens * min(1, method.sequences / len(data.lengths))}
        if self.pattern.kind in ("blocks", "experts"):
            return {WATCHING if self.pattern.kind == "experts" else f"states of {name}": tokens}
        return {f"choosing {self.pattern.kind} of {name}": tokens * (2 if self.propagate == "pruned" else 1)}

    def costs(self, pruning: str, tokens: float, trained: float | None = None) -> dict[str, float]:
        """The same of a study's trial, roughly. pruning: what the phase is called. tokens: of the data."""
        many = 30 if self.reads == "model" else 1 + (self.propagate == "pruned")
        return {pruning: tokens * many if self.reads != "nothing" else 0.0}

    def named(self, model: nn.Module, model_id: str, data: Any, refine_on: Any = None) -> str:
        """16 characters for all that the smaller model depends on."""
        of = data.about if isinstance(data, Statistics) else getattr(data, "id", None)
        return identity([model_id, str(next(model.parameters()).dtype), {"removing": plain(self), "data": of}])


@contextmanager
def _as_it_was(sites: list[Linear]) -> Iterator[None]:
    """What is written to the linears inside is undone."""
    dense = [site.weight.clone() for site in sites]
    try:
        yield
    finally:
        for site, weight in zip(sites, dense, strict=True):
            site.write(weight)


def removing(
    method: str | RemovalMethod, pattern: Removal, *, propagate: str, counting: Counting, **unused: Any
) -> Removing:
    """The job of a method that is text or an object. unused: options of pruning to zeros, by names; raises UserError
    where one is given."""
    for name, value in unused.items():
        if value:
            raise UserError(
                f"{name} is of zeros in a matrix, and {pattern} takes whole {pattern.kind} out: leave it out"
            )
    if propagate == "sequential":
        raise ConfigError(f"propagate sequential is of zeros, and {pattern} takes whole {pattern.kind} out; "
                          'write "pruned" or "dense"')  # fmt: skip
    made = parse_removal_method(method, pattern) if isinstance(method, str) else check_method(method, pattern)
    whole_blocks = pattern.kind in ("blocks", "experts")  # chosen by what the dense model does
    seen: Propagate = "pruned" if propagate == "pruned" and not whole_blocks else "dense"
    return Removing(made, pattern, seen, counting)


def _marked(stay: Tensor, units: int) -> Tensor:
    found = torch.zeros(units, dtype=torch.bool)
    found[stay] = True
    return found


def _of_scores(name: str, place: UnitPlace, scores: Tensor, groups: int) -> UnitChoice:
    stay = in_groups(scores, place.stay, groups)
    return UnitChoice(name, place.units, tuple(stay.tolist()), tuple(scores.tolist()))


def _cut_of(choices: list[UnitChoice], total: int) -> Cut:
    if not choices[0].place:
        return Cut(choices[0].stay)
    return Cut(tuple(range(total)), {one.place: torch.tensor(one.stay) for one in choices})


def _masked_weight(weight: Tensor, chosen: KeptUnits, units: int) -> Tensor:
    """The dense matrix with what stays as chosen, and zero columns for what goes."""
    kept = channels(chosen.stay, units, weight.shape[1]).to(weight.device)
    made = torch.zeros_like(weight)
    made[:, kept] = weight[:, kept] if chosen.weight is None else chosen.weight.to(weight)
    return made


def _write(smaller: Any, new: Mapping[str, KeptUnits]) -> int:
    """Give the smaller model's linears what was worked out for them; how many biases there was no place for."""
    name, modules = find_blocks(smaller)
    sites = {f"{name}.{i}.{site.name}": site for i, block in enumerate(modules) for site in linears(block)}
    lost = 0
    for place, chosen in new.items():
        site = sites[place]
        if chosen.weight is not None:
            if not chosen.weight.isfinite().all():
                raise StatsError(f"{place}: the updated weights hold NaN or infinity")
            site.write(chosen.weight.to(site.weight))
        if chosen.bias is not None and site.part is None and site.bias is not None:
            parameter = getattr(site.module, site.stored.bias)
            setattr(site.module, site.stored.bias, nn.Parameter(parameter.detach() + chosen.bias.to(parameter), False))
        elif chosen.bias is not None:
            lost += 1
    return lost
