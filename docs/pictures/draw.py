"""The pictures of README.md and docs/explanation/five-pictures.md, from numbers that were measured (docs/generate.py).

pruning, two_of_four, calibration and kl are of pictures.json (measure.py), draws of the table in
docs/tutorials/study.md, and the chart in overview of that in docs/choosing-calibration-data.md. Each has a white ground
of its own, so that it can be read on a dark page too.
"""

import json
import re
from collections.abc import Iterable
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
INK, GREY, FAINT, LINE = "#1f2933", "#5b6673", "#eef1f5", "#c9d1da"
BLUE, ORANGE, GREEN, PALE = "#0f6fc6", "#b5500c", "#2f7d4f", "#dbe9f7"
STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5, 1.0, 2.0, 5.0)  # between two ticks of an axis


@cache
def numbers() -> dict[str, Any]:
    return json.loads((HERE / "pictures.json").read_text(encoding="utf-8"))


def text(
    x: float, y: float, said: str, size: int = 14, fill: str = INK, anchor: str = "start", weight: int = 400
) -> str:
    return (f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{fill}" text-anchor="{anchor}" '
            f'font-weight="{weight}">{escape(said)}</text>')  # fmt: skip


def box(x: float, y: float, width: float, height: float, fill: str, line: str = "none", round_: float = 4) -> str:
    size = f'x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{round_:g}"'
    return f'<rect {size} fill="{fill}" stroke="{line}"/>'


def stroke(x1: float, y1: float, x2: float, y2: float, line: str = LINE, width: float = 1) -> str:
    return f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{line}" stroke-width="{width:g}"/>'


def picture(width: int, height: int, title: str, parts: Iterable[str]) -> str:
    """An SVG on a white card; title is read aloud."""
    head = (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
            'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif">')  # fmt: skip
    card = box(0.5, 0.5, width - 1, height - 1, "#ffffff", LINE, 10)
    return "\n".join([head, f"<title>{escape(title)}</title>", card, *parts, "</svg>"]) + "\n"


def ticks(low: float, high: float) -> list[float]:
    """Round numbers between, four or so."""
    step = next(one for one in STEPS if (high - low) / one <= 6)
    return [round(step * i, 4) for i in range(int(high / step) + 1) if low <= step * i <= high]


def signed(value: float, plus: str = "") -> str:
    return f"{value:{plus}.3f}".replace("-", "−")


def grid(rows: list[list[float]], x: float, y: float, keep: list[list[bool]] | None = None) -> Iterable[str]:
    """Cells of a matrix, darker where a weight is larger; a zero is an empty cell."""
    largest = max(abs(value) for row in rows for value in row)
    for i, row in enumerate(rows):
        for j, value in enumerate(row):
            stays = keep is None or keep[i][j]
            share = 0.12 + 0.88 * abs(value) / largest
            colour = BLUE if value > 0 else ORANGE
            yield box(x + 24 * j, y + 24 * i, 22, 22, "#ffffff", LINE, 3)
            if stays:
                yield f'<g opacity="{share:.2f}">{box(x + 24 * j, y + 24 * i, 22, 22, colour, round_=3)}</g>'


def pruning() -> str:
    corner = numbers()["corner"]
    order = sorted(
        ((i, j) for i, row in enumerate(corner) for j in range(len(row))), key=lambda at: -abs(corner[at[0]][at[1]])
    )
    larger = set(order[: len(order) // 2])
    keep = [[(i, j) in larger for j in range(len(row))] for i, row in enumerate(corner)]
    parts = [text(30, 38, "Dense", 17, weight=600), *grid(corner, 30, 56),
             text(476, 38, "Pruned: the smaller half is zero", 17, weight=600), *grid(corner, 476, 56, keep),
             stroke(430, 152, 456, 152, INK, 2), '<path d="M456 146l10 6l-10 6z" fill="#1f2933"/>',
             text(30, 280, "8 x 16 weights of one matrix of the demo model. Blue: above zero, orange: below.",
                  14, GREY)]  # fmt: skip
    return picture(890, 302, "A corner of a weight matrix before and after pruning", parts)


def of_four(scores: list[float]) -> list[bool]:
    """Which are the two largest of each four."""
    kept = [False] * len(scores)
    for start in range(0, len(scores), 4):
        for i in sorted(range(start, start + 4), key=lambda i: -scores[i])[:2]:
            kept[i] = True
    return kept


def two_of_four() -> str:
    row = numbers()["corner"][0]
    kept = of_four([abs(value) for value in row])
    largest = max(abs(value) for value in row)
    parts = [text(30, 38, "One row, in groups of four", 17, weight=600), stroke(30, 210, 860, 210)]
    for i, value in enumerate(row):
        x, high = 40 + 50 * i + 8 * (i // 4), 140 * abs(value) / largest
        parts.append(box(x, 210 - high, 34, high, BLUE if kept[i] else "#ffffff", BLUE if kept[i] else GREY, 3))
        parts.append(text(x + 17, 230, signed(value), 12, INK if kept[i] else GREY, "middle"))
        parts.append(text(x + 17, 250, "stays" if kept[i] else "0", 13, BLUE if kept[i] else GREY, "middle", 600))
    for group in range(1, 4):
        x = 40 + 200 * group + 8 * group - 12
        parts.append(f'<line x1="{x}" y1="60" x2="{x}" y2="255" stroke="{LINE}" stroke-dasharray="4 4"/>')
    left = [abs(value) for value, stays in zip(row, kept, strict=True) if not stays]
    stay = [abs(value) for value, stays in zip(row, kept, strict=True) if stays]
    said = f"The largest that goes, {max(left):g}, is larger than the smallest that stays, {min(stay):g}. Height: size."
    return picture(890, 300, "A row of sixteen weights pruned to 2:4", [*parts, text(30, 282, said, 14, GREY)])


def calibration() -> str:
    found = numbers()["calibration"]
    weights, parts = (
        found["weights"],
        [text(30, 38, "The same eight weights under two texts: two of each four stay", 17, weight=600)],
    )
    for k, (name, norms) in enumerate(found["norms"].items()):
        y = 66 + 172 * k
        scores = [abs(w) * n for w, n in zip(weights, norms, strict=True)]
        kept = of_four(scores)
        parts += [text(30, y + 16, f"calibrated on {name}", 15, weight=600), text(30, y + 46, "weight", 13, GREY),
                  text(30, y + 72, "size of its input", 13, GREY), text(30, y + 98, "product", 13, GREY)]  # fmt: skip
        for i, (w, n, score, stays) in enumerate(zip(weights, norms, scores, kept, strict=True)):
            x = 170 + 84 * i + 14 * (i // 4)
            parts.append(box(x, y + 28, 78, 106, PALE if stays else "#ffffff", BLUE if stays else LINE, 6))
            for j, value in enumerate((signed(w), f"{n:.3f}", f"{score:.5f}")):
                parts.append(
                    text(x + 39, y + 46 + 26 * j, value, 13, INK if stays else GREY, "middle", 600 if j == 2 else 400)
                )
            parts.append(text(x + 39, y + 124, "stays" if stays else "0", 13, BLUE if stays else GREY, "middle", 600))
    share = f"{100 * found['kept in common']:.0f} %"
    said = f"{share} of the weights of this matrix ({found['linear']}) that stay with the one text stay with the other."
    return picture(
        890, 430, "Which weights stay depends on the calibration text", [*parts, text(30, 412, said, 14, GREY)]
    )


def drawn() -> dict[str, list[float]]:
    """KL of each draw by text, from what the tutorial's query printed."""
    page = (HERE.parent / "tutorials" / "study.md").read_text(encoding="utf-8")
    rows = re.findall(r"^(\w[\w ]*?)\s{2,}(\d+)\s+(\d+\.\d+)\s*$", page, re.M)
    found: dict[str, list[float]] = {}
    for name, _, value in rows:
        found.setdefault(name, []).append(float(value))
    return found


def draws() -> str:
    found = drawn()
    top = max(value for values in found.values() for value in values)
    least = min(value for values in found.values() for value in values)
    span = top - least

    def place(value: float) -> float:
        return 200 + 630 * (value - least + 0.08 * span) / (1.16 * span)

    parts = [text(30, 38, "Three draws of each text: how far the pruned model is from the dense one", 17, weight=600)]
    for i, (name, values) in enumerate(sorted(found.items(), key=lambda one: sum(one[1]))):
        y = 84 + 52 * i
        parts += [text(30, y + 5, name, 15), stroke(200, y, 830, y)]
        parts += [
            f'<circle cx="{place(value):.1f}" cy="{y}" r="8" fill="{BLUE}" fill-opacity=".75"/>' for value in values
        ]
        parts += [text(place(value), y - 14, f"{value:g}", 12, GREY, "middle") for value in values[:: len(values) - 1]]
    below = 84 + 52 * len(found)
    return picture(890, below + 26, "Draws of three texts and the KL that each leads to", [
        *parts,
        text(30, below + 4, "KL to the dense model, nats a token, on held-out help pages; left is better", 14, GREY),
    ])  # fmt: skip


def kl() -> str:
    found = numbers()["kl"]
    parts = [text(30, 38, f'"{found["text"]} ..."', 17, weight=600)]
    parts += [text(230, 68, "probability of the next word", 13, GREY), text(740, 68, "adds to KL, nats", 13, GREY)]
    largest = max(max(one["dense"], one["pruned"]) for one in found["tokens"])
    for i, one in enumerate(found["tokens"]):
        y = 82 + 50 * i
        parts.append(text(200, y + 24, one["token"].strip() or "(space)", 16, anchor="end", weight=600))
        for k, (name, colour) in enumerate((("dense", BLUE), ("pruned", ORANGE))):
            wide = 420 * one[name] / largest
            parts.append(box(220, y + 19 * k, max(wide, 1), 16, colour, round_=3))
            parts.append(text(228 + wide, y + 13 + 19 * k, f"{one[name]:.3f}", 12, GREY))
        parts.append(text(790, y + 24, signed(one["adds"], "+"), 15, anchor="middle"))
    below = 82 + 50 * len(found["tokens"])
    rest = found["kl"] - sum(one["adds"] for one in found["tokens"])
    parts += [text(200, below + 16, "all other words", 14, GREY, "end"),
              text(790, below + 16, signed(rest, "+"), 15, anchor="middle"), stroke(30, below + 30, 860, below + 30),
              box(30, below + 42, 14, 14, BLUE, round_=3), text(50, below + 54, "dense", 13),
              box(110, below + 42, 14, 14, ORANGE, round_=3), text(130, below + 54, "pruned (Wanda, 50 %)", 13),
              text(790, below + 54, f"KL {found['kl']:.3f}", 16, anchor="middle", weight=600)]  # fmt: skip
    return picture(890, below + 74, "KL of one next word, word by word", parts)


SHOWN = ("c4", "pile", "redpajama", "gsm8k", "svamp")


def measured() -> dict[str, tuple[float, float, float]]:
    """Perplexity and its interval of some sources, from the table of the first study."""
    page = (HERE.parent / "choosing-calibration-data.md").read_text(encoding="utf-8")
    table = page.partition("| source | perplexity, padding left out |")[2].partition("\n\n")[0]
    row = r"^\| (\w+) \| ([\d,]+) \[([\d,]+), ([\d,]+)\]"
    found = {name: tuple(float(one.replace(",", "")) for one in cells) for name, *cells in re.findall(row, table, re.M)}
    return {name: found[name] for name in SHOWN}  # type: ignore[misc]


def arrow(x: float, y: float) -> str:
    return stroke(x, y, x + 34, y, INK, 2) + f'<path d="M{x + 34:g} {y - 6:g}l11 6l-11 6z" fill="{INK}"/>'


def overview() -> str:
    corner = numbers()["corner"]
    dense = [row[:6] for row in corner[:4]]
    keep = [of_four([abs(value) for value in row[:8]])[:6] for row in corner[:4]]
    parts = [
        text(40, 40, "your model", 16, weight=600),
        *grid(dense, 40, 56),
        text(40, 192, "candidate texts", 16, weight=600),
    ]
    for i, name in enumerate(("web pages", "mathematics", "code", "your chat logs")):
        parts += [box(40, 204 + 27 * i, 144, 22, FAINT, LINE), text(52, 220 + 27 * i, name, 13)]
    parts += [
        arrow(206, 160),
        box(266, 56, 240, 226, PALE, BLUE, 10),
        text(386, 88, "calprune", 19, BLUE, "middle", 700),
    ]
    for i, step in enumerate(
        (
            "draws sets of each text",
            "prunes with each",
            "judges on held-out text",
            "compares, with intervals",
            "prunes with the best",
        )
    ):
        parts += [text(288, 124 + 32 * i, f"{i + 1}", 15, BLUE, weight=700), text(312, 124 + 32 * i, step, 14)]
    parts += [arrow(526, 160), text(590, 40, "the pruned model", 16, weight=600), *grid(dense, 590, 56, keep)]
    parts += [text(752, 108, "half of its", 14, GREY), text(752, 128, "weights are zero", 14, GREY)]
    parts += [text(590, 192, "the page: does the text matter?", 16, weight=600)]
    low, high = min(one[1] for one in measured().values()), max(one[2] for one in measured().values())

    def place(value: float) -> float:
        return 690 + 200 * (value - low) / (high - low)

    for i, (name, (value, left, right)) in enumerate(measured().items()):
        y = 212 + 19 * i
        parts += [text(590, y + 4, name, 13), stroke(place(left), y, place(right), y, BLUE, 2),
                  f'<circle cx="{place(value):.1f}" cy="{y}" r="4.5" fill="{BLUE}"/>']  # fmt: skip
    parts.append(text(690, 312, f"perplexity, {low:g} to {high:g}; left is better", 12, GREY))
    return picture(930, 330, "A model and some texts go in; a pruned model and a page with the answer come out", parts)


PICTURES = {
    "overview": overview,
    "pruning": pruning,
    "two-of-four": two_of_four,
    "calibration": calibration,
    "draws": draws,
    "kl": kl,
}
