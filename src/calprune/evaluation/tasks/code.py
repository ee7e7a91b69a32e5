"""humaneval and mbpp: programs that the model writes by its likeliest tokens; right is what passes its tests (pass@1).

Prompts and ends are those of lm-evaluation-harness, which would fetch what runs the programs from the hub. It lets the
model write 1,024 tokens for HumanEval, here 512; gives a program 3 s, here 10; and leaves MBPP's setup of tests out.
HumanEval: Chen et al., "Evaluating Large Language Models Trained on Code", arXiv:2107.03374. The model goes on from the
signature and the docstring, until it begins something else at the margin.
MBPP: Austin et al., "Program Synthesis with Large Language Models", arXiv:2108.07732. Three worked examples (tasks 2, 3
and 4), then the task with its three tests; the program ends with [DONE].

Programs are run apart from files and network (`apart`), and only where the user allowed it. No chat template is used.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from calprune.base.values import UserError, identity
from calprune.evaluation.capabilities import capability_of
from calprune.evaluation.items import Outcomes, check_options, options_text, some, task_files, task_records
from calprune.evaluation.metric import PASSED, Metric
from calprune.evaluation.tasks.apart import check_allowed, run_all
from calprune.evaluation.tasks.greedy import write
from calprune.models.load import Model

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Programs:
    """A data set of tasks with tests."""

    prompt: Callable[[Row], str]  # what the model goes on from
    tested: Callable[[Row, str], str]  # the whole program, tests included, of what the model wrote
    ends: tuple[str, ...]
    limit: int  # tokens that the model may write
    shown: str = ""  # the split of the worked examples; "": none
    example: Callable[[Row], str] = str
    examples: tuple[int, ...] = ()  # the task_id of each


def _mbpp(row: Row) -> str:
    tests = "\n".join(row["test_list"])
    return (f"You are an expert Python programmer, and here is your task: {row['text']} Your code should pass these "
            f"tests:\n\n{tests}\n[BEGIN]\n")  # fmt: skip


def _mbpp_shown(row: Row) -> str:
    return f"{_mbpp(row)}{row['code']}\n[DONE]\n\n"


def _mbpp_tested(row: Row, written: str) -> str:
    return "\n".join([written, row["test_setup_code"], *row["test_list"]])  # one setup uses a class of the solution


def _humaneval_tested(row: Row, written: str) -> str:
    return f"{row['prompt']}{written}\n{row['test']}\ncheck({row['entry_point']})\n"


CODE: dict[str, Programs] = {
    "humaneval": Programs(
        lambda row: row["prompt"], _humaneval_tested, ("\nclass", "\ndef", "\n#", "\nif", "\nprint"), 512
    ),
    "mbpp": Programs(_mbpp, _mbpp_tested, ("[DONE]",), 256, "prompt", _mbpp_shown, (2, 3, 4)),
}


@dataclass(frozen=True)
class CodeTask:
    """One of the two and how much of it is asked."""

    name: str
    examples: int | None = None  # that many tasks at random; None: all
    seed: int = 0  # of the choice of tasks

    tag: ClassVar[str] = "CodeTask"
    named_by: ClassVar[str] = "name"
    version: ClassVar[int] = 1
    measures: ClassVar[Metric] = PASSED
    chance: ClassVar[float] = 0.0

    def __post_init__(self) -> None:
        check_options(self.examples, None, self.seed)

    def __str__(self) -> str:
        return options_text(self.name, {"examples": (self.examples, None), "seed": (self.seed, 0)})

    @property
    def capability(self) -> str:
        return capability_of(self.name)

    def check(self) -> None:
        """Raise UserError where its programs may not, or cannot, be run."""
        check_allowed(f"task {self.name}")

    def files(self, data_root: Path | None = None) -> list[Path]:
        """The files that it reads. Raises UserError where they are not under the data root."""
        splits = ["evaluation", *([CODE[self.name].shown] if CODE[self.name].shown else [])]
        return [path for split in splits for path in task_files(self.name, self.name, split, data_root)]

    def run(self, model: Model, data_root: Path | None = None, *, batch_size: int | None = None) -> Outcomes:
        """Let the model write, and run what it wrote. `batch_size`: programs at once, which changes them by rounding
        only; None: as many as the memory holds. Raises UserError where the data is not under the data root, or running
        programs is not allowed."""
        self.check()
        self.files(data_root)
        of = CODE[self.name]
        rows = list(task_records(self.name, self.name, "evaluation", data_root))
        asked = some(rows, self.examples, self.seed, self.name)
        try:
            before = self._worked_examples(data_root)
            prompts = [before + of.prompt(row) for _, row in asked]
            tests = [of.tested(row, "") for _, row in asked]
        except (KeyError, TypeError) as e:
            raise UserError(f"task {self.name}: a row is not one of {self.name} ({e!r})") from e
        texts, cut = write(model, prompts, of.limit, of.ends, batch_size)
        programs = [of.tested(row, up_to(text, of.ends)) for (_, row), text in zip(asked, texts, strict=True)]
        passed = run_all(programs, f"task {self.name}")
        return Outcomes(
            task=str(self), measures=self.measures, items=tuple(map(float, passed)), ids=tuple(at for at, _ in asked),
            chance=self.chance, capability=self.capability, requests=identity([prompts, tests]), cut=cut,
        )  # fmt: skip

    def _worked_examples(self, data_root: Path | None) -> str:
        of = CODE[self.name]
        if not of.shown:
            return ""
        rows = {row["task_id"]: row for _, row in task_records(self.name, self.name, of.shown, data_root)}
        if missing := [one for one in of.examples if one not in rows]:
            raise UserError(f"task {self.name}: its worked examples are tasks {of.examples}; {missing[0]} is not there")
        return "".join(of.example(rows[one]) for one in of.examples)


def up_to(written: str, ends: tuple[str, ...]) -> str:
    """What stands before the first of the ends."""
    return written[: min((at for end in ends if (at := written.find(end)) >= 0), default=len(written))]
