"""How long `choose` may take."""

import math
import re
import time

from calprune.config import ConfigError

SECONDS = {"s": 1, "m": 60, "h": 3600}


class Clock:
    """Runs from when it is made. `seconds`: None for as long as it takes."""

    def __init__(self, seconds: float | None = None) -> None:
        self.seconds = seconds
        self._began = time.monotonic()

    def spent(self) -> float:
        return time.monotonic() - self._began

    def left(self) -> float:
        return math.inf if self.seconds is None else self.seconds - self.spent()


def parse_budget(text: str | None) -> float | None:
    """Seconds of "90s", "30m" or "2h"."""
    if text is None:
        return None
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([smh])\s*", text)
    if match is None or not float(match[1]) > 0:
        raise ConfigError(f"--budget: cannot read {text!r}; write it like 90s, 30m or 2h")
    return float(match[1]) * SECONDS[match[2]]


def told(seconds: float) -> str:
    """ "45 s", "12 min", rounded up: who gives as much has enough."""
    return f"{math.ceil(seconds)} s" if seconds < 100 else f"{math.ceil(seconds / 60)} min"
