"""A model writes: many sequences at once, each with its own random stream.

What is promised: on one machine, with the same versions and threads, the same prompts, streams, options and batch size
give the same tokens. Which other sequences share the batch changes a sequence's logits by float rounding only, so its
tokens are the same unless a draw falls within that rounding of a boundary.
"""

import inspect
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from calprune.base.progress import Steps
from calprune.base.values import UserError
from calprune.layers.products import faster_products
from calprune.layers.readable import check_rows, positions_of
from calprune.writing.cache import SlotCache
from calprune.writing.sampling import Sampling, next_tokens


@dataclass(frozen=True)
class Written:
    """A prompt and what the model wrote after it; the token that ended it is not among them unless kept."""

    tokens: tuple[int, ...]
    prompt: int  # how many of the tokens are the prompt
    stop: int | None  # the token that ended it; None: cut at max_new_tokens or at the model's window


@dataclass
class _Row:
    """A sequence being written, in one slot of the cache."""

    index: int  # among the prompts
    tokens: list[int]
    prompt: int
    limit: int  # tokens at which it is cut


def window(model: PreTrainedModel) -> int | None:
    """How many positions the model was made for, at which a text ends; None: it does not say."""
    found = positions_of(model)
    return found.count if found else None


def generate(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    streams: Sequence[random.Random],
    sampling: Sampling,
    *,
    batch_size: int = 64,
    steps: Steps | None = None,
) -> list[Written]:
    """What the model writes after each prompt, in the prompts' order.

    Prompts wait by falling length; a sequence that ends leaves its slot to a waiting one. `steps` counts tokens
    and sequences that ended. A text ends at the model's window; after a prompt as long as that, which is noted, at
    `sampling.max_new_tokens`. Raises UserError for a prompt that is empty, holds a token that the model has no
    embedding for, or leaves no room in its table of positions.
    """
    positions = positions_of(model)
    check_prompts(prompts, positions.count if positions and positions.is_table else None)
    check_rows(model, prompts, "a prompt")
    if positions:
        positions.check(max(map(len, prompts), default=0), "prompts")
    widest = window(model)
    _needs_keys_and_values_only(model)
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
    waiting = [_Row(i, list(prompts[i]), len(prompts[i]), _limit(len(prompts[i]), sampling, widest)) for i in order]
    writer = _Writer(model, waiting, streams, sampling, batch_size, steps or Steps("writing", len(prompts)))
    with torch.inference_mode(), evaluating(model), faster_products(model):
        return [written for _, written in sorted(writer.run(), key=lambda pair: pair[0])]


def check_prompts(prompts: Sequence[Sequence[int]], widest: int | None) -> None:
    """Raise UserError for a prompt after which nothing can be written."""
    for i, prompt in enumerate(prompts, 1):
        if not prompt:
            raise UserError(f"prompt {i} is empty; begin with a start token")
        if widest is not None and len(prompt) >= widest:
            raise UserError(
                f"prompt {i} has {len(prompt)} tokens and the model's window is {widest}: "
                "nothing could be written after it; shorten or leave out longer prompts"
            )


def _limit(prompt: int, sampling: Sampling, widest: int | None) -> int:
    limit = prompt + sampling.max_new_tokens
    return limit if widest is None or prompt >= widest else min(limit, widest)


class _Writer:
    """One batch that lasts until nothing waits: its rows, their cache, and the loop."""

    def __init__(self, model, waiting: list[_Row], streams, sampling: Sampling, batch_size: int, steps: Steps) -> None:
        self.model, self.waiting, self.streams, self.sampling = model, waiting, streams, sampling
        self.batch_size, self.steps, self.stop = batch_size, steps, frozenset(sampling.stop)
        self.options = frozenset(inspect.signature(model.forward).parameters)
        self.cache = SlotCache(min(batch_size, len(waiting)), max((len(r.tokens) for r in waiting), default=0))
        self.rows: list[_Row] = []
        self.refill = max(1, batch_size // 8)  # a prompt alone costs a pass over all weights: a few go together

    def run(self) -> Iterator[tuple[int, Written]]:
        while self.rows or self.waiting:
            free = self.batch_size - len(self.rows)
            if self.waiting and (not self.rows or free >= min(self.refill, len(self.waiting))):
                new, self.waiting = self.waiting[:free], self.waiting[free:]
                yield from self._choose(self._begin(new), len(self.rows) - len(new))
            if self.rows:
                yield from self._choose(self._step(), 0)

    def _begin(self, new: list[_Row]) -> Float[Tensor, "new vocabulary"]:
        """Run the new rows' prompts, left-padded, and put their keys and values into slots."""
        width = max(len(row.tokens) for row in new)
        pads = torch.tensor([width - len(row.tokens) for row in new])
        ids = torch.tensor([row.tokens[:1] * (width - len(row.tokens)) + row.tokens for row in new])
        columns = torch.arange(width)[None, :]
        cache = DynamicCache()
        logits = self._forward(ids, (columns >= pads[:, None]), (columns - pads[:, None]).clamp(min=0), cache)
        self.cache.add(cache, [len(row.tokens) for row in new])
        self.rows += new
        return logits

    def _step(self) -> Float[Tensor, "b vocabulary"]:
        """The logits after each row's newest token, which joins the cache."""
        ids = torch.tensor([row.tokens[-1:] for row in self.rows])
        positions = torch.tensor([[len(row.tokens) - 1] for row in self.rows])
        logits = self._forward(ids, self.cache.mask(), positions, self.cache)
        self.cache.advance()
        return logits

    def _forward(self, ids, mask, positions, cache) -> Float[Tensor, "b vocabulary"]:
        device = self.model.device
        given = {"position_ids": positions.to(device), "logits_to_keep": 1}
        output = self.model(
            input_ids=ids.to(device),
            attention_mask=mask.to(device, torch.long),
            past_key_values=cache,
            use_cache=True,
            **{name: value for name, value in given.items() if name in self.options},
        )
        return output.logits[:, -1]

    def _choose(self, logits: Float[Tensor, "b vocabulary"], first: int) -> Iterator[tuple[int, Written]]:
        """Draw a token for each row from `first` on; hand out and remove the rows that end."""
        rows, device = self.rows[first:], logits.device
        width = max(len(row.tokens) for row in rows)
        history = torch.tensor([row.tokens + row.tokens[:1] * (width - len(row.tokens)) for row in rows], device=device)
        step = torch.tensor([len(row.tokens) - row.prompt for row in rows], device=device)
        draws = [self.streams[row.index].random() for row in rows]
        uniform = torch.tensor(draws, dtype=torch.float64, device=device)
        chosen = next_tokens(logits, history, step, uniform, self.sampling).tolist()
        self.steps.count(len(chosen))
        for slot in reversed(range(len(rows))):
            row, token = rows[slot], chosen[slot]
            stop = token if token in self.stop else None
            if stop is None:
                row.tokens.append(token)
            if stop is not None or len(row.tokens) >= row.limit:
                self.steps.advance()
                yield row.index, Written(tuple(row.tokens), row.prompt, stop)
                self._remove(first + slot)

    def _remove(self, slot: int) -> None:
        self.cache.remove(slot)
        self.rows[slot] = self.rows[-1]
        self.rows.pop()


@contextmanager
def evaluating(model: PreTrainedModel) -> Iterator[None]:
    """Without dropout, and back to what it was."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def _needs_keys_and_values_only(model: PreTrainedModel) -> None:
    """Refuse models whose blocks keep another state than keys and values (state-space, linear attention)."""
    layers = DynamicCache(config=model.config).layers
    if other := [type(layer).__name__ for layer in layers if not isinstance(layer, DynamicLayer)]:
        raise UserError(
            f"cannot write text with a {model.config.model_type} model: its blocks keep {other[0]} beside keys and "
            "values; use a model with attention in every block"
        )
