"""How far the masks of two halves of a calibration set agree, by method, tokens and width of the matrix.

    python benchmarks/halves.py MODEL [--source c4] [--pattern 50%] [--methods wanda sparsegpt] [--num-samples 128]
                                [--max-seq-length 256] [--draws 3] [--every 3] [--data-root DATA]

The halves share no sequence, and their budget doubles, as in `calprune calib compare`; here each width is judged by
itself: linears that read so many inputs, the others left dense. One of --every blocks is pruned. Goes on where it was
stopped. Writes benchmarks/halves.json, of one question: another is refused while the file is there.
"""

import argparse
import json
import os
import platform
from collections import defaultdict
from pathlib import Path

from calprune.calibration.build import make_set
from calprune.layers.linears import find_blocks, linears
from calprune.likeness.sets import agreement
from calprune.methods import parse_method
from calprune.models.load import Model, load
from calprune.pattern import parse_pattern
from calprune.pruning.job import Pruning

RESULTS = Path(__file__).with_suffix(".json")


def main() -> None:
    asked = arguments()
    sizes = {name: getattr(asked, name) for name in ("num_samples", "max_seq_length")}
    question = {
        "model": Path(asked.model).name,
        "source": asked.source,
        "pattern": asked.pattern,
        "every": asked.every,
        **sizes,
    }
    kept = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    if kept and kept["question"] != question:
        raise SystemExit(f"{RESULTS} has another question, {kept['question']}; expected {question}: move it away")
    kept = kept or {"question": question, "rows": []}
    model = load(asked.model, dtype="bfloat16")
    by_width = of_width(model, asked.every)
    done = {(row["method"], row["width"], row["draw"]) for row in kept["rows"]}
    for draw in range(asked.draws):
        given = make_set(asked.source, model.tokenizer, **sizes, layout="crop", seed=draw, data_root=asked.data_root)
        for method in asked.methods:
            for width, (chosen, others) in by_width.items():
                if (method, width, draw) in done:
                    continue
                job = Pruning(parse_method(method), parse_pattern(asked.pattern), ignore=tuple(others))
                budgets, overlaps = agreement(job, model.model, given)
                row = {"method": method, "width": width, "draw": draw, "linears": len(chosen)}
                row |= {"sequences": list(budgets), "overlap": [round(one, 5) for one in overlaps]}
                kept["rows"].append(row)
                write(kept)
                print(method, width, draw, [f"{one:.3f}" for one in overlaps], flush=True)


def of_width(model: Model, every: int) -> dict[int, tuple[list[str], list[str]]]:
    """By the number of inputs: its linears in every such block, and all other linears."""
    name, blocks = find_blocks(model.model)
    widths = defaultdict(list)
    names = []
    for i, block in enumerate(blocks):
        for site in linears(block):
            names.append(f"{name}.{i}.{site.name}")
            if i % every == 0:
                widths[site.weight.shape[1]].append(names[-1])
    return {width: (chosen, sorted(set(names) - set(chosen))) for width, chosen in sorted(widths.items())}


def write(kept: dict[str, object]) -> None:
    whole = RESULTS.with_suffix(".tmp")
    made = {"made": f"{os.cpu_count()} cores, {platform.machine()}"}
    whole.write_text(json.dumps({**kept, **made}, indent=1) + "\n", encoding="utf-8")
    whole.replace(RESULTS)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--source", default="c4")
    parser.add_argument("--pattern", default="50%")
    parser.add_argument("--methods", nargs="+", default=["wanda", "sparsegpt"])
    parser.add_argument("--num-samples", type=int, default=128)
    parser.add_argument("--max-seq-length", type=int, default=256)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--every", type=int, default=3)
    parser.add_argument("--data-root", default=os.environ.get("CALPRUNE_DATA"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
