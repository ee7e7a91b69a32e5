"""Tasks by name: questions that a model answers right or wrong, with one outcome for each item.

    find_task("boolq(examples=200, seed=0)").run(model, data_root)

`TASKS` are all names. A task as text is its name, with options in brackets: `examples` (that many rows at random, the
same for every model), `shots` (examples in the prompt), `seed`; `rationales` for `bandari/*`.
"""

import ast
import re
from pathlib import Path
from typing import Any

from calprune.base.values import ConfigError, did_you_mean, read
from calprune.evaluation.bandari import ASKED, BandariTask
from calprune.evaluation.harness import STOCK, HarnessTask
from calprune.evaluation.items import Outcomes
from calprune.models.load import Model

Task = BandariTask | HarnessTask

TASKS: dict[str, type] = dict.fromkeys(sorted(STOCK), HarnessTask) | dict.fromkeys(sorted(ASKED), BandariTask)


def find_task(text: str) -> Task:
    """The task written as `text`. No model, no data and no harness is touched. Raises ConfigError for a mistake."""
    match = re.fullmatch(r"([\w/]+)\s*(\(.*\))?", text.strip(), re.DOTALL)
    if match is None:
        raise _unreadable(text)
    name, brackets = match[1], match[2] or "()"
    if name not in TASKS:
        own = f"bandari/{name}"
        near = f"; did you mean {own!r}?" if own in TASKS else did_you_mean(name, TASKS)
        listed = "" if "there are" in near else f" (there are: {', '.join(TASKS)})"
        raise ConfigError(f"unknown task {name!r}{near}{listed}")
    try:
        call: Any = ast.parse(f"task{brackets}", mode="eval").body
        if call.args:
            raise _unreadable(text)
        options = {str(option.arg): ast.literal_eval(option.value) for option in call.keywords}
    except (SyntaxError, ValueError):
        raise _unreadable(text) from None
    return read(TASKS[name], options | {"name": name}, f"task {name}")


def evaluate_task(text: str, model: Model, data_root: Path | None = None) -> Outcomes:
    """What the model makes of the task written as `text`."""
    return find_task(text).run(model, data_root)


def _unreadable(text: str) -> ConfigError:
    return ConfigError(f'cannot read task {text!r}; write it like "boolq", "mmlu(examples=400, shots=5)" or '
                       '"bandari/gsm8k(examples=100)"')  # fmt: skip
