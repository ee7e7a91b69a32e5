"""Perplexity by one fixed protocol.

A text is cut as `windows.PROTOCOL` says: each document that holds text is tokenised by itself with a blank line after
it, and their tokens are cut into windows of T that do not overlap. Each window is read by itself, and each of its T - 1
tokens after the first is predicted from those before it: a window's value is the mean of -ln p over them, in nats per
token. Perplexity is exp of the mean over windows.

Perplexities can be compared only when text, T and tokenizer are the same: print the dense model's beside them.
"""

from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from calprune.base.memory import Fitting
from calprune.layers.products import faster_products
from calprune.models.head import Follow, Head, window_means
from calprune.uncertainty.estimate import Estimate, exponential, mean_of


@dataclass(frozen=True, eq=False)
class Perplexity:
    """What a model makes of a text: one value a window."""

    nats: Float[Tensor, "n"]  # a token, a window

    def nats_per_token(self) -> Estimate:
        """The mean over windows with its interval."""
        found = mean_of(self.nats.tolist())
        assert found is not None, "windows_of gives one window at least"
        return found

    def estimate(self) -> Estimate:
        """The perplexity; its interval is that of the mean, exponentiated."""
        return self.nats_per_token().map(exponential)


def perplexity(
    model: PreTrainedModel, windows: Int[Tensor, "n T"], *, batch_size: int = 4, follow: Follow = iter
) -> Perplexity:
    """The mean of -ln p of each window's tokens after its first. `batch_size` changes nothing but time and memory;
    where memory does not hold so many windows, half as many go on, which is noted.

    Raises UserError when a window is longer than the model's positions reach, its logits are not numbers, or memory
    does not hold one.
    """
    head = Head(model)
    fitting, found = Fitting(head.device, "window"), list[Tensor]()
    with faster_products(model):
        for batch in follow(windows.split(batch_size)):
            found += fitting.each([batch.shape[1]] * len(batch), partial(_nats_of_rows, head, batch))
    return Perplexity(torch.cat(found))


def _nats_of_rows(head: Head, batch: Int[Tensor, "b T"], rows: slice) -> Float[Tensor, "rows"]:
    return _nats(head, batch[rows])


def _nats(head: Head, batch: Int[Tensor, "b T"]) -> Float[Tensor, "b"]:
    hidden, targets = head.hidden(batch)[:, :-1].flatten(0, 1), batch[:, 1:].flatten()
    parts = []
    for piece in head.pieces(len(targets)):
        logits = head.logits(hidden[piece])
        parts.append(nats_of(logits, logits.logsumexp(-1), targets[piece]))
    return window_means(parts, len(batch))


def nats_of(
    logits: Float[Tensor, "n vocabulary"], normaliser: Float[Tensor, "n"], targets: Int[Tensor, "n"]
) -> Float[Tensor, "n"]:
    """-ln p of each target, on the CPU; `normaliser` is ln sum exp of the logits."""
    return (normaliser - logits.gather(1, targets[:, None].to(logits.device))[:, 0]).cpu()
