"""Which blocks stay: by sums over the states before and after each, or by the model's own divergence."""

import math
from typing import Any, cast

from calprune.base.progress import tracking
from calprune.base.values import UserError
from calprune.evaluation.divergence import DenseReference
from calprune.layers.linears import find_blocks
from calprune.removal.choices.choice import Looking, UnitChoice
from calprune.removal.masked import NO_SUCH, skipping
from calprune.removal.methods.contract import RemovalMethod
from calprune.removal.methods.depth import Loss
from calprune.removal.states import state_sums
from calprune.removal.sums import held_states

TRYING = "trying to remove blocks"  # what the progress calls it


def choose_blocks(method: RemovalMethod, gone: int, look: Looking) -> UnitChoice:
    """Which blocks stay where so many go."""
    total, tokens = len(find_blocks(look.model)[1]), None
    scores: list[float] = []
    if method.needs == "nothing":
        removed = method(total, gone)
    elif method.needs == "model":
        loss, tokens = _loss(method, gone, look)
        removed = method(loss, total, gone)
    else:
        saved = look.saved
        sums = held_states(saved) if saved else state_sums(look.model, look.sequences, **look.knobs)
        tokens, scores = sums.tokens, method.scores(sums)  # type: ignore[attr-defined]
        removed = method(sums, gone)
    stay = tuple(i for i in range(total) if i not in removed)
    return UnitChoice("", total, stay, tuple(scores), tokens)


def _loss(given: RemovalMethod, gone: int, look: Looking) -> tuple[Loss, float]:
    """KL(dense || without these blocks) on the longest sequences of the data, and the tokens of those."""
    method, data, model = cast(Any, given), look.sequences, look.model
    count = min(method.sequences, len(data.lengths))
    longest = data.lengths.argsort(descending=True, stable=True)[:count]
    length = int(data.lengths[longest].min())
    if length < 2:
        raise UserError(f"the calibration set has no {count} sequences of two tokens or more to choose blocks by")
    windows = data.tokens[longest, :length]
    dense, modules = DenseReference(cast(Any, model), windows), find_blocks(model)[1]
    known: dict[tuple[int, ...], float] = {}
    passes = method.passes(len(modules), gone)
    steps = iter(tracking(iter(range(passes)), passes, TRYING))

    def loss(removed: tuple[int, ...]) -> float:
        if removed not in known:
            next(steps, None)
            with skipping(modules, [*removed]):
                known[removed] = _divergence(dense, model)
        return known[removed]

    return loss, float(windows.numel())


def _divergence(dense: DenseReference, model: Any) -> float:
    """KL(dense || model), nats a token; infinite where the model does not run so: a block may read what one that is
    skipped keeps for it (Gemma 3n's shared keys and values)."""
    try:
        return dense.divergence(model).estimate().value
    except NO_SUCH:
        return math.inf
