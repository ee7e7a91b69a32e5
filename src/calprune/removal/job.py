"""Take units out of a model: the job that `calprune prune --pattern neurons:25%` and a study's trial are.

The dense model is as it was afterwards; the smaller one is another model, which shares with it the tensors that did not
change.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from calprune.base.checks import options
from calprune.base.pace import TimeLeft
from calprune.base.patterns import Removal
from calprune.base.progress import whole
from calprune.base.tensors import is_finite
from calprune.base.values import ConfigError, UserError, identity, plain
from calprune.layers.blocks import Propagate, Sequences
from calprune.layers.collect import Counting
from calprune.layers.inputs import Needs, StatsError
from calprune.layers.linears import find_blocks, linears
from calprune.layers.saved import Statistics
from calprune.removal import REMOVALS, check_method, parse_removal_method
from calprune.removal.choices.blocks import TRYING, choose_blocks
from calprune.removal.choices.channels import choose_channels, keep_units, phase_of
from calprune.removal.choices.choice import Looking, UnitChoice
from calprune.removal.choices.experts import choose_experts
from calprune.removal.condensing import CONDENSING
from calprune.removal.coverage import check_reached, coverage_notes
from calprune.removal.masked import prove
from calprune.removal.methods.channels import OBS
from calprune.removal.methods.contract import KeptUnits, Reads, RemovalMethod
from calprune.removal.methods.depth import Angular
from calprune.removal.outputs import WATCHING
from calprune.removal.smaller import Cut, Outline, UnitPlace, same_kinds


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
    def version(self) -> int | None:
        """In its identity. 2: later blocks see the bias that makes up for what went."""
        return 2 if self.propagate == "pruned" and getattr(self.method, "bias", False) else None

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
        look = Looking(model, data, self.counting, batch_size, device)
        with whole(TimeLeft(self.phases(model, data))):
            outline = self._outline(model)
            places = outline.places()
            choices, new = self._choices(look, places)
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
        return self._choices(Looking(model, sums), places)[0]

    def _choices(self, look: Looking, places: Mapping[str, UnitPlace]) -> tuple[list[UnitChoice], dict[str, KeptUnits]]:
        """What goes at these places, and the new weights of what stays, where the method works them out."""
        if self.pattern.kind == "blocks":
            return [choose_blocks(self.method, self.pattern.of(len(find_blocks(look.model)[1])), look)], {}
        if self.pattern.kind == "experts":
            return choose_experts(self.method, look, places), {}
        return choose_channels(self.method, self.pattern.kind, look, places, self.propagate)

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
        if self.reads == "model" and _weights_differ(data, cast(Any, self.method).sequences):
            raise UserError(f"{self.method_text} counts every token once, and tokens of this set have weights: take a "
                            "set without weights, or a method that reads sums")  # fmt: skip

    def marks(
        self, model: nn.Module, block: str, sums: Statistics, places: Mapping[str, UnitPlace]
    ) -> dict[str, Tensor]:
        """Which units of a block stay by these sums, by places: True for each that does. places: as `plan` gives."""
        kind = self.pattern.kind
        if kind == "blocks":
            (choice,), _ = self._choices(Looking(model, sums), places)
            return {"": torch.tensor([int(block.rpartition(".")[2]) in choice.stay])}
        here = {name: place for name, place in places.items() if name.startswith(f"{block}.")}
        if kind == "experts":
            choices = choose_experts(self.method, Looking(model, sums), here)
            self._check_reached(choices, here)
            return {one.place: _marked(torch.tensor(one.stay), one.units) for one in choices}
        stats, found = sums.of_block(block), {}
        for site in linears(model.get_submodule(block)):
            if (name := f"{block}.{site.name}") in here:
                kept = keep_units(self.method, kind, name, site, stats.get(site.name), here[name])
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
        return {phase_of(self.pattern.kind, name): tokens * (2 if self.propagate == "pruned" else 1)}

    def costs(self, pruning: str, tokens: float, trained: float | None = None) -> dict[str, float]:
        """The same of a study's trial, roughly. pruning: what the phase is called. tokens: of the data."""
        many = 30 if self.reads == "model" else 1 + (self.propagate == "pruned")
        return {pruning: tokens * many if self.reads != "nothing" else 0.0}

    def named(self, model: nn.Module, model_id: str, data: Any, refine_on: Any = None) -> str:
        """16 characters for all that the smaller model depends on."""
        of = data.about if isinstance(data, Statistics) else getattr(data, "id", None)
        return identity([model_id, str(next(model.parameters()).dtype), {"removing": plain(self), "data": of}])


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
    _check_counting(counting, pattern)
    made = parse_removal_method(method, pattern) if isinstance(method, str) else check_method(method, pattern)
    whole_blocks = pattern.kind in ("blocks", "experts")  # chosen by what the dense model does
    seen: Propagate = "pruned" if propagate == "pruned" and not whole_blocks else "dense"
    return Removing(made, pattern, seen, counting)


def _check_counting(counting: Counting, pattern: Removal) -> None:
    """Raise ConfigError for an option of sums at linears' inputs where none of those sums is read."""
    if counting.token_weights is not None and pattern.kind in ("blocks", "experts"):
        raise ConfigError(f"token_weights is of sums at linears' inputs, and {pattern} reads no such sums, but the "
                          "weights of the set: leave it out")  # fmt: skip
    if counting.all_experts and pattern.kind != "neurons":
        raise ConfigError(f"all_experts is of sums at the inputs of experts' linears, and {pattern} reads no such "
                          "sums: leave it out")  # fmt: skip


def _weights_differ(data: Sequences, longest: int) -> bool:
    """Whether tokens of the longest sequences count in several ways, padding apart."""
    if data.weights is None:
        return False
    rows = data.lengths.argsort(descending=True, stable=True)[:longest]
    real = torch.arange(data.tokens.shape[1]) < data.lengths[rows, None]
    return len(data.weights[rows][real].unique()) > 1


def _marked(stay: Tensor, units: int) -> Tensor:
    found = torch.zeros(units, dtype=torch.bool)
    found[stay] = True
    return found


def _cut_of(choices: list[UnitChoice], total: int) -> Cut:
    if not choices[0].place:
        return Cut(choices[0].stay)
    return Cut(tuple(range(total)), {one.place: torch.tensor(one.stay) for one in choices})


def _write(smaller: Any, new: Mapping[str, KeptUnits]) -> int:
    """Give the smaller model's linears what was worked out for them; how many biases there was no place for."""
    name, modules = find_blocks(smaller)
    sites = {f"{name}.{i}.{site.name}": site for i, block in enumerate(modules) for site in linears(block)}
    lost = 0
    for place, chosen in new.items():
        site = sites[place]
        if chosen.weight is not None:
            if not is_finite(chosen.weight):
                raise StatsError(f"{place}: the updated weights hold NaN or infinity")
            site.write(chosen.weight.to(site.weight))
        if chosen.bias is not None and site.part is None and site.bias is not None:
            parameter = getattr(site.module, site.stored.bias)
            setattr(site.module, site.stored.bias, nn.Parameter(parameter.detach() + chosen.bias.to(parameter), False))
        elif chosen.bias is not None:
            lost += 1
    return lost
