"""Blocks, heads, neurons and experts taken out: which go, and the smaller model that is left, an ordinary one.

contract    what a method of removal is
channels    neurons and heads: magnitude, wanda, flap, obs
depth       blocks: block_influence, angular, kl, evolve
config      which fields of a config say how many there are
smaller     the smaller model, from a changed config and the dense model's tensors
masked      the dense model without what goes, and the proof that the smaller one is just this
experts     experts: frequency, reap, aimer and their kin
states      sums over the hidden states before and after blocks
outputs     sums over what experts give
coverage    how many tokens experts saw, and whether half the data chooses the same
choices     which units go, by a method and what it reads
job         all together: what `calprune prune --pattern neurons:25%` does
report      what became of the model, and its checkpoint
"""

import dataclasses
import inspect
from dataclasses import dataclass
from typing import Any, cast

from calprune.base.calls import Registry
from calprune.base.patterns import PatternError, Removal
from calprune.removal.methods.channels import FLAP, OBS, MagnitudeOfUnits, WandaOfUnits
from calprune.removal.methods.contract import RemovalMethod
from calprune.removal.methods.depth import Angular, BlockInfluence, Evolve, Greedy, RandomUnits
from calprune.removal.methods.experts import (
    AIMER,
    REAP,
    ActivationNorm,
    Condensing,
    Frequency,
    MeanActivationNorm,
    MeanSquaredActivationNorm,
    SoftFrequency,
    SquaredREAP,
)
from calprune.removal.methods.suite import MCSuite

REMOVALS = Registry(
    "method of removal",
    {
        "aimer": AIMER,
        "angular": Angular,
        "block_influence": BlockInfluence,
        "cd": Condensing,
        "ean": ActivationNorm,
        "evolve": Evolve,
        "flap": FLAP,
        "frequency": Frequency,
        "kl": Greedy,
        "magnitude": MagnitudeOfUnits,
        "man": MeanActivationNorm,
        "mc_suite": MCSuite,
        "msan": MeanSquaredActivationNorm,
        "obs": OBS,
        "random": RandomUnits,
        "reap": REAP,
        "reap_l2": SquaredREAP,
        "soft_frequency": SoftFrequency,
        "wanda": WandaOfUnits,
    },
    '"flap" or "wanda(update=true)"',
    RemovalMethod,
    "docs/structured.md",
)


def parse_removal_method(text: str, removal: Removal) -> RemovalMethod:
    """The method that a text means. Raises PatternError where it cannot remove units of this kind."""
    from calprune.methods import METHODS

    name = text.partition("(")[0].strip()
    if name in METHODS and name not in REMOVALS:
        raise PatternError(f"{name} zeroes weights and takes no {removal.kind} out; for {removal} write --method "
                           f"{_listed(removal)}")  # fmt: skip
    return check_method(cast(RemovalMethod, REMOVALS.make(text)), removal)


def check_method(method: RemovalMethod, removal: Removal) -> RemovalMethod:
    """Raise PatternError where the method cannot remove units of this kind."""
    if removal.kind not in method.kinds:
        name = REMOVALS.name_of(type(method))
        raise PatternError(f"{name} takes out {' and '.join(method.kinds)}, not {removal.kind}; for {removal} write "
                           f"--method {_listed(removal)}")  # fmt: skip
    return method


def methods_for(removal: Removal) -> list[str]:
    """The names of the methods that can remove units of this kind."""
    return [name for name, cls in REMOVALS.items() if removal.kind in cls.kinds]  # type: ignore[attr-defined]


def _listed(removal: Removal) -> str:
    *names, last = methods_for(removal)
    return f"{', '.join(names)} or {last}" if names else last


@dataclass(frozen=True)
class RemovalSummary:
    """One method."""

    name: str
    kinds: tuple[str, ...]  # what it takes out
    needs: str  # without its options
    idea: str
    options: dict[str, Any]  # with defaults
    version: int

    def record(self) -> dict[str, Any]:
        """As JSON has it."""
        return dataclasses.asdict(self)


def described_removals() -> list[RemovalSummary]:
    """Every method, by name."""
    return [_describe(name, cls) for name, cls in sorted(REMOVALS.items())]


def _describe(name: str, cls: Any) -> RemovalSummary:
    options = {field.name: field.default for field in dataclasses.fields(cls)}
    idea = " ".join((inspect.getdoc(cls) or "").split("\n\n")[0].split())
    return RemovalSummary(name, cls.kinds, cls().needs, idea, options, cls.version)
