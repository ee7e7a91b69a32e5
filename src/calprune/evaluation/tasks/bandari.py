"""bandari/*: the nine downstream tasks of Bandari et al., with that paper's prompts and exact match.

Bandari et al., "Is C4 Dataset Optimal for Pruning? An Investigation of Calibration Data for LLM Pruning", EMNLP 2024,
arXiv:2410.07461. The model continues a prompt of worked examples and a question, always with its likeliest token; the
answer is what stands before the first blank line, and counts where it is the expected one.

Unlike the paper, whose examples are fixed texts, examples are drawn from training rows by seed, and SVAMP is shown its
own. How the paper words the answers of SVAMP and MAWPS in evaluation is not known: here they are numbers, not the
equations that calibrate. The space before the answer is left for the model to write, because most tokenizers make it
part of the answer's first token. Numbers are compared as numbers ("1,200" is 1200.0).
"""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from calprune.base.values import UserError, identity, rng
from calprune.evaluation.capabilities import capability_of
from calprune.evaluation.items import Outcomes, check_options, options_text, some, task_files
from calprune.evaluation.metric import EXACT_MATCH, Metric
from calprune.evaluation.tasks.greedy import write
from calprune.models.load import Model
from calprune.text.document import Given
from calprune.text.find import find_source
from calprune.text.formats import parse_format
from calprune.text.source import Example

LONG, SHORT = 256, 20  # tokens that the model may write: for arithmetic and reasoning, for a label

END = "\n\n"  # of an answer: the first blank line


@dataclass(frozen=True)
class BandariSource:
    """A source whose questions are asked."""

    source: str
    shots: int  # the paper's 3 for arithmetic and about 9 for ANLI; not known for the others
    choices: int | None = None  # answers to choose from; None: a number
    value: str = ""  # the record's field with the answer, where the source's own wording of it is an equation


ASKED: dict[str, BandariSource] = {
    "bandari/anli_r1": BandariSource("anli_r1", shots=9, choices=3),
    "bandari/anli_r3": BandariSource("anli_r3", shots=9, choices=3),
    "bandari/commonsense_qa": BandariSource("commonsense_qa", shots=3, choices=5),
    "bandari/esnli": BandariSource("esnli", shots=9, choices=3),
    "bandari/gsm8k": BandariSource("gsm8k", shots=3),
    "bandari/mawps": BandariSource("mawps", shots=3, value="ans"),
    "bandari/race": BandariSource("race", shots=3, choices=4),
    "bandari/svamp": BandariSource("svamp", shots=3, value="Answer"),
    "bandari/winogrande": BandariSource("winogrande", shots=3, choices=2),
}


@dataclass(frozen=True)
class BandariTask:
    """One of the nine tasks and how much of it is asked."""

    name: str
    examples: int | None = None  # that many questions at random; None: all
    shots: int | None = None  # worked examples in the prompt; None: as the task has it
    seed: int = 0  # of the choice of questions and of worked examples
    rationales: bool = False  # worked examples reason before they answer (chain of thought), and so may the model

    tag: ClassVar[str] = "BandariTask"
    named_by: ClassVar[str] = "name"
    version: ClassVar[int] = 2
    measures: ClassVar[Metric] = EXACT_MATCH

    def __post_init__(self) -> None:
        check_options(self.examples, self.shots, self.seed)
        if self.shots is None:
            object.__setattr__(self, "shots", ASKED[self.name].shots)
        source = find_source(ASKED[self.name].source)
        if self.rationales and not source.rationale:
            raise UserError(f"task {self.name} has no rationales in its worked examples; leave out rationales")

    def __str__(self) -> str:
        options = {"examples": (self.examples, None), "shots": (self.shots, ASKED[self.name].shots)}
        return options_text(self.name, options | {"seed": (self.seed, 0), "rationales": (self.rationales, False)})

    @property
    def capability(self) -> str:
        return capability_of(self.name)

    def files(self, data_root: Path | None = None) -> list[Path]:
        """The files that it reads. Raises UserError where they are not under the data root."""
        splits = ["evaluation", "calibration"] if self.shots else ["evaluation"]
        return [path for split in splits for path in task_files(self.name, self._source, split, data_root)]

    def run(self, model: Model, data_root: Path | None = None, *, batch_size: int | None = None) -> Outcomes:
        """Ask the model. `batch_size`: questions at once, which changes answers by rounding only; None: as many as the
        memory holds. Raises UserError when the data is not under the data root."""
        self.files(data_root)
        questions = list(find_source(self._source).examples("evaluation", Given(data_root=data_root)))
        asked = some(questions, self.examples, self.seed, self.name)
        before = "".join(f"{text}\n\n" for text in self.worked_examples(data_root))
        prompts = [before + question.prompt.rstrip() for question in asked]
        long = self.rationales or ASKED[self.name].choices is None
        texts, cut = write(model, prompts, LONG if long else SHORT, (END,), batch_size)
        expected = [self._answer(question) for question in asked]
        right = [same(self.extract(text), answer) for text, answer in zip(texts, expected, strict=True)]
        choices = ASKED[self.name].choices
        return Outcomes(
            task=str(self), measures=self.measures, items=tuple(map(float, right)),
            ids=tuple(question.id for question in asked), chance=1 / choices if choices else 0.0,
            capability=self.capability, requests=identity([list(pair) for pair in zip(prompts, expected, strict=True)]),
            cut=cut,
        )  # fmt: skip

    def worked_examples(self, data_root: Path | None) -> list[str]:
        """The texts that every prompt begins with: `shots` training rows with their answers."""
        source, given = find_source(self._source), Given(data_root=data_root)
        if not self.shots:
            return []
        if self.rationales:
            reasoned = parse_format("cot")
            texts = [found.text for found in source.documents(reasoned, "calibration", given)]
        else:
            texts = [e.prompt + self._answer(e) for e in source.examples("calibration", given)]
        if len(texts) < self.shots:
            raise UserError(f"task {self.name}: {self.shots} worked examples are wanted and there are {len(texts)}")
        return rng(self.seed, f"shots/{self.name}").sample(texts, self.shots)

    def extract(self, written: str) -> str:
        """The answer in what the model wrote."""
        text = before_blank_line(written)
        return after_reasoning(text) if self.rationales else text

    def _answer(self, question: Example) -> str:
        value = ASKED[self.name].value
        return f"{float(question.record[value]):.12g}" if value else question.answer

    @property
    def _source(self) -> str:
        return ASKED[self.name].source


def before_blank_line(written: str) -> str:
    """The paper's answer: what stands before the first blank line."""
    return written.partition(END)[0].strip()


def after_reasoning(text: str) -> str:
    """What follows the last "So the answer is", without the full stop; the empty text where it is not there."""
    _, said, answer = text.rpartition("So the answer is")
    return answer.strip().removesuffix(".").strip() if said else ""


def same(answer: str, expected: str) -> bool:
    """Whether the two are one text, or one number."""
    found, wanted = as_number(answer), as_number(expected)
    if found is None or wanted is None:
        return answer == expected
    whole = found.is_integer() and wanted.is_integer()
    return found == wanted if whole else math.isclose(found, wanted, rel_tol=1e-6)


def as_number(text: str) -> float | None:
    """The number that the text is ("72", "$1,200.50", "-3.0"); None for anything else."""
    match = re.fullmatch(r"\$?(-?)\$?((?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+)\.?", text.strip())
    return float(match[1] + match[2].replace(",", "")) if match else None
