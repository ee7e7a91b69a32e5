"""How likely a model finds sequences of tokens: nats per token, in batches of similar length."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from calprune.products import faster_products

_TOKENS = 2048  # padded tokens of a batch: its logits are this many times the vocabulary

# what is wanted of each token, from the logits before it (float32) and its id
Measure = Callable[[Float[Tensor, "predicted vocabulary"], Int[Tensor, "predicted"]], Tensor]


def token_nats(model: PreTrainedModel, sequences: Sequence[Sequence[int]]) -> list[Float[Tensor, "predicted"]]:
    """−log p(token | tokens before it), for each token of each sequence but the first; float32, on the CPU."""
    return per_token(model, sequences, _nats)


def per_token(model: PreTrainedModel, sequences: Sequence[Sequence[int]], measure: Measure) -> list[Tensor]:
    """What `measure` makes of each token of each sequence but the first; on the CPU."""
    order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]))
    found: list[Tensor] = [torch.empty(0)] * len(sequences)
    with torch.inference_mode(), faster_products(model):
        while order:
            longest = len(sequences[order[-1]])
            batch: list[int] = []
            while order and (len(batch) + 1) * longest <= max(_TOKENS, longest):
                batch.append(order.pop())
            if longest > 1:
                for i, made in zip(batch, _measured(model, [sequences[i] for i in batch], measure), strict=True):
                    found[i] = made
    return found


def _measured(model: PreTrainedModel, rows: list[Sequence[int]], measure: Measure) -> list[Tensor]:
    """Right padding: what follows a token does not reach it."""
    width = max(map(len, rows))
    ids = torch.tensor([[*row, *([row[0]] * (width - len(row)))] for row in rows], device=model.device)
    real = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=model.device)
    logits = model(input_ids=ids, attention_mask=real, use_cache=False).logits
    return [
        measure(row_logits[: len(row) - 1].float(), row_ids[1 : len(row)]).cpu()
        for row, row_ids, row_logits in zip(rows, ids, logits, strict=True)
    ]


def _nats(
    logits: Float[Tensor, "predicted vocabulary"], chosen: Int[Tensor, "predicted"]
) -> Float[Tensor, "predicted"]:
    return logits.logsumexp(-1) - logits.gather(1, chosen[:, None])[:, 0]
