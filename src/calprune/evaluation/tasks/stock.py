"""The tasks of lm-evaluation-harness that can be asked, and how a record of ours gets the columns of the hub's rows."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Record = dict[str, Any]


@dataclass(frozen=True)
class Stock:
    """A task of the harness: its YAML's folder and name there, and how a record of ours gets the hub's columns."""

    folder: str  # under lm_eval/tasks
    task: str  # its name there; {subject} is the record's
    columns: Callable[[Record], Record | None]  # None: not a row of this task
    source: str = ""  # in the catalogue, where its name is another
    shots: int = 0
    shown: str = ""  # the split that examples in the prompt come from; "": the task has none
    replaced: tuple[str, ...] = ()  # fields of its YAML that our rows make needless


def _picked(*names: str) -> Callable[[Record], Record]:
    return lambda record: {name: record[name] for name in names}


def _boolq(record: Record) -> Record:
    return {"question": record["question"], "passage": record["passage"], "label": int(record["answer"])}


def _hellaswag(record: Record) -> Record:
    return {
        "query": record["query"],
        "choices": record["choices"],
        "gold": record["gold"],
        "label": str(record["gold"]),
    }


def _race(record: Record) -> Record | None:
    """A passage of the level high; the hub has its questions as one text."""
    if not record["id"].startswith("high"):
        return None
    parts = zip(record["questions"], record["answers"], record["options"], strict=True)
    problems = [{"question": question, "answer": answer, "options": options} for question, answer, options in parts]
    return {"article": record["article"], "problems": str(problems)}


def _rte(record: Record) -> Record:
    label = ["entailment", "not_entailment"].index(record["label"])
    return {"sentence1": record["premise"], "sentence2": record["hypothesis"], "label": label}


_ARC = _picked("id", "question", "choices", "answerKey")

_MMLU = _picked("question", "subject", "choices", "answer")

_OPENBOOKQA = _picked("id", "question_stem", "choices", "answerKey")

_WINOGRANDE = _picked("sentence", "option1", "option2", "answer")

STOCK: dict[str, Stock] = {
    "arc_challenge": Stock("arc", "arc_challenge", _ARC, shown="calibration"),
    "arc_easy": Stock("arc", "arc_easy", _ARC, shown="calibration"),
    "boolq": Stock("super_glue/boolq", "boolq", _boolq, shown="calibration"),
    "hellaswag": Stock("hellaswag", "hellaswag", _hellaswag, replaced=("process_docs",)),
    "lambada": Stock("lambada", "lambada_openai", _picked("text")),
    "mmlu": Stock("mmlu/default", "mmlu_{subject}", _MMLU, shots=5, shown="dev"),
    "openbookqa": Stock("openbookqa", "openbookqa", _OPENBOOKQA, shown="calibration"),
    "piqa": Stock("piqa", "piqa", _picked("goal", "sol1", "sol2", "label"), shown="calibration"),
    "race": Stock("race", "race", _race),
    "rte": Stock("glue/rte", "rte", _rte, shown="calibration"),
    "winogrande": Stock("winogrande", "winogrande", _WINOGRANDE, shown="calibration"),
}
