"""What a model writes after a prompt, always with its likeliest token."""

import sys

from calprune.base.progress import current
from calprune.base.values import UserError
from calprune.models.load import Model
from calprune.text.encode import END_OF_TEXT, encode_text, find_marks
from calprune.writing.answers import Ends, answer
from calprune.writing.generate import window


def write(
    model: Model, prompts: list[str], limit: int, ends: tuple[str, ...], batch_size: int | None = None
) -> tuple[list[str], int]:
    """What the model writes after each prompt, and how many prompts were cut at the left.

    It ends with one of `ends`, which is a part of what is given, at the model's end of text or of turn, or after
    `limit` tokens.
    """
    begin, widest = find_marks(model.tokenizer).begin, window(model.model)
    start = [] if begin is None else [begin]
    room = sys.maxsize if widest is None else widest - limit - len(start)
    if room < 1:
        raise UserError(f"model {model.name}: its window of {widest} tokens has no room for an answer of {limit}")
    encoded = [encode_text(model.tokenizer, prompt) for prompt in prompts]
    rows = [start + tokens[-room:] for tokens in encoded]
    ending = Ends(model.tokenizer, ends_of(model), ends, limit)
    with current().steps(f"answers of up to {limit} tokens", len(rows), "tokens") as steps:
        found = answer(model.model, rows, ending, rows=batch_size, steps=steps)
    return [_text(model, written.tokens, written.prompt) for written in found], sum(len(one) > room for one in encoded)


def ends_of(model: Model) -> tuple[int, ...]:
    """The tokens with which the model ends a text or a turn."""
    vocabulary, given = model.tokenizer.get_vocab(), model.model.generation_config.eos_token_id
    ends = {model.tokenizer.eos_token_id, *(given if isinstance(given, list) else [given])}
    return tuple(sorted(ends.union(vocabulary[text] for text in END_OF_TEXT if text in vocabulary) - {None}))


def _text(model: Model, tokens: tuple[int, ...], prompt: int) -> str:
    """The text of the tokens after the prompt's. By themselves some tokenizers' lose a space at their beginning, which
    in a program is an error."""
    before, whole = (str(model.tokenizer.decode(list(part))) for part in (tokens[:prompt], tokens))
    if whole.startswith(before):
        return whole.removeprefix(before)
    return str(model.tokenizer.decode(list(tokens[prompt:])))
