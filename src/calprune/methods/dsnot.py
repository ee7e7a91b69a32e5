"""DSnoT: from any mask, regrow and drop weights so that each output's expected error shrinks.

Zhang, Zhao, Lin, Sun, Yao, Han, Tanner, Liu, Ji, "Dynamic Sparse No Training: Training-Free Fine-tuning for Sparse
LLMs", ICLR 2024, arXiv:2310.08915. The paper's text was not at hand: checked against the released code, 4c029df, rule
by rule (LOG.md, 2026-11-26). The weights that stay are not changed. Letters:

    D_ij = w_ij · μ_j          what a weight adds to its output's expected value; μ, v: mean and variance of the inputs
    ε_i  = Σ_(j pruned) D_ij   the expected error of output i

In each of at most `cycles` steps a row regrows the pruned weight of largest sign(ε_i) · D_ij / v_j^variance_power, and
drops, of the kept weights whose D_ij has the other sign, the one of lowest |w_ij| · ‖X_j‖₂ (n:m: of its group, whatever
its sign). A weight moves once. A row rests when |ε_i| is at most `threshold`.

`rule="shrinking"`, the default, is ours: a step that would not shrink |ε_i| is not made, and the next is tried.
`rule="released"` is the released code's: unstructured, every step is made, also one that overshoots, so that a row goes
back and forth until it rests or `cycles` end; n:m, a row ends for good at the first step that would turn the sign that
its ε_i began with. A row that has no more such weights to regrow or to drop ends under both.

What differs from that code under either rule: means and variances are over all tokens, not sums over a sequence and
variances within it, so its threshold of 0.1 for sums over 2048 tokens is 5e-5 here; for n:m from a start other than
Wanda it drops by the start's own score; and it refines attention alone by default (`skip_layer="mlp"`), which is
`linears="attention"` here.
"""

from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from calprune.base.checks import options
from calprune.layers.inputs import InputStats, Needs, StatsError
from calprune.methods.contract import Start, begin_from, check_at_least_0, exact_as_start, with_start
from calprune.methods.wanda import Wanda
from calprune.pattern import KeepNofM, Pattern, masked

WANDA = Wanda()


@options
class DSnoT:
    start: Start = WANDA
    cycles: int = 50  # the paper's T
    variance_power: float = 1.0
    threshold: float = 5e-5  # of the expected error of one output, for one token
    linears: Literal["all", "attention"] = "all"  # which are refined; the others keep what the start keeps
    rule: Literal["shrinking", "released"] = "shrinking"  # which steps are made, and when a row ends

    tag: ClassVar[str] = "DSnoT"
    needs: ClassVar[Needs] = with_start("moments")
    exact_count: ClassVar[bool] = exact_as_start()
    version: ClassVar[int] = 1

    def __post_init__(self):
        begin_from(self.start, self)
        check_at_least_0(self, "cycles", "variance_power", "threshold")

    def __call__(self, weight: Float[Tensor, "out in"], stats: InputStats, pattern: Pattern) -> Float[Tensor, "out in"]:
        keep = self.start(weight, stats, pattern) != 0
        if self.linears == "attention" and not _in_attention(stats.linear):
            return masked(weight, keep)
        of = pattern.of if isinstance(pattern, KeepNofM) else None
        D = weight.float() * stats.mean
        regrowth = D / stats.variance.clamp_min(1e-30) ** self.variance_power
        importance = weight.abs().float() * stats.norm
        error = (D * ~keep).sum(1, keepdim=True)  # (out, 1)
        first, may_grow, may_drop = error.sign(), ~keep, keep.clone()
        active = error.abs() > self.threshold
        for _ in range(self.cycles):
            if not active.any():
                break
            sign = error.sign()
            grow = _largest(sign * regrowth, may_grow)
            allowed = may_drop & (sign * D < 0) if of is None else may_drop & _same_group(may_drop, grow, of)
            drop = _largest(-importance, allowed)
            after = error + D.gather(1, drop) - D.gather(1, grow)
            done = active & may_grow.gather(1, grow) & allowed.gather(1, drop)
            if self.rule == "shrinking":
                done &= after.abs() < error.abs()
            else:
                done &= sign * D.gather(1, grow) > 0
                done &= (after.sign() == first) | (of is None)
            keep.scatter_(1, grow, keep.gather(1, grow) | done)
            keep.scatter_(1, drop, keep.gather(1, drop) & ~done)
            may_grow.scatter_(1, grow, False)  # also what did not help is not tried again
            may_drop.scatter_(1, drop, may_drop.gather(1, drop) & ~done)
            error = torch.where(done, after, error)
            active = (error.abs() > self.threshold) & (done | (self.rule == "shrinking"))
        return masked(weight, keep)


def _in_attention(linear: str) -> bool:
    """By a part of its name, as all families have it: self_attn.q_proj, attention.query_key_value, attn.c_attn."""
    if not linear:
        raise StatsError(
            'dsnot(linears="attention") must know which linear it is given: pass stats.named("mlp.up_proj")'
        )
    return "attn" in linear or "attention" in linear


def _largest(score: Float[Tensor, "out in"], among: Bool[Tensor, "out in"]) -> Int[Tensor, "out 1"]:
    """Where each row's largest score is; anywhere if there is none among those."""
    return score.masked_fill(~among, -torch.inf).argmax(1, keepdim=True)


def _same_group(like: Bool[Tensor, "out in"], index: Int[Tensor, "out 1"], of: int) -> Bool[Tensor, "out in"]:
    return torch.arange(like.shape[1], device=like.device) // of == index // of
