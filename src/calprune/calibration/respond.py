"""The strategy `respond`: the model's own responses to the user's prompts."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from calprune.calibration import chat
from calprune.calibration.encode import encode_text
from calprune.calibration.formats import Format
from calprune.calibration.generate import window
from calprune.calibration.opened import is_file
from calprune.calibration.read import read_records
from calprune.calibration.strategies import Prompt, Writing, find_texts
from calprune.config import ConfigError, UserError


@dataclass(frozen=True)
class Respond:
    """The model's own responses to prompts, after RAC (Lucas et al., "Reasoning-Aware Compression", ICLR 2026).

    `of` is a file of prompts (.jsonl with `prompt`, `messages`, `conversations` or `instruction`; what follows the
    last user turn is left out) or a source. Tokens of responses weigh 1, those of prompts `prompt_weight`.
    `decode_only` counts what passes through the model while it decodes and nothing else (SparseDecoding): neither the
    prompt nor the token that ends the response, which is never fed back.
    """

    version: ClassVar[int] = 1
    usual: ClassVar[dict[str, Any]] = {"repetition_penalty": 1.0, "keep_truncated": False}
    of: str
    responses: int = 1
    prompt_weight: float = 0.0
    decode_only: bool = False

    def __post_init__(self) -> None:
        if self.responses < 1:
            raise ConfigError(f"respond: responses to a prompt are 1 or more; got {self.responses}")
        if not 0 <= self.prompt_weight <= 1:
            raise ConfigError(f"respond: prompt_weight must be from 0 to 1; got {self.prompt_weight}")
        if self.decode_only and self.prompt_weight:
            raise ConfigError("respond: decode_only leaves prompts out; give it or prompt_weight, not both")

    def prompts(self, writing: Writing) -> list[Prompt]:
        """Each prompt through the chat template, `responses` times."""
        tokenizer, widest = writing.tokenizer, window(writing.model.model)
        if not getattr(tokenizer, "chat_template", None):
            raise UserError(
                "respond: the model's tokenizer has no chat template; take a chat model or another strategy"
            )
        found = []
        for at, turns in self._turns(writing):
            try:
                text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
            except Exception as e:  # templates raise what they like
                raise UserError(f"{at}: the chat template does not take this prompt: {e}") from None
            tokens = tuple(encode_text(tokenizer, text))
            if widest is not None and len(tokens) >= widest:
                raise UserError(f"{at}: the prompt has {len(tokens)} tokens and the model's window is {widest}; "
                                "shorten it or leave it out")  # fmt: skip
            found += [Prompt(tokens, 0, at)] * self.responses
        if not found:
            raise UserError(f"respond: {self.of} has no prompts")
        return found

    def _turns(self, writing: Writing) -> Iterator[tuple[str, chat.Messages]]:
        path = Path(self.of)
        if is_file(self.of):
            for number, record in read_records(path):
                yield f"{path.name}:{number}", _asked(record, f"{path}:{number}")
            return
        source = find_texts(self.of)
        format = Format("zero" if "zero" in source.formats else "plain")
        split = source.calibration_split(data_root=writing.data_root)
        for document in source.documents(format, split, data_root=writing.data_root, tokenizer=writing.tokenizer):
            yield document.id, [{"role": "user", "content": document.text.strip()}]


def _asked(record: dict[str, Any], where: str) -> chat.Messages:
    """The turns up to the last one of the user."""
    kind = chat.kind_of(record)
    if kind is None and isinstance(record.get("text"), str):
        return [{"role": "user", "content": record["text"]}]
    if kind is None:
        raise UserError(f"{where}: no prompt; expected prompt, {', '.join(k for k in chat.SHAPES if k != 'prompt')} or "
                        f"text; its fields: {', '.join(map(str, record))}")  # fmt: skip
    missing = {"prompt": "response", "instruction": "output"}.get(kind)
    turns = chat.messages_of(({missing: ""} if missing else {}) | record, kind, where)
    while turns and turns[-1]["role"] != "user":
        turns.pop()
    if not turns:
        raise UserError(f"{where}: a conversation without a turn of the user")
    return turns
