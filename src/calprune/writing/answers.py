"""A model answers: the likeliest token each time, until the answer is over.

The tokens are those of transformers' `generate` for one prompt at a time, greedily, up to the answer's end. How many
are written at once is found by the memory (`room`), the beginning that all prompts share is read once (`reading`), and
an answer that is over makes room for the next (`generate`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from transformers import PreTrainedModel

from calprune.base.progress import Steps
from calprune.writing.generate import BatchWriter, Way, Written, check_readable, limit_of, window, writing_with
from calprune.writing.reading import PromptReader
from calprune.writing.room import find_room
from calprune.writing.sampling import Sampling

UNKNOWN = "\ufffd"  # what a tokenizer writes for a part of a character


@dataclass(frozen=True, eq=False)
class Ends:
    """What an answer ends with; it is cut after `most` tokens."""

    tokenizer: Any
    tokens: tuple[int, ...]  # ends of text and of turns
    texts: tuple[str, ...]  # such as a blank line, wherever token and text part
    most: int
    _closing: dict[int, bool] = field(default_factory=dict, repr=False)

    def over(self, written: Sequence[int]) -> bool:
        """Whether one of the texts is there, of which the newest token is a part."""
        newest = written[-1]
        if newest not in self._closing:
            self._closing[newest] = self._may_close(newest)
        if not self._closing[newest]:
            return False
        text = self.tokenizer.decode(list(written))
        return any(end in text for end in self.texts)

    def _may_close(self, token: int) -> bool:
        """Whether a token has the last character of a text: few have, so that few answers are decoded at each step.
        By itself a token may be a part of a character, or lose a space at its beginning."""
        text = self.tokenizer.decode([token])
        return not text or any(end[-1] in text or end[-1] == " " or UNKNOWN in text for end in self.texts)


def answer(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    ends: Ends,
    *,
    rows: int | None = None,
    steps: Steps | None = None,
) -> list[Written]:
    """What the model writes after each prompt, in the prompts' order; an end by text is among the tokens.

    rows: answers written at once; None: as many as fit into the memory. Raises UserError as `generate` does.
    """
    check_readable(model, prompts)
    greedy = Sampling(
        temperature=0.0, top_k=None, top_p=1.0, repetition_penalty=1.0, max_new_tokens=ends.most, stop=ends.tokens
    )
    columns = max((limit_of(len(prompt), ends.most, window(model)) for prompt in prompts), default=0)
    with writing_with(model):
        reader = PromptReader(model, prompts)
        room = find_room(model, columns, reader.bytes_a_token, rows)
        return BatchWriter(reader, Way(greedy, None, ends.over), room).write(
            prompts, steps or Steps("answers", len(prompts))
        )
