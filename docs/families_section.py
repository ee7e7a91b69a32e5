"""docs/models.md: the sweep over transformers' decoder families, from benchmarks/families.json."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RESULT = Path(__file__).parents[1] / "benchmarks" / "families.json"
Row = dict[str, Any]
HEAD = """\
# Which models are pruned

`python benchmarks/families.py` made a tiny random model of every decoder family of transformers {transformers} (torch
{torch}, CPU): of the {all} in its lists of causal language models and of models of images and text, **{walked} are
walked and pruned**, {refused} are refused with a line, and of {unmade} no tiny model was made.

Your own model is looked at in the same way: before it is first walked, a short ragged batch goes through its own
forward, with its mask, and through the walk. Where hidden states or logits differ by more than rounding, the job is
refused and the first block that differs is named.

- *walk*: the largest difference between the walk and the model's own forward with a mask, on five ragged sequences, at
  the last block's output, relative to the largest number there; 0 is the same to the bit. In float32 the walk may
  multiply by oneDNN where the model's own forward does not ([design](design.md)): with torch's products for both, ten
  families that were looked at differ by 0 too. In bfloat16 both use torch's
- *pruned*: the share of the tiny model's parameters that Wanda pruned; small where the table of embeddings or a tower
  of images is large beside the text's blocks
- *stays dense*: what of the blocks is not pruned, and is named in the report: *routers* send tokens to experts;
  *unreached* are linears that no token reaches as the input of a linear (their matrix is read by other code, or a text
  does not run them); *shared* are matrices of several blocks
- *written*: transformers wrote the checkpoint, calprune pruned it and wrote it back with exactly the changed tensors
  changed; loaded again, every tensor is that of the model that was pruned in memory
"""
WRITTEN = {True: "yes", None: "not measured"}
SHORT = {"a router": "routers", "no token": "unreached", "its matrix": "shared"}


def page() -> str:
    found = json.loads(RESULT.read_text(encoding="utf-8"))
    rows: list[Row] = found["families"]
    walked = [row for row in rows if "share" in row]
    unmade = [row for row in rows if row not in walked and not _refused(row)]
    refused = [row for row in rows if row not in walked and row not in unmade]
    head = HEAD.format(all=len(rows), walked=len(walked), refused=len(refused), unmade=len(unmade), **found["versions"])
    lines = [head, "## Walked", "", "| family | walk, float32 | walk, bfloat16 | pruned | stays dense | written |",
             "|---|---:|---:|---:|---|---|", *map(_walked, walked), "", "## Refused", "", *_reasons(refused), "",
             "## No tiny model was made", "", "The defaults of its config do not fit each other when they are made "
             "small, or it needs a package that was not there.", "", *_reasons(unmade), ""]  # fmt: skip
    return "\n".join(lines)


def _reasons(rows: list[Row]) -> list[str]:
    return ["| family | why |", "|---|---|", *(f"| {_name(row)} | {_text(row['why'])} |" for row in rows)]


def _refused(row: Row) -> bool:
    """Whether calprune refused the family, and not its tiny model failed to run."""
    failed = "cannot be run on a short batch" in row["why"] and "RuntimeError" in row["why"]
    return row.get("refused", False) and not failed


def _name(row: Row) -> str:
    return f"{row['family']} (images and text)" if row["wrapper"] else row["family"]


def _walked(row: Row) -> str:
    off, dense = row["difference"], "; ".join(_dense(row["left_dense"]))
    cells = [_name(row), _difference(off["float32"]), _difference(off["bfloat16"]), f"{row['share']:.0%}", dense,
             WRITTEN.get(row.get("reloads")) or f"no: {row['why_not'].partition(': ')[2]}"]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _difference(found: float | str) -> str:
    if isinstance(found, str):
        return "does not run"
    return f"{found:.1e}" if found else "0"


def _dense(left: dict[str, list[str]]) -> Iterator[str]:
    for why, names in left.items():
        short = next(short for start, short in SHORT.items() if why.startswith(start))
        yield f"{short}: {', '.join(f'`{name}`' for name in names[:3])}{', ...' * (len(names) > 3)}"


def _text(why: str) -> str:
    return why.replace("|", "\\|").replace("<", "&lt;")[:300]
