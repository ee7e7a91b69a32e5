"""A comparison of texts as one HTML page: for each measure the texts beside the reference, with their intervals."""

import math
from collections.abc import Sequence
from html import escape
from typing import Any

from calprune.calibration.page import STYLE

LEFT, WIDE, LINE, TOP = 190, 420, 26, 26  # pixels: where a scale begins, how wide it is, a text's line, what is above

_STYLE = STYLE + """
svg.panel { display: block; width: 46rem; max-width: 100%; margin: .6rem 0; }
svg.panel text { font-size: 12px; }
h2 { font-size: 1.05rem; margin: 1.4rem 0 0; } p.how { margin: 0; color: #57606a; }
"""  # fmt: skip


def similarity_page(told: dict[str, Any]) -> str:
    """The page for what `compare_texts` says. Everything from outside is escaped."""
    to, options = escape(told["to"]), told["options"]
    parts = [
        f"<h1>How like {to}?</h1>",
        f"<p>{options['draws']} draws of {options['words']:,} words of each text. Lines and brackets are 95 % "
        f"intervals: over draws; of MinHash over its {options['permutations']} permutations; under the model over "
        f"windows of {options['window']} tokens.</p>",
        *[f'<p class="note">{escape(note)}</p>' for note in told["notes"]],
    ]
    for name, kind in told["measures"].items():
        rows = [(text, text["measures"][name]) for text in told["texts"]]
        if not any(found for _, found in rows):
            parts.append(f"<h2>{escape(kind['title'])}</h2><p class='how'>not measured</p>")
            continue
        side = "right" if kind["higher_is_more_alike"] else "left"
        what = f"more like {to}" if kind["of_reference"] else f"more like what {_model(told)} was trained on"
        parts.append(f"<h2>{escape(kind['title'])}</h2><p class='how'>farther {side}: {what}</p>{_panel(rows)}")
    title, body = f"How like {to}?", "\n".join(parts)
    return (f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
            f"<style>{_STYLE}</style></head>\n<body>\n{body}\n</body></html>\n")  # fmt: skip


def _model(told: dict[str, Any]) -> str:
    return escape(told["model"]["name"]) if told["model"] else "the model"


def _panel(rows: Sequence[tuple[dict[str, Any], dict[str, Any] | None]]) -> str:
    """A line a text: a point, its interval, its value; the reference's value as a rule through all."""
    place, ticks = _scale([found for _, found in rows if found])
    tall = TOP + LINE * len(rows)
    marks = [f'<text x="{place(t):.1f}" y="14" text-anchor="middle" fill="#57606a">{t:.3g}</text>'
             f'<line x1="{place(t):.1f}" x2="{place(t):.1f}" y1="18" y2="{tall}" stroke="#e1e4e8"/>'
             for t in ticks]  # fmt: skip
    for i, (text, found) in enumerate(rows):
        y, own = TOP + LINE * i + LINE / 2, text["is_reference"]
        colour = "#b35900" if own else "#4878a8"
        label = escape(text["name"]) + (" (itself)" if own else "")
        marks.append(f'<text x="{LEFT - 12}" y="{y + 4}" text-anchor="end">{label}</text>')
        if found is None:
            marks.append(f'<text x="{LEFT}" y="{y + 4}" fill="#57606a">not measured</text>')
            continue
        x = place(found["value"])
        if own:
            marks.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="18" y2="{tall}" stroke="{colour}" '
                         'stroke-dasharray="3 3"/>')  # fmt: skip
        if found["low"] is not None:
            marks.append(f'<line x1="{place(found["low"]):.1f}" x2="{place(found["high"]):.1f}" y1="{y}" y2="{y}" '
                         f'stroke="{colour}" stroke-width="2"/>')  # fmt: skip
        marks.append(f'<circle cx="{x:.1f}" cy="{y}" r="4" fill="{colour}"><title>{label}: {_shown(found)}</title>'
                     f'</circle><text x="{LEFT + WIDE + 14}" y="{y + 4}">{_shown(found)}</text>')  # fmt: skip
    return (f'<svg class="panel" viewBox="0 0 {LEFT + WIDE + 230} {tall}" role="img" font-family="system-ui, '
            f'sans-serif">{"".join(marks)}</svg>')  # fmt: skip


def _scale(found: Sequence[dict[str, Any]]) -> tuple[Any, list[float]]:
    """Where a value is, and the values to name; logarithmic where values are positive and far apart."""
    values = [v for f in found for v in (f["value"], f["low"], f["high"]) if v is not None and math.isfinite(v)]
    low, high = min(values), max(values)
    by = math.log10 if low > 0 and high > 30 * low else float
    first, last = by(low), by(high)
    room = (last - first) * 0.04 or 0.5
    first, last = first - room, last + room

    def place(value: float) -> float:
        return LEFT + WIDE * (min(max(by(value), first), last) - first) / (last - first) if math.isfinite(value) else 0

    ends = [first + room + (last - first - 2 * room) * i / 3 for i in range(4)]
    return place, [10**end for end in ends] if by is math.log10 else ends


def _shown(found: dict[str, Any]) -> str:
    interval = f" [{found['low']:.3g}, {found['high']:.3g}]" if found["low"] is not None else ""
    return f"{found['value']:.3g}{interval}"
