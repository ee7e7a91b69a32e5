"""calprune demo: six lines in two minutes, or (--full) the whole job on one small model. Both are studies that come
with the package: studies/demo*.yaml."""

import json
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from calprune.base.values import UserError
from calprune.cli import options as opt
from calprune.cli.app import app, as_typed, goes_on

if TYPE_CHECKING:
    from calprune.calibration.set import CalibrationSet
    from calprune.evaluation.evaluation import OnText
    from calprune.studies.bench import Bench
    from calprune.studies.plan import Plan
    from calprune.studies.records import EvaluationRecord
    from calprune.studies.trial import Trial

Interval = tuple[float | None, float | None]
KEPT = {("none", "magnitude", "2:4"), ("pydoc_topics", "wanda", "2:4"), ("pydoc_topics", "sparsegpt", "2:4")}


@dataclass(frozen=True)
class DemoRow:
    """One line of the table."""

    name: str
    calibration: str  # the set's name; "none": the method reads none
    method: str
    pattern: str
    perplexity: float  # on held-out text
    kl: float  # KL(dense || pruned) on held-out text that the dense model wrote, nats a token
    perplexity_interval: Interval  # 95 %, over windows
    kl_interval: Interval
    own_source: tuple[str, ...] = ()  # which of the two figures are judged on text of the source that calibrated
    sparsity: float | None = None  # achieved, of the pruned linears
    seconds: float | None = None  # of the prune step, from sums that are there; None: not pruned
    peak_mib: float | None = None  # of memory while pruning, the dense model and what it is compared by included
    collect_seconds: float | None = None  # of the one pass that collected the sums, which the set's rows share
    checkpoint: str | None = None  # the folder, where it was kept
    loads_equal: bool | None = None  # whether plain transformers gives the checkpoint's logits to the bit


@app.command("demo", example="calprune demo\ncalprune demo --full --data-root DATA --out runs/full")
def demo_command(
    out: Annotated[
        Path | None, opt.output_option(help="folder to write", show_default="runs/demo, or runs/demo-full")
    ] = None,
    full: Annotated[
        bool, opt.run_option("--full", help="more sets, two patterns and three checkpoints: about 6 minutes on 2 cores")
    ] = False,
    data_root: Annotated[
        Path | None, opt.data_option(envvar="CALPRUNE_DATA", help="of --full: folder of data sets on disk")
    ] = None,
    as_json: opt.Json = False,
) -> None:
    """Prune a small real model, see that the data matters, and what to do with a model of one's own: in 2 minutes."""
    if "--data-root" in as_typed() and not full:
        raise UserError("--data-root goes with --full: the short demo reads no data set")
    if full:
        _full(out or Path("runs/demo-full"), data_root, as_json)
    else:
        _short(out or Path("runs/demo"), as_json)


def _short(out: Path, as_json: bool) -> None:
    """Six lines."""
    from calprune.base.progress import current, duration
    from calprune.models.demo import is_made
    from calprune.starting.demo import demo, table
    from calprune.studies.bench import Knobs

    started, knobs = time.perf_counter(), Knobs()
    made = "" if is_made() else ", and about 40 s before it to make the model's checkpoint, once"
    print("calprune demo: half of the weights of a small language model are set to zero, in five ways, and each is "
          f"compared with the whole model{made}", file=sys.stderr)  # fmt: skip
    planned = demo(out, knobs)
    current().say(f"it will take about {duration(planned.seconds())} in all on this machine")
    goes_on("what was done is kept", out)
    results = planned.run(knobs)
    if as_json:
        print(json.dumps({"format": 1, "table": table(results).records(), "page": str(planned.page)}, indent=1))
        return
    seconds = duration(time.perf_counter() - started)
    print(table(results).text(), "", f"page: {planned.page} (it took {seconds})",
          "next: calprune start MODEL --data my_texts.jsonl   (a folder, a .gguf file or a hub name; or demo)",
          sep="\n")  # fmt: skip


def _full(out: Path, data_root: Path | None, as_json: bool) -> None:
    """Every set, method and pattern, with checkpoints."""
    from calprune.base.output import filled_folder
    from calprune.base.progress import tracking
    from calprune.base.store import write_json, write_whole
    from calprune.evaluation.windows import PROTOCOL
    from calprune.models.load import load
    from calprune.pruning.checkpoint import environment
    from calprune.studies.bench import Bench
    from calprune.studies.plan import plan
    from calprune.studies.reading import parse_study

    started = time.perf_counter()
    with filled_folder(out):
        begin_folder(out)
        text = demo_text(data_root)
        made = plan(parse_study(text, "demo.yaml"), data_root)
        bench = Bench(load("demo"), data_root=data_root)
        bench.model.prove_origin()
        about = {"format": 1, "model": {"name": "demo", "id": bench.model.id}, "protocol": PROTOCOL}
        write_json(out / "about.json", about | {"environment": environment()})  # first: it marks the folder as a demo's
        write_whole(out / "study.yaml", text)
        rows = list(tracking(demo_rows(bench, made, out), 1 + len(made.trials), "pruning SmolLM2-135M"))
        keep(rows, out)
    if as_json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
    else:
        print(table(rows), *_notes(rows, made, out), f"{time.perf_counter() - started:.0f} s in all", sep="\n")


def demo_text(data_root: Path | None) -> str:
    """The demo's study; with data sets on disk it has more sources."""
    name = "demo_full_with_data.yaml" if data_root else "demo_full.yaml"
    return (files("calprune.studies") / name).read_text(encoding="utf-8")


def begin_folder(out: Path) -> None:
    """Raise UserError where it holds something else; an earlier demo's checkpoints are removed."""
    from calprune.starting.demo import check_demo_folder

    check_demo_folder(out, Path("about.json"))
    shutil.rmtree(out / "checkpoints", ignore_errors=True)


def demo_rows(bench: "Bench", made: "Plan", out: Path) -> Iterator[DemoRow]:
    """The dense model, then every trial of the study."""
    from calprune.calibration.build import build

    bench.prepare(made.study.evaluations)
    yield _judged(("none", "dense", "0%"), [bench.dense(one) for one in made.study.evaluations])
    data: CalibrationSet | None = None
    for trial in made.trials:
        if trial.recipe and (data is None or data.id != trial.set_id):
            data = build(trial.recipe, bench.model.tokenizer, data_root=bench.data_root, model=bench.model)
            bench.seconds.clear()
        yield _row(bench, trial, data if trial.recipe else None, made, out)


def _row(bench: "Bench", trial: "Trial", data: "CalibrationSet | None", made: "Plan", out: Path) -> DemoRow:
    """One trial. The sums of a set are collected once, for every method and pattern."""
    from calprune.calibration.recipe import parse_spec
    from calprune.pruning.checkpoint import describe, reset_peak, save_pruned
    from calprune.pruning.job import Pruned

    evaluations = made.study.evaluations
    sums = bench.sums(data, "gram") if data else None
    names = (trial.calibration, trial.setting["method"], trial.setting["pattern"])
    checkpoint, equal = out / "checkpoints" / f"{names[1]}-{names[2].replace(':', 'of')}", None
    reset_peak()
    with bench.pruned(trial.job, sums) as pruned:
        assert isinstance(pruned, Pruned)  # the demo takes no units out
        description = describe(pruned, bench.model) | {"calibration": data.about(trial.calibration) if data else None}
        row = _judged(names, list(bench.judge(evaluations)))
        if names in KEPT:
            save_pruned(bench.model, description, checkpoint)
            equal = loads_equal(checkpoint, bench)
    sources = {part.source for part in trial.recipe.parts} if trial.recipe else set()
    own = tuple(one.metric for one in _texts(made) if parse_spec(one.of).parts[0].source in sources)
    return replace(
        row,
        own_source=own,
        sparsity=description["sparsity"]["pruned_linears"],
        seconds=pruned.seconds,
        peak_mib=description["peak_bytes"]["resident"] / 2**20,
        collect_seconds=bench.seconds["collect"] if data else None,
        checkpoint=str(checkpoint) if names in KEPT else None,
        loads_equal=equal,
    )


def _judged(names: tuple[str, str, str], found: "Sequence[EvaluationRecord]") -> DemoRow:
    """Perplexity and KL with their intervals over windows."""
    from calprune.uncertainty.estimate import exponential, mean_of

    nats, kl = (mean_of(one.items) for one in found)
    assert nats is not None and kl is not None, "a text has one window at least"
    read = nats.map(exponential)
    return DemoRow(" ".join(names), *names, read.value, kl.value, (read.low, read.high), (kl.low, kl.high))


def _texts(made: "Plan") -> "list[OnText]":
    from calprune.evaluation.evaluation import OnText

    return [one for one in made.study.evaluations if isinstance(one, OnText)]


def loads_equal(checkpoint: Path, bench: "Bench") -> bool:
    """Whether plain transformers, given the checkpoint, gives this process's logits to the bit."""
    import torch
    from transformers import AutoModelForCausalLM

    from calprune.models.load import quiet_transformers

    ids = torch.arange(5, 69)[None]
    with torch.no_grad(), quiet_transformers():
        loaded = AutoModelForCausalLM.from_pretrained(
            str(checkpoint), dtype=torch.float32, use_safetensors=True, trust_remote_code=False
        )
        return torch.equal(loaded(ids).logits, bench.model.model(ids).logits)


def keep(rows: Sequence[DemoRow], out: Path) -> None:
    """Write the table: demo.json, a list of rows, and README.md."""
    from calprune.base.store import write_json, write_whole

    write_json(out / "demo.json", [asdict(row) for row in rows])
    head = "# calprune demo\n\n`demo.json` is the table, `study.yaml` what was done, `about.json` by what.\n\n"
    write_whole(out / "README.md", f"{head}{table(rows)}\n")


def table(rows: Sequence[DemoRow]) -> str:
    """The table as text. A star: judged on held-out text of the same source that calibrated."""

    def shown(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    head = "calibration    method     pattern   sparsity  perplexity  KL to dense   seconds  peak MiB"
    lines = [head, "-" * len(head)]
    for row in rows:
        star = {figure: "*" if figure in row.own_source else " " for figure in ("perplexity", "kl")}
        lines.append(
            f"{row.calibration:<14} {row.method:<10} {row.pattern:<7} {shown(row.sparsity, '.2%'):>10} "
            f"{row.perplexity:>10.2f}{star['perplexity']} {row.kl:>11.3f}{star['kl']} "
            f"{shown(row.seconds, '.1f'):>8}  {shown(row.peak_mib, '.0f'):>8}"
        )
    return "\n".join(lines)


def _notes(rows: Sequence[DemoRow], made: "Plan", out: Path) -> list[str]:
    grid, on = made.study.grids[0], _texts(made)[0]
    passes = sorted({row.collect_seconds for row in rows if row.collect_seconds})
    equal = [row.loads_equal for row in rows if row.loads_equal is not None]
    return [
        f"calibrated on {grid.num_samples[0]} x {grid.max_seq_length} tokens; perplexity on held-out {on.of}, KL (nats "
        "per token) on",
        f"held-out text of the model's own, {on.tokens // on.length} x {on.length} tokens each",
        "* judged on held-out text of the source that calibrated",
        f"seconds: the prune step, from sums collected once a set ({passes[0]:.0f} to {passes[-1]:.0f} s, one pass)",
        f"{out}: demo.json and {len(equal)} checkpoints; with {sum(equal)} of them plain transformers gives the same "
        "logits to the bit",
    ]
