"""A key-value cache with a slot for each sequence being written, so that one can end and another begin without copying.

All sequences end at the same column; each begins at its own, and the columns before that are masked (left padding):

    slot 0   · · a b c d e f        removing a sequence moves the last slot into its place: one row is copied
    slot 1   · · · · · g h i        adding one writes its prompt's keys and values so that they end where all end
    slot 2   j k l m n o p q        a new token is written into column `end`, in place: nothing is concatenated
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache

from calprune.writing.reading import keys_values

_ROOM = 256  # columns to grow by: seldom enough to cost nothing, small beside a cache


class SlotCache(Cache):
    """The cache of up to `slots` sequences; `starts[i]` is the first column of slot i.

    columns: of the longest sequence when it ends: with them the buffers are made once, without them they grow.
    """

    def __init__(self, slots: int, longest_prompt: int, columns: int | None = None) -> None:
        self.blocks: list[_SlotLayer] = []
        super().__init__(layers=self.blocks)  # type: ignore[arg-type]
        self.slots, self.longest_prompt = slots, longest_prompt
        self.starts: list[int] = []
        self.end, self.capacity = longest_prompt, max(longest_prompt, columns or 0) + _ROOM

    @property
    def begin(self) -> int:
        """The first column that any sequence uses."""
        return min(self.starts, default=self.end)

    def mask(self) -> Bool[Tensor, "b seen"]:
        """True at the columns of a sequence, the one about to be written included."""
        columns = torch.arange(self.begin, self.end + 1)
        return columns[None, :] >= torch.tensor(self.starts)[:, None]

    def add(self, prompts: DynamicCache, lengths: list[int]) -> None:
        """Put the keys and values of left-padded prompts into the next slots."""
        first, width = len(self.starts), max(lengths)
        for i, source in enumerate(prompts.layers):
            keys, values = keys_values(source)
            if len(self.blocks) <= i:
                self.blocks.append(_SlotLayer(self, keys, values))
            layer = self.blocks[i]
            for buffer, new in ((layer.keys, keys), (layer.values, values)):
                buffer[first : first + len(lengths), :, self.end - width : self.end] = new
        self.starts += [self.end - length for length in lengths]

    def remove(self, slot: int) -> None:
        """Free a slot; the last sequence moves into it."""
        last = len(self.starts) - 1
        if slot != last:
            for layer in self.blocks:
                for buffer in (layer.keys, layer.values):
                    buffer[slot, :, self.starts[last] : self.end] = buffer[last, :, self.starts[last] : self.end]
        self.starts[slot] = self.starts[last]
        self.starts.pop()

    def advance(self) -> None:
        """After a step: the column written becomes part of every sequence; make room for the next."""
        self.end += 1
        if self.end < self.capacity:
            return
        begin = self.begin
        end = max(self.end - begin, self.longest_prompt)  # a waiting prompt has to fit before it
        self.capacity = max(self.capacity, end + _ROOM)
        for layer in self.blocks:
            layer.keys = self._moved(layer.keys, begin, end)
            layer.values = self._moved(layer.values, begin, end)
        shift = self.end - end
        self.starts, self.end = [start - shift for start in self.starts], end

    def free(self) -> None:
        """Let go of all buffers now: cache and layers know each other, so they would wait for the garbage collector."""
        self.blocks.clear()
        self.starts.clear()

    def _moved(self, buffer: Float[Tensor, "..."], begin: int, end: int) -> Float[Tensor, "..."]:
        used = buffer[: len(self.starts), :, begin : self.end]
        if self.capacity > buffer.shape[2]:
            buffer = buffer.new_zeros(*buffer.shape[:2], self.capacity, buffer.shape[3])
        elif begin < end:  # the columns overlap
            used = used.clone()
        buffer[: len(self.starts), :, end - used.shape[2] : end] = used
        return buffer


class _SlotLayer(CacheLayerMixin):
    """One block's keys and values. Sliding windows are left to the model's mask: all columns are kept."""

    is_sliding = False
    keys: Tensor  # type: ignore[assignment]
    values: Tensor  # type: ignore[assignment]

    def __init__(self, cache: SlotCache, keys: Float[Tensor, "..."], values: Float[Tensor, "..."]) -> None:
        super().__init__()
        self.cache = cache
        self.keys = keys.new_zeros(cache.slots, keys.shape[1], cache.capacity, keys.shape[3])
        self.values = values.new_zeros(cache.slots, values.shape[1], cache.capacity, values.shape[3])
        self.is_initialized = True

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing is left to do: the buffers are made with the layer."""

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Write one token of each sequence; give all columns in use."""
        cache, n = self.cache, len(self.cache.starts)
        self.keys[:n, :, cache.end] = key_states[:, :, 0]
        self.values[:n, :, cache.end] = value_states[:, :, 0]
        used = slice(cache.begin, cache.end + 1)
        return self.keys[:n, :, used], self.values[:n, :, used]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_seq_length(self) -> int:
        return self.cache.end - self.cache.begin

    def get_max_length(self) -> int:
        return -1
