"""calprune demo: the whole job on one small model, in minutes."""

import dataclasses
import json
import time
from pathlib import Path
from typing import Annotated

from calprune.cli import options as opt
from calprune.cli.app import app


@app.command("demo", example="calprune demo --data-root DATA")
def demo_command(
    out: Annotated[Path, opt.output_option(help="folder for the table and three checkpoints")] = Path("runs/demo"),
    data_root: opt.DataRoot = None,
    as_json: opt.Json = False,
) -> None:
    """Prune a small real model with several calibration sets and methods, and print what each costs."""
    from calprune.base.progress import tracking
    from calprune.demo import LENGTH, SEQUENCES, WINDOWS, Demo, table

    started = time.perf_counter()
    demo = Demo(out, data_root)
    rows, equal = [], []
    for row in tracking(demo.rows(), demo.steps(), "pruning SmolLM2-135M"):
        rows.append(row)
        if row.checkpoint:
            equal.append(demo.loads_equal(row))
    demo.keep(rows)
    if as_json:
        print(json.dumps([dataclasses.asdict(row) for row in rows], indent=1))
        return
    print(table(rows))
    print(
        f"calibrated on {SEQUENCES} x {LENGTH} tokens; perplexity on held-out {demo.judged_on}, KL (nats per token) on"
    )
    print(f"held-out text of the model's own, {WINDOWS} x {LENGTH} tokens each")
    print("* judged on held-out text of the source that calibrated")
    passes = sorted({row.collect_seconds for row in rows if row.collect_seconds})
    print(f"seconds: the prune step, from sums collected once a set ({passes[0]:.0f} to {passes[-1]:.0f} s, one pass)")
    same = f"with {sum(equal)} of them plain transformers gives the same logits to the bit"
    print(f"{out}: demo.json and {len(equal)} checkpoints; {same}")
    print(f"{time.perf_counter() - started:.0f} s in all")
