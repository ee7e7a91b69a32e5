"""Which linears of a model a job prunes, and what of its blocks stays dense and why."""

import fnmatch
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import nn

from calprune.base.values import ConfigError, did_you_mean
from calprune.layers.linears import Linear, find_blocks, linears
from calprune.layers.routers import routers

ROUTER = "a router: it sends tokens to experts"

SHARED = "its matrix is that of several blocks"

UNREACHED = "no token reaches it as the input of a linear"


@dataclass(frozen=True)
class Scope:
    """The linears of a model's blocks, by full names: what is pruned and what is not."""

    linears: dict[str, Linear]  # what is pruned
    dense: dict[str, str]  # what is not, though no rule of `ignore` names it -> why
    notes: tuple[str, ...]  # rules of `ignore` that name only what is never pruned


def scope_of(model: nn.Module, ignore: Sequence[str]) -> Scope:
    """What a job that ignores these linears prunes. Raises ConfigError for a rule that matches nothing of the model."""
    name, modules = find_blocks(model)
    found = {f"{name}.{i}.{site.name}": site for i, block in enumerate(modules) for site in linears(block)}
    dense = {f"{name}.{i}.{router}": ROUTER for i, block in enumerate(modules) for router in routers(block)}
    uses = Counter(site.matrix for site in found.values())
    dense |= {linear: SHARED for linear, site in found.items() if uses[site.matrix] > 1}
    others = {n for n, _ in [*model.named_modules(), *model.named_parameters()]} - set(found)
    ignored: set[str] = set()
    notes = []
    for rule in ignore:
        if matched := matching(rule, found):
            ignored.update(matched)
        elif matching(rule, others):
            notes.append(f"ignore: what {rule!r} names is never pruned")
        else:
            near = did_you_mean(rule, {n.rsplit(".", 1)[-1] for n in found})
            raise ConfigError(f"ignore: {rule!r} matches nothing in the model{near}")
    pruned = {n: site for n, site in found.items() if n not in ignored and n not in dense}
    if ignored and not pruned:
        raise ConfigError(f"ignore: {', '.join(map(repr, ignore))} leaves nothing to prune; name what is to stay dense")
    return Scope(pruned, {n: why for n, why in dense.items() if n not in ignored}, tuple(notes))


def matching(rule: str, names: Iterable[str]) -> list[str]:
    """What a rule of `ignore` means: a name, a block, one with *, or "re:" and a regular expression."""
    if rule.startswith("re:"):
        try:
            return [n for n in names if re.fullmatch(rule[3:], n)]
        except re.error as e:
            raise ConfigError(f"ignore: cannot read {rule!r}: {e}") from None
    return [n for n in names if any(fnmatch.fnmatch(n, p) for p in (rule, f"*.{rule}", f"{rule}.*"))]
