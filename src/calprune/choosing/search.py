"""The search on sums alone: the transfer table, and shares for the weighted mean and for the largest regret."""

import time
from collections.abc import Mapping
from typing import cast

from calprune.base.patterns import Removal
from calprune.base.values import UserError, identity
from calprune.choosing.answer import UNIFORM, Gate, Search
from calprune.choosing.job import Job, percent, spec_of
from calprune.choosing.mixture import Objective, evenly, exponentiated_gradient, largest, rounded, weighted_mean
from calprune.choosing.transfer import (
    Shares,
    Sums,
    Transfer,
    UnitTransfer,
    block_names,
    collected,
    in_turn,
    transfer_table,
)
from calprune.layers.saved import Statistics
from calprune.methods.contract import Method
from calprune.pattern import Pattern
from calprune.removal.job import Removing

MEAN, MINIMAX = "weighted mean", "minimax regret"  # names of the mixtures that are found
SEARCH_BLOCKS = 8  # of the model at least, evenly spaced, whose linears the search looks at; candidates: on all


def search(job: Job, gate: Gate) -> Search:
    """The candidates: each source alone, the uniform mixture, and what the search finds."""
    q = job.question
    mixtures = {source: {source: 1.0} for source in gate.used}
    mixtures[UNIFORM] = evenly(gate.used)
    if not by_sums(job):
        job.left_out.append(f"the search for other shares, which adds scores up, and {q.method_text} does not decide "
                            f"by such: {q.pattern} was tried with each source and the uniform mixture")  # fmt: skip
        return Search({}, {}, _buildable(job, mixtures), {}, 0, 0, 0.0)
    sums = (source_sums(job, gate), capability_sums(job)) if job.has_time() else None
    if sums is None or not job.has_time():  # the sums are kept for a run that has more
        job.left_out.append("the transfer table and the search for mixtures: no time")
        together = {UNIFORM: mixtures.pop(UNIFORM)}  # the only one that nobody has built yet
        return Search({}, {}, mixtures | _buildable(job, together), {}, 0, 0, 0.0)
    sources, (own, held) = sums
    transfer, blocks = _transfer(job, sources, held), block_names(job.model)
    started = time.perf_counter()
    table = transfer_table(transfer, own, blocks, job.report)
    few = blocks if q.job("dense").needs == "nothing" else spread(blocks)  # sums over whole blocks are small
    least = {name: transfer.loss({name: 1.0}, few, own)[name] for name in own.of}
    seen: dict[tuple, Mapping[str, float]] = {}

    def regret(shares: Shares) -> Mapping[str, float]:
        key = tuple(sorted(shares.items()))
        if key not in seen:
            seen[key] = {name: value / least[name] - 1 for name, value in transfer.loss(shares, few).items()}
        return seen[key]

    for name, objective in ((MEAN, weighted_mean(q.weights)), (MINIMAX, largest(q.weights))):
        mixtures[name] = rounded(_found(job, gate, regret, objective, name), least=1 / q.num_samples)
    mixtures = _buildable(job, mixtures)
    proxy = {name: dict(table.loss[name]) if name in table.loss else transfer.loss(shares, blocks)
             for name, shares in mixtures.items()}  # fmt: skip
    seconds = time.perf_counter() - started
    job.report(f"{transfer.evaluations} mixtures decided from sums in {seconds:.0f} s, without a forward pass")
    losses = {source: dict(loss) for source, loss in table.loss.items()}
    tokens = {name: one.about["tokens"] for name, one in own.of.items()}
    return Search(losses, dict(table.own), mixtures, proxy, len(few), transfer.evaluations, seconds, tokens)


def by_sums(job: Job) -> bool:
    """Whether what is done to the model is decided by sums that can be added up for a mixture."""
    removing = job.question.job("dense")
    return not isinstance(removing, Removing) or removing.by_sums


def _transfer(job: Job, sources: Sums, held: Sums) -> Transfer | UnitTransfer:
    q = job.question
    if isinstance(removing := q.job("dense"), Removing):
        return UnitTransfer(job.model, removing, sources, held)
    return Transfer(job.model, cast(Method, q.method), cast(Pattern, q.pattern), sources, held)


def spread(blocks: list[str]) -> list[str]:
    """The blocks that a search looks at."""
    return blocks[:: max(1, len(blocks) // SEARCH_BLOCKS)]


def _found(job: Job, gate: Gate, regret, objective: Objective, name: str) -> dict[str, float]:
    """The best shares seen while there is time."""
    best: dict[str, float] = {}
    for seen in exponentiated_gradient(gate.used, regret, objective):
        best = seen.shares
        more = f"{100 * seen.value:.1f} % more lost than each capability's own text would (the regret)"
        job.report(f"search for the {name}: {percent(best)}, {more}")
        if not job.has_time():
            job.left_out.append(f"rounds of the search for the {name}: no time")
            break
    return best


def _buildable(job: Job, mixtures: Mapping[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Those that are sets, each once: a set is of whole sequences, and a share of a long source may be less than
    one."""
    found: dict[str, tuple[str, dict[str, float]]] = {}
    for name, shares in mixtures.items():
        try:
            found.setdefault(job.set_of(spec_of(shares), seed=job.question.draws).id, (name, shares))
        except UserError as e:
            job.report(f"going on without the {name}: {e}")
    return dict(found.values())


def source_sums(job: Job, gate: Gate) -> Sums:
    """Sums of one draw of each source that no trial uses, so that the choice is judged on other draws."""
    needs, found = job.question.job("dense").reads, {}
    for source in gate.used:
        made = job.set_of(source, seed=job.question.draws)
        folder = job.folder / "statistics" / f"{made.id}-{needs}"
        found[source] = collected(folder, job.model, made, needs, batch_size=job.knobs.batch_size)
    return Sums(found)


def capability_sums(job: Job) -> tuple[Sums, Sums]:
    """Of each capability's text to search on: `own`, which calibrates, and `held`, which judges."""
    own: dict[str, Statistics] = {}
    held: dict[str, Statistics] = {}
    for name, windows in job.searched.items():
        parts = in_turn(windows)
        reads = job.question.job("dense").reads
        judges = reads if isinstance(job.question.pattern, Removal) else "gram"
        for into, rows, needs in ((own, parts[0], reads), (held, parts[1], judges)):
            folder = job.folder / "statistics" / f"{identity(rows.tokens.tolist())}-{needs}"
            into[name] = collected(folder, job.model, rows, needs, batch_size=job.knobs.batch_size)
    return Sums(own), Sums(held)
