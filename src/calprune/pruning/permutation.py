"""RIA's channel permutation: n:m loses less where strong input channels do not stand in one group of m.

Zhang, Bai, Lin, Zhao, Hou, Cannistraci, "Plug-and-Play: An Efficient Post-training Pruning Method for Large Language
Models", ICLR 2024, OpenReview Tr0lPx9woF, section 4. A permutation of a linear's input channels is looked for that
makes the sum of the scores that n:m keeps large, in two steps:

    heuristic    channels in the order of their column sums are dealt to the groups like a hand of cards, there and back
    assignment   from there, place after place of the groups, the channels in this place are dealt anew, optimally
                 (scipy's linear sum assignment). With s (rows,) a channel's scores and t (rows,) what it must beat
                 in a group, the n-th largest of the others, it adds Σ max(s - t, 0), and Σ s and Σ t are the same
                 for every assignment, so Σ |s - t| over rows is all there is to make large.

Unlike in the paper, only permutations that cost nothing when the model runs are taken: those that can be folded into
the rows of the linears before. That is the input of a feed-forward's last linear (each expert's too) and, within each
head, of attention's output. What reads the residual stream stays as it is. The score is RIA's with power 0.5, whatever
method prunes; of the weights alone where there is no data. A group dealt worse than it stood stays as it stood.
What was permuted, and why the rest was not, is told of each linear (`LinearReport.channels`).
"""

from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Unpack, get_args

import torch
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from calprune.base.progress import tracking
from calprune.base.values import choice
from calprune.layers.blocks import Sequences, Walking, walk
from calprune.layers.linears import Linear, ModelError, find_blocks, linears
from calprune.methods.ria import relative_importance
from calprune.pattern import KeepNofM

How = Literal["heuristic", "assignment"]

NEVER = "none"

PERMUTED = "permuted"

NO_FOLD = "not permuted: no linear before it that takes up the order of its inputs"

NO_GAIN = "not permuted: no order that keeps more was found"

BEFORE = {  # linear -> those whose outputs it reads channel by channel, beside it in one module
    "c_proj": ("c_fc",),
    "dense_4h_to_h": ("dense_h_to_4h",),
    "down_proj": ("gate_proj", "up_proj", "gate_up_proj"),
    "fc2": ("fc1",),
    "o_proj": ("v_proj",),
    "out_proj": ("v_proj",),
    "w3": ("w12",),
}


def parse_permute(text: str) -> How | None:
    """What a study means by "none", "heuristic" or "assignment"."""
    found: Any = choice(text, (NEVER, *get_args(How)), "permute")
    return None if text == NEVER else found


@dataclass(frozen=True)
class Fold:
    """A linear whose input channels can be permuted, within each head, with the outputs of those before it."""

    reader: Linear
    before: list[Linear]
    heads: int  # that have a permutation of their own; 1: none has
    queries: int  # heads of the reader for each of those: they share its permutation

    @property
    def channels(self) -> int:
        return self.reader.weight.shape[1] // (self.heads * self.queries)

    def scores(self, score: Float[Tensor, "out in"]) -> Float[Tensor, "heads rows channels"]:
        """Of each head's channels, what all rows that read them say."""
        apart = score.reshape(len(score), self.heads, self.queries, self.channels)
        return apart.transpose(0, 1).flatten(1, 2)

    @torch.no_grad()
    def apply(self, order: Int[Tensor, "heads channels"]) -> None:
        """Channel i of each head becomes what channel order[i] was."""
        order = order.to(self.reader.weight.device)  # the block may be home again
        head, channels = torch.arange(self.heads, device=order.device)[:, None], self.channels
        copies = head * self.queries + torch.arange(self.queries, device=order.device)  # (heads, queries)
        self.reader.write(self.reader.weight[:, (copies[..., None] * channels + order[:, None]).flatten()])
        rows = (head * channels + order).flatten()
        for linear in self.before:
            twice = [rows + start for start in range(0, len(linear.weight), len(rows))]  # gate and up in one
            linear.write(linear.weight[torch.cat(twice)])
            if (bias := linear.bias) is not None:
                bias.copy_(bias[torch.cat(twice)])


def folds(block: nn.Module) -> list[Fold]:
    """The permutations that the block's own linears can take up."""
    sites = {site.name: site for site in linears(block)}
    found = []
    for name, reader in sites.items():
        parent, _, leaf = name.rpartition(".")
        beside = [sites.get(f"{parent}.{other}".lstrip(".")) for other in BEFORE.get(leaf, ())]
        before, width = [site for site in beside if site], reader.weight.shape[1]
        if not before:
            continue
        if leaf not in ("o_proj", "out_proj"):
            if all(len(site.weight) in (width, 2 * width) for site in before):
                found.append(Fold(reader, before, 1, 1))
        elif head_dim := getattr(block.get_submodule(parent), "head_dim", None):
            values = len(before[0].weight)
            if values % head_dim == 0 and width % values == 0:
                found.append(Fold(reader, before, values // head_dim, width // values))
    return found


def kept(score: Float[Tensor, "rows channels"], pattern: KeepNofM) -> float:
    """The sum of the scores that the pattern keeps of channels in this order."""
    return score.unflatten(1, (-1, pattern.of)).topk(pattern.keep, dim=2).values.double().sum().item()


def arrange(score: Float[Tensor, "rows channels"], pattern: KeepNofM, how: How) -> Int[Tensor, "channels"]:
    """An order of the channels in which the pattern keeps at least as much as in the one given."""
    asis = torch.arange(score.shape[1], device=score.device)
    order = dealt(score, pattern.of)
    if kept(score[:, order], pattern) < kept(score, pattern):
        order = asis
    return reassigned(score, pattern, order) if how == "assignment" else order


def dealt(score: Float[Tensor, "rows channels"], of: int) -> Int[Tensor, "channels"]:
    """The heuristic: the strongest channels one to a group, the next ones in the opposite order, and so on."""
    places = score.sum(0).argsort(descending=True, stable=True).reshape(of, -1).clone()
    places[1::2] = places[1::2].flip(1)
    return places.T.flatten()


def reassigned(
    score: Float[Tensor, "rows channels"], pattern: KeepNofM, order: Int[Tensor, "channels"]
) -> Int[Tensor, "channels"]:
    """Each place of the groups in turn is given the best assignment of the channels that stand in it."""
    groups = order.reshape(-1, pattern.of).clone()
    for place in range(pattern.of):
        others = torch.cat([groups[:, :place], groups[:, place + 1 :]], dim=1)
        beat = score[:, others].topk(pattern.keep, dim=2).values[..., -1]  # (rows, groups)
        standing = groups[:, place].clone()
        worth = torch.cdist(beat.T, score[:, standing].T, p=1)  # (groups, channels): Σ |s - t|
        _, chosen = linear_sum_assignment(worth.cpu().numpy(), maximize=True)
        groups[:, place] = standing[torch.from_numpy(chosen).to(standing.device)]
    return groups.flatten()


def permute(
    model: nn.Module,
    data: Sequences | None,
    pattern: KeepNofM,
    how: How,
    only: Container[str] | None = None,
    **knobs: Unpack[Walking],
) -> dict[str, str]:
    """Permute what can be folded, in place; of each linear whether its inputs were, or why not. The model computes the
    same.

    data: where the scores' input norms come from, by one dense pass; None: scores are of the weights alone. only: the
    linears to look at, by full names; None: all. Knobs are those of `walk`. Where the outputs are no longer the same to
    rounding (a part is not wired as its linears are named), linears of that name are left as they were. Raises
    ModelError, with the model as it was, where that is all of them.
    """
    before = _outputs(model)
    prefix, modules = find_blocks(model)
    named = [f"{prefix}.{i}.{site.name}" for i, module in enumerate(modules) for site in linears(module)]
    said = {name: NO_FOLD for name in named if only is None or name in only}
    done: list[_Folded] = []
    for name, fold, norm in _folds_with_norms(model, data, said, knobs):
        if name not in said:
            continue
        if fold.channels % pattern.of:
            said[name] = f"not permuted: {fold.channels} channels are no whole groups of {pattern.of}"
            continue
        score = relative_importance(fold.reader.weight) * (1 if norm is None else norm**0.5)
        order = torch.stack([arrange(head, pattern, how) for head in fold.scores(score)])
        fold.apply(order)
        done.append(_Folded(name, fold, order))
        asis = torch.arange(fold.channels, device=order.device)
        said[name] = NO_GAIN if bool((order == asis).all()) else PERMUTED
    return said | _left_as_they_were(model, before, done)


class _Folded(NamedTuple):
    """A permutation that was applied."""

    name: str
    fold: Fold
    order: Int[Tensor, "heads channels"]

    def undo(self) -> None:
        self.fold.apply(self.order.argsort(1))


def _left_as_they_were(model: Any, before: Tensor, done: list[_Folded]) -> dict[str, str]:
    """Why, of each linear whose permutation is taken back. Linears of one name are tried alone where all together
    change what the model gives."""
    if (difference := _difference(model, before)) is None:
        return {}
    for one in reversed(done):
        one.undo()
    kinds: dict[str, list[_Folded]] = {}
    for one in done:
        kinds.setdefault(one.name.rpartition(".")[2], []).append(one)
    said = {}
    for those in kinds.values():
        for one in those:
            one.fold.apply(one.order)
        if (alone := _difference(model, before)) is not None:
            for one in reversed(those):
                one.undo()
                said[one.name] = f"not permuted: the model's outputs change by {alone:.1e}"
    if len(said) == len(done):
        raise ModelError(f"the model's outputs change by {difference:.1e} when its channels are permuted: it is not "
                         "wired as its linears are named; leave --permute out")  # fmt: skip
    return said


def _difference(model: Any, before: Tensor) -> float | None:
    """By how much the model's outputs are others than before, relative to them; None: the same to rounding."""
    found = ((_outputs(model) - before).norm() / before.norm()).item()
    return None if found < torch.finfo(next(model.parameters()).dtype).eps ** 0.5 else found


def _folds_with_norms(model, data, only, knobs: Walking) -> Iterator[tuple[str, Fold, Tensor | None]]:
    if data is None:
        name, modules = find_blocks(model)
        for i, module in enumerate(modules):
            yield from ((f"{name}.{i}.{fold.reader.name}", fold, None) for fold in folds(module))
    else:
        blocks = walk(model, data, **(knobs | {"propagate": "dense"}))
        for block in tracking(blocks, len(find_blocks(model)[1]), "permuting channels"):
            stats = block.collect("moments", only)
            for fold in (one for one in folds(block.module) if one.reader.name in stats):
                yield f"{block.name}.{fold.reader.name}", fold, stats[fold.reader.name].norm


@torch.no_grad()
def _outputs(model: Any) -> Float[Tensor, "tokens vocabulary"]:
    """What the model gives for its first 16 tokens, in a row."""
    embeddings = model.get_input_embeddings().weight
    tokens = torch.arange(min(16, len(embeddings)), device=embeddings.device)[None]
    training = model.training
    try:
        return model.eval()(input_ids=tokens, use_cache=False).logits[0].float()
    finally:
        model.train(training)
