"""How fast models are beside each other."""

from collections.abc import Sequence
from pathlib import Path

import torch
import transformers

from calprune.api.models import Dtype
from calprune.api.progress import ProgressLike, shown
from calprune.base.checks import Count, checked
from calprune.base.values import UserError
from calprune.deployment.machine import cores, processor
from calprune.deployment.rounds import take_turns
from calprune.deployment.speed import WORKS, SpeedReport
from calprune.models.load import find_device, find_folder

ROUNDS = 7  # an interval of 95 % needs six


@checked
def speed(
    models: str | Path | Sequence[str | Path],
    *,
    rounds: Count = ROUNDS,
    device: str = "auto",
    dtype: Dtype | None = None,
    dequantize: bool = False,
    progress: ProgressLike | None = None,
) -> SpeedReport:
    """Time models in turns: prefill at 512 and 2,048 tokens, decoding at batch 1 and 8, with bytes and memory.

        report = calprune.speed(["demo", "pruned"])
        report.table()
        report.ratio(1, report.works[0]).value

    models: names or folders, as for `load`; all are compared with the first. The same one twice shows how far times
        differ that should not. Each is loaded in a process of its own, so that all of them must fit into memory.
    rounds: how often each is timed; below six there are no intervals. device: "cpu", "cuda", "cuda:1", or "auto" (a GPU
        where there is one). dtype: of the weights; None: as stored. dequantize: as for `load`.
    progress: bars; None: in a terminal and a notebook.

    Raises UserError where a model cannot be loaded or run.
    """
    names = [str(one) for one in ([models] if isinstance(models, str | Path) else models)]
    if not names:
        raise UserError('models: none is given; name them: ["demo", "pruned"], the first is what the others are '
                        "compared with")  # fmt: skip
    target = find_device(device)
    with shown(progress):
        for name in names:
            find_folder(name)  # a mistake shows before anything is loaded
        options = {"dtype": dtype, "device": str(target), "dequantize": dequantize}
        timed, others = take_turns(names, WORKS, rounds, options)
    first = timed[0].about
    machine = {
        "device": first.device if first.device != "cpu" else processor(), "cores": cores(), "threads": first.threads,
        "dtype": ", ".join(dict.fromkeys(one.about.dtype for one in timed)), "torch": torch.__version__,
        "transformers": transformers.__version__,
    }  # fmt: skip
    return SpeedReport(tuple(timed), rounds, machine, others)
