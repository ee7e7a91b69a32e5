"""Capabilities: what an evaluation tells of a model, so that a loss can be read by kind. Of a source it is the domain
that the catalogue states (`calprune sources`); a task has the name of its source.

general      how well it predicts ordinary English text
commonsense  everyday situations
mathematics  word problems, solutions, mathematical text
code         programs: by prediction, or by the tests that they pass
knowledge    facts and examinations
language     reading, what a sentence implies, and languages other than English
own          a file of the user: it is what they care about, so nothing else is averaged with it
"""

import re
from typing import get_args

from calprune.evaluation.metric import METRICS
from calprune.text.find import catalogue
from calprune.text.source import Domain

CAPABILITIES: tuple[str, ...] = (*get_args(Domain), "own")

_ON_TEXT = "|".join(metric.name for metric in METRICS.values() if metric.item == "window")


def capability_of(name: str) -> str:
    """The capability of an evaluation: "boolq(examples=200)", "bandari/gsm8k", "perplexity(wikitext2)", "gsm8k:icl".

    What is in a file of the user is "own"; a source of theirs that has a name in the catalogue is "general".
    """
    inner = re.fullmatch(rf"(?:{_ON_TEXT})\((.*?)(?:,.*)?\)", name.strip(), re.DOTALL)
    text = (inner[1] if inner else name).strip().strip("'\"")
    bare = re.sub(r"\(.*", "", text, flags=re.DOTALL).removeprefix("bandari/")
    bare = bare.partition(":")[0]
    if "/" in bare or "." in bare:
        return "own"
    return known[bare].domain if bare in (known := catalogue()) else "general"
