"""calprune recover: get back what pruning cost."""

from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Annotated, Any

from calprune.base.values import UserError, choice
from calprune.cli import options as opt
from calprune.cli.app import app, as_typed, goes_on, is_one_of_several
from calprune.cli.pruned import Dense, Pruned, Watch, WatchTokens


@app.command(
    "recover",
    example="calprune recover pruned --dense demo --calibration c4 --num-samples 256 --max-seq-length 256 "
    "--minutes 10 --out recovered",
)
def recover_command(
    pruned: Pruned,
    dense: Dense,
    calibration: opt.CalibrationNeeded,
    out: opt.Out,
    what: Annotated[
        str,
        opt.method_option(
            help="weights: all numbers of the blocks that are not zero; lora: a low-rank change under the mask; norms: "
            "norms and biases"
        ),
    ] = "weights",
    epochs: Annotated[float, opt.method_option(help="passes over the set")] = 3.0,
    minutes: Annotated[
        float | None, opt.run_option(help="the run ends by then, whatever it has done", show_default="no limit")
    ] = None,
    learning_rate: Annotated[
        float | None,
        opt.method_option(
            help="the highest",
            show_default="weights 4e-4, lora 1e-3, norms 2e-3, lowered where the watched texts get worse",
        ),
    ] = None,
    weight_decay: Annotated[float, opt.method_option(help="of AdamW; zeros stay zeros")] = 0.0,
    batch: Annotated[
        int | None, opt.method_option(help="sequences of a step", show_default="512 tokens; 8192 on a GPU")
    ] = None,
    top: Annotated[
        int, opt.method_option(help="tokens kept of each dense distribution, the others as one; 0: all, each time")
    ] = 64,
    rank: Annotated[int, opt.method_option(help="of lora")] = 16,
    keep_adapter: Annotated[
        bool, opt.method_option("--keep-adapter", help="of lora: --out is a PEFT adapter, the pruned weights stay")
    ] = False,
    watch: Watch = None,
    watch_tokens: WatchTokens = 2048,
    num_samples: opt.NumSamples = None,
    max_seq_length: opt.MaxSeqLength = None,
    seed: opt.Seed = None,
    resume: Annotated[
        Path | None,
        opt.run_option(
            help="folder that keeps the state, so that the same command goes on where it was stopped",
            show_default="in the cache, until the run has ended, or for 7 days",
        ),
    ] = None,
    data_root: opt.DataRoot = None,
    device: opt.Device = "auto",
    dtype: opt.Dtype = None,
    as_json: opt.Json = False,
) -> None:
    """Train what is left of a pruned model towards the dense one; its zeros stay zeros."""
    wanted: Any = choice(what, ("weights", "lora", "norms"), "--what")
    from calprune.api.arguments import Sizes
    from calprune.api.pruned.pairs import open_pair
    from calprune.api.pruned.recover import RecoveryJob
    from calprune.base.output import check_apart, check_room, new_folder
    from calprune.base.progress import SILENT, showing
    from calprune.layers.together.processes import joined
    from calprune.models.load import find_device
    from calprune.recovery.adapter import check_peft
    from calprune.recovery.training import Recovering

    how = Recovering(wanted, epochs, minutes, learning_rate, weight_decay=weight_decay, batch=batch, top=top or None,
                     rank=rank, keep_adapter=keep_adapter, seed=seed or 0)  # fmt: skip
    if keep_adapter:
        check_peft()
    check_apart(resume, out)
    if resume is not None and is_one_of_several():
        raise UserError("--resume keeps the state of one process, not of several: leave it out")
    kind: Any = dtype
    with ExitStack() as stack:
        several = stack.enter_context(joined(find_device(device)))
        writes = several is None or several.first
        stack.enter_context(new_folder(out) if writes else showing(SILENT))
        sizes = Sizes(num_samples, max_seq_length, seed)
        where = str(several.device) if several else device
        pair = open_pair(pruned, dense, calibration, sizes, data_root, where, kind)
        check_room(out, pair.pruned.origin.checkpoint.size if pair.pruned.origin else 0)
        job = RecoveryJob(how, pair, pair.other(watch, watch_tokens), several)
        with job.kept() if resume is None and several is None else nullcontext(resume) as folder:
            if folder is not None:
                goes_on("the run's state is kept", folder)
            report = job.run(folder, as_typed())
            if not writes:
                return
            report.save(out)
    print(report.json() if as_json else report.text())
