"""How likely a model finds sequences of tokens: nats per token, in batches of similar length."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from calprune.products import faster_products

_TOKENS = 2048  # padded tokens of a batch: its logits are this many times the vocabulary


def token_nats(model: PreTrainedModel, sequences: Sequence[Sequence[int]]) -> list[Float[Tensor, "predicted"]]:
    """−log p(token | tokens before it), for each token of each sequence but the first; float32, on the CPU."""
    order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]))
    found: list[Tensor] = [torch.empty(0)] * len(sequences)
    with torch.inference_mode(), faster_products(model):
        while order:
            longest = len(sequences[order[-1]])
            batch: list[int] = []
            while order and (len(batch) + 1) * longest <= max(_TOKENS, longest):
                batch.append(order.pop())
            if longest > 1:
                for i, nats in zip(batch, _batch_nats(model, [sequences[i] for i in batch]), strict=True):
                    found[i] = nats
    return found


def _batch_nats(model: PreTrainedModel, rows: list[Sequence[int]]) -> list[Float[Tensor, "predicted"]]:
    """Right padding: what follows a token does not reach it."""
    width = max(map(len, rows))
    ids = torch.tensor([[*row, *([row[0]] * (width - len(row)))] for row in rows], device=model.device)
    real = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=model.device)
    logits = model(input_ids=ids, attention_mask=real, use_cache=False).logits
    nats = []
    for row, row_ids, row_logits in zip(rows, ids, logits, strict=True):
        predicted = row_logits[: len(row) - 1].float()
        chosen = predicted.gather(1, row_ids[1 : len(row), None])[:, 0]
        nats.append((predicted.logsumexp(-1) - chosen).cpu())
    return nats
