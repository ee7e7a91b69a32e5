"""A model writes: many sequences at once, each with its own random stream.

What is promised: on one machine, with the same versions and threads, the same prompts, streams, options and batch size
give the same tokens. Which other sequences share the batch changes a sequence's logits by float rounding only, so its
tokens are the same unless a draw falls within that rounding of a boundary.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from calprune.base.memory import is_out_of_memory
from calprune.base.progress import Steps, current
from calprune.base.values import UserError
from calprune.layers.products import faster_products
from calprune.layers.readable import check_rows, positions_of
from calprune.writing.cache import SlotCache
from calprune.writing.reading import PromptReader
from calprune.writing.room import Room
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
    uniform: float | None = None  # the number that decides its next token, once it is drawn


@dataclass(frozen=True)
class Way:
    """How tokens are chosen, and when a text is over."""

    sampling: Sampling
    streams: Sequence[random.Random] | None  # of each prompt; None: greedy, which draws nothing
    over: Callable[[Sequence[int]], bool] = lambda written: False  # of the tokens written, the newest last


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
    `sampling.max_new_tokens`. Where memory runs out, half as many go on, which is noted. Raises UserError for a prompt
    that is empty, holds a token that the model has no embedding for, or leaves no room in its table of positions.
    """
    check_readable(model, prompts)
    with writing_with(model):
        writer = BatchWriter(PromptReader(model), Way(sampling, streams), Room(batch_size))
        return writer.write(prompts, steps or Steps("writing", len(prompts)))


def check_readable(model: PreTrainedModel, prompts: Sequence[Sequence[int]]) -> None:
    """Raise UserError for prompts or a model with which nothing can be written."""
    positions = positions_of(model)
    check_prompts(prompts, positions.count if positions and positions.is_table else None)
    check_rows(model, prompts, "a prompt")
    if positions:
        positions.check(max(map(len, prompts), default=0), "prompts")
    _needs_keys_and_values_only(model)


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


def limit_of(prompt: int, new: int, widest: int | None) -> int:
    """Tokens at which a text is cut that begins with `prompt` tokens."""
    limit = prompt + new
    return limit if widest is None or prompt >= widest else min(limit, widest)


class BatchWriter:
    """One batch that lasts until nothing waits: its rows, their cache, and the loop."""

    steps: Steps

    def __init__(self, reader: PromptReader, way: Way, room: Room) -> None:
        self.reader, self.way, self.room = reader, way, room
        self.stop, self.widest = frozenset(way.sampling.stop), window(reader.model)
        self.waiting: list[_Row] = []

    def write(self, prompts: Sequence[Sequence[int]], steps: Steps) -> list[Written]:
        """What is written after each prompt; in `writing_with`."""
        self.steps = steps
        new = self.way.sampling.max_new_tokens
        self._wait([_Row(i, [*p], len(p), limit_of(len(p), new, self.widest)) for i, p in enumerate(prompts)])
        found: dict[int, Written] = {}
        while self.rows or self.waiting:
            ended = self._try()
            if ended is None:
                self._halve()
            else:
                found |= ended
        self.cache.free()
        return [found[i] for i in range(len(prompts))]

    def _wait(self, rows: list[_Row]) -> None:
        """Begin with an empty cache: all rows wait, by falling length."""
        self.rows: list[_Row] = []
        self.waiting = sorted(rows, key=lambda row: -len(row.tokens))
        slots = min(self.room.rows, len(rows))
        self.cache = SlotCache(slots, max((len(row.tokens) for row in rows), default=0), self.room.columns)
        self.refill = max(1, slots // 8)  # a prompt alone costs a pass over all weights: a few go together

    def _try(self) -> dict[int, Written] | None:
        """Read waiting prompts or write a token of each row; the texts that end. None: memory does not suffice."""
        free = self.room.rows - len(self.rows)
        try:
            if self.waiting and (not self.rows or free >= min(self.refill, len(self.waiting))):
                first = len(self.rows)
                return self._choose(self._begin(free), first)
            return self._choose(self._step(), 0)
        except RuntimeError as error:
            if is_out_of_memory(error):
                return None
            raise

    def _halve(self) -> None:
        """Half as many rows; those that were begun are read anew, with what was written."""
        most = min(self.room.rows, len(self.rows) + len(self.waiting))
        device = self.reader.model.device
        if most == 1:
            [row] = self.rows or self.waiting[:1]
            raise UserError(f"the memory of {device} does not hold one text of {len(row.tokens)} tokens beside the "
                            "model: free some, take shorter prompts, or another device (--device)")  # fmt: skip
        self.room = self.room.halved(most)
        self.cache.free()
        self._wait([*self.rows, *self.waiting])
        if device.type == "cuda":
            torch.cuda.empty_cache()
        current().note(f"the memory of {device} does not hold {most} texts at once: {self.room.rows} go on")

    def _begin(self, free: int) -> Float[Tensor, "new vocabulary"]:
        """Read some of the waiting prompts, and put their keys and values into slots."""
        width, most = len(self.waiting[0].tokens) - self.reader.shared, self.room.prompt_tokens
        count = free if most is None else max(1, min(free, most // width))
        new = self.waiting[:count]
        logits, cache = self.reader.begin([row.tokens for row in new])
        self.cache.add(cache, [len(row.tokens) for row in new])
        self.waiting = self.waiting[count:]
        self.rows += new
        return logits

    def _step(self) -> Float[Tensor, "b vocabulary"]:
        """The logits after each row's newest token, which joins the cache."""
        ids = torch.tensor([row.tokens[-1:] for row in self.rows])
        positions = torch.tensor([[len(row.tokens) - 1] for row in self.rows])
        logits = self.reader(ids, self.cache.mask(), positions, self.cache)
        self.cache.advance()
        return logits

    def _choose(self, logits: Float[Tensor, "b vocabulary"], first: int) -> dict[int, Written]:
        """Draw a token for each row from `first` on; give and remove the rows that end."""
        rows, ended = self.rows[first:], {}
        chosen = self._drawn(logits, rows)
        self.steps.count(len(chosen))
        for slot in reversed(range(len(rows))):
            row, token = rows[slot], chosen[slot]
            row.uniform = None
            stop = token if token in self.stop else None
            if stop is None:
                row.tokens.append(token)
            if stop is not None or len(row.tokens) >= row.limit or self.way.over(row.tokens[row.prompt :]):
                self.steps.advance()
                ended[row.index] = Written(tuple(row.tokens), row.prompt, stop)
                self._remove(first + slot)
        return ended

    def _drawn(self, logits: Float[Tensor, "b vocabulary"], rows: list[_Row]) -> list[int]:
        """The next token of each row. A number that was drawn in vain, as memory ran out, is kept for the row."""
        device, sampling = logits.device, self.way.sampling
        width = max(len(row.tokens) for row in rows) if sampling.repetition_penalty != 1 else 0  # else none is read
        seen = [row.tokens + row.tokens[:1] * (width - len(row.tokens)) if width else [] for row in rows]
        step = torch.tensor([len(row.tokens) - row.prompt for row in rows], device=device)
        if self.way.streams is not None:
            for row in rows:
                row.uniform = self.way.streams[row.index].random() if row.uniform is None else row.uniform
        uniform = torch.tensor([row.uniform or 0.0 for row in rows], dtype=torch.float64, device=device)
        history = torch.tensor(seen, dtype=torch.long, device=device)
        return next_tokens(logits, history, step, uniform, sampling).tolist()

    def _remove(self, slot: int) -> None:
        self.cache.remove(slot)
        self.rows[slot] = self.rows[-1]
        self.rows.pop()


@contextmanager
def writing_with(model: PreTrainedModel) -> Iterator[None]:
    """No gradients, no dropout, and the faster products."""
    with torch.inference_mode(), evaluating(model), faster_products(model):
        yield


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
