"""Mixtures judged end to end: by their KL to the dense model, on each capability's held-out text.

The end: candidates judged by KL at growing budgets, the finalists' verdict on fresh text, and the pruned model.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from calprune.base.progress import duration
from calprune.base.store import replaced
from calprune.base.values import UserError
from calprune.choosing.answer import OVERALL, UNIFORM, FinalVerdict, Gate, Halving, PrunedResult, Search, SetContrast
from calprune.choosing.job import FINALISTS, RESULT_TRIALS, Job, spec_of
from calprune.choosing.search import by_sums, source_sums
from calprune.choosing.transfer import Shares
from calprune.evaluation.divergence import DenseReference
from calprune.evaluation.metric import KL
from calprune.layers.inputs import StatsError
from calprune.likeness.sets import AGAIN, agreement, enough
from calprune.pruning.checkpoint import describe, save_pruned
from calprune.pruning.job import Pruning
from calprune.removal.job import Removed, Removing
from calprune.removal.report import describe_removed, save_removed
from calprune.report.findings import Cell
from calprune.studies.bench import Bench
from calprune.uncertainty.crossed import Rows, Weighed
from calprune.uncertainty.difference import Difference, holm, paired_by_item, verdict, weighed_sum
from calprune.uncertainty.ranks import rank_correlation

BUDGETS = (2048, 4096, 8192)  # tokens of each capability's text; a round keeps the better half


@dataclass
class Candidates:
    """Mixtures pruned with and judged on each capability's text to search on."""

    bench: Bench
    job: Pruning | Removing
    data: Callable[[Shares], Any]  # of a mixture: its sums, or a set of it
    windows: Mapping[str, Tensor]  # (n, T) of each capability

    def windows_within(self, budget: int) -> dict[str, int]:
        """How many windows of each capability are read for so many tokens."""
        return {name: max(1, min(len(rows), budget // rows.shape[1])) for name, rows in self.windows.items()}

    @torch.no_grad()
    def divergence(self, shares: Shares, budget: int) -> dict[str, float]:
        """KL to the dense model, nats a token, of the model pruned with a mixture; its weights are put back."""
        references = {name: self._reference(name, n) for name, n in self.windows_within(budget).items()}
        with self.bench.pruned(self.job, self.data(shares)):
            model = self.bench.model.model
            return {name: float(one.divergence(model).nats.mean()) for name, one in references.items()}

    def _reference(self, name: str, n: int) -> DenseReference:
        return self.bench.reference((name, n), self.windows[name][:n])


@dataclass(frozen=True)
class Round:
    """All candidates of one budget."""

    tokens: int  # of each capability's text, at most
    divergence: dict[str, dict[str, float]]  # candidate -> capability -> KL

    def order(self, weights: Mapping[str, float]) -> list[str]:
        """Candidates by the weighted mean of their KL, the best first."""

        def mean(name: str) -> float:
            return math.fsum(weights[c] * kl for c, kl in self.divergence[name].items())

        return sorted(self.divergence, key=mean)


def budgets(most: int) -> list[int]:
    """The growing numbers of tokens, the last being all there is."""
    return [*(budget for budget in BUDGETS if budget < most), most]


def halving(job: Job, gate: Gate, search: Search) -> Halving:
    """Successive halving of the candidates, the best of the proxy first, as far as time allows (Jamieson and Talwalkar,
    "Non-stochastic best arm identification and hyperparameter optimization", AISTATS 2016)."""
    weights = job.question.weights
    if (by_sums(job) and not search.proxy) or not job.has_time():
        job.left_out.append("judging candidates end to end before the verdict: no time")
        best = UNIFORM if UNIFORM in search.mixtures else next(iter(search.mixtures))
        return Halving((), (), dict.fromkeys(weights), (best,))
    judged = Candidates(job.bench, job.question.job("dense"), _data_of(job, gate), job.searched)

    def proxy(name: str) -> float:
        if not search.proxy:
            return 0.0
        return math.fsum(weights[c] * r for c, r in search.regret(search.proxy[name]).items())

    left, rounds = sorted(search.mixtures, key=proxy), []
    for budget in budgets(job.question.tokens):
        found, unusable = _judged(job, judged, search, left, budget)
        left = [name for name in left if name not in unusable]
        if len(found) < len(left):
            job.left_out.append(f"{len(left) - len(found)} candidates at {budget} tokens: no time")
        if not found:
            raise UserError(f"the model can be pruned with none of the candidates: {'; '.join(unusable.values())}")
        rounds.append(Round(budget, found))
        left = rounds[-1].order(weights)[: max(FINALISTS, math.ceil(len(found) / 2))]
        if budget < job.question.tokens and not job.has_time():
            job.left_out.append(f"judging candidates on more than {budget} tokens: no time")
            break
    return Halving(
        tuple(one.tokens for one in rounds),
        tuple(one.divergence for one in rounds),
        {c: _correlation(search, rounds[0], c) for c in weights},
        tuple(rounds[-1].order(weights)[:FINALISTS]),
    )


def _judged(
    job: Job, judged: Candidates, search: Search, names: Sequence[str], budget: int
) -> tuple[dict[str, dict[str, float]], dict[str, str]]:
    """The divergence of the candidates that there is time for, and why others' sums cannot prune the model."""
    found: dict[str, dict[str, float]] = {}
    unusable: dict[str, str] = {}
    for name in names:
        if len(found) >= FINALISTS and not job.has_time():
            break
        try:
            found[name] = judged.divergence(search.mixtures[name], budget)
        except StatsError as e:
            job.report(f"going on without {name}: {e}")
            unusable[name] = str(e)
            continue
        mean = math.fsum(job.question.weights[c] * kl for c, kl in found[name].items())
        job.report(f"judged on {budget:,} tokens: {name}, KL {mean:.4f} nats a token")
    return found, unusable


def _data_of(job: Job, gate: Gate) -> Callable[[Shares], Any]:
    """What a mixture is pruned with: the sum of its sources' sums; or, where sums decide nothing, a draw that no trial
    has."""
    if not by_sums(job):
        return lambda shares: job.set_of(spec_of(shares), seed=job.question.draws)
    sums, needs = source_sums(job, gate), job.question.job("dense").needs
    return lambda shares: sums.statistics(shares, needs)


def _correlation(search: Search, first: Round, capability: str):
    pairs = [(search.proxy[name][capability], kl[capability]) for name, kl in first.divergence.items() if search.proxy]
    return rank_correlation([x for x, _ in pairs], [y for _, y in pairs]) if len(pairs) > 1 else None


def judgement(job: Job, gate: Gate, search: Search, halving: Halving) -> FinalVerdict:
    """The finalists' draws against those of the default and of the uniform mixture."""
    finalists = list(halving.finalists)
    against = [name for name in (_default(job, gate), UNIFORM if UNIFORM in search.mixtures else None) if name]
    calibrations = {name: name for name in gate.used} | {
        name: spec_of(search.shares(name)) for name in [*against, *finalists]
    }
    made, text = job.trials.plan(calibrations)
    extra = [name for name in finalists[1:] if name not in (*gate.used, *against)]  # the others' trials are done anyway
    if extra and job.trials.estimate(made) > max(0.0, job.clock.left()):
        job.left_out.append(f"the verdict on {extra[0]}: no time")
        finalists.remove(extra[0])
        calibrations.pop(extra[0])
        made, text = job.trials.plan(calibrations)
    if (needed := job.trials.estimate(made)) > max(0.0, job.clock.left()):
        raise UserError(f"the budget ends before the verdict, which takes about {duration(needed, up=True)}; finished "
                        "work is kept: the same command goes on, or give a larger --budget")  # fmt: skip
    failed = job.run(made, text, RESULT_TRIALS)
    for name, why in failed.items():
        if name in finalists:
            raise UserError(f"{name}: {why}")
        job.report(f"the verdict goes without {name}: {why}")
    cells = _cells(job, [name for name in calibrations if name not in failed])
    against = [name for name in against if name in cells]
    judged = dict.fromkeys([*finalists, *reversed(against)])
    pairs = [(one, other) for one in judged for other in against if one != other]
    pairs = [pair for i, pair in enumerate(pairs) if pair[::-1] not in pairs[:i]]
    found = [(one, other, c, d) for one, other in pairs for c, d in _differences(job, cells[one], cells[other],
             _share_draws(search, one, other)).items()]  # fmt: skip
    adjusted = holm([d.p for *_, d in found])
    contrasts = tuple(
        SetContrast(one, other, c, d.estimate, p, verdict(d, p, lower_is_better=True))
        for (one, other, c, d), p in zip(found, adjusted, strict=True)
    )
    compared = FinalVerdict(contrasts, (), None, tuple(against))
    halves, size = _halves(job, spec_of(search.shares(decided(halving, compared))))
    return replace(compared, halves=halves, enough=size)


def _default(job: Job, gate: Gate) -> str | None:
    """The default, where it can be had; a source that is the same text stands for it."""
    name = job.question.default
    if name is None or name in gate.used:
        return name
    used = {trial.set_id: trial.calibration for trial in job.trials.plan({s: s for s in gate.used})[0].trials}
    try:
        made, _ = job.trials.plan({name: name})
        return used.get(made.trials[0].set_id, name)
    except UserError as e:
        job.report(f"the verdict goes without the default {name}: {e}")
        return None


def _cells(job: Job, calibrations: Sequence[str]) -> dict[str, dict[str, Cell]]:
    """By calibration and capability."""
    names = {str(evaluation): name for name, evaluation in job.trials.evaluations(KL.name).items()}
    found: dict[str, dict[str, Cell]] = {}
    for cell in job.trials.findings(calibrations).cells:
        found.setdefault(cell.of.calibration, {})[names[cell.of.evaluation]] = cell
    return found


def _share_draws(search: Search, one: str, other: str) -> bool:
    """Whether the two take documents of the same draw of a source, so that luck moves both."""
    return bool(search.shares(one).keys() & search.shares(other).keys())


def _differences(job: Job, one: Mapping[str, Cell], other: Mapping[str, Cell], shared: bool) -> dict[str, Difference]:
    def less(a: Rows, b: Rows) -> Difference:
        if not shared:
            return paired_by_item(a, b)
        return weighed_sum([Weighed(1.0, "draws", "items", a), Weighed(-1.0, "draws", "items", b)])

    by = {name: less(cell.items, other[name].items) for name, cell in one.items()}
    return by | {OVERALL: less(_weighted(job, one), _weighted(job, other))} if len(by) > 1 else by


def decided(halving: Halving, judgement: FinalVerdict) -> str:
    """The first finalist that is better than the default or the uniform mixture, all capabilities together, and worse
    than neither; else the uniform mixture, where it is better than the default; else the default, if there is one."""
    for name in [*halving.finalists, UNIFORM]:
        told = judgement.overall(name)
        if "win" in told and "loss" not in told:
            return name
    return next(iter(judgement.against), halving.finalists[0])


def _weighted(job: Job, cells: Mapping[str, Cell]) -> np.ndarray:
    """(draws, items): the i-th item of each capability, weighted and added. Their mean is the weighted mean where all
    capabilities have as many items; of those that have more, the last are left out."""
    items = min(len(cell.items[0]) for cell in cells.values())
    weighted = [weight * np.asarray(cells[name].items)[:, :items] for name, weight in job.question.weights.items()]
    return np.sum(weighted, axis=0)


def _halves(job: Job, spec: str) -> tuple[tuple[tuple[int, float], ...], int | None]:
    """How far halves of the winner's set lead to the same mask, and how much of it would have been enough."""
    q = job.question
    if not job.has_time() or q.num_samples < 4:
        job.left_out.append("how much data is enough: no time" if q.num_samples >= 4 else
                            "how much data is enough: fewer than 4 sequences cannot be halved and doubled")  # fmt: skip
        return (), None
    if q.job().reads in AGAIN:
        job.left_out.append(f"how much data is enough: {q.method_text} runs the model for each half")
        return (), None
    given = job.set_of(spec, seed=0)
    budgets, overlaps = agreement(q.job(), job.model.model, given, job.knobs.batch_size)
    return tuple(zip(budgets, overlaps, strict=True)), enough(budgets, overlaps)


def result(job: Job, winner: str, shares: Shares) -> PrunedResult:
    """Collect the winner's set anew with pruned propagation, prune, judge and save."""
    q, spec, bench = job.question, spec_of(shares), job.bench
    references = {name: bench.reference((name, "fresh"), rows) for name, rows in job.fresh.items()}
    given = job.set_of(spec, seed=0)
    dense = bench.model
    with bench.pruned(q.job(), given) as pruned:
        compared = {name: one.compare(bench.model.model) for name, one in references.items()}
        perplexity = {name: (references[name].perplexity().estimate().value, found.estimate().value)
                      for name, (_, found) in compared.items()}  # fmt: skip
        divergence = {name: kl.estimate() for name, (kl, _) in compared.items()}
        figures = [{"evaluation": name, "dense": perplexity[name][0], "pruned": perplexity[name][1],
                    "kl": divergence[name].value} for name in compared]  # fmt: skip
        more = {"calibration": given.about(spec), "evaluations": figures}
        # a run that was killed before it wrote that it was done may have left them
        with replaced(job.folder / "calibration"), replaced(job.folder / "model"):
            given.save(job.folder / "calibration")
            if isinstance(pruned, Removed):
                save_removed(dense, pruned, describe_removed(pruned, dense) | more, job.folder / "model")
            else:
                save_pruned(dense, describe(pruned, dense) | more, job.folder / "model")
    return PrunedResult(winner, spec, divergence, perplexity, job.clock.spent())
