"""What 2:4 brings on a GPU: one product, dense and as torch's semi-structured tensor, for M = 1 … 16,384 rows.

    python benchmarks/two_of_four.py

bfloat16 matrices of 4096 x 4096 and 4096 x 11008 (outputs x inputs), pruned to 2:4 by magnitude. Both forms are timed
in turns by the GPU's own clock, medians of 15. Results: benchmarks/two_of_four.json, which docs/deploy.md shows. Takes
less than 3 minutes, by its plan; it was not run yet.
"""

import json
import time
from pathlib import Path

import torch

from calprune.base.values import UserError
from calprune.deployment.semi_structured import CAPABILITY, pair_times
from calprune.methods import parse_method
from calprune.pattern import parse_pattern

SHAPES = ((4096, 4096), (4096, 11008))
ROWS = tuple(2**n for n in range(15))


def main() -> None:
    """Time every shape at every number of rows."""
    if not torch.cuda.is_available() or torch.cuda.get_device_capability() < CAPABILITY:
        raise SystemExit("two_of_four.py needs an NVIDIA GPU of compute capability 8.0 or later")
    started, rows = time.perf_counter(), []
    for shape in SHAPES:
        weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        weight = parse_method("magnitude")(weight, None, parse_pattern("2:4")).to("cuda", torch.bfloat16)
        for count in ROWS:
            try:
                found = pair_times(weight, count)
            except (RuntimeError, UserError) as e:  # what a kernel does not take
                rows.append({"shape": shape, "rows": count, "why": " ".join(str(e).split())[:200]})
                continue
            rows.append({"shape": shape, "rows": count, "dense": found.dense, "sparse": found.sparse})
            print(rows[-1], flush=True)
    about = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "cuda": torch.version.cuda,
             "dtype": "bfloat16", "seconds": time.perf_counter() - started}  # fmt: skip
    Path(__file__).with_suffix(".json").write_text(json.dumps(about | {"times": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
