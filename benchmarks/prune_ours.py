"""calprune's prune step on given tokens, timed, or the limit that nothing can avoid.

    python benchmarks/prune_ours.py MODEL TOKENS.safetensors METHOD PATTERN MODE OUT

MODE: pruned, dense (propagation), saved (from sums collected before the clock starts; pruned REPEATS times), or limit:
the dense blocks once over the tokens and, for sparsegpt, one Gram matrix and one factor for each distinct input.
"""

import json
import resource
import sys
import time

import torch
from safetensors.torch import load_file, save_file

from calprune.calibration.set import CalibrationSet
from calprune.layers.blocks import walk
from calprune.layers.saved import Statistics
from calprune.methods import parse_method
from calprune.models import load as models
from calprune.pattern import parse_pattern
from calprune.pruning.job import Pruning

REPEATS = 3


def main(model_folder: str, tokens_file: str, method: str, pattern: str, mode: str, out: str) -> None:
    torch.set_num_threads(2)
    model = models.load(model_folder, dtype="float32").model
    data = CalibrationSet.from_tokens(load_file(tokens_file)["tokens"])
    how = parse_method(method)
    dense = {name: p.detach().clone() for name, p in model.named_parameters()} if mode == "saved" else {}
    sums = Statistics.collect(model, data, how.needs) if mode == "saved" else None
    seconds = []
    for _ in range(REPEATS if mode == "saved" else 1):
        model.load_state_dict(dense, strict=False)
        fresh = 1.0 * sums if sums else None  # without the factors that the run before left
        started = time.perf_counter()
        if mode == "limit":
            limit(model, data, how.needs)
        elif mode == "saved":
            Pruning(how, parse_pattern(pattern)).run(model, fresh)
        else:
            Pruning(how, parse_pattern(pattern), propagate=mode).run(model, data)
        seconds.append(time.perf_counter() - started)
    save_file({n: p.data.contiguous() for n, p in model.named_parameters() if "layers" in n and p.dim() == 2}, out)
    print(json.dumps({"seconds": seconds, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


def limit(model, data: CalibrationSet, needs: str) -> None:
    for block in walk(model, data, propagate="dense"):
        if needs == "gram":
            for stats in {id(s): s for s in block.collect("gram").values()}.values():
                stats.factor(0.01)
        else:
            block.run()


main(*sys.argv[1:])
