"""A causal language model in two parts: the body, up to the final hidden states, and the head, which makes logits.

The logits of a window are many times larger than its hidden states (49,152 against 576 numbers a token in
SmolLM2-135M), so the body runs on whole windows and the head on some positions at a time; and a model that is compared
with many others keeps its hidden states, not its logits. What a family does to the logits after its output embeddings
(soft caps, scales) is done here by the model itself, so there is no code per family.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from calprune.base.values import UserError
from calprune.layers.readable import check_ids, positions_of

HEAD_NUMBERS = 2**24  # logits made at once: 64 MiB in float32

Follow = Callable[[Sequence[Tensor]], Iterable[Tensor]]  # the batches of windows as they are taken: for a progress bar


class _Reached(Exception):
    """Raised where the head begins: the final hidden states are known, the logits are not wanted."""


class Head:
    """From final hidden states to logits, exactly as the model makes them."""

    def __init__(self, model: PreTrainedModel) -> None:
        embeddings = model.get_output_embeddings()
        weight = getattr(embeddings, "weight", None)
        if not isinstance(embeddings, nn.Module) or not isinstance(weight, Tensor):
            raise UserError(f"{type(model).__name__} has no output embeddings, so it is not a language model")
        if getattr(embeddings, "is_missing", False):
            raise UserError("its checkpoint has no output embeddings, as that of a reward model: it can "
                            "be pruned, and gives no text to evaluate")  # fmt: skip
        if model.training:
            raise UserError("the model is in training mode, where dropout makes its output random: call model.eval()")
        self.model, self.embeddings, self.weight = model, embeddings, weight.detach()
        self.vocabulary, self.device = weight.shape[0], weight.device
        self.positions = positions_of(model)
        numbers = torch.Generator().manual_seed(0)
        probe = torch.randn(2, weight.shape[1], generator=numbers).to(weight)
        with torch.no_grad():
            self.is_all = torch.equal(self.embeddings(probe[None])[0], self._by_model(probe))
        # in a narrower dtype logits are rounded, and what is linear in exact numbers is not in theirs
        self.is_linear = self.is_all and isinstance(embeddings, nn.Linear) and weight.dtype == torch.float32

    @torch.no_grad()
    def hidden(self, tokens: Int[Tensor, "b T"]) -> Float[Tensor, "b T hidden"]:
        """What reaches the head when the model reads `tokens`. Raises UserError where its table of positions does not
        reach, and for a token that it has no embedding for."""
        return self.followed(tokens)

    def followed(self, tokens: Int[Tensor, "b T"]) -> Float[Tensor, "b T hidden"]:
        """The same, through which gradients reach the model's parameters."""
        if self.positions:
            self.positions.check(tokens.shape[1], "windows")
        check_ids(self.model, tokens)
        found: list[Tensor] = []

        def stop(module: nn.Module, inputs: tuple) -> None:
            found.append(inputs[0])
            raise _Reached

        hook = self.embeddings.register_forward_pre_hook(stop)
        try:
            self.model(input_ids=tokens.to(self.device), use_cache=False)
        except _Reached:
            pass
        finally:
            hook.remove()
        return found[0]

    @torch.no_grad()
    def log_probabilities(self, hidden: Float[Tensor, "n hidden"]) -> Float[Tensor, "n vocabulary"]:
        """The logarithms of the next token's probabilities, float32."""
        return self.logits(hidden).log_softmax(-1)

    @torch.no_grad()
    def logits(self, hidden: Float[Tensor, "n hidden"]) -> Float[Tensor, "n vocabulary"]:
        """In float32."""
        return self.followed_logits(hidden)

    def followed_logits(self, hidden: Float[Tensor, "n hidden"]) -> Float[Tensor, "n vocabulary"]:
        """The same, through which gradients reach the hidden states."""
        return self._logits(hidden.to(self.device)).float()

    def _logits(self, hidden: Float[Tensor, "n hidden"]) -> Float[Tensor, "n vocabulary"]:
        return self.embeddings(hidden) if self.is_all else self._by_model(hidden)

    def _by_model(self, hidden: Float[Tensor, "n hidden"]) -> Float[Tensor, "n vocabulary"]:
        # the model reads one token, and our hidden states take the place of what it made of it: so whatever it does
        # after its output embeddings is done to them
        hook = self.embeddings.register_forward_pre_hook(lambda module, inputs: (hidden[None],))
        try:
            one = torch.zeros(1, 1, dtype=torch.long, device=self.device)
            return self.model(input_ids=one, use_cache=False).logits[0]
        finally:
            hook.remove()

    def pieces(self, positions: int) -> Iterator[slice]:
        """Slices of `positions` that are small enough for their logits to be held."""
        step = max(1, HEAD_NUMBERS // self.vocabulary)
        yield from (slice(i, min(i + step, positions)) for i in range(0, positions, step))


def window_means(per_token: list[Tensor], windows: int) -> Float[Tensor, "n"]:
    """The mean of each window's values, float64; `per_token` holds them in pieces, one window after another.

    Raises UserError where a value is NaN or infinite: then the model's activations are.
    """
    means = torch.cat(per_token).double().view(windows, -1).mean(1)
    if not means.isfinite().all():
        raise UserError("the model's logits hold NaN or infinity on this text, so nothing can be measured of it")
    return means
