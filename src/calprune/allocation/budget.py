"""From what an allocation wants for each linear to patterns that zero exactly as many weights as were asked for.

A linear can be made sparser by one step at a time: a weight where all its weights compete ("/matrix"), one weight of
each row ("/row", and where the method may choose), one more of every m (n:m). Steps are counted in weights, so linears
of different sizes meet the budget together: to the weight with "/matrix"; otherwise to half a step of the linear whose
step is the smallest. `LinearReport.zeros` counts what came of it.
"""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from calprune.base.values import UserError
from calprune.layers.inputs import InputStats
from calprune.pattern import KeepNofM, Pattern, Unstructured

Way = tuple[int, ...]  # steps by their weights, those down below 0
SEARCHED = 20_000  # distances to the budget that are looked at where single steps and pairs do not meet it


class AllocationError(UserError):
    """A budget that an allocation cannot meet, or linears that it cannot rate."""


@dataclass(frozen=True, eq=False)
class DenseLinear:
    """One linear as an allocation sees it, before anything is pruned."""

    name: str  # in full: "model.layers.3.mlp.down_proj"
    weight: Float[Tensor, "out in"]
    stats: InputStats | None  # None: the allocation reads none

    @property
    def score(self) -> Float[Tensor, "out in"]:
        """Wanda's: |w_ij| · ‖X_j‖₂."""
        assert self.stats is not None, "an allocation that reads scores says so in its needs"
        return self.weight.abs().float() * self.stats.norm


@dataclass(frozen=True, eq=False)
class DenseBlock:
    """The linears of one block that will be pruned; its tensors are to be used before the next block is asked for."""

    name: str  # "model.layers.3"
    linears: list[DenseLinear]


@dataclass(frozen=True)
class Share:
    """A number for one linear: how much an allocation would keep of it, or how sparse it wants it."""

    name: str
    shape: tuple[int, int]  # (out, in)
    value: float

    @property
    def weights(self) -> int:
        return self.shape[0] * self.shape[1]


def shares_of(block: DenseBlock, value: float) -> list[Share]:
    """The same number for every linear of a block."""
    return [Share(linear.name, _shape(linear), value) for linear in block.linears]


def share_of(linear: DenseLinear, value: float) -> Share:
    return Share(linear.name, _shape(linear), value)


def _shape(linear: DenseLinear) -> tuple[int, int]:
    return (linear.weight.shape[0], linear.weight.shape[1])


def spread(rated: list[Share], reach: float, sparsity: float) -> list[Share]:
    """Sparsities between which `reach` lies at most, the lower the higher a linear is rated (OWL's and DLP's mapping).

    keep = 1 - sparsity + r - mean(r), with r the ratings mapped onto [0, reach]. Unlike the papers', the mean counts
    weights, not linears: so the budget is met where linears differ in size.
    """
    low, high = min(s.value for s in rated), max(s.value for s in rated)
    scaled = [Share(s.name, s.shape, (s.value - low) / (high - low) * reach if high > low else 0.0) for s in rated]
    mean = _mean(scaled)
    return [Share(s.name, s.shape, sparsity + mean - s.value) for s in scaled]


def _mean(shares: list[Share]) -> float:
    """Over weights."""
    return sum(s.value * s.weights for s in shares) / sum(s.weights for s in shares)


def meet(wanted: Iterable[Share], pattern: Pattern) -> dict[str, Pattern]:
    """The patterns nearest to the wanted sparsities that together zero round(sparsity · weights) weights.

    Raises AllocationError where a wanted sparsity is none that the linear can have.
    """
    wanted = list(wanted)
    _check_bounds(wanted, pattern)
    linears = [_Steps.of(share, pattern) for share in wanted]
    budget = round(pattern.sparsity * sum(share.weights for share in wanted))
    _settle(linears, budget - sum(linear.taken * linear.step for linear in linears))
    return {share.name: linear.pattern(pattern) for share, linear in zip(wanted, linears, strict=True)}


def _check_bounds(wanted: list[Share], pattern: Pattern) -> None:
    rounding = 1e-9
    if isinstance(pattern, KeepNofM):  # one of m must stay
        most = (pattern.of - 1) / pattern.of
        highest, bounds = most + rounding, f"0% to {most:.1%}"
    else:
        highest, bounds = 1.0, "0% to below 100%"
    if beyond := [s for s in wanted if not -rounding <= s.value < highest]:
        worst = max(beyond, key=lambda s: abs(s.value - 0.5))
        others = f" (and {len(beyond) - 1} more linears one beyond the bounds)" if len(beyond) > 1 else ""
        raise AllocationError(
            f"the budget {pattern} cannot be met: {worst.name} would get a sparsity of {worst.value:.1%}{others}, "
            f"a linear can have {bounds}; ask for another sparsity or a narrower spread"
        )


@dataclass
class _Steps:
    """One linear on its way to the budget."""

    wanted: float  # steps
    step: int  # weights that a step zeroes
    count: int  # steps of which all would zero the whole matrix
    taken: int

    @classmethod
    def of(cls, share: Share, pattern: Pattern) -> "_Steps":
        match pattern:
            case KeepNofM(_, of):
                count = of
            case Unstructured(_, "matrix"):
                count = share.weights
            case _:
                count = share.shape[1]
        wanted = share.value * count
        return cls(wanted, share.weights // count, count, min(max(round(wanted), 0), count - 1))

    def pattern(self, whole: Pattern) -> Pattern:
        if isinstance(whole, Unstructured):
            return Unstructured(self.taken / self.count, whole.within)
        return KeepNofM(self.count - self.taken, self.count) if self.taken else Unstructured(0.0)


def _settle(linears: list[_Steps], missing: int) -> None:
    """Take steps, or pairs of one step up and one down, as long as the distance to the budget shrinks; where a linear
    has no step left before the budget is met, the fewest steps that meet it.

    Of steps of one size, that of the linear goes first which is farthest from what was wanted for it.
    """
    rounded, wanted = [linear.taken for linear in linears], missing
    while missing:
        up, down = _movable(linears)
        moves: list[Way] = [*((step,) for step in up), *((-step,) for step in down)]
        moves += [(more, -fewer) for more in up for fewer in down if more != fewer]
        best = min(moves, key=lambda move: abs(missing - sum(move)), default=())
        if abs(missing - sum(best)) >= abs(missing):
            break
        missing -= _take(linears, best)
    if 2 * abs(missing) > min(linear.step for linear in linears):
        stepped = [linear.taken for linear in linears]
        _set(linears, rounded)
        if abs(wanted - _take(linears, _fewest(linears, wanted))) >= abs(missing):
            _set(linears, stepped)


def _set(linears: list[_Steps], taken: list[int]) -> None:
    for linear, steps in zip(linears, taken, strict=True):
        linear.taken = steps


def _take(linears: list[_Steps], way: Way) -> int:
    """Take these steps. Returns the weights that they zero."""
    for step in way:
        up, down = _movable(linears)
        (up if step > 0 else down)[abs(step)].taken += 1 if step > 0 else -1
    return sum(way)


def _movable(linears: list[_Steps]) -> tuple[dict[int, _Steps], dict[int, _Steps]]:
    """By the size of a step: the linear that takes the next one more, and the one that takes one fewer."""
    up: dict[int, _Steps] = {}
    down: dict[int, _Steps] = {}
    for linear in linears:
        left = linear.wanted - linear.taken
        if linear.taken < linear.count - 1 and left > _left(up.get(linear.step), -float("inf")):
            up[linear.step] = linear
        if linear.taken > 0 and left < _left(down.get(linear.step), float("inf")):
            down[linear.step] = linear
    return up, down


def _fewest(linears: list[_Steps], missing: int) -> Way:
    """The fewest steps that meet the budget to half of the smallest one, or those that come nearest of the first
    SEARCHED distances to it."""
    room: Counter[int] = Counter()  # how many steps of each size there are, up and down
    for linear in linears:
        room[linear.step] += linear.count - 1 - linear.taken
        room[-linear.step] += linear.taken
    near = min(linear.step for linear in linears) / 2
    ways: dict[int, Way] = {missing: ()}  # by what is missing after them
    waiting, nearest = deque(ways), missing
    while waiting and len(ways) < SEARCHED and abs(nearest) > near:
        left = waiting.popleft()
        for step in room:
            way = ways[left]
            if left - step not in ways and way.count(step) < room[step] and -step not in way:
                ways[left - step] = (*way, step)
                waiting.append(left - step)
                nearest = min(nearest, left - step, key=abs)
    return ways[nearest]


def _left(linear: _Steps | None, otherwise: float) -> float:
    return otherwise if linear is None else linear.wanted - linear.taken
