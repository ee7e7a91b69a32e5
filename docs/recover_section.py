"""docs/recover.md: what recovery gave back, from benchmarks/recover.json."""

import json
from pathlib import Path

PAGE = Path(__file__).parent / "recover.md"
RESULT = Path(__file__).parents[1] / "benchmarks" / "recover.json"
BEGIN, END = "<!-- measured: made by docs/generate.py -->\n", "<!-- measured: end -->\n"
ABOUT = """\
The demo model, pruned by SparseGPT at 2:4 on c4 (64 x 512 tokens), trained on c4 (256 x 512), fineweb_edu watched; KL
to the dense model, nats a token, on 4,096 tokens of texts that nothing was trained on or chosen by. `python
benchmarks/recover.py PRUNED --out benchmarks/recover.json`: minutes are of {cores:g} cores, counted in the process's
own seconds, since the machine was shared (load {low:.0f} to {high:.0f} on its 2 cores). One draw a row: no intervals.
"""


def current() -> str:
    """The page with the section as the file has it now."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    return before + BEGIN + section() + END + rest.partition(END)[2]


def section() -> str:
    """The table of what was measured."""
    if not RESULT.exists():
        return "Not measured yet.\n"
    rows = json.loads(RESULT.read_text(encoding="utf-8"))["rows"]
    loads = [load[0] for row in rows for load in row["load"]]
    lines = [ABOUT.format(cores=rows[0]["cores"], low=min(loads), high=max(loads))]
    lines += ["| trained | draw | minutes | tokens | text | pruned | recovered | left |",
              "|---|---:|---:|---:|---|---:|---:|---:|"]  # fmt: skip
    for row in sorted(rows, key=lambda row: (row["what"], row["draw"])):
        for text, (before, after) in row["kl"].items():
            lines.append(
                f"| {row['what']} | {row['draw']} | {row['minutes']:g} | {row['tokens']:,} | {text} | "
                f"{before:.3f} | {after:.3f} | {after / before:.0%} |".replace("%", " %")
            )
    return "\n".join(lines) + "\n"
