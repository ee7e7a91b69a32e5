"""A question being answered in a folder: what its stages share."""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxtyping import Int
from torch import Tensor

from calprune.base.store import once
from calprune.base.values import UserError, identity, tag_of
from calprune.calibration.build import build, identify
from calprune.calibration.part import only_part, open_source, source_of
from calprune.calibration.recipe import parse_spec
from calprune.calibration.set import CalibrationSet, kept_set
from calprune.choosing.answer import read_stage, write_stage
from calprune.choosing.question import Question, rows_of
from calprune.choosing.transfer import Shares
from calprune.choosing.trials import Clock, Trials
from calprune.evaluation.windows import windows_of
from calprune.layers.readable import check_length
from calprune.models.load import Model, load
from calprune.studies.bench import Bench, Knobs
from calprune.studies.folder import Runs
from calprune.studies.plan import Plan
from calprune.text.document import Given
from calprune.text.encode import tokenizer_hash

FEWEST_WINDOWS = 8  # of a text: two to search on by sums, two to calibrate on as its own, four to judge
FINALISTS = 2
RESULT_TRIALS = 3  # what the pruned model, with its two passes, takes in trials

Report = Callable[[str], None]


@dataclass
class Job:
    """The question, the dense model, and the texts that capabilities are judged on."""

    question: Question
    folder: Path
    knobs: Knobs
    clock: Clock
    report: Report
    left_out: list[str] = field(default_factory=list)
    anew: bool = False  # whether a stage was made by this run, so that what follows must be too
    _bench: Bench | None = None

    def __post_init__(self) -> None:
        check_length(self.model.model, self.question.max_seq_length, "sequences", "--max-seq-length ")
        self.windows = {one.name: self._windows(one.text) for one in self.question.capabilities}
        tokens = {name: len(rows) // 2 * self.question.window for name, rows in self.windows.items()}
        self.trials = Trials(self.question, Runs(self.folder / "runs"), self.knobs, tokens)

    @property
    def model(self) -> Model:
        """The dense model, loaded when it is needed."""
        return self.bench.model

    @property
    def bench(self) -> Bench:
        """The dense model with what it takes to prune it and to put its weights back."""
        if self._bench is None or not self._bench.usable:
            loaded = load(self.question.model, device=self.knobs.device)
            loaded.prove_origin()
            self._bench = Bench(loaded, batch_size=self.knobs.batch_size, data_root=self.knobs.data_root)
        return self._bench

    def run(self, made: Plan, text: str, later: int) -> dict[str, str]:
        """Do the trials that are missing, as `Trials.run` does. They load the model anew: this one goes meanwhile, so
        that memory never holds both."""
        self._bench = None
        return self.trials.run(made, text, self.clock, self.report, later)

    def identity(self, worded: bool = True) -> str:
        """Of the question and of what it depends on: the model's weights, the sources' files, the texts. worded: and
        how the files are worded, which folders of before do not have."""
        q = self.question
        texts = {name: rows.tolist() for name, rows in self.windows.items()}
        given = Given(data_root=self.knobs.data_root)
        files = [self._contents(source, given, worded) for source in q.sources]
        return identity([q.written(), self.model.id, files, texts])

    def _contents(self, source: str, given: Given, worded: bool) -> str | None:
        """What a source's files hold and how they are worded; of what the model writes, what it begins with. None: they
        are not on the disk."""
        if source_of(only_part(source)).made == "self":
            with suppress(UserError):  # what cannot be read is said where it is built
                opened = open_source(source, Given(self.model, data_root=self.knobs.data_root), "calibration")
                return opened.rows.revision
            return None
        rows = rows_of(source, "calibration", given)
        if not rows or not rows.contents:
            return None
        if not worded:
            return rows.contents
        opened = open_source(source, Given(self.model, data_root=self.knobs.data_root), "calibration")
        more = [opened.source.identity(given)] if opened.source.root else []  # of a user's YAML, which may be edited
        more += [opened.chat] if opened.chat else []
        return identity([rows.contents, *more]) if more else rows.contents

    def _windows(self, text: str) -> Int[Tensor, "n T"]:
        q = self.question
        opened = open_source(text, Given(self.model, data_root=self.knobs.data_root), "evaluation")
        if opened.held == "calibration text":
            raise UserError(f"{text} is calibration text: what is chosen by it would be judged on it; name a held-out "
                            "text with --judge")  # fmt: skip
        found = windows_of(opened.documents(), self.model.tokenizer, q.window, 2 * q.tokens)
        if len(found) < FEWEST_WINDOWS:
            raise UserError(f"{text} has {len(found)} windows of {q.window} tokens, too few to search and to judge on: "
                            f"{FEWEST_WINDOWS} or more are needed; name a longer text with --judge")  # fmt: skip
        return found

    @property
    def searched(self) -> dict[str, Int[Tensor, "n T"]]:
        """The windows that a search may look at: the first half."""
        return {name: rows[: len(rows) // 2] for name, rows in self.windows.items()}

    @property
    def fresh(self) -> dict[str, Int[Tensor, "n T"]]:
        """The windows that only the verdict reads: as many of the second half."""
        return {name: rows[len(rows) // 2 : len(rows) // 2 * 2] for name, rows in self.windows.items()}

    def set_of(self, spec: str, seed: int) -> CalibrationSet:
        """A set of the question's size, built once, beside those of the trials."""
        q, tokenizer = self.question, self.model.tokenizer
        recipe = parse_spec(spec, num_samples=q.num_samples, max_seq_length=q.max_seq_length, seed=seed)
        root, model = self.knobs.data_root, self.model
        named = identify(recipe, tokenizer_hash(tokenizer), Given(model, data_root=root))
        folder = self.folder / "runs" / "calibration" / named
        return kept_set(folder, lambda: build(recipe, tokenizer, data_root=root, model=model))

    @property
    def verdict_trials(self) -> int:
        """How many trials the verdict takes, at most."""
        return self.question.draws * (FINALISTS + 1)

    def reserved(self) -> float:
        """Seconds to keep for the verdict and the result, by what a trial took."""
        return (self.trials.seconds_each or 0.0) * (self.verdict_trials + RESULT_TRIALS)

    def has_time(self) -> bool:
        """Whether a search may go on."""
        return self.clock.left() > self.reserved()

    def stage(self, kind: type, make: Callable[[], Any]) -> Any:
        """What a stage found: as it was written before, or made now and written. A stage that time cut short is made
        anew until the answer is there; one that is damaged is made anew too; and so is all that came of it."""
        path = self.folder / f"{tag_of(kind).lower()}.json"
        before = len(self.left_out)

        def read(path: Path) -> tuple[Any, list[str]] | None:
            there = read_stage(path, kind)
            cut_short = there[1] and not (self.folder / "result.json").is_file()
            return None if self.anew or cut_short else there

        def made() -> tuple[Any, list[str]]:
            self.anew = True
            return make(), self.left_out[before:]

        found, left_out = once(path, made, read, lambda path, stage: write_stage(path, *stage), self.report)
        self.left_out[before:] = left_out
        return found


def spec_of(shares: Shares) -> str:
    """The recipe of a mixture as text: "c4*0.25 + gsm8k:icl*0.75"; the same in whatever order the shares come, and so
    the same set to the byte."""
    if len(shares) == 1:
        return next(iter(shares))
    return " + ".join(f"{_in_a_sum(source)}*{share:g}" for source, share in sorted(shares.items()))


def _in_a_sum(source: str) -> str:
    """A source, in quotes where it is the name of a file that a sum would cut."""
    return repr(source) if os.path.isfile(source) and any(sign in source for sign in "+*:") else source


def percent(shares: Mapping[str, float]) -> str:
    """ "60 % c4, 40 % gsm8k:icl", the largest first."""
    largest_first = sorted(shares.items(), key=lambda item: -item[1])
    return ", ".join(f"{share:.0%} {source}".replace("%", " %") for source, share in largest_first)
