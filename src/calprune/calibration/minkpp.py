"""Min-K%++: how like text that it was trained on a model finds a text.

Zhang et al., "Min-K%++: Improved Baseline for Detecting Pre-Training Data from Large Language Models", ICLR 2025,
arXiv:2404.02936, eq. 3 and 4. At each token of a text, with p the model's distribution given the tokens before it,

    z_t = (log p(x_t) - μ_t) / σ_t        μ_t = E_{v~p}[log p(v)],  σ_t² = Var_{v~p}[log p(v)]

and the score is the mean of the K % lowest z_t. It is higher where the tokens that the text has are nearer to the modes
of p, as those of text that was trained on are.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from calprune.calibration.likelihood import per_token

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
