"""What each stage of `choose` found, as plain objects: written to DIR/<stage>.json, and read back when it goes on."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from calprune.base.store import read_json, write_json
from calprune.base.values import read
from calprune.choosing.question import Question
from calprune.uncertainty.difference import TURNED, Verdict
from calprune.uncertainty.estimate import Estimate
from calprune.uncertainty.power import SIGNIFICANCE

UNIFORM = "uniform mixture"

OVERALL = "all, as weighted"  # a row beside those of the capabilities

BEFORE = ("small", "large")  # words of a gate that led to a search until 0.1


@dataclass(frozen=True)
class GateRow:
    """How far the sources lie apart, for one capability, and whether that matters."""

    word: str  # by uncertainty.effect.RULE; until 0.1 immaterial, small or large, by the share of variance
    share: Estimate | None  # of the variance that lies between sources (ω²)
    adjusted_p: float | None  # of the F test, Holm's over the capabilities
    lowest: str  # the source with the least divergence
    highest: str
    range: float  # of the sources' means, nats a token
    detectable: float | None  # the smallest difference of two sources that would be seen in 80 % of such studies
    apart: Estimate | None = None  # the range with its interval; None: cannot be told, or a gate of before
    part_of_cost: float | None = None  # the range as a share of what pruning itself cost
    of_interest: float | None = None  # the smallest difference that anyone would act on, nats a token

    @property
    def shown(self) -> str:
        """The word as it is shown: what a gate of before called immaterial was never shown to be."""
        return "not shown" if self.word == "immaterial" and self.of_interest is None else self.word

    @property
    def worth_a_search(self) -> bool:
        """Whether a better choice may be had: the sources differ more than draws do, and perhaps by so much as would be
        of interest."""
        distinguished = self.adjusted_p is not None and self.adjusted_p < SIGNIFICANCE
        return self.word in ("matters", *BEFORE) or (self.word == "not shown" and distinguished)


@dataclass(frozen=True)
class Gate:
    """Does the choice matter here?"""

    tag: ClassVar[str] = "Gate"

    effects: dict[str, GateRow]  # by capability
    used: tuple[str, ...]  # sources
    dropped: dict[str, str]  # source -> why it could not be used
    shared_wording: dict[str, dict[str, int]]  # source -> capability -> sequences, of `looked_at`, found in its text;
    # a capability whose text is not looked up (written by the model, made up) is not there
    looked_at: int  # sequences of each source, all draws together
    seconds: float | None = None  # that a trial took

    @property
    def worth_a_search(self) -> bool:
        """Of one capability at least."""
        return any(one.worth_a_search for one in self.effects.values())


@dataclass(frozen=True)
class Search:
    """What is known from sums alone: the transfer table, and the mixtures found on it."""

    tag: ClassVar[str] = "Search"

    loss: dict[str, dict[str, float]]  # source -> capability -> L
    own: dict[str, float]  # capability -> L[t → t]
    mixtures: dict[str, dict[str, float]]  # candidate -> shares
    proxy: dict[str, dict[str, float]]  # candidate -> capability -> L, over all blocks
    blocks: int  # of the model, that the search looked at
    evaluations: int  # mixtures whose masks were decided
    seconds: float
    own_tokens: dict[str, int] = field(default_factory=dict)  # capability -> of its own text, that `own` is decided by

    def regret(self, loss: Mapping[str, float]) -> dict[str, float]:
        return {name: value / self.own[name] - 1 for name, value in loss.items()}

    def shares(self, candidate: str) -> dict[str, float]:
        """Of a candidate, or of the default, which may be none."""
        return self.mixtures.get(candidate, {candidate: 1.0})


@dataclass(frozen=True)
class Halving:
    """The candidates judged end to end."""

    tag: ClassVar[str] = "Halving"

    tokens: tuple[int, ...]  # of each capability's text, a round
    divergence: tuple[dict[str, dict[str, float]], ...]  # a round: candidate -> capability -> KL
    correlation: dict[str, Estimate | None]  # of the proxy with KL, over the first round's candidates
    finalists: tuple[str, ...]  # the best first


@dataclass(frozen=True)
class SetContrast:
    """One set less another in KL: below zero it is better."""

    candidate: str
    against: str
    capability: str  # "all, as weighted": the weighted mean
    difference: Estimate
    adjusted_p: float | None  # Holm's over all contrasts
    verdict: Verdict

    def turned(self) -> "SetContrast":
        """The same contrast, seen from the other set."""
        one = self.difference
        low, high = (None if end is None else -end for end in (one.high, one.low))
        return replace(self, candidate=self.against, against=self.candidate, verdict=TURNED[self.verdict],
                       difference=replace(one, value=-one.value, low=low, high=high))  # fmt: skip


@dataclass(frozen=True)
class FinalVerdict:
    """The finalists against the default and the uniform mixture, and these two against each other, on text that no
    search looked at."""

    tag: ClassVar[str] = "Judgement"

    contrasts: tuple[SetContrast, ...]
    halves: tuple[tuple[int, float], ...]  # sequences, and the overlap of what two halves of so many keep
    enough: int | None  # sequences from which on a doubling changes next to nothing; None: it still does
    against: tuple[str, ...] = ()  # what the finalists are compared with: the default, then the uniform mixture

    def of(self, candidate: str) -> list[SetContrast]:
        """A set's contrasts with what is compared with, whichever of the two is named first in a row."""
        others = [name for name in self.against if name != candidate]
        rows = [one.turned() if one.against == candidate else one for one in self.contrasts]
        return [one for one in rows if one.candidate == candidate and one.against in others]

    def overall(self, candidate: str) -> set[Verdict]:
        """Its verdicts for all capabilities together (for the one, where there is one)."""
        rows = self.of(candidate)
        return {one.verdict for one in [one for one in rows if one.capability == OVERALL] or rows}


@dataclass(frozen=True)
class PrunedResult:
    """The pruned model."""

    tag: ClassVar[str] = "Result"

    winner: str
    spec: str  # as `calprune calib build --calibration` takes it
    divergence: dict[str, Estimate]  # of the saved model, with pruned propagation, by capability
    perplexity: dict[str, tuple[float, float]]  # dense, pruned
    seconds: float  # of this run of the command


@dataclass(frozen=True)
class Choice:
    """The answer, with all that led to it."""

    question: Question
    gate: Gate
    search: Search | None  # None: the choice does not matter, or there was no time
    halving: Halving | None
    judgement: FinalVerdict | None
    result: PrunedResult
    folder: Path
    left_out: tuple[str, ...] = field(default=())  # what the budget did not allow

    @property
    def winner(self) -> str:
        return self.result.winner


ON_DISK = {"effects": "told"}  # fields whose name in the file is another: folders of earlier versions are read


def write_stage(path: Path, stage: Any, left_out: list[str]) -> None:
    """Write a stage with what was left out of it. The order of sources, capabilities and candidates is kept."""
    found = {ON_DISK.get(name, name): value for name, value in asdict(stage).items()}
    write_json(path, {"format": 1, "found": found, "left_out": left_out}, sort=False)


def read_stage(path: Path, kind: type) -> tuple[Any, list[str]]:
    """A stage as it was written."""
    data = read_json(path, "a stage of calprune choose")
    names = {written: name for name, written in ON_DISK.items()}
    found = {names.get(name, name): value for name, value in data["found"].items()}
    return read(kind, found, str(path)), data["left_out"]
