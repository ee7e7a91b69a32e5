"""What minutes of recovery give back of a pruned model, on text of sources that nothing was trained on: a row a run.

    python benchmarks/recover.py PRUNED --out benchmarks/recover.json --draw 1 [--minutes 10] [--cores 2]
    python benchmarks/recover.py PRUNED --out benchmarks/recover.json --draw 1 --what compensate
    python benchmarks/recover.py PRUNED --out benchmarks/recover.json --what nothing

PRUNED: what `calprune prune demo --method sparsegpt --pattern 2:4 --calibration c4 --num-samples 64 --max-seq-length
512 --out PRUNED` makes, or another pruned model with its `--dense`. It needs CALPRUNE_DATA. A minute is counted in the
process's own seconds on its cores, divided by their number, so that other programs of the machine do not count; what
they took is in the file. A row that is there already is not made again. `nothing` is what pruning itself left; its draw
is the seed that the model was pruned with.
"""

import argparse
import fcntl
import json
import os
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import calprune
from calprune.recovery import training
from calprune.recovery.adapter import added

JUDGED = ("wikitext2", "mbpp", "gsm8k:icl_cot")  # nothing is trained on, or chosen by, text of these
WATCHED = "fineweb_edu"
HEALED = "c4 + redpajama_github + math_solutions:icl_cot"
KEY = ("dense", "method", "pattern", "pruned_on", "what", "healed_on", "minutes", "learning_rate", "batch", "sequences",
       "draw")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("pruned")
    parser.add_argument("--dense", default="demo")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--what", default="weights", choices=["weights", "lora", "norms", "compensate", "nothing"])
    parser.add_argument("--healed", default=HEALED)
    parser.add_argument("--draw", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--cores", type=float, default=2.0)
    parser.add_argument("--learning-rate", type=float, default=None)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--sequences", type=int, default=256)
    parser.add_argument("--keep", type=Path, default=None, help="folder for the trained model")
    given = parser.parse_args()
    made_by = json.loads((Path(given.pruned) / "calprune.json").read_text())
    row = {
        "dense": Path(given.dense).name, "method": made_by["method"], "pattern": made_by["pattern"],
        "pruned_on": (made_by["calibration"] or {"asked": "no data"})["asked"],
        "what": given.what, "healed_on": given.healed,
        "minutes": given.minutes, "learning_rate": given.learning_rate, "batch": given.batch,
        "sequences": given.sequences, "draw": given.draw, "cores": given.cores,
    }  # fmt: skip
    if given.what == "nothing":
        row |= {"healed_on": None, "minutes": 0.0, "batch": None, "sequences": None,
                "draw": made_by["calibration"]["recipe"]["seed"]}  # fmt: skip
    if any(same(row, other) for other in rows(given.out)):
        return
    training.time = SimpleNamespace(monotonic=lambda: time.process_time() / given.cores)  # type: ignore[attr-defined]
    began, load = time.time(), os.getloadavg()
    with tempfile.TemporaryDirectory() as folder:
        row |= run(given, Path(folder))
    row |= {"wall_minutes": (time.time() - began) / 60, "load": [load, os.getloadavg()]}
    keep(given.out, row)
    print(json.dumps(row, indent=1))


def run(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The figures of one run."""
    pruned = calprune.load(given.pruned).id
    known = (one["before"] for one in rows(given.out) if one["pruned"] == pruned)
    before = next(known, None) or judge(given.pruned, given.dense)
    if given.what == "nothing":
        return {"took": 0.0, "tokens": 0, "pruned": pruned, "before": before, "after": before}
    sizes = {"num_samples": given.sequences, "max_seq_length": 256, "seed": given.draw,
             "watch": WATCHED, "watch_tokens": 2048}  # fmt: skip
    if given.what == "compensate":
        started = time.process_time()
        report = calprune.compensate(given.pruned, given.healed, dense=given.dense, rank=64, **sizes)
        took = (time.process_time() - started) / given.cores / 60
        loaded = calprune.load(given.pruned)
        with added(report.done, loaded.model):
            after = judge(loaded, given.dense)
        extra = {"took": took, "tokens": sizes["num_samples"] * sizes["max_seq_length"], "watched": dict(report.kl)}
    else:
        report = calprune.recover(given.pruned, given.healed, dense=given.dense, what=given.what, batch=given.batch,
                                  minutes=given.minutes, epochs=100.0, learning_rate=given.learning_rate,
                                  **sizes)  # fmt: skip
        report.save(recovered := given.keep or folder / "recovered")
        after, done = judge(recovered, given.dense), report.done.run
        watched = {name: [report.before[name], report.after[name]] for name in report.before}
        extra = {"took": done.seconds / 60, "tokens": done.looks[-1].tokens, "steps": done.step, "ended": done.ended,
                 "rate": done.highest(report.done.how), "lowered": done.lowered, "watched": watched}  # fmt: skip
    return extra | {"pruned": pruned, "before": before, "after": after}


def judge(model: Any, dense: str) -> dict[str, float]:
    """KL to the dense model, nats a token, by the text."""
    asked = [f"kl({text}, tokens=4096, length=256)" for text in JUDGED]
    result = calprune.evaluate(model, asked, dense=dense)
    return {text: one.kl.value for text, one in zip(JUDGED, result.texts, strict=True)}


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(one[name] == other[name] for name in KEY)


def rows(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text())["rows"] if path.exists() else []


def keep(path: Path, row: dict[str, Any]) -> None:
    """Add a row to the file, which several runs may write."""
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        path.write_text(json.dumps({"format": 2, "rows": [*rows(path), row]}, indent=1) + "\n")


if __name__ == "__main__":
    main()
