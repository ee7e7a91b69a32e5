"""How far a long piece of writing is: tokens per second and what is left, on stderr."""

import sys
import time
from typing import TextIO

_BETWEEN = {True: 0.5, False: 30.0}  # seconds between two messages: on a terminal one line rewritten, else lines


class Meter:
    """Counts documents and tokens; says where things stand now and then, not at all where it is soon over."""

    def __init__(self, documents: int, doing: str, stream: TextIO | None = None) -> None:
        self.documents, self.doing, self.stream = documents, doing, stream or sys.stderr
        self.done = self.made = self.tokens = 0
        self.terminal = self.stream.isatty()
        self.began = self.said = time.monotonic()

    def document(self, made: bool) -> None:
        """One more document is there: made now, or found made before."""
        self.done += 1
        self.made += made

    def token(self, count: int) -> None:
        """So many more tokens were written."""
        self.tokens += count
        now = time.monotonic()
        if now - self.said >= _BETWEEN[self.terminal]:
            self.said = now
            print(self._line(now - self.began), file=self.stream, end="\r" if self.terminal else "\n", flush=True)

    def say(self, what: str) -> None:
        print(f"{self.doing}: {what}", file=self.stream, flush=True)

    def close(self) -> None:
        """Leave the line that was rewritten."""
        if self.terminal and self.said > self.began:
            print(file=self.stream)

    def _line(self, seconds: float) -> str:
        speed = self.tokens / seconds
        left = ""
        if self.made:
            rest = (self.documents - self.done) * seconds / self.made
            left = f", about {rest / 60:.0f} min left" if rest >= 90 else f", about {rest:.0f} s left"
        return f"{self.doing}: {self.done} of {self.documents} documents, {speed:.0f} tokens/s{left}"
