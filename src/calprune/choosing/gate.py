"""The gate: how far do the sources lie apart, for this model, method and pattern, and is that of interest?"""

import math
from collections.abc import Iterable, Sequence
from typing import cast

from calprune.base.patterns import Removal
from calprune.base.progress import duration
from calprune.base.values import ConfigError, UserError
from calprune.calibration.advice import advice, widest_input
from calprune.calibration.describe import check_set
from calprune.calibration.part import check_there, source_of
from calprune.calibration.recipe import parse_spec
from calprune.calibration.set import is_set
from calprune.choosing.answer import Gate, GateRow
from calprune.choosing.job import RESULT_TRIALS, Job
from calprune.choosing.question import part_of
from calprune.evaluation.metric import KL
from calprune.methods.contract import Method
from calprune.pages.numbers import with_interval
from calprune.text.document import Given
from calprune.text.filters.shared_wording import Evaluations


class NothingToChoose(UserError):
    """One source alone can be used."""


def gate(job: Job) -> Gate:
    """Run the draws of each source and compare them. Raises UserError where the budget does not suffice, and
    NothingToChoose where fewer than two sources can be used; the trials of the one are then whole."""
    sources, dropped = _reachable(job)
    made, text = job.trials.plan({source: source for source in sources})
    needed, missing = job.trials.estimate(made), len(job.trials.missing(made))
    if needed > max(0.0, job.clock.left()):
        needed += job.clock.spent()  # a model is loaded for each run of the command
        written = ", and what the model writes on top" if any(part_of(one).source == "self" for one in sources) else ""
        given, alone = (duration(one, up=True) for one in (job.clock.seconds or 0, needed))
        twice = f"{math.ceil(2 * needed / 60)}m" if needed > 30 else f"{math.ceil(2 * needed)}s"
        raise UserError(f"--budget {given} is too small: comparing the sources, the first step, takes about {alone} "
                        f"here ({missing} trials{written}); give --budget {twice} or more, or fewer sources, tokens or "
                        "draws")  # fmt: skip
    if missing:
        _advise(job, sources)
    failed = job.run(made, text, job.verdict_trials + RESULT_TRIALS)
    dropped |= _announce(job, failed)
    used = tuple(source for source in sources if source not in failed)
    if not used:
        raise UserError(f"none of the sources can be used: {'; '.join(dropped.values())}")
    if len(used) < 2:
        raise NothingToChoose(f"nothing to choose: {used[0]} is all that can be used")
    looked_at = job.question.num_samples * job.question.draws
    return Gate(_compared(job, used), used, dropped, _wording(job, used), looked_at, job.trials.seconds_each)


def _advise(job: Job, sources: Sequence[str]) -> None:
    """Say what is known to go wrong with the sets of these sources."""
    q = job.question
    if isinstance(q.pattern, Removal):
        return  # what is known is of zeros
    sizes = {"num_samples": q.num_samples, "max_seq_length": q.max_seq_length}
    recipes = [parse_spec(source, **sizes) for source in sources]
    for line in advice(recipes, q.num_samples * q.max_seq_length, q.num_samples, job.model.tokenizer,
                       method=cast(Method, q.method), widest=widest_input(job.model.model)):  # fmt: skip
        job.report(f"note: {line}")


def _reachable(job: Job) -> tuple[list[str], dict[str, str]]:
    """The sources that can be planned with, and why the others cannot. Raises ConfigError where two are one."""
    found: dict[str | None, str] = {}  # set -> source
    dropped: dict[str, str] = {}
    for source in job.question.sources:
        try:
            made, _ = job.trials.plan({source: source})
            if job.trials.missing(made):
                check_there(source, Given(job.model, data_root=job.knobs.data_root))
            if (other := found.setdefault(made.trials[0].set_id, source)) != source:
                raise ConfigError(f"--sources: {other} and {source} are the same text: leave one out")
        except ConfigError:  # a mistake in the words, not a source that is away
            raise
        except UserError as e:
            dropped[source] = str(e)
    _announce(job, dropped)
    if not found:
        raise UserError(f"none of the sources can be used: {'; '.join(dropped.values())}")
    return list(found.values()), dropped


def _announce(job: Job, dropped: dict[str, str]) -> dict[str, str]:
    for source, why in dropped.items():
        job.report(f"going on without {source}: {why}")
    return dropped


def _compared(job: Job, sources: Sequence[str]) -> dict[str, GateRow]:
    findings = job.trials.findings(sources)
    by_evaluation = {comparison.of.evaluation: comparison for comparison in findings.comparisons}
    found = {}
    for name, evaluation in job.trials.evaluations(KL.name).items():
        one = by_evaluation[str(evaluation)]
        effect = one.effect
        found[name] = GateRow(one.word, effect.share, one.adjusted_p, effect.lowest, effect.highest, effect.range,
                              effect.detectable, one.apart, one.part_of_cost, one.of_interest)  # fmt: skip
        job.report(f"{name}: {one.word} ({effect.lowest} least, {effect.highest} most, {with_interval(one.apart)} nats "
                   "apart)")  # fmt: skip
    return found


def _wording(job: Job, sources: Iterable[str]) -> dict[str, dict[str, int]]:
    """Sequences of each source that share wording with a capability's text, where that is looked for."""
    names = {one.name: name for one in job.question.capabilities if (name := _evaluation_set(one.text))}
    looked = {name: Evaluations([text], Given(data_root=job.knobs.data_root)) for name, text in names.items()}
    found: dict[str, dict[str, int]] = {}
    for source in sources:
        sets = [job.set_of(source, seed) for seed in range(job.question.draws)]
        for name, evaluations in looked.items():
            checks = [check_set(one, job.model.tokenizer, evaluations) for one in sets]
            shared = sum(check.sequences_found for check in checks)
            found.setdefault(source, {})[name] = shared
            job.report(f"{source}: {shared or 'no'} sequences share wording with what {name} is judged on")
    return found


def _evaluation_set(text: str) -> str | None:
    """The name of the records that a text is made of; None where it is made, written by the model, or a built set."""
    if is_set(text):
        return None
    part = parse_spec(text).parts[0]
    return None if source_of(part).made else part.source
