"""Known traps of calibration data, a line each: said where a set is built, where it prunes, and before a choice.

What each costs is measured in docs/choosing-calibration-data.md, where it is measured.
"""

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn

from calprune.base.progress import current
from calprune.calibration.part import source_of
from calprune.calibration.recipe import Recipe, RecipePart, read_recipe
from calprune.calibration.set import CalibrationSet
from calprune.layers.inputs import LADDER
from calprune.layers.linears import find_blocks, linears
from calprune.methods import METHODS
from calprune.methods.contract import Method
from calprune.models.load import Model, find_folder
from calprune.text.formats import parse_format

RESPONSES = ("{0} leaves the first token of each sequence out, which ruins SparseGPT (perplexity 3,900 against 703 on "
             "the demo model); write {1}")  # fmt: skip
FEW = ("{0:,} tokens are fewer than the {1:,} inputs of the widest linear, so its Gram matrix has not full rank; take "
       "--num-samples {2:,} or more")  # fmt: skip
ONE_KIND = ("the model is made for chat and all calibration text is {0}; add text of its other uses, for example "
            '"{1} + {2}"')  # fmt: skip
OTHERS = {"conversations": "c4", "plain text": "my_chat.jsonl:chat(responses, prompt_weight=0.1)"}


def advise(made: CalibrationSet, tokenizer: Any, *, method: Method | None = None, widest: int | None = None) -> None:
    """Note what is known to go wrong with a set. method: that it is for; None: not known yet. widest: inputs of the
    model's widest linear; None: not known."""
    recipes = [read_recipe(dict(made.recipe), "recipe.yaml")] if made.recipe else []
    counted = int(made.real.sum() if made.weights is None else ((made.weights > 0) & made.real).sum())
    for line in advice(recipes, counted, len(made.tokens), tokenizer, method=method, widest=widest):
        current().note(line)


def advice(
    recipes: Sequence[Recipe],
    tokens: int,
    sequences: int,
    tokenizer: Any,
    *,
    method: Method | None = None,
    widest: int | None = None,
) -> Iterator[str]:
    """A line for each trap. recipes: the sets that will be pruned with, of `tokens` in so many `sequences`."""
    if method is None or "sparsegpt" in METHODS.write(method):
        yield from dict.fromkeys(line for recipe in recipes for line in _without_first(recipe))
    reads = method is None or LADDER.index(method.needs) >= LADDER.index("gram")
    if reads and widest is not None and tokens < widest:
        yield FEW.format(tokens, widest, math.ceil(widest * sequences / max(1, tokens)))
    kinds = {kind for recipe in recipes for kind in _kinds(recipe)}
    if _for_chat(tokenizer) and len(kinds) == 1 and (other := OTHERS.get(kind := kinds.pop())):
        yield ONE_KIND.format(kind, _named(recipes[0].parts[0]), other)


def widest_input(model: nn.Module) -> int:
    """Inputs of the widest linear in a model's blocks."""
    return max((site.weight.shape[1] for block in find_blocks(model)[1] for site in linears(block)), default=0)


def widest_of(loaded: Model | None, name: str) -> int | None:
    """The same of a model that may not be loaded: then by its config.json, where that says so by a name that is
    common."""
    if loaded:
        return widest_input(loaded.model)
    if not (config := find_folder(name) / "config.json").is_file():
        return None
    said = json.loads(config.read_bytes())
    said = said.get("text_config") or said
    found = [said.get(name) for name in ("intermediate_size", "ffn_dim", "n_inner", "hidden_size")]
    return max((one for one in found if isinstance(one, int)), default=None)


def _for_chat(tokenizer: Any) -> bool:
    """Whether its model ends turns as its chat template does. Many base models carry a template and do not."""
    template, end = str(getattr(tokenizer, "chat_template", None) or ""), getattr(tokenizer, "eos_token", None)
    return "eos_token" in template or bool(end and end in template)


def _without_first(recipe: Recipe) -> Iterator[str]:
    """The recipe's parts, where most of it does not count the first token of a sequence."""
    if recipe.skip_first:
        yield RESPONSES.format(f"skip_first {recipe.skip_first}", "skip_first 0")
        return
    alone = [part for part in recipe.parts if _responses_alone(part)]
    if 2 * math.fsum(part.share for part in alone) > math.fsum(part.share for part in recipe.parts):
        for part in alone:
            named = _named(part)
            options = named[:-1] + ", " if named.endswith(")") else named + "("
            yield RESPONSES.format(named, f"{options}prompt_weight=0.1)")


def _responses_alone(part: RecipePart) -> bool:
    if part.source == "self":
        return not getattr(source_of(part).plan.strategy, "prompt_weight", 1.0)  # type: ignore[attr-defined]
    return part.format is not None and (form := parse_format(part.format)).responses and not form.prompt_weight


def _kinds(recipe: Recipe) -> Iterator[str]:
    for part in recipe.parts:
        form = part.format or (source_of(part).default_format if part.source != "self" else "plain")
        if part.source == "self" and hasattr(source_of(part).plan.strategy, "prompt_weight"):  # type: ignore[attr-defined]
            form = "chat"
        yield {"chat": "conversations", "plain": "plain text"}.get(form.partition("(")[0], "questions with answers")


def _named(part: RecipePart) -> str:
    return f"{part.source}:{part.strategy or part.format}" if part.strategy or part.format else part.source
