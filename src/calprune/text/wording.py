"""Rows to documents: a source's wordings in one format."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Protocol, runtime_checkable

from calprune.base.values import UserError
from calprune.text import chat
from calprune.text.document import Document
from calprune.text.formats import Format, OwnFormat
from calprune.text.records import Row, wording

ALSO_EVALUATES = "prompt is also in the evaluation split"
Written = tuple[str, chat.Spans] | str  # a text and its spans, or the reason why there is none


@runtime_checkable
class Wordings(Protocol):
    """What a source says of how its records are worded (`text.source.RecordSource`)."""

    @property
    def text(self) -> str: ...
    @property
    def prompt(self) -> str: ...
    @property
    def answer(self) -> str: ...
    @property
    def rationale(self) -> str: ...
    @property
    def cot(self) -> str: ...
    @property
    def user(self) -> str: ...
    @property
    def carry(self) -> dict[str, str]: ...


class Writer:
    """Writes a source's rows in one format. `seen` holds prompts (`letters` of them) that must not be written."""

    def __init__(self, source: Wordings, format: Format, tokenizer: Any, seen: set[str]) -> None:
        self.source, self.format, self.tokenizer, self.seen = source, format, tokenizer, seen
        self.kind: str | None = None  # of conversation: the first record's is everyone's

    def __call__(self, rows: Iterable[Row], skipped: Counter) -> Iterator[Document]:
        carried = [(name, wording(text)) for name, text in self.source.carry.items()]
        for at, record in rows:
            written = self.write(record, at)
            if isinstance(written, str):
                skipped[written] += 1
                continue
            text, spans = written
            yield Document(text, at, spans, fields=tuple((name, value(record, at)) for name, value in carried))

    def write(self, record: dict[str, Any], at: str) -> Written:
        """One record's text and spans, or the reason why it gives none."""
        if isinstance(self.format, OwnFormat):
            if self.source.prompt and letters(wording(self.source.prompt)(record, at)) in self.seen:
                return ALSO_EVALUATES
            return (text, ()) if (text := self.format.own.document(record)).strip() else "empty text"
        if self.format.name == "plain":
            text = wording(self.source.text)(record, at)
            return (text, ()) if text.strip() else "empty text"
        return self._pair(record, at) if self.source.prompt else self._conversation(record, at)

    def _pair(self, record: dict[str, Any], at: str) -> Written:
        source, format = self.source, self.format
        prompt, answer = wording(source.prompt)(record, at), wording(source.answer)(record, at)
        if letters(prompt) in self.seen:
            return ALSO_EVALUATES
        if format.name == "zero":
            return prompt, ()
        if format.name == "chat":
            user = wording(source.user)(record, at) if source.user else prompt.strip()
            turns = [{"role": "user", "content": user}, {"role": "assistant", "content": answer}]
            return chat.through_template(turns, format, self.tokenizer, at)
        if not format.rationales:
            return prompt + answer, ()
        written = wording(source.rationale)(record, at)
        if not written.strip():
            return "no rationale"
        rationale = written if format.keep_spaces else written.strip()
        reasoned = wording(source.cot)(record | {"rationale": rationale, "answer": answer}, at)
        return (prompt + reasoned, ()) if format.accepts(rationale, reasoned) else "another number of reasoning steps"

    def _conversation(self, record: dict[str, Any], at: str) -> Written:
        kind = chat.kind_of(record)
        self.kind = self.kind or kind
        if kind is None or kind != self.kind:
            wanted = f"records before it are {self.kind!r} ones" if self.kind else "; ".join(chat.SHAPES.values())
            raise UserError(f"{at}: not the conversation that was wanted ({wanted}); its fields: {', '.join(record)}")
        turns, tools = chat.messages_of(record, kind, at), chat.tools_of(record, at)
        return chat.through_template(turns, self.format, self.tokenizer, at, tools)


def letters(text: str) -> str:
    """A text's letters and digits in lower case: what two prompts are compared by."""
    return re.sub(r"[\W_]+", "", text.lower())
