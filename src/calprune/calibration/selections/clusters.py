"""Choosing among vectors: k-means, k-center, and herding towards a target."""

from random import Random

import torch
from jaxtyping import Float, Int
from torch import Tensor

STARTS = 10  # of which the best is kept (COLA's n_init)
ROUNDS = 100


def k_means(points: Float[Tensor, "n d"], k: int, stream: Random) -> tuple[list[int], list[float]]:
    """Each point's cluster and its distance to the centre. Lloyd's rounds from k-means++, the best of STARTS."""
    found = min((_lloyd(points, _spread_out(points, k, stream)) for _ in range(STARTS)), key=lambda end: end[0])
    _, label, distance = found
    return label.tolist(), distance.tolist()


def _spread_out(points: Float[Tensor, "n d"], k: int, stream: Random) -> Float[Tensor, "k d"]:
    """k-means++ (Arthur, Vassilvitskii, SODA 2007): each next centre with probability as its squared distance."""
    chosen = [stream.randrange(len(points))]
    nearest = torch.full((len(points),), float("inf"), dtype=torch.double)
    while len(chosen) < k:
        nearest = torch.minimum(nearest, (points - points[chosen[-1]]).double().square().sum(1))
        nearest[chosen] = 0
        weights = nearest.tolist()
        free = [float(i not in set(chosen)) for i in range(len(points))] if not sum(weights) else weights
        chosen += stream.choices(range(len(points)), free)
    return points[chosen].clone()


def _lloyd(
    points: Float[Tensor, "n d"], centres: Float[Tensor, "k d"]
) -> tuple[float, Int[Tensor, "n"], Float[Tensor, "n"]]:
    label = torch.full((len(points),), -1)
    for _ in range(ROUNDS):
        before, label = label, torch.cdist(points, centres).argmin(1)
        if torch.equal(before, label):
            break
        sums = torch.zeros_like(centres).index_add(0, label, points)
        counts = label.bincount(minlength=len(centres))
        centres = torch.where(counts[:, None] > 0, sums / counts[:, None].clamp_min(1), centres)
    distance = (points - centres[label]).norm(dim=1)
    return float(distance.double().square().sum()), label, distance


def k_center(points: Float[Tensor, "n d"]) -> list[int]:
    """All points, the first first, then always the one farthest from its nearest before it (Gonzalez, "Clustering to
    minimize the maximum intercluster distance", 1985). After k of them no point is farther from its nearest centre
    than twice what the best k centres would leave."""
    nearest = torch.full((len(points),), torch.inf, dtype=torch.double)
    order = [0]
    for _ in range(len(points) - 1):
        nearest = torch.minimum(nearest, (points - points[order[-1]]).double().square().sum(1))
        nearest[order[-1]] = -1  # taken
        order.append(int(nearest.argmax()))
    return order


def herd(points: Float[Tensor, "n d"], target: Float[Tensor, "d"]) -> list[int]:
    """All points in the order in which the mean of the first so many is brought nearest to the target."""
    points, target = points.double(), target.double()
    half = points.square().sum(1) / 2
    owed, order = target.clone(), list[int]()
    for _ in range(len(points)):
        gain = points @ owed - half
        gain[order] = -torch.inf
        order.append(int(gain.argmax()))
        owed += target - points[order[-1]]
    return order
