"""Intervals as pages write them, "0.12 [0.02, 0.22]", and those that the results of studies hold."""

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NUMBER = r"[−-]?\d[\d,]*(?:\.\d+)?"
INTERVAL = re.compile(rf"({NUMBER})(?: %)? \[({NUMBER}), ({NUMBER})\]")
CELL = re.compile(r'data-tsv="([^"]*)"')
Figure = tuple[float, float, float]  # a value and its interval


def number(text: str) -> float:
    return float(text.replace("−", "-").replace(",", ""))


def decimals(text: str) -> int:
    return len(text.partition(".")[2])


def intervals(page: str) -> list[tuple[str, ...]]:
    """The value and the two ends of each interval on a page, as they are written."""
    return INTERVAL.findall(page)


def known(results: Path, study: str = "*") -> list[Figure]:
    """Every value with an interval in the cells of a study's page, its prose and its files of results."""
    found: list[Figure] = []
    for path in sorted(results.glob(f"{study}.html")):
        page = html.unescape(path.read_text(encoding="utf-8"))
        for cell in CELL.findall(page):
            parts = cell.split("\t")
            if len(parts) == 3 and all(re.fullmatch(r"-?[\d.]+(?:e-?\d+)?", part) for part in parts):
                found.append(tuple(map(float, parts)))  # type: ignore[arg-type]
        found += [tuple(map(number, one)) for one in intervals(page)]  # type: ignore[misc]
    for kind in ("claims.json", "json"):
        for path in sorted(results.glob(f"{study}.{kind}")):
            found += estimates(json.loads(path.read_text(encoding="utf-8")))
    return found


def estimates(kept: Any) -> Iterator[Figure]:
    """Every value with an interval in a file of results, however deep."""
    if isinstance(kept, dict) and kept.get("low") is not None and "value" in kept:
        yield kept["value"], kept["low"], kept["high"]
    elif isinstance(kept, dict | list):
        for one in kept.values() if isinstance(kept, dict) else kept:
            yield from estimates(one)


def rests_on(written: tuple[str, ...], figures: list[Figure]) -> bool:
    """Whether one of the figures, or the same difference the other way round, is what is written, as far as digits go.

    A share is written in per cent, so a hundred times as much is the same too."""
    wanted, digits = [number(text) for text in written], [decimals(text) for text in written]

    def alike(given: tuple[float, ...]) -> bool:
        return all(abs(a - b) <= 0.5001 * 10.0**-d for a, b, d in zip(given, wanted, digits, strict=True))

    for value, low, high in figures:
        for scale in (1.0, 100.0):
            if alike((scale * value, scale * low, scale * high)) or alike(
                (-scale * value, -scale * high, -scale * low)
            ):
                return True
    return False
