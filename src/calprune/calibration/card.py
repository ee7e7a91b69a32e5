"""The README.md of a calibration set's folder: what it is, of what, and under which licences."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from calprune.calibration.set import CalibrationSet


def card(given: CalibrationSet) -> str:
    """Markdown for a person who finds the folder."""
    n, width = given.tokens.shape
    lines = [
        f"# Calibration set {given.id}",
        "",
        f"{n} sequences of up to {width} tokens, {int(given.lengths.sum()):,} tokens in all, made by calprune to prune "
        "or quantise a language model with.",
        "",
        "| source | format | sequences | tokens | documents used, of | licence |",
        "|---|---|---|---|---|---|",
    ]
    for part in given.drawn:
        pool = "endless" if part.pool is None else f"{part.pool:,}"
        row = (part.source, part.format, part.sequences, f"{part.tokens:,}", f"{part.used:,}, {pool}", part.licence)
        lines.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |")
    if not given.drawn:
        lines.append("| tokens given directly |  | " + f"{n} | {int(given.lengths.sum()):,} |  | not stated |")
    lines.append("")
    lines += [f"- {part.source} stands in: {part.stand_in}" for part in given.drawn if part.stand_in]
    lines += [f"- {part.source}: {part.citation}" for part in given.drawn if part.citation]
    lines += [f"- {note}" for note in given.notes]
    lines += ["", "`recipe.yaml` makes it again: `calprune calib build recipe.yaml`. `pieces.jsonl` names the document "
              "of each token. `counts.json` has what was read, dropped and why.", ""]  # fmt: skip
    return "\n".join(lines)
