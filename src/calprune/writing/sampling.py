"""How the next token is drawn: repetition penalty, temperature, top-k, top-p, then one uniform number.

The order and the arithmetic are those of transformers' logits processors, so that the same logits and the same uniform
numbers give the same tokens. Two things are done otherwise, for speed and for exact counts: no full-vocabulary sort is
made (the k largest first, top-p among those), and of logits tied at the k-th place only k candidates stay, where
transformers keeps them all.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from calprune.base.values import ConfigError

_FIRST_CANDIDATES = 1024  # without top-k, top-p looks at this many largest logits first, then at more if they do not do


@dataclass(frozen=True)
class Sampling:
    """The options of a draw. `temperature` 0 is greedy. With `final_temperature` it goes linearly from `temperature`
    at the first generated token to `final_temperature` at token `cooling_tokens`, and stays there (Williams,
    Chrysostomou, Aletras 2025, "Self-calibration"). Ends at a token of `stop` or after `max_new_tokens`."""

    tag: ClassVar[str] = "Sampling"

    temperature: float = 0.6
    final_temperature: float | None = None
    cooling_tokens: int = 10
    top_k: int | None = 50
    top_p: float = 0.95
    repetition_penalty: float = 1.2
    max_new_tokens: int = 2048
    stop: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in ("temperature", "final_temperature"):
            if (value := getattr(self, name)) is not None and not 0 <= value < float("inf"):
                raise ConfigError(f"{name} is 0 (greedy) or more, such as 0.6; got {value}")
        if self.final_temperature is not None and (0 in (self.temperature, self.final_temperature)):
            raise ConfigError("a temperature that changes has to stay above 0, such as 2.0:1.0")
        if self.cooling_tokens < 1:
            raise ConfigError(
                f"cooling_tokens is 1 or more where a final temperature is given; got {self.cooling_tokens}"
            )
        if self.top_k is not None and self.top_k < 1:
            raise ConfigError(f"top_k is 1 or more, or None for all tokens; got {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p is above 0 and at most 1, such as 0.95; got {self.top_p}")
        if not self.repetition_penalty > 0:
            raise ConfigError(f"repetition_penalty is above 0; 1 means none; got {self.repetition_penalty}")
        if self.max_new_tokens < 1:
            raise ConfigError(f"max_new_tokens is 1 or more; got {self.max_new_tokens}")

    def temperature_at(self, step: Int[Tensor, "b"]) -> Float[Tensor, "b"]:
        """t_i = t_0 + min(i / n, 1) · (t_n − t_0) for the i-th generated token, counted from 0."""
        if self.final_temperature is None:
            return torch.full(step.shape, self.temperature, device=step.device)
        passed = (step / self.cooling_tokens).clamp(max=1)
        return self.temperature + passed * (self.final_temperature - self.temperature)


def next_tokens(
    logits: Float[Tensor, "b vocabulary"],
    history: Int[Tensor, "b seen"],
    step: Int[Tensor, "b"],
    uniform: Float[Tensor, "b"],
    sampling: Sampling,
) -> Int[Tensor, "b"]:
    """The next token of each row. `history` holds the row's tokens so far, prompt included, padded with any of them;
    `step` counts the tokens generated so far; `uniform` (float64, in [0, 1)) decides the draw."""
    scores = penalise(logits.float(), history, sampling.repetition_penalty)
    if sampling.temperature == 0:
        return scores.argmax(-1)
    scores = scores / sampling.temperature_at(step)[:, None]
    kept, ids = candidates(scores, sampling.top_k, sampling.top_p)
    return ids.gather(1, draw(kept, uniform)[:, None])[:, 0]


def penalise(
    logits: Float[Tensor, "b vocabulary"], history: Int[Tensor, "b seen"], penalty: float
) -> Float[Tensor, "b vocabulary"]:
    """Divide positive and multiply negative logits of tokens already seen by `penalty` (Keskar et al. 2019, CTRL)."""
    if penalty == 1:
        return logits
    seen = logits.gather(1, history)
    return logits.scatter(1, history, torch.where(seen < 0, seen * penalty, seen / penalty))


def candidates(
    scores: Float[Tensor, "b vocabulary"], top_k: int | None, top_p: float
) -> tuple[Float[Tensor, "b kept"], Shaped[Tensor, "b kept"]]:
    """The scores that may be drawn, with their token ids: by falling score where something is cut off (what top-p
    drops of them is -inf), in the vocabulary's order where nothing is."""
    vocabulary = scores.shape[-1]
    if top_k is None and top_p == 1:
        return scores, torch.arange(vocabulary, device=scores.device).expand_as(scores)
    if top_k is not None:
        kept, ids = scores.topk(min(top_k, vocabulary))
        return _nucleus(kept, kept.logsumexp(-1, keepdim=True), top_p), ids
    total, k = scores.logsumexp(-1, keepdim=True), min(_FIRST_CANDIDATES, vocabulary)
    while True:
        kept, ids = scores.topk(k)
        if k == vocabulary or bool(((kept - total).exp().sum(-1) > top_p).all()):
            return _nucleus(kept, total, top_p), ids
        k = min(8 * k, vocabulary)


def _nucleus(kept: Float[Tensor, "b kept"], total: Float[Tensor, "b 1"], top_p: float) -> Float[Tensor, "b kept"]:
    """Of falling scores, the fewest whose probability reaches top_p, at least one; the rest -inf. `total` is the log
    of what the probabilities are shares of."""
    if top_p == 1:
        return kept
    probability = (kept - total).exp()
    before = probability.cumsum(-1) - probability  # what the better ones already hold
    drop = before >= top_p
    drop[:, 0] = False
    return kept.masked_fill(drop, float("-inf"))


def draw(scores: Float[Tensor, "b kept"], uniform: Float[Tensor, "b"]) -> Int[Tensor, "b"]:
    """The first place at which the cumulative probability (float64) exceeds the uniform number."""
    cumulative = scores.double().softmax(-1).cumsum(-1)
    total = cumulative[:, -1:]
    threshold = torch.minimum(
        uniform[:, None] * total, total.nextafter(torch.zeros_like(total))
    )  # rounding up to total
    return torch.searchsorted(cumulative, threshold, right=True)[:, 0]
