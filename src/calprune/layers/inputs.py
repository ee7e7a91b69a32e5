"""Statistics of the inputs that a linear saw: all that a pruning method needs of the calibration data.

Sums over tokens, float32, padding left out. Five levels, each holding the one before:

    "nothing"    no pass over the data
    "moments"    tokens, sum_x, sum_xx      (in,) each
    "gram"       + gram = Σ x xᵀ            (in, in); its diagonal is sum_xx
    "regional"   + Σ g², Σ |g|              (out, in) each, of every linear: g is the gradient of the norm of what the
                                            linear's block gives for one sequence
    "gradients"  + the same two sums for g the gradient of the sequence's loss: a backward pass of the whole model

Sums add: the statistics of a mixture of data are the weighted sum of those of its parts. A token of weight r counts r
times. What methods read (`norm`, `mean`, `variance`, `covariance`) is divided by the tokens.
"""

import copy
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from calprune.base.tensors import is_finite
from calprune.base.values import UserError
from calprune.layers.products import gram as gram_product
from calprune.layers.products import matmul

Needs = Literal["nothing", "moments", "gram", "regional", "gradients"]

LADDER: tuple[Needs, ...] = get_args(Needs)

Of = Literal["output", "loss"]  # what a gradient is of: the norm of the block's output, the sequence's loss

RUNG: dict[Of, Needs] = {"output": "regional", "loss": "gradients"}


class StatsError(UserError):
    """Sums that cannot be used: too little was collected, or what was collected is not finite."""


@dataclass
class GradientSums:
    """Sums over sequences of the gradient g (out, in) of something in one linear's weight."""

    sequences: float
    squares: Float[Tensor, "out in"]  # Σ g²
    sizes: Float[Tensor, "out in"]  # Σ |g|

    def __add__(self, other: "GradientSums") -> "GradientSums":
        total = self.sequences + other.sequences
        return GradientSums(total, self.squares + other.squares, self.sizes + other.sizes)

    def __rmul__(self, share: float) -> "GradientSums":
        return GradientSums(share * self.sequences, share * self.squares, share * self.sizes)

    def to(self, device: torch.device | str) -> "GradientSums":
        return GradientSums(self.sequences, self.squares.to(device), self.sizes.to(device))


class InputStats:
    """Running sums over the input vectors x (in,) of one linear, or of several that read the same tensor.

    Gradients are of one linear's weight: `of_linear` gives a view of the shared sums that holds them.
    """

    def __init__(self, width: int, needs: Needs, device: torch.device | str = "cpu"):
        self.tokens = 0.0  # Σ of the tokens' weights
        self.sum_x: Float[Tensor, "in"] = torch.zeros(width, device=device)
        self.sum_xx: Float[Tensor, "in"] = torch.zeros(width, device=device)
        self.gram: Float[Tensor, "in in"] | None = None
        if LADDER.index(needs) >= LADDER.index("gram"):
            self.gram = torch.zeros(width, width, device=device)
        self.gradients: dict[Of, GradientSums] = {}
        self.routed: float | None = None
        self.linear = ""  # the name within its block of the one linear that these sums are given for
        self._factors: dict[float, Factor] = {}

    @property
    def needs(self) -> Needs:
        """The highest level that these sums can serve."""
        held = [RUNG[of] for of in self.gradients] + ["moments" if self.gram is None else "gram"]
        return max(held, key=LADDER.index)

    def of_linear(self, gradients: dict[Of, GradientSums], routed: float | None = None) -> "InputStats":
        """The same sums, not a copy, with what belongs to one of the linears that share them: its gradients; and the
        tokens that were routed to its expert, where they were too few and these sums are of all tokens instead."""
        view = copy.copy(self)
        view.gradients, view.routed = gradients, routed
        return view

    def named(self, linear: str) -> "InputStats":
        """The same sums, not a copy, as they are given to a method for one linear: some treat attention's otherwise."""
        view = copy.copy(self)
        view.linear = linear
        return view

    def gradient(self, of: Of) -> GradientSums:
        """The sums of the gradients in this linear's weight. Raises StatsError where they were not collected."""
        if of not in self.gradients:
            raise StatsError(f"these sums hold no gradients of the {of}; collect them with --needs {RUNG[of]}")
        return self.gradients[of]

    def observe(self, x: Float[Tensor, "tokens in"], weight: Float[Tensor, "tokens"] | None = None) -> None:
        """Add the tokens' sums. `weight`: how often each token counts; None counts each once.

        Where memory runs out on the way, nothing was added.
        """
        tokens: float = x.shape[0]
        if weight is not None:
            x = x.float()
            tokens, sum_x = weight.sum().item(), weight @ x
            x = x * weight.sqrt()[:, None]  # the squares below then carry the weight itself
        else:
            sum_x = x.sum(0, dtype=torch.float32)
        squares = x.float().square().sum(0) if self.gram is None else gram_product(x)
        self.tokens += tokens  # from here on no memory is taken
        self.sum_x += sum_x
        if self.gram is None:
            self.sum_xx += squares
        else:
            self.gram += squares
            self.sum_xx.copy_(self.gram.diagonal())
        self._factors.clear()

    @property
    def norm(self) -> Float[Tensor, "in"]:
        """√(Σ x_j² / tokens): the root mean square of each input channel."""
        return (self.sum_xx / self.counted).sqrt()

    @property
    def mean(self) -> Float[Tensor, "in"]:
        return self.sum_x / self.counted

    @property
    def variance(self) -> Float[Tensor, "in"]:
        """The pooled variance of each channel over all tokens."""
        return (self.sum_xx / self.counted - self.mean.square()).clamp_min(0)

    @property
    def covariance(self) -> Float[Tensor, "in in"]:
        """Σ x xᵀ / tokens (not centred): the Gram matrix of one average token."""
        if self.gram is None:
            raise StatsError("these sums hold no Gram matrix; collect them with --needs gram")
        return self.gram / self.counted

    @property
    def counted(self) -> float:
        """`tokens`. Raises StatsError where there were none."""
        if self.tokens <= 0:
            raise StatsError("no token reached this input, so it has no statistics")
        return self.tokens

    def per_token(self) -> "InputStats":
        """The same statistics as of one average token, so that shares of a mixture are shares of tokens."""
        return (1 / self.counted) * self

    def __add__(self, other: "InputStats") -> "InputStats":
        if len(self.sum_x) != len(other.sum_x):
            raise StatsError(f"cannot add sums over {len(self.sum_x)} and {len(other.sum_x)} inputs")
        gram = None if self.gram is None or other.gram is None else self.gram + other.gram
        gradients = {of: g + other.gradients[of] for of, g in self.gradients.items() if of in other.gradients}
        total = of_sums(self.tokens + other.tokens, self.sum_x + other.sum_x, self.sum_xx + other.sum_xx, gram)
        return total.of_linear(gradients)

    def __rmul__(self, share: float) -> "InputStats":
        gram = None if self.gram is None else share * self.gram
        scaled = of_sums(share * self.tokens, share * self.sum_x, share * self.sum_xx, gram)
        return scaled.of_linear({of: share * g for of, g in self.gradients.items()})

    def to(self, device: torch.device | str) -> "InputStats":
        gram = None if self.gram is None else self.gram.to(device)
        moved = of_sums(self.tokens, self.sum_x.to(device), self.sum_xx.to(device), gram)
        return moved.of_linear({of: g.to(device) for of, g in self.gradients.items()})

    def reordered(self, order: Int[Tensor, "in"]) -> "InputStats":
        """The sums of the inputs in another order, for a method that takes the columns so; gradients are left out."""
        gram = None if self.gram is None else self.gram[order][:, order]
        return of_sums(self.tokens, self.sum_x[order], self.sum_xx[order], gram)

    def check(self) -> None:
        """Raise StatsError where a sum is NaN or infinite."""
        if not (self.sum_xx.isfinite().all() and self.sum_x.isfinite().all()):
            bad = int((~self.sum_xx.isfinite()).sum())
            raise StatsError(f"the activations hold NaN or infinity in {bad} of {len(self.sum_x)} input channels")

    @property
    def damping_used(self) -> float | None:
        """The damping that factorising took: more than asked for where the matrix was not positive definite."""
        return max((f.damping for f in self._factors.values()), default=None)

    def factor(self, damping: float) -> "Factor":
        """The factor of the damped inverse, kept: linears that share an input pay once."""
        if damping not in self._factors:
            self._factors[damping] = factorise(self.covariance, damping)
        return self._factors[damping]


def of_sums(tokens: float, sum_x: Tensor, sum_xx: Tensor, gram: Tensor | None) -> InputStats:
    """Sums that were made elsewhere."""
    made = InputStats(0, "moments")
    made.tokens, made.sum_x, made.sum_xx, made.gram = tokens, sum_x, sum_xx, gram
    return made


class Factor:
    """Upper U (in, in) with (H + damping · mean(diag H) · I)⁻¹ = Uᵀ U, and the damping that it took."""

    def __init__(self, upper: Float[Tensor, "in in"], damping: float, dead: Tensor):
        self.upper, self.damping, self.dead = upper, damping, dead  # dead (in,): inputs that were always zero


def factorise(gram: Float[Tensor, "in in"], damping: float) -> Factor:
    """Cholesky of the inverse. A matrix that is not positive definite gets ten times the damping, up to 1.0."""
    dead = gram.diagonal() == 0
    damped = gram.clone()
    damped.diagonal()[dead] = 1
    average = damped.diagonal().mean()
    while True:
        damped.diagonal().copy_(torch.where(dead, torch.ones_like(average), gram.diagonal()) + damping * average)
        lower, failed = torch.linalg.cholesky_ex(damped)
        if not failed:
            upper, failed = torch.linalg.cholesky_ex(torch.cholesky_inverse(lower), upper=True)
            if not failed and is_finite(upper):
                return Factor(upper, damping, dead)
        if damping >= 1:
            raise StatsError("the Gram matrix cannot be factorised even with damping 1.0: are the activations finite?")
        damping = min(max(damping * 10, 1e-4), 1.0)


def relative_error(before: Float[Tensor, "out in"], after: Float[Tensor, "out in"], stats: InputStats) -> float:
    """‖(W - Ŵ) X‖² / ‖W X‖² on the calibration inputs, from their Gram matrix; 0.0 where W X is zero."""
    before, gram = before.float(), stats.covariance
    delta = before - after.float()
    lost = (matmul(delta, gram) * delta).sum()
    total = (matmul(before, gram) * before).sum()
    return (lost / total).item() if total > 0 else 0.0
