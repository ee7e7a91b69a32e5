"""A calibration set as one HTML page: its figures, a histogram of lengths, texts with the weights of tokens shaded."""

from collections.abc import Sequence
from html import escape
from typing import Any

from calprune.calibration.describe import Stretch

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1b1f24; }
table { border-collapse: collapse; margin: 1rem 0; } th, td { text-align: left; padding: .2rem .8rem .2rem 0; }
th { border-bottom: 1px solid #999; } td.number { text-align: right; font-variant-numeric: tabular-nums; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: #f6f7f8; padding: .8rem; border-radius: .3rem; }
.note { background: #fff4d6; padding: .4rem .8rem; border-radius: .3rem; } svg text { font-size: 11px; }
"""


def page(told: dict[str, Any], texts: Sequence[Sequence[Stretch]]) -> str:
    """The page for what `describe` says of a set, with these sequences' texts. Everything from outside is escaped."""
    head = f"Calibration set {escape(told['id'])}"
    parts = [
        f"<h1>{head}</h1>",
        f"<p>{told['sequences']:,} sequences of up to {told['width']:,} tokens: {told['tokens']:,} tokens, "
        f"{told['padding']:,} of padding, weight {told['weight']:,.1f}.</p>",
        *[f'<p class="note">{escape(note)}</p>' for note in told["notes"]],
        _sources(told["sources"]),
        "<h2>Counts</h2>",
        _table(("what", "how many"), [(name, f"{n:,}") for name, n in told["counts"].items()]),
        "<h2>Lengths</h2>",
        _histogram(told["lengths"]["histogram"]),
        f"<p>{escape(facts(told))}</p>",
    ]
    if texts:
        parts.append("<h2>Texts</h2><p>Shaded: how much a token weighs in the statistics; not shaded weighs 0.</p>")
    for i, stretches in enumerate(texts, 1):
        marked = "".join(_shaded(stretch) for stretch in stretches)
        parts.append(f"<h3>Sequence {i}</h3><pre>{marked}</pre>")
    body = "\n".join(parts)
    return (f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{head}</title>'
            f"<style>{STYLE}</style></head>\n<body>\n{body}\n</body></html>\n")  # fmt: skip


def facts(told: dict[str, Any]) -> str:
    """Lengths, vocabulary and repetition in one sentence each; what is not known is said to be not measured."""
    lengths, vocabulary, repetition = told["lengths"], told["vocabulary"], told["repetition"]
    share = vocabulary["share"]
    known = "share not measured: no tokenizer" if share is None else f"{share:.1%} of the vocabulary"
    again = "not measured (no four tokens in a row)" if repetition is None else f"{repetition:.1%}"
    return (f"lengths {lengths['min']:,} to {lengths['max']:,}, median {lengths['median']:,.0f}, mean "
            f"{lengths['mean']:,.1f}; {vocabulary['distinct']:,} distinct tokens ({known}); "
            f"repeated 4-grams of tokens {again}")  # fmt: skip


def _sources(sources: Sequence[dict[str, Any]]) -> str:
    if not sources:
        return "<p>Made of tokens that were given; their sources are not known.</p>"
    heads = ("source", "format", "share asked", "of tokens", "sequences", "tokens", "documents used", "of", "licence")
    rows = [
        (s["name"] + (f" ({s['stand_in']})" if s["stand_in"] else ""), s["format"], f"{s['share']:.1%}",
         f"{s['share_of_tokens']:.1%}", f"{s['sequences']:,}", f"{s['tokens']:,}", f"{s['used']:,}",
         "endless" if s["pool"] is None else f"{s['pool']:,}", s["licence"])
        for s in sources
    ]  # fmt: skip
    return "<h2>Sources</h2>" + _table(heads, rows)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{escape(head)}</th>" for head in heads)
    body = "".join("<tr>" + "".join(_cell(cell) for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{top}</tr>{body}</table>"


def _cell(text: str) -> str:
    number = ' class="number"' if text[:1].isdigit() else ""
    return f"<td{number}>{escape(text)}</td>"


def _histogram(bins: Sequence[dict[str, int]]) -> str:
    high, wide, tall = max(b["sequences"] for b in bins), 720 / len(bins), 120
    bars = []
    for i, b in enumerate(bins):
        height = tall * b["sequences"] / high
        told = f"{b['from']} to {b['to']} tokens: {b['sequences']} sequences"
        bars.append(f'<rect x="{i * wide + 1:.1f}" y="{tall - height + 15:.1f}" width="{wide - 2:.1f}" '
                    f'height="{height:.1f}" fill="#4878a8"><title>{told}</title></rect>'
                    f'<text x="{(i + 1) * wide:.1f}" y="{tall + 30}" text-anchor="end">{b["to"]}</text>')  # fmt: skip
        if b["sequences"]:
            bars.append(f'<text x="{(i + 0.5) * wide:.1f}" y="{tall - height + 11:.1f}" text-anchor="middle">'
                        f"{b['sequences']}</text>")  # fmt: skip
    return (f'<svg viewBox="0 0 720 {tall + 36}" role="img" width="100%"><title>Sequences by length in tokens</title>'
            f"{''.join(bars)}</svg>")  # fmt: skip


def _shaded(stretch: Stretch) -> str:
    if not stretch.weight:
        return escape(stretch.text)
    strength = min(stretch.weight, 1.0) * 0.35
    return (f'<span style="background: rgba(72, 160, 96, {strength:.2f})" title="weight {stretch.weight:g}">'
            f"{escape(stretch.text)}</span>")  # fmt: skip
