"""Choose the calibration data for a model."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from calprune.api.arguments import AnyPatternLike, MethodLike, as_data_root, as_method_and_pattern
from calprune.api.progress import ProgressLike, shown
from calprune.base.checks import Count, checked
from calprune.base.progress import current
from calprune.base.store import write_whole
from calprune.base.values import UserError
from calprune.choosing.answer import Choice
from calprune.choosing.choose import choose as answer
from calprune.choosing.page import choice_page, headline
from calprune.choosing.question import Question, default_sources, parse_capabilities
from calprune.choosing.trials import parse_budget
from calprune.evaluation.metric import NATS_OF_INTEREST
from calprune.pages import HasPage, Page
from calprune.studies.bench import Knobs
from calprune.studies.results import Results, read

EVERYTHING = {"general": 1.0, "mathematics": 1.0, "code": 1.0}  # what is kept where the user does not say


@dataclass(frozen=True, repr=False)
class ChoiceReport(HasPage):
    """The answer of `choose`, with all that led to it."""

    choice: Choice  # what each stage found
    results: Results  # of the trials that judged
    data_root: Path | None = None  # as it was given: the page's commands name it

    @property
    def winner(self) -> str:
        """The source, or the mixture, that was chosen."""
        return self.choice.winner

    @property
    def calibration(self) -> str:
        """What was chosen, as `prune` and `build` take it: "c4*0.25 + gsm8k:icl*0.75"."""
        return self.choice.result.spec

    @property
    def model(self) -> Path:
        """The folder of the pruned model."""
        return self.choice.folder / "model"

    def page(self) -> Page:
        """The answer, and what each stage found."""
        return choice_page(self.choice, self.results, self.data_root)

    def write(self, path: str | Path) -> None:
        """Write the page: one HTML file that needs no network."""
        write_whole(path, self.html())

    def __repr__(self) -> str:
        return f"<ChoiceReport: {headline(self.choice)[0]}>"


@checked
def choose(
    model: str | Path | Question,
    sources: Sequence[str] | None = None,
    *,
    out: str | Path,
    capabilities: Mapping[str, float | int] | str = EVERYTHING,
    judge: Mapping[str, str] = {},
    prompts: str | Path | None = None,
    method: MethodLike | None = None,
    pattern: AnyPatternLike = "50%",
    num_samples: Count = 128,
    max_seq_length: Count = 2048,
    draws: Count = 3,
    tokens: Count = 8192,
    default: str | None = "c4",
    of_interest: float = NATS_OF_INTEREST,
    budget: str | float | None = None,
    data_root: str | Path | None = None,
    device: str | None = "auto",
    batch_size: Count | None = None,
    progress: ProgressLike | None = None,
) -> ChoiceReport:
    """Find out whether the calibration data matters for a model, choose it, and prune with it.

        answer = calprune.choose("demo", ["c4", "gsm8k:icl_cot"], capabilities={"general": 1, "mathematics": 2},
                                 pattern="60%", num_samples=16, max_seq_length=256, out="chosen")
        answer.winner, answer.model

    model: `demo`, a folder, or a hub name; or a `calprune.Question`, which says all down to `of_interest` below.
    sources: what to choose among, each one source as `build` takes it; None: what the model writes itself, c4, a code
        and a mathematics source, as they can be reached.
    out: the folder of the answer: its model, its set and its page. The same call goes on there where it was stopped.
    capabilities: what the pruned model is to keep, with weights: "general", "commonsense", "mathematics", "code",
        "knowledge", "language", and the names of `judge`; as text: "general=1 mathematics=2".
    judge: the texts that capabilities are judged on, by name: {"chat": "held_out.jsonl:chat"}.
    prompts: a file of prompts for the model's own responses, where `sources` is None.
    method, pattern: as for `prune`, but no method is "sparsegpt" at n:m, which is solved faster. num_samples,
        max_seq_length: of each set. draws: sets of each source and finalist.
    tokens: of each capability's text to search on, and as many for the verdict.
    default: what the winner is compared with, beside the uniform mixture; None: no such source.
    of_interest: the smallest difference of divergence, in nats a token, that you would act on.
    budget: how long it may take, "30m" or seconds; what was left out is listed.
    data_root: the folder of data sets on disk; None: CALPRUNE_DATA. device, batch_size: how to run.
    progress: lines on stderr; None: in a terminal and a notebook.

    Raises UserError where a source is also what is judged on, fewer than two sources can be used, the budget does not
    suffice for the first stage, or the folder holds something else.
    """
    seconds = _seconds(budget)
    with shown(progress):
        if isinstance(model, Question):
            question = model
            _refuse_beside({"sources": sources, "capabilities": capabilities, "judge": judge, "prompts": prompts,
                            "method": method, "pattern": pattern, "num_samples": num_samples, "draws": draws,
                            "max_seq_length": max_seq_length, "tokens": tokens, "default": default,
                            "of_interest": of_interest})  # fmt: skip
        else:
            question = Question(
                str(model), _sources(str(model), sources, prompts),
                parse_capabilities(capabilities, [f"{name}={text}" for name, text in judge.items()]),
                *as_method_and_pattern(method, pattern), num_samples, max_seq_length, draws, tokens, default,
                of_interest,
            )  # fmt: skip
        knobs = Knobs(device or "cpu", batch_size, as_data_root(data_root))
        choice = answer(question, out, knobs=knobs, budget=seconds, report=current().say)
    typed = None if data_root is None else Path(data_root)
    report = ChoiceReport(choice, read(Path(out) / "runs"), typed)
    report.write(Path(out) / "report.html")
    return report


def _sources(model: str, sources: Sequence[str] | None, prompts: str | Path | None) -> tuple[str, ...]:
    """As given, or the usual ones."""
    if sources is None:
        return default_sources(model, None if prompts is None else str(prompts), current().say)
    if prompts is not None:
        raise UserError(f"prompts: it goes without sources; beside them write 'self:respond({prompts})'")
    if not sources:
        raise UserError("sources: none is given; leave it out for the usual ones")
    return tuple(sources)


def _refuse_beside(given: Mapping[str, object]) -> None:
    """Raise UserError for an argument that the question says already."""
    usual = inspect.signature(choose).parameters
    for name, value in given.items():
        if value != usual[name].default:
            raise UserError(f"{name}: the question says it already; leave it out")


def _seconds(budget: str | float | None) -> float | None:
    if budget is None or isinstance(budget, str):
        return parse_budget(budget)
    if not budget > 0:
        raise UserError(f"budget: expected seconds above 0, or text like 30m; got {budget:g}")
    return float(budget)
