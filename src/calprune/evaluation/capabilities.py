"""Capabilities: what an evaluation tells of a model, so that a loss can be read by kind.

general      how well it predicts ordinary English text
commonsense  everyday situations
mathematics  word problems, solutions, mathematical text
code         programs: by prediction only; generated code is never run
knowledge    facts and examinations
language     reading, what a sentence implies, and languages other than English
own          a file of the user: it is what they care about, so nothing else is averaged with it
"""

import re
from typing import Literal, get_args

from calprune.evaluation.metric import METRICS

Capability = Literal["general", "commonsense", "mathematics", "code", "knowledge", "language", "own"]

CAPABILITIES: tuple[str, ...] = get_args(Capability)

_OF: dict[Capability, str] = {  # sources of the catalogue and tasks; `_*` stands for what a family goes on with
    "general": """
        alpaca alpaca_gpt4 c4 cnn_dailymail dclm dolma ellipses fineweb_edu gutenberg lambada openwebtext oscar pile
        pile_cc pile_europarl pile_gutenberg pile_hackernews pile_nih_exporter pile_freelaw pile_stackexchange
        pile_ubuntu_irc pile_uspto pile_wikipedia random_characters random_tokens redpajama redpajama_book
        redpajama_cc redpajama_stackexchange refinedweb slimpajama wikipedia wikitext2""",
    "commonsense": "commonsense_qa commonsense_qa_cos_e hellaswag openbookqa piqa winogrande winogrande_m",
    "mathematics": "gsm8k math math_solutions mawps mgsm_en pile_dm_mathematics svamp",
    "code": "humaneval mbpp pile_github pydoc_topics redpajama_github",
    "knowledge": """
        arc_challenge arc_easy mmlu pile_arxiv pile_philpapers pile_pubmed_abstracts pile_pubmed_central
        redpajama_arxiv""",
    "language": """
        alpaca_gpt4_zh anli_r1 anli_r2 anli_r3 boolq esnli mgsm_* race redpajama_wiki rte
        ud_pud_* xquad_*""",
}

_ON_TEXT = "|".join(metric.name for metric in METRICS.values() if metric.item == "window")
BY_NAME: dict[str, Capability] = {name: capability for capability, names in _OF.items() for name in names.split()}


def capability_of(name: str) -> Capability:
    """The capability of an evaluation: "boolq(examples=200)", "bandari/gsm8k", "perplexity(wikitext2)", "gsm8k:icl".

    What is in a file of the user is "own"; a source of theirs that has a name in the catalogue is "general".
    """
    inner = re.fullmatch(rf"(?:{_ON_TEXT})\((.*?)(?:,.*)?\)", name.strip(), re.DOTALL)
    text = (inner[1] if inner else name).strip().strip("'\"")
    bare = re.sub(r"\(.*", "", text, flags=re.DOTALL).removeprefix("bandari/")
    bare = bare.partition(":")[0]
    if "/" in bare or "." in bare:
        return "own"
    family = re.sub(r"_[a-z]{2}$", "_*", bare)
    return BY_NAME.get(bare) or BY_NAME.get(family) or "general"
