"""A model reads prompts: padded at the left, and what they all begin with only once.

Worked examples stand before every question of a task: their keys and values are the same for all, so they are made once
and copied. All rows read the same columns, as if nothing were shared; the last `width` of them are run:

    shared by all  a b c d          row 0   a b c d | e f g       the 4 that are shared are copied, 3 are run
    prompts        a b c d e f g    row 1   · a b c | d e f       a shorter prompt runs some of the shared ones again,
                   a b c d e f                                    so that its tokens stand side by side
"""

import inspect
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import Cache, DynamicLayer

KeysValues = tuple[Float[Tensor, "b heads t d"], Float[Tensor, "b heads t d"]]
FEWEST = 8  # shared tokens that are worth a pass of their own


class PromptReader:
    """Runs a model over new tokens behind a cache."""

    def __init__(self, model: PreTrainedModel, prompts: Sequence[Sequence[int]] = ()) -> None:
        """prompts: what they all begin with is read here, once, in inference mode; (): nothing is shared."""
        self.model, self.options = model, frozenset(inspect.signature(model.forward).parameters)
        self.begins: list[KeysValues] = []
        self.bytes_a_token = 0  # that all blocks keep of a token of a row; 0: nothing was read yet
        self.shared = shared_tokens(prompts)
        if prompts:
            _, cache = self.begin([[*prompts[0][: self.shared or 1]]], shared=0)
            # measured, for a config says it in other words in each family, and not in all
            kept = [keys_values(of_block) for of_block in cache.layers]
            self.bytes_a_token = sum(each.nbytes for both in kept for each in both) // (self.shared or 1)
            self.begins = kept if self.shared else []

    def begin(
        self, rows: Sequence[list[int]], shared: int | None = None
    ) -> tuple[Float[Tensor, "b vocabulary"], DynamicCache]:
        """The logits after each row, and all rows' keys and values, padded at the left. The rows begin as the prompts
        did and are longer than what these share."""
        shared = self.shared if shared is None else shared
        longest = max(map(len, rows))
        width = longest - shared
        pads = torch.tensor([longest - len(row) for row in rows])
        ids = torch.tensor([row[:1] * (width - len(row)) + row[-width:] for row in rows])
        columns = torch.arange(longest)[None, :]
        positions = (columns - pads[:, None]).clamp(min=0)[:, shared:]
        cache = DynamicCache()
        for i, begin in enumerate(self.begins if shared else ()):
            keys, values = (_moved_right(each, pads) for each in begin)
            cache.update(keys, values, i)
        return self(ids, columns >= pads[:, None], positions, cache), cache

    def __call__(
        self, ids: Int[Tensor, "b new"], mask: Bool[Tensor, "b seen"], positions: Int[Tensor, "b new"], cache: Cache
    ) -> Float[Tensor, "b vocabulary"]:
        """The logits after each row's last token; its keys and values join the cache."""
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


def shared_tokens(prompts: Sequence[Sequence[int]]) -> int:
    """With how many tokens all prompts begin, of which at least one is left to each; 0 where it is not worth while."""
    if len(prompts) < 2:
        return 0
    first, last = (
        min(prompts, key=tuple),
        max(prompts, key=tuple),
    )  # in the order of a dictionary, so that all others begin as these two do
    most = min(map(len, prompts)) - 1
    count = next((i for i in range(most) if first[i] != last[i]), most)
    return count if count >= FEWEST else 0


def keys_values(of_block: object) -> KeysValues:
    """What transformers' cache keeps of the tokens that a block has read."""
    assert isinstance(of_block, DynamicLayer) and of_block.keys is not None and of_block.values is not None
    return of_block.keys, of_block.values


def _moved_right(begin: Float[Tensor, "1 heads shared d"], pads: Int[Tensor, "b"]) -> Float[Tensor, "b heads shared d"]:
    """What is shared, once for each row, moved right by its pads; what comes before it is masked."""
    shared = begin.shape[2]
    moved = begin.new_zeros(len(pads), *begin.shape[1:])
    for row, pad in zip(moved, pads.tolist(), strict=True):
        if pad < shared:
            row[:, pad:] = begin[0, :, : shared - pad]
    return moved
