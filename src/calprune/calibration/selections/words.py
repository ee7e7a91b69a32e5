"""ZipCal: documents by their words, and of the best ones those that are far apart."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import ClassVar

from calprune.base.values import ConfigError
from calprune.calibration.selections.contract import DIMENSIONS, Among, Choosing
from calprune.text.encode import Encoded
from calprune.text.words import words as words_of


@dataclass(frozen=True)
class _ByWords(Among):
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
        from calprune.calibration.selections.activations import mean_states  # runs the model
        from calprune.calibration.selections.clusters import k_center

        best = order[: self.spread * choosing.sequences]
        sequences = choosing.rows([candidates[i] for i in best])
        points = mean_states(choosing.given.model.model, sequences, DIMENSIONS)
        return [best[i] for i in k_center(points)] + order[len(best) :]


@dataclass(frozen=True)
class UniqueTokens(_ByWords):
    """ZipCal's `unique_tokens`: greedily the text with the most words not seen yet; of equals the one of most tokens.

    The paper's exact rule of what a word is was not available: here those of text/words.py. Nor was it said which of
    equals goes first."""

    tag: ClassVar[str] = "UniqueTokens"
    version: ClassVar[int] = 2  # words are those of text/words.py

    def __call__(self, candidates: Sequence[Encoded], choosing: Choosing) -> list[int]:
        words = [set(words_of(text)) for text in choosing.texts(candidates)]
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
    version: ClassVar[int] = 2  # words are those of text/words.py

    def __call__(self, candidates: Sequence[Encoded], choosing: Choosing) -> list[int]:
        words = [words_of(text) for text in choosing.texts(candidates)]
        frequency = Counter(word for own in words for word in own)
        scores = [sum(1 / frequency[word] for word in sorted(set(own))) for own in words]
        order = sorted(range(len(words)), key=lambda i: -scores[i])
        return self.spread_out(order, candidates, choosing)
