"""How far a pruned model's next-token distributions are from the dense model's: KL(dense || pruned), nats per token.

A window's value is the mean over its first T - 1 positions (those from which perplexity predicts) of
sum over the vocabulary of p (ln p - ln q), p the dense model's and q the pruned one's probabilities.

Where logits are linear in the final hidden states h (W h + b, in float32: most models) and the pruned model has the
dense one's W and b, it needs no second set of logits: it is

    (W' p) . (h_p - h_q) - ln sum exp(W h_p + b) + ln sum exp(W h_q + b)

and W' p is as short as a hidden state and known from the dense model alone. So beside the pruned model's perplexity its
divergence costs next to nothing.
"""

from dataclasses import dataclass
from functools import cached_property, partial

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from calprune.base.memory import Fitting
from calprune.base.values import UserError
from calprune.evaluation.perplexity import Perplexity, nats_of
from calprune.layers.products import faster_products
from calprune.models.head import Follow, Head, window_means
from calprune.models.load import Model
from calprune.uncertainty.estimate import Estimate, mean_of

FEWEST, MOST = 5, 500  # how often a token stands in a text whose loss is told, and of how many, at most


@dataclass(frozen=True, eq=False)
class Divergence:
    """One value a position of each window."""

    positions: Float[Tensor, "n positions"]
    following: Int[Tensor, "n positions"]  # the token that stands there next

    @cached_property
    def nats(self) -> Float[Tensor, "n"]:
        """A token, of each window."""
        return window_means([self.positions.flatten()], len(self.positions))

    def by_token(self) -> dict[int, tuple[int, float]]:
        """Token -> how often it stands in the text, and the mean where it is to be predicted, nats; the most frequent
        first. Of rare tokens a mean says little, so they are left out."""
        tokens, place, counts = self.following.flatten().unique(return_inverse=True, return_counts=True)
        sums = torch.zeros(len(tokens), dtype=torch.float64).index_add_(0, place, self.positions.flatten().double())
        rows = sorted(zip((-counts).tolist(), tokens.tolist(), sums.tolist(), strict=True))
        return {token: (-count, total / -count) for count, token, total in rows[:MOST] if -count >= FEWEST}

    def estimate(self) -> Estimate:
        """The mean over windows with its interval."""
        found = mean_of(self.nats.tolist())
        assert found is not None, "windows_of gives one window at least"
        return found


def as_text(found: dict[int, tuple[int, float]], model: Model) -> dict[str, tuple[int, float]]:
    """By the tokens' text, those of one text together; those are left out that are a part of a character."""

    def decoded(token: int) -> str:
        return str(model.tokenizer.decode([token], clean_up_tokenization_spaces=False))

    texts: dict[str, tuple[int, float]] = {}
    for token, (times, nats) in found.items():
        n, mean = texts.get(text := decoded(token), (0, 0.0))
        texts[text] = (n + times, (n * mean + times * nats) / (n + times))
    return {text: one for text, one in texts.items() if text and "\ufffd" not in text}


@dataclass(frozen=True, eq=False)
class _Dense:
    """What is kept of the dense model at n positions, on the CPU."""

    nats: Float[Tensor, "n"]  # -ln p of the token that follows
    hidden: Float[Tensor, "n hidden"]  # final states
    normaliser: Float[Tensor, "n"]  # ln sum exp of the logits
    mean: Float[Tensor, "n hidden"] | None  # W' p; None: the logits are not linear in the hidden states

    def of(self, rows: slice, positions: int) -> "_Dense":
        """Of some windows, each of so many positions."""
        at = slice(rows.start * positions, rows.stop * positions)
        mean = None if self.mean is None else self.mean[at]
        return _Dense(self.nats[at], self.hidden[at], self.normaliser[at], mean)


class DenseReference:
    """What the dense model makes of the windows, kept for comparing many pruned models with it.

    Kept are two vectors a position (4.6 KB a token for SmolLM2-135M), not its logits, and its output embeddings. So its
    blocks may be pruned in place afterwards; its embeddings may not change.
    """

    def __init__(
        self, model: PreTrainedModel, windows: Int[Tensor, "n T"], *, batch_size: int = 4, follow: Follow = iter
    ) -> None:
        self.head = Head(model)
        with faster_products(model):
            fitting = Fitting(self.head.device, "window")
            self.batches = [
                part
                for batch in follow(windows.split(batch_size))
                for part in fitting.each([batch.shape[1]] * len(batch), partial(self._dense, batch))
            ]

    def perplexity(self) -> Perplexity:
        """The dense model's own, from what was kept of it."""
        return Perplexity(torch.cat([window_means([dense.nats], len(batch)) for batch, dense in self.batches]))

    def divergence(self, pruned: PreTrainedModel, follow: Follow = iter) -> Divergence:
        """KL(dense || pruned) of each window. Raises UserError when the two have not one vocabulary."""
        return self.compare(pruned, follow)[0]

    def compare(self, pruned: PreTrainedModel, follow: Follow = iter) -> tuple[Divergence, Perplexity]:
        """KL(dense || pruned) and the pruned model's perplexity, from one pass over the windows."""
        head = Head(pruned)
        if head.vocabulary != self.head.vocabulary:
            raise UserError(f"KL divergence needs one vocabulary: the dense model has {self.head.vocabulary} tokens, "
                            f"the other one {head.vocabulary}")  # fmt: skip
        shared = torch.equal(head.weight.to(self.head.device), self.head.weight)
        with faster_products(pruned), faster_products(self.head.embeddings):
            tokens = follow([tokens for tokens, _ in self.batches])
            pairs = zip(tokens, [dense for _, dense in self.batches], strict=True)
            fitting = Fitting(head.device, "window")
            found = [
                part
                for batch, dense in pairs
                for part in fitting.each(
                    [batch.shape[1]] * len(batch), partial(self._compared, head, batch, dense, shared)
                )
            ]
        following = torch.cat([batch[:, 1:].cpu() for batch, _ in self.batches])
        positions = torch.cat([kl for kl, _ in found])
        return Divergence(positions, following), Perplexity(torch.cat([nats for _, nats in found]))

    def _dense(self, windows: Int[Tensor, "_ T"], rows: slice) -> tuple[Int[Tensor, "b T"], _Dense]:
        batch = windows[rows]
        hidden, targets = self.head.hidden(batch)[:, :-1].flatten(0, 1), batch[:, 1:].flatten()
        nats, normalisers, means = [], [], []
        for piece in self.head.pieces(len(targets)):
            logits = self.head.logits(hidden[piece])
            normalisers.append(logits.logsumexp(-1))
            nats.append(nats_of(logits, normalisers[-1], targets[piece]))
            if self.head.is_linear:
                means.append(((logits - normalisers[-1][:, None]).exp() @ self.head.weight).cpu())
        mean = torch.cat(means) if means else None
        return batch, _Dense(torch.cat(nats), hidden.cpu(), torch.cat(normalisers).cpu(), mean)

    def _compared(
        self, head: Head, windows: Int[Tensor, "_ T"], dense: _Dense, shared: bool, rows: slice
    ) -> tuple[Float[Tensor, "b positions"], Float[Tensor, "b"]]:
        batch, dense = windows[rows], dense.of(rows, windows.shape[1] - 1)
        hidden, targets = head.hidden(batch)[:, :-1].flatten(0, 1), batch[:, 1:].flatten()
        kl, nats = [], []
        for piece in head.pieces(len(targets)):
            logits = head.logits(hidden[piece])
            normaliser = logits.logsumexp(-1)
            nats.append(nats_of(logits, normaliser, targets[piece]))
            if shared and dense.mean is not None:
                moved = dense.hidden[piece].double() - hidden[piece].cpu().double()
                lower = normaliser.cpu().double() - dense.normaliser[piece].double()
                kl.append((dense.mean[piece].double() * moved).sum(-1) + lower)
            else:
                kl.append(self._piece(dense, piece, logits, normaliser).cpu())
        return torch.cat(kl).view(len(batch), -1), window_means(nats, len(batch))

    def _piece(
        self, dense: _Dense, piece: slice, logits: Float[Tensor, "n vocabulary"], normaliser: Float[Tensor, "n"]
    ) -> Float[Tensor, "n"]:
        """Σ p (l_p - l_q) + Z_q - Z_p, of logits l and normalisers Z: in place, for these are the largest tensors."""
        ours, before = self.head.logits(dense.hidden[piece]), dense.normaliser[piece].to(self.head.device)
        p = (ours - before[:, None]).exp_()
        moved = ours.sub_(logits.to(self.head.device))
        return p.mul_(moved).sum(-1) + (normaliser.to(self.head.device) - before)
