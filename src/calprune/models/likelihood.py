"""How likely a model finds sequences of tokens: nats per token, in batches of similar length.

Min-K%++: how like text that it was trained on a model finds a text.

Zhang et al., "Min-K%++: Improved Baseline for Detecting Pre-Training Data from Large Language Models", ICLR 2025,
arXiv:2404.02936, eq. 3 and 4. At each token of a text, with p the model's distribution given the tokens before it,

    z_t = (log p(x_t) - μ_t) / σ_t        μ_t = E_{v~p}[log p(v)],  σ_t² = Var_{v~p}[log p(v)]

and the score is the mean of the K % lowest z_t. It is higher where the tokens that the text has are nearer to the modes
of p, as those of text that was trained on are.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from calprune.base.memory import Fitting
from calprune.layers.products import faster_products
from calprune.layers.readable import check_length, check_rows

_TOKENS = 2048  # padded tokens of a batch: its logits are this many times the vocabulary


# what is wanted of each token, from the logits before it (float32) and its id
Measure = Callable[[Float[Tensor, "predicted vocabulary"], Int[Tensor, "predicted"]], Tensor]


def token_nats(model: PreTrainedModel, sequences: Sequence[Sequence[int]]) -> list[Float[Tensor, "predicted"]]:
    """−log p(token | tokens before it), for each token of each sequence but the first; float32, on the CPU."""
    return per_token(model, sequences, _nats)


def per_token(model: PreTrainedModel, sequences: Sequence[Sequence[int]], measure: Measure) -> list[Tensor]:
    """What `measure` makes of each token of each sequence but the first; on the CPU.

    Where memory runs out, half as many sequences go on, which is noted. Raises UserError for a sequence that the model
    cannot read (`layers.readable`), and where memory does not hold one."""
    check_rows(model, sequences, "the text")
    check_length(model, max(map(len, sequences), default=0))
    order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]))
    found: list[Tensor] = [torch.empty(0)] * len(sequences)
    fitting = Fitting(model.device)
    with torch.inference_mode(), faster_products(model):
        while order:
            longest = len(sequences[order[-1]])
            batch: list[int] = []
            while order and (len(batch) + 1) * longest <= max(_TOKENS, longest):
                batch.append(order.pop())
            if longest > 1:
                rows = [sequences[i] for i in batch]
                parts = fitting.each([*map(len, rows)], partial(_measured, model, rows, measure))
                for i, made in zip(batch, chain.from_iterable(parts), strict=True):
                    found[i] = made
    return found


def _measured(model: PreTrainedModel, batch: list[Sequence[int]], measure: Measure, part: slice) -> list[Tensor]:
    """Right padding: what follows a token does not reach it."""
    rows = batch[part]
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


IMPOSSIBLE = -1e4  # log p where the model gives -inf, which times its probability 0 must be 0


LEAST = 1e-6  # the least σ: where a model is certain, z is 0 for the token it is certain of


def nats_and_z(
    model: PreTrainedModel, sequences: Sequence[Sequence[int]]
) -> list[tuple[Float[Tensor, "predicted"], Float[Tensor, "predicted"]]]:
    """-log p(x_t) and z_t of each sequence's tokens after its first; float32, on the CPU. One pass serves perplexity
    and Min-K%++ with any K."""
    found = per_token(model, sequences, _nats_and_z)
    return [(nats, z) for nats, z in (both.unbind(-1) for both in found)]


def lowest_mean(z: Float[Tensor, "predicted"], share: float = 0.2) -> float:
    """The mean of the lowest `share` of the z: of floor(share · n), of one at least."""
    return float(z.sort().values[: max(1, int(share * len(z)))].mean())


def _nats_and_z(
    logits: Float[Tensor, "predicted vocabulary"], chosen: Int[Tensor, "predicted"]
) -> Float[Tensor, "predicted 2"]:
    log_p = logits.log_softmax(-1).clamp_min_(IMPOSSIBLE)
    p = log_p.exp()
    mean = torch.linalg.vecdot(p, log_p)
    own = log_p.gather(1, chosen[:, None])[:, 0]
    variance = torch.linalg.vecdot(p, log_p.sub_(mean[:, None]).square_())
    return torch.stack([-own, (own - mean) / variance.sqrt().clamp_min(LEAST)], -1)
