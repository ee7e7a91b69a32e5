"""calprune prune, stats, methods and diff: the commands of the core."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from calprune.base.patterns import Pattern, Removal, Unstructured, parse_any
from calprune.base.values import UserError, choice
from calprune.cli import options as opt
from calprune.cli.app import app, goes_on
from calprune.cli.names import check, complete

_CHECKPOINT = "`demo`, a folder, or a hub name like owner/name@revision"


@app.command(
    "prune",
    example="calprune prune demo --method sparsegpt --pattern 2:4 --calibration c4 --num-samples 16 "
    "--max-seq-length 256 --out pruned",
)
def prune_command(
    model: opt.Model,
    out: opt.Out,
    method: opt.Method = None,
    pattern: opt.AnyPatternOrNone = None,
    sparsity: Annotated[float | None, opt.method_option(help="0.5 is the pattern 50%")] = None,
    allocation: Annotated[
        str,
        opt.method_option(
            callback=check("allocation"),
            autocompletion=complete("allocation"),
            help='"uniform", "owl(lambda_=0.08, m=5)", "dlp", "alpha", "from_file(path=\'table.yaml\')"',
        ),
    ] = "uniform",
    calibration: opt.CalibrationOrUsual = None,
    num_samples: opt.NumSamples = None,
    max_seq_length: opt.MaxSeqLength = None,
    seed: opt.Seed = None,
    ignore: opt.Ignore = None,
    propagate: Annotated[
        str,
        opt.method_option(
            help="pruned: blocks see pruned outputs; dense: one pass, not two; sequential: one pass, and a linear sees "
            "what those before it in its block give as pruned, too"
        ),
    ] = "pruned",
    refine_on: Annotated[
        str | None,
        opt.data_option(
            help="what block_reconstruction and regional train on", show_default="the data of --calibration"
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        opt.run_option(
            help="folder that keeps done blocks, so that the same command goes on where it was stopped",
            show_default="in the cache, until the job has ended, or for 7 days",
        ),
    ] = None,
    min_expert_tokens: opt.MinExpertTokens = 128,
    all_experts: opt.AllExperts = False,
    token_weights: opt.TokenWeights = "even",
    permute: Annotated[
        str | None,
        opt.method_option(help="heuristic or assignment: order channels first, so that n:m keeps more (RIA)"),
    ] = None,
    data_root: opt.DataRoot = None,
    device: opt.Device = "auto",
    dtype: opt.Dtype = None,
    dequantize: opt.Dequantize = False,
    batch_size: opt.BatchSize = None,
    as_json: opt.Json = False,
) -> None:
    """Prune a model and save it with a report of every matrix."""
    how: Any = choice(propagate, ("pruned", "dense", "sequential"), "--propagate")
    order: Any = choice(permute, ("heuristic", "assignment"), "--permute") if permute else None
    wanted = _one_pattern(pattern, sparsity)
    from calprune.allocation import parse_allocation
    from calprune.api.arguments import Sizes, note_unread, open_job_data, open_usual_data
    from calprune.base.output import check_apart, check_room, new_folder
    from calprune.base.pace import TimeLeft
    from calprune.base.progress import SILENT, current, showing, whole
    from calprune.calibration.advice import advise, widest_input
    from calprune.calibration.set import CalibrationSet
    from calprune.layers.together.processes import joined
    from calprune.methods import parse_method
    from calprune.models.editor import WRITING
    from calprune.models.load import find_device, load
    from calprune.pruning.checkpoint import WRITTEN, PruneReport
    from calprune.pruning.default import default_method
    from calprune.pruning.job import Pruned, Pruning
    from calprune.pruning.shared import check_shared, share_of
    from calprune.removal.job import Removing, removing
    from calprune.removal.report import RemovalReport

    counting = opt.read_counting(min_expert_tokens, all_experts, token_weights)
    asked, method = method, method or default_method(wanted)
    job: Pruning | Removing
    if isinstance(wanted, Removal):
        job = removing(method, wanted, propagate=how, counting=counting, ignore=ignore, permute=order,
                       allocation=allocation != "uniform", refine_on=refine_on, resume=resume)  # fmt: skip
    else:
        job = Pruning(parse_method(method), wanted, tuple(ignore or ()), how, allocation=parse_allocation(allocation),
                      counting=counting, permute=order)  # fmt: skip
    check_apart(resume, out)
    with ExitStack() as stack:
        several = stack.enter_context(joined(find_device(device)))
        target, writes = several.device if several else find_device(device), several is None or several.first
        if several:
            check_shared(job, several, resume)
        stack.enter_context(new_folder(out) if writes else showing(SILENT))
        loaded = load(model, dtype=dtype, dequantize=dequantize)
        job.plan(loaded.model)
        loaded.prove_origin()
        check_room(out, size := loaded.origin.checkpoint.size if loaded.origin else 0)
        sizes = Sizes(num_samples, max_seq_length, seed)
        if job.reads == "nothing":
            note_unread(method, calibration, Sizes() if refine_on else sizes, counting)
        named = calibration if job.reads != "nothing" else None
        given, trained = open_job_data(named, refine_on, loaded, sizes, data_root)
        if job.reads != "nothing" and calibration is None:
            given = open_usual_data(loaded, sizes, data_root)
        data: Any = given.data if given else None
        if isinstance(data, CalibrationSet) and isinstance(job, Pruning):
            advise(data, loaded.tokenizer, method=job.method, widest=widest_input(loaded.model))
        if not asked:
            current().say(f"note: the method is {method}, by the pattern; --method names another")
        if several:
            data = share_of(data, several)
        own = ":" in method + allocation
        keeping = (
            nullcontext() if several else _keeping(resume, job.named(loaded.model, loaded.id, data, trained), size, own)
        )
        with (
            keeping if isinstance(job, Pruning) else nullcontext() as folder,
            whole(TimeLeft(job.phases(loaded.model, data) | {WRITING: WRITTEN})),
        ):
            done = job.run(loaded.model, data, refine_on=trained, resume=folder, device=target, batch_size=batch_size)
            if not writes:
                return
            made = PruneReport if isinstance(done, Pruned) else RemovalReport
            report = made.of(loaded, done, given.about if given else None).save(out)  # type: ignore[arg-type]
    print(report.json() if as_json else report.text())


@app.command(
    "stats",
    example="calprune stats demo --calibration c4 --num-samples 16 --max-seq-length 256 --out sums\n"
    "calprune prune demo --method sparsegpt --pattern 2:4 --calibration sums --out pruned",
)
def stats_command(
    model: opt.Model,
    calibration: opt.CalibrationNeeded,
    out: opt.Out,
    needs: Annotated[
        str,
        opt.method_option(
            help="moments: enough for wanda and ria; gram: for most methods; regional: with gradients of each block's "
            "output, for wanda_plus_plus; gradients: of the loss too, for gblm and pruner_zero: 16 bytes a weight; "
            "nothing: what --units asks for alone"
        ),
    ] = "gram",
    units: Annotated[
        list[str] | None,
        opt.method_option(help="blocks, experts: also what these are chosen by, of a pass of its own; repeatable"),
    ] = None,
    num_samples: opt.NumSamples = None,
    max_seq_length: opt.MaxSeqLength = None,
    seed: opt.Seed = None,
    min_expert_tokens: opt.MinExpertTokens = 128,
    all_experts: opt.AllExperts = False,
    token_weights: opt.TokenWeights = "even",
    data_root: opt.DataRoot = None,
    device: opt.Device = "auto",
    dtype: opt.Dtype = None,
    dequantize: opt.Dequantize = False,
    batch_size: opt.BatchSize = None,
    as_json: opt.Json = False,
) -> None:
    """Collect and save the sums that methods read (one dense pass), to prune from again and again."""
    from calprune.api.arguments import Sizes, open_data
    from calprune.base.output import new_folder
    from calprune.layers.inputs import LADDER
    from calprune.layers.saved import Statistics, save_statistics
    from calprune.models.load import find_device, load
    from calprune.removal.sums import add_units

    level: Any = choice(needs, LADDER, "--needs")
    if level == "nothing" and not units:
        raise UserError("--needs nothing goes with --units blocks or --units experts")
    kinds: Any = [choice(one, ("blocks", "experts"), "--units") for one in units or ()]
    counting = opt.read_counting(min_expert_tokens, all_experts, token_weights)
    target = find_device(device)
    with new_folder(out):
        loaded = load(model, dtype=dtype, dequantize=dequantize)
        given = open_data(calibration, loaded, Sizes(num_samples, max_seq_length, seed), data_root)
        if isinstance(given.data, Statistics):
            raise UserError(
                f"--calibration {calibration}: it already holds saved statistics; name a set, a source or a text file"
            )
        sums = Statistics(level, given.of_sums(loaded, counting))
        blocks = sums.collecting(loaded.model, given.data, device=target, batch_size=batch_size, counting=counting)
        if level != "nothing":
            blocks = opt.following(blocks, loaded.model, "collecting")

        def beside() -> dict[str, Any]:
            for kind in kinds:
                add_units(sums, loaded.model, given.data, kind, device=target, batch_size=batch_size, counting=counting)
            return sums.units

        save_statistics(out, level, sums.about, blocks if level != "nothing" else iter(()), beside)
    size = sum(file.stat().st_size for file in Path(out).iterdir())
    if as_json:
        print(json.dumps({"format": 1, "out": str(out), "needs": level, "bytes": size} | sums.about, indent=1))
    else:
        print(f"{out}: sums ({level}) of {loaded.name} on {given.name}, {size / 1e6:.1f} MB")


@app.command("methods", example="calprune methods\ncalprune methods --json")
def methods_command(as_json: opt.Json = False) -> None:
    """List the pruning methods with what they need and their options."""
    from calprune.methods.listing import described_methods
    from calprune.pages.table import Column, Table
    from calprune.removal import described_removals

    found, removals = described_methods(), described_removals()
    if as_json:
        records = [one.record() for one in found] + [one.record() for one in removals]
        print(json.dumps(records, indent=1))
        return
    rows = tuple(
        (one.name, one.needs, one.idea, ", ".join(f"{name}={value}" for name, value in one.options.items()))
        for one in found
    )
    print(Table("methods", "", (Column("name"), Column("needs"), Column("what"), Column("options")), rows).text())
    taken = tuple(
        (one.name, ", ".join(one.kinds), one.needs, one.idea, ", ".join(f"{k}={v}" for k, v in one.options.items()))
        for one in removals
    )
    heads = (Column("name"), Column("takes out"), Column("needs"), Column("what"), Column("options"))
    print(f"\n{Table('removals', 'What is taken out (--pattern neurons:25%)', heads, taken).text()}")


@app.command(
    "diff",
    example="calprune diff demo pruned\ncalprune diff demo pruned --json",
)
def diff_command(
    first: Annotated[str, typer.Argument(help=_CHECKPOINT)],
    second: Annotated[str, typer.Argument(help=_CHECKPOINT)],
    as_json: opt.Json = False,
) -> None:
    """Say what differs between two checkpoints: which tensors, how many of their numbers, their zeros, which files."""
    from calprune.models.checkpoint import open_checkpoint
    from calprune.models.difference import compare
    from calprune.models.load import find_folder

    found = compare(*(open_checkpoint(find_folder(name), name) for name in (first, second)))
    print(found.json() if as_json else found.text())


@contextmanager
def _keeping(resume: Path | None, job: str, size: int, own: bool) -> Iterator[Path | None]:
    """Where done blocks are kept: in the folder given, else in the cache."""
    from calprune.base.progress import current
    from calprune.pruning.kept_blocks import kept_in_cache

    if resume is None and own:  # its code may be another when the command is given again
        current().note("done blocks are not kept: the code of one's own method may change; --resume keeps them")
        yield None
        return
    with kept_in_cache(job, size) if resume is None else nullcontext(resume) as folder:
        if folder is not None:
            goes_on("done blocks are kept", folder)
        yield folder


def _one_pattern(pattern: str | None, sparsity: float | None) -> Pattern | Removal:
    """What --pattern and --sparsity ask for together."""
    if pattern is None:
        if sparsity is None:
            raise UserError("say how sparse: --pattern 50%, --pattern 2:4 or --sparsity 0.5; or what goes: --pattern "
                            "neurons:25%")  # fmt: skip
        return Unstructured(sparsity)
    parsed = parse_any(pattern)
    if isinstance(parsed, Removal):
        if sparsity is not None:
            raise UserError(f"--pattern {pattern} says what goes; leave --sparsity out")
        return parsed
    if sparsity is not None and abs(parsed.sparsity - sparsity) > 1e-9:
        raise UserError(
            f"--pattern {pattern} is a sparsity of {parsed.sparsity:g}, --sparsity is {sparsity:g}; write one of them"
        )
    return parsed
