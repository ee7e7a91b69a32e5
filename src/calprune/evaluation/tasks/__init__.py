"""Tasks by name: questions that a model answers right or wrong, with one outcome for each item.

    find_task("boolq(examples=200, seed=0)").run(model, data_root)

`TASKS` are all names. A task as text is its name, with options in brackets: `examples` (that many rows at random, the
same for every model), `shots` (examples in the prompt), `seed`; `rationales` for `bandari/*`.
"""

from calprune.base.calls import Registry
from calprune.evaluation.contract import PAGE, Evaluation, check_evaluation_class
from calprune.evaluation.tasks.bandari import ASKED, BandariTask
from calprune.evaluation.tasks.code import CODE, CodeTask
from calprune.evaluation.tasks.harness import STOCK, HarnessTask

TASKS = Registry(
    "task",
    {
        **dict.fromkeys(sorted(STOCK), HarnessTask),
        **dict.fromkeys(sorted(ASKED), BandariTask),
        **dict.fromkeys(CODE, CodeTask),
    },
    '"boolq", "mmlu(examples=400, shots=5)" or "bandari/gsm8k(examples=100)"',
    Evaluation,
    PAGE,
)


def find_task(text: str) -> Evaluation:
    """The task written as `text`. No model, no data and no harness is touched. Raises ConfigError for a mistake."""
    made = TASKS.make(text)
    check_evaluation_class(made, text)
    return made
