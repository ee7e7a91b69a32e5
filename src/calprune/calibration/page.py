"""A calibration set as one HTML page: its figures, a histogram of lengths, texts with the weights of tokens shaded."""

from collections.abc import Sequence
from html import escape
from typing import Any

from calprune.calibration.describe import Stretch, Text

STYLE = """
:root { color-scheme: light dark; --text: #1b1f24; --ground: #fff; --quiet: #f4f5f7; --line: #8b929b; --bar: #4878a8;
        --note: #fff4d6; --weight: 40, 140, 70; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e3e6ea; --ground: #15181c; --quiet: #20242a; --line: #767e88; --bar: #6f9fce; --note: #40361a;
          --weight: 80, 190, 110; }
}
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: var(--text);
       background: var(--ground); }
h1, p { overflow-wrap: anywhere; }
.wide { overflow-x: auto; } table { border-collapse: collapse; margin: 1rem 0; }
th, td { text-align: left; vertical-align: top; padding: .2rem .8rem .2rem 0; }
th { border-bottom: 1px solid var(--line); }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
td:last-child:not(.number) { min-width: 12rem; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: var(--quiet); padding: .8rem; border-radius: .3rem; }
.note { background: var(--note); padding: .4rem .8rem; border-radius: .3rem; }
.bars { display: flex; align-items: flex-end; gap: 2px; font-size: 11px; text-align: center; }
.bars div { flex: 1; min-width: 0; } .bars i { display: block; background: var(--bar); }
.bars span { display: block; } .bars small { display: block; font-size: 11px; white-space: nowrap;
  border-top: 1px solid var(--line); }
@media (max-width: 40rem) { .bars div:not(:nth-child(4n)) small { color: transparent; } }
"""
TALL = 120  # pixels of the highest bar


def page(told: dict[str, Any], texts: Sequence[Text]) -> str:
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
    for text in texts:
        marked = "".join(_shaded(stretch) for stretch in text.stretches)
        source = f" of {text.source}" if text.source else ""
        parts.append(f"<h3>Sequence {text.sequence}{escape(source)}, {text.tokens:,} tokens</h3><pre>{marked}</pre>")
    body = "\n".join(parts)
    return (f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{head}</title>'
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
    numbers = [all(row[i][:1].isdigit() or row[i] == "endless" for row in rows) for i in range(len(heads))]
    marks = [' class="number"' if number else "" for number in numbers]
    top = "".join(f"<th{mark}>{escape(head)}</th>" for mark, head in zip(marks, heads, strict=True))
    body = "".join("<tr>" + "".join(f"<td{mark}>{escape(cell)}</td>" for mark, cell in zip(marks, row, strict=True))
                   + "</tr>" for row in rows)  # fmt: skip
    return f'<div class="wide"><table><tr>{top}</tr>{body}</table></div>'


def _histogram(bins: Sequence[dict[str, int]]) -> str:
    most, bars = max(b["sequences"] for b in bins), []
    for b in bins:
        n, told = b["sequences"], f"{b['from']} to {b['to']} tokens: {b['sequences']} sequences"
        bars.append(f'<div title="{told}"><span>{n or ""}</span><i style="height: {TALL * n / most:.0f}px"></i>'
                    f"<small>{b['to']}</small></div>")  # fmt: skip
    return f'<div class="bars" role="img" aria-label="Sequences by length in tokens">{"".join(bars)}</div>'


def _shaded(stretch: Stretch) -> str:
    if not stretch.weight:
        return escape(stretch.text)
    strength = min(stretch.weight, 1.0) * 0.35
    return (f'<span style="background: rgba(var(--weight), {strength:.2f})" title="weight {stretch.weight:g}">'
            f"{escape(stretch.text)}</span>")  # fmt: skip
