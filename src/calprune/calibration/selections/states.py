"""Documents by what a model makes of them: one of each cluster, or those that are together like a target."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from calprune.base.values import ConfigError, rng
from calprune.calibration.selections.contract import DIMENSIONS, Among, Choosing, Selection
from calprune.text.encode import Encoded


@dataclass(frozen=True)
class Cluster(Among):
    """COLA's third stage: k-means on what leaves each block of the model (mean over tokens, of length 1, projected to
    `dimensions`), then of each cluster the document nearest its centre; when more are needed, the next nearest.

    Unlike the paper's code, padding is no part of the mean. EvoP draws within clusters at random: take="random"; its
    exact embedding and number of clusters were not available."""

    tag: ClassVar[str] = "Cluster"
    uses_model: ClassVar[bool] = True
    pool: int = 512
    clusters: int | None = None  # None: as many as there are sequences (COLA)
    take: Literal["nearest", "random"] = "nearest"
    dimensions: int = DIMENSIONS

    def __call__(self, candidates: Sequence[Encoded], choosing: Choosing) -> list[int]:
        from calprune.calibration.selections.activations import mean_states  # runs the model
        from calprune.calibration.selections.clusters import k_means

        points = mean_states(choosing.given.model.model, choosing.rows(candidates), self.dimensions)
        stream = rng(choosing.seed, "selection/cluster")
        label, distance = k_means(points, min(self.clusters or choosing.sequences, len(candidates)), stream)
        if self.take == "random":
            distance = [stream.random() for _ in distance]
        found: dict[int, list[int]] = {}
        for i in sorted(range(len(label)), key=lambda i: distance[i]):
            found.setdefault(label[i], []).append(i)
        largest = sorted(found.values(), key=len, reverse=True)
        return [own[turn] for turn in range(len(largest[0])) for own in largest if turn < len(own)]


@dataclass(frozen=True)
class Herding(Among):
    """Greedily the document that brings the mean of the chosen ones' vectors nearest to a target's.

    A document's vector is its mean of x² at each input channel of the linears, over the target's, projected to
    `dimensions`: pruning reads these sums, not texts. The target is what all candidates have together, or, with
    `towards`, a mixture of capabilities: Σ λ_t C_t of calibration sets, each one capability (its token weights count),
    with the shares λ. Unlike kernel herding, which takes argmax ⟨w, φᵢ⟩ and so prefers long vectors where they are not
    all of one length, this takes the nearest: argmax ⟨w, φᵢ⟩ - ‖φᵢ‖²/2, with w = (t + 1) φ* - Σ of the t chosen, which
    is the same where they are."""

    tag: ClassVar[str] = "Herding"
    uses_model: ClassVar[bool] = True
    pool: int = 512
    dimensions: int = 256
    towards: tuple[str, ...] = ()  # folders of calibration sets; none: the candidates themselves
    shares: tuple[float, ...] = ()  # one each of `towards`, of any sum; none: equal

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shares and len(self.shares) != len(self.towards):
            raise ConfigError(f"shares: expected one for each of the {len(self.towards)} sets of towards; "
                              f"got {len(self.shares)}")  # fmt: skip
        if not all(0 < share < float("inf") for share in self.shares):
            raise ConfigError(f"shares are numbers above 0; got {list(self.shares)}")

    def __call__(self, candidates: Sequence[Encoded], choosing: Choosing) -> list[int]:
        from calprune.calibration.selections.activations import mixed_moments, second_moments  # runs the model
        from calprune.calibration.selections.clusters import herd

        model, usual = choosing.given.model.model, None
        if self.towards:
            sets = _capabilities(self.towards)
            for one in sets:
                one.check_tokenizer(choosing.given.tokenizer)
            usual = mixed_moments(model, sets, self.shares or [1.0] * len(sets))
        return herd(*second_moments(model, choosing.rows(candidates), self.dimensions, usual))


def by_contents(selection: Selection) -> Selection:
    """As it counts in a set's identity: calibration sets by their ids, wherever they lie."""
    if not isinstance(selection, Herding) or not selection.towards:
        return selection
    return replace(selection, towards=tuple(one.id for one in _capabilities(selection.towards)))


def _capabilities(folders: Sequence[str]) -> list[Any]:
    from calprune.calibration.set import CalibrationSet  # imports torch

    return [CalibrationSet.load(folder) for folder in folders]
