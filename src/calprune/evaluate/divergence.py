"""How far a pruned model's next-token distributions are from the dense model's: KL(dense || pruned), nats per token.

A window's value is the mean over its first T - 1 positions (those from which perplexity predicts) of
sum over the vocabulary of p (ln p - ln q), p the dense model's and q the pruned one's probabilities.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from calprune.config import UserError
from calprune.evaluate.head import Follow, Head, window_means
from calprune.evaluate.perplexity import Perplexity, nats_of
from calprune.products import faster_products
from calprune.uncertainty import Estimate, mean_of


@dataclass(frozen=True, eq=False)
class Divergence:
    """One value a window."""

    nats: Float[Tensor, "n"]  # a token, a window

    def estimate(self) -> Estimate:
        """The mean over windows with its interval."""
        found = mean_of(self.nats.tolist())
        assert found is not None, "windows_of gives one window at least"
        return found


class DenseReference:
    """What the dense model makes of the windows, kept for comparing many pruned models with it.

    Kept are its final hidden states on the CPU (windows · T · hidden numbers: 2.3 KB a token for SmolLM2-135M) and its
    output embeddings, not its logits. So its blocks may be pruned in place afterwards; its embeddings may not change.
    """

    def __init__(
        self, model: PreTrainedModel, windows: Int[Tensor, "n T"], *, batch_size: int = 4, follow: Follow = iter
    ) -> None:
        self.head = Head(model)
        batches = windows.split(batch_size)
        with faster_products(model):
            hidden = [self.head.hidden(batch)[:, :-1].cpu() for batch in follow(batches)]
        self.batches = list(zip(batches, hidden, strict=True))

    def perplexity(self) -> Perplexity:
        """The dense model's own, from what was kept of it."""
        with faster_products(self.head.embeddings):
            return Perplexity(torch.cat([self._dense_nats(batch, dense) for batch, dense in self.batches]))

    def divergence(self, pruned: PreTrainedModel, follow: Follow = iter) -> Divergence:
        """KL(dense || pruned) of each window. Raises UserError when the two have not one vocabulary."""
        return self.compare(pruned, follow)[0]

    def compare(self, pruned: PreTrainedModel, follow: Follow = iter) -> tuple[Divergence, Perplexity]:
        """KL(dense || pruned) and the pruned model's perplexity, from one pass over the windows."""
        head = Head(pruned)
        if head.vocabulary != self.head.vocabulary:
            raise UserError(f"KL divergence needs one vocabulary: the dense model has {self.head.vocabulary} tokens, "
                            f"the other one {head.vocabulary}")  # fmt: skip
        with faster_products(pruned), faster_products(self.head.embeddings):
            tokens = follow([tokens for tokens, _ in self.batches])
            pairs = zip(tokens, [hidden for _, hidden in self.batches], strict=True)
            found = [self._compared(head, batch, dense) for batch, dense in pairs]
        return Divergence(torch.cat([kl for kl, _ in found])), Perplexity(torch.cat([nats for _, nats in found]))

    def _compared(
        self, head: Head, batch: Int[Tensor, "b T"], dense: Float[Tensor, "b T_1 hidden"]
    ) -> tuple[Float[Tensor, "b"], Float[Tensor, "b"]]:
        p_hidden, q_hidden = dense.flatten(0, 1), head.hidden(batch)[:, :-1].flatten(0, 1)
        targets = batch[:, 1:].flatten()
        kl, nats = [], []
        for piece in head.pieces(len(p_hidden)):
            log_p = self.head.log_probabilities(p_hidden[piece])
            log_q = head.log_probabilities(q_hidden[piece]).to(log_p.device)
            kl.append((log_p.exp() * (log_p - log_q)).sum(-1).cpu())
            nats.append(nats_of(log_q, targets[piece]))
        return window_means(kl, len(batch)), window_means(nats, len(batch))

    def _dense_nats(self, batch: Int[Tensor, "b T"], dense: Float[Tensor, "b T_1 hidden"]) -> Float[Tensor, "b"]:
        hidden, targets = dense.flatten(0, 1), batch[:, 1:].flatten()
        return window_means(
            [nats_of(self.head.log_probabilities(hidden[p]), targets[p]) for p in self.head.pieces(len(targets))],
            len(batch),
        )
