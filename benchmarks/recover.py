"""What ten minutes of recovery on two cores give back at 2:4, on text of sources that nothing was trained on.

    python benchmarks/recover.py PRUNED --out docs/results/recover.json --draw 1 [--minutes 10] [--cores 2]

PRUNED: the demo model as `calprune prune demo --method sparsegpt --pattern 2:4 --calibration c4 --num-samples 64
--max-seq-length 512 --out PRUNED` makes it. It needs CALPRUNE_DATA. A minute is counted in the process's own seconds on
its cores, divided by their number, so that other programs of the machine do not count; what they took is in the file.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import calprune
from calprune.recovery import training

JUDGED = ("wikitext2", "mbpp", "gsm8k:icl_cot")  # nothing is trained on, or chosen by, text of these
HEALED, WATCHED = "c4", "fineweb_edu"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("pruned")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--what", default="weights")
    parser.add_argument("--draw", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--cores", type=float, default=2.0)
    parser.add_argument("--learning-rate", type=float, default=None)
    given = parser.parse_args()
    training.time = SimpleNamespace(monotonic=lambda: time.process_time() / given.cores)  # type: ignore[attr-defined]
    began, load = time.time(), os.getloadavg()
    asked = [f"kl({text}, tokens=4096, length=512)" for text in JUDGED]
    before = calprune.evaluate(given.pruned, asked, dense="demo")
    report = calprune.recover(given.pruned, HEALED, dense="demo", what=given.what, minutes=given.minutes, epochs=100.0,
                              learning_rate=given.learning_rate, batch=2, watch=WATCHED, num_samples=256,
                              max_seq_length=512, seed=given.draw, watch_tokens=2048)  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        report.save(Path(folder) / "recovered")
        after = calprune.evaluate(Path(folder) / "recovered", asked, dense="demo")
    found = {
        "what": given.what, "draw": given.draw, "healed_on": HEALED, "minutes": given.minutes, "cores": given.cores,
        "learning_rate": report.done.how.highest, "tokens": report.done.run.looks[-1].tokens,
        "steps": report.done.run.step, "ended": report.done.run.ended,
        "wall_minutes": (time.time() - began) / 60, "load": [load, os.getloadavg()],
        "kl": {text: [a.kl.value, b.kl.value] for text, a, b in zip(JUDGED, before.texts, after.texts, strict=True)},
        "watched": {name: [report.before[name], report.after[name]] for name in report.before},
    }  # fmt: skip
    rows = json.loads(given.out.read_text())["rows"] if given.out.exists() else []
    rows = [row for row in rows if (row["what"], row["draw"]) != (given.what, given.draw)] + [found]
    given.out.write_text(json.dumps({"format": 1, "rows": rows}, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
