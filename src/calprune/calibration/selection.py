"""Which documents of a source a set takes: at random, or the best of a random pool of candidates.

    random           as they come in the draw's random order
    unique_tokens    ZipCal: each next document brings the most words that those before it lack
    zipf             ZipCal: documents of rare words first
    cluster          COLA, EvoP: a document of each cluster of the model's hidden states
    herding          documents whose mean of x² at the model's linears is together that of the whole pool, or of a
                     mixture of capabilities

ZipCal: "ZipCal", 2026, arXiv:2603.16105. COLA: "Preserving LLM capabilities through calibration data curation",
NeurIPS 2025, arXiv:2510.10618. EvoP: arXiv:2502.14910. Herding: Chen, Welling, Smola, "Super-samples from kernel
herding", UAI 2010, here of the statistics that pruning reads.

A selection puts its candidates into an order, and the layout takes as many as it needs. Candidates are the documents
of one seed's draw, so seeds stay apart. Each is looked at as far as a sequence would hold it. Unlike the papers, the
sources of a mixture are chosen from one by one, and keep their shares.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from heapq import heapify, heappop, heappush
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

from calprune.base.calls import Registry
from calprune.base.values import ConfigError, rng
from calprune.text.document import Given
from calprune.text.encode import Encoded

_DIMENSIONS = 64  # that hidden states are projected to, to be told apart by their distance


@dataclass(frozen=True)
class Choosing:
    """What a selection may look at beside the candidates."""

    given: Given  # with a loaded model, where the selection uses one
    length: int  # tokens that a sequence holds
    sequences: int  # of the set
    seed: int

    def texts(self, candidates: Sequence[Encoded]) -> list[str]:
        """What a sequence would hold of each candidate."""
        return self.given.tokenizer.batch_decode(self.cut(candidates), clean_up_tokenization_spaces=False)

    def cut(self, candidates: Sequence[Encoded]) -> list[list[int]]:
        return [list(candidate.tokens[: self.length]) for candidate in candidates]


@runtime_checkable
class Selection(Protocol):
    """A frozen dataclass of its options."""

    @property
    def pool(self) -> int:
        """How many candidates it wants to see."""
        ...

    @property
    def uses_model(self) -> bool:
        """Whether it looks at the model, and not only at its tokenizer."""
        ...

    def __call__(self, candidates: Sequence[Encoded], choosing: Choosing) -> list[int]:
        """The candidates' numbers, the best first."""
        ...


@dataclass(frozen=True)
class Random:
    """No choice: the documents of the draw as they come."""

    tag: ClassVar[str] = "Random"
    uses_model: ClassVar[bool] = False
    pool: ClassVar[int] = 0  # no candidates are collected

    def __call__(self, candidates: Sequence[Encoded], choosing: Choosing) -> list[int]:
        return [*range(len(candidates))]


@dataclass(frozen=True)
class _Among:
    """A selection among `pool` candidates."""

    pool: int = 2000

    def __post_init__(self) -> None:
        if self.pool < 2:
            raise ConfigError(f"pool must be at least 2 documents; got {self.pool}")


@dataclass(frozen=True)
class _ByWords(_Among):
    """A selection by words. With `spread`, ZipCal's second step follows, the k-center: of the best `spread` times as
    many documents as the set has sequences, the best one, then always the one farthest from its nearest before it, in
    the model's mean hidden states.

    Unlike in the paper's code, the distance is not that of another model's sentence embeddings (MiniLM), which would
    have to be fetched, and the k-center takes within a source, where theirs takes of what all sources gave."""

    spread: int | None = None  # 2 or more; None: by words alone

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.spread is not None and self.spread < 2:
            raise ConfigError(f"spread must be 2 or more, as there is nothing to choose from otherwise; "
                              f"got {self.spread}")  # fmt: skip

    @property
    def uses_model(self) -> bool:
        return self.spread is not None

    def spread_out(self, order: list[int], candidates: Sequence[Encoded], choosing: Choosing) -> list[int]:
        """The second step, from the order that words gave."""
        if self.spread is None:
            return order
        from calprune.calibration.activations import mean_states  # runs the model
        from calprune.calibration.clusters import k_center

        best = order[: self.spread * choosing.sequences]
        sequences = choosing.cut([candidates[i] for i in best])
        points = mean_states(choosing.given.model.model, sequences, _DIMENSIONS)
        return [best[i] for i in k_center(points)] + order[len(best) :]


@dataclass(frozen=True)
class UniqueTokens(_ByWords):
    """ZipCal's `unique_tokens`: greedily the text with the most words not seen yet; of equals the one of most tokens.

    The paper's exact rule of what a word is was not available: here runs of letters, digits and underscores, in lower
    case. Nor was it said which of equals goes first."""

    tag: ClassVar[str] = "UniqueTokens"

    def __call__(self, candidates: Sequence[Encoded], choosing: Choosing) -> list[int]:
        words = [set(_words(text)) for text in choosing.texts(candidates)]
        heap = [(-len(own), -len(candidates[i].tokens), i) for i, own in enumerate(words)]
        heapify(heap)
        seen, order = set[str](), list[int]()
        while heap:
            _, size, i = heappop(heap)
            now = (-len(words[i] - seen), size, i)
            if heap and now > heap[0]:  # what it brings has shrunk since it was looked at; others' can only shrink too
                heappush(heap, now)
                continue
            seen |= words[i]
            order.append(i)
        return self.spread_out(order, candidates, choosing)


@dataclass(frozen=True)
class Zipf(_ByWords):
    """ZipCal's `zipf`: by score(text) = Σ over its distinct words of 1 / freq(word), the highest first.

    The paper's exact freq was not available: here a word's occurrences in the candidates."""

    tag: ClassVar[str] = "Zipf"

    def __call__(self, candidates: Sequence[Encoded], choosing: Choosing) -> list[int]:
        words = [_words(text) for text in choosing.texts(candidates)]
        frequency = Counter(word for own in words for word in own)
        scores = [sum(1 / frequency[word] for word in sorted(set(own))) for own in words]
        order = sorted(range(len(words)), key=lambda i: -scores[i])
        return self.spread_out(order, candidates, choosing)


@dataclass(frozen=True)
class Cluster(_Among):
    """COLA's third stage: k-means on what leaves each block of the model (mean over tokens, of length 1, projected to
    `dimensions`), then of each cluster the document nearest its centre; when more are needed, the next nearest.

    Unlike the paper's code, padding is no part of the mean. EvoP draws within clusters at random: take="random"; its
    exact embedding and number of clusters were not available."""

    tag: ClassVar[str] = "Cluster"
    uses_model: ClassVar[bool] = True
    pool: int = 512
    clusters: int | None = None  # None: as many as there are sequences (COLA)
    take: Literal["nearest", "random"] = "nearest"
    dimensions: int = _DIMENSIONS

    def __call__(self, candidates: Sequence[Encoded], choosing: Choosing) -> list[int]:
        from calprune.calibration.activations import mean_states  # runs the model
        from calprune.calibration.clusters import k_means

        points = mean_states(choosing.given.model.model, choosing.cut(candidates), self.dimensions)
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
class Herding(_Among):
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
        from calprune.calibration.activations import mixed_moments, second_moments  # runs the model
        from calprune.calibration.clusters import herd

        model, usual = choosing.given.model.model, None
        if self.towards:
            sets = _capabilities(self.towards)
            for one in sets:
                one.check_tokenizer(choosing.given.tokenizer)
            usual = mixed_moments(model, sets, self.shares or [1.0] * len(sets))
        return herd(*second_moments(model, choosing.cut(candidates), self.dimensions, usual))


SELECTIONS = Registry(
    "selection",
    {
        "cluster": Cluster,
        "herding": Herding,
        "random": Random,
        "unique_tokens": UniqueTokens,
        "zipf": Zipf,
    },
    '"zipf(pool=500)"',
    Selection,
)


def by_contents(selection: Selection) -> Selection:
    """As it counts in a set's identity: calibration sets by their ids, wherever they lie."""
    if not isinstance(selection, Herding) or not selection.towards:
        return selection
    return replace(selection, towards=tuple(one.id for one in _capabilities(selection.towards)))


def _capabilities(folders: Sequence[str]) -> list[Any]:
    from calprune.calibration.set import CalibrationSet  # imports torch

    return [CalibrationSet.load(folder) for folder in folders]


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())
