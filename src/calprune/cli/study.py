"""calprune study: plan, run, follow and report grids of trials. calprune query: SQL over their results."""

import dataclasses
import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from calprune.base.progress import current, duration, whole
from calprune.base.values import UserError
from calprune.cli import options as opt
from calprune.cli.app import SOME_FAILED, Commands, app, goes_on, note

if TYPE_CHECKING:
    from calprune.studies.folder import Runs
    from calprune.studies.results import Result, Results
    from calprune.studies.time_left import StudyLeft

study_app = Commands(help="Grids of models, calibration sets, methods and draws.")
app.add_typer(study_app, name="study")

StudyFile = Annotated[Path, typer.Argument(help="the study's YAML file")]
RunsFolder = Annotated[Path, typer.Argument(help="the folder of a study run")]
RunsOrFile = Annotated[Path, typer.Argument(help="the folder of a study run, or a file of study report --parquet")]
RunsOption = Annotated[
    Path | None, opt.output_option("--runs", help="folder of results", show_default="runs/ and the study file's name")
]


@study_app.command("plan", example="calprune study plan studies/quickstart.yaml")
def plan_command(
    study: StudyFile, runs: RunsOption = None, data_root: opt.DataRoot = None, as_json: opt.Json = False
) -> None:
    """List the trials of a study, which of them are missing, and how long they may take. Loads no model."""
    from calprune.pages.numbers import counted
    from calprune.pages.table import Column, Table
    from calprune.studies.folder import Runs, study_text
    from calprune.studies.plan import plan
    from calprune.studies.reading import parse_study
    from calprune.studies.time_left import estimate

    made = plan(parse_study(study_text(study), study.name), data_root)
    folder = Runs(_folder(study, runs))
    folder.check(new=True)
    there = {trial.id for trial in made.trials if folder.whole(trial.id, list(made.evaluations))}
    missing = [trial for trial in made.trials if trial.id not in there]
    passes = len({trial.group for trial in missing if trial.set_id and trial.shares_sums})
    if as_json:
        trials = [{"id": trial.id, "done": trial.id in there, "model": trial.model, "label": trial.label}
                  for trial in made.trials]  # fmt: skip
        seconds = estimate(made, missing) if missing else 0.0
        print(json.dumps({"format": 1, "runs": str(folder.path), "trials": trials, "missing": len(missing),
                          "evaluations": list(made.evaluations.values()), "passes": passes, "seconds": seconds},
                         indent=1))  # fmt: skip
        return
    rows = tuple((t.id, "done" if t.id in there else "missing", t.model, t.label) for t in made.trials)
    print(Table("plan", "", tuple(map(Column, ("trial", "state", "model", "what"))), rows).text())
    judged = made.evaluations.values()
    each = f"{counted(len(judged), 'evaluation')} of each: {', '.join(judged)}"
    print(f"{counted(len(made.trials), 'trial')}, {len(missing)} missing; {each}")
    if missing:
        seconds = estimate(made, missing)
        print(f"passes that collect the sums of what is missing: {passes:,}; in all about {duration(seconds)} on this "
              "machine, by its speed now; what models write comes on top")  # fmt: skip


@study_app.command("run", example="calprune study run studies/quickstart.yaml --runs runs/quick")
def run_command(
    study: StudyFile,
    runs: RunsOption = None,
    workers: Annotated[int, opt.run_option(help="processes on this machine")] = 1,
    ray: Annotated[str | None, opt.run_option(help="a Ray cluster instead: auto, local or its address")] = None,
    gpus_per_trial: Annotated[
        float | None,
        opt.run_option(
            help="of a task on a Ray cluster; 0.5: two trials share a GPU", show_default="1, where there are any"
        ),
    ] = None,
    track: Annotated[str | None, opt.output_option(help="also send the results to trackio, mlflow or wandb")] = None,
    data_root: opt.DataRoot = None,
    device: opt.Device = "auto",
    batch_size: opt.BatchSize = None,
    as_json: opt.Json = False,
) -> None:
    """Run the missing trials of a study. What was interrupted goes on; a failed trial is tried again."""
    from calprune.pages.numbers import counted
    from calprune.report.tracking import find_tracker, send
    from calprune.studies.bench import Knobs
    from calprune.studies.cluster import check_places, work_anywhere
    from calprune.studies.folder import Runs, in_a_line, study_text
    from calprune.studies.plan import plan
    from calprune.studies.reading import parse_study
    from calprune.studies.results import status
    from calprune.studies.runner import MOST_WORKERS, begin
    from calprune.studies.similarity import measure_similarity
    from calprune.studies.time_left import StudyLeft

    if not 1 <= workers <= MOST_WORKERS:
        raise UserError(f"--workers: expected 1 to {MOST_WORKERS}; got {workers}")
    check_places(workers, ray)
    if track:  # so that a mistake shows before hours of work
        find_tracker(track)
    text = study_text(study)
    made = plan(parse_study(text, study.name), data_root)
    folder = Runs(_folder(study, runs))
    with made.doing(folder, text):
        begin(folder)
        goes_on("trials that are done are kept", folder.path)
        knobs = Knobs(device, batch_size, data_root, gpus_per_trial)
        left = StudyLeft(folder, made, device, workers)
        for _ in _running(folder, work_anywhere(folder, knobs, workers, ray), left):
            pass
        measure_similarity(folder, made, knobs)
    if track:
        send(folder, track)
    ended = status(folder)
    if as_json:
        print(json.dumps({"format": 1, "runs": str(folder.path)} | dataclasses.asdict(ended), indent=1))
    else:
        see = shlex.join(["calprune", "study", "report", str(folder.path), "--out", "report.html"])
        print(f"{folder.path}: {ended}; see it: {see}")
    if ended.failed:
        for trial in made.trials:
            if (error := folder.error(trial.id)) is not None:
                print(f"failed: {trial.label}: {in_a_line(error)}", file=sys.stderr)
    if ended.missing:
        print(f"missing: {counted(ended.missing, 'trial')} that nobody works on; run it again", file=sys.stderr)
    if ended.failed or ended.missing:
        raise typer.Exit(SOME_FAILED)


@study_app.command("status", example="calprune study status runs/quick")
def status_command(runs: RunsFolder, as_json: opt.Json = False) -> None:
    """Show how far a study is, what failed, and what is best so far."""
    from calprune.studies.folder import Runs, in_a_line
    from calprune.studies.results import read, status

    folder = Runs(runs)
    now, results = status(folder), read(runs)
    if as_json:
        failed = [dataclasses.asdict(failure) for failure in results.failed]
        best = None if (first := results.best()) is None else _best(first)
        about = {"format": 1, "title": results.title, "best": best}
        print(json.dumps(about | dataclasses.asdict(now) | {"failures": failed}, indent=1))
        return
    print(f"{results.title}: {now}")
    if (first := results.best()) is not None:
        print(f"best so far by {first.evaluation}: {_described(first)}")
    for failure in results.failed:
        print(f"failed: {failure.label}: {in_a_line(failure.error)}")


@study_app.command(
    "report",
    example="calprune study report runs/quick --out report.html\n"
    "calprune study report runs/quick --csv results.csv --json-file results.json\n"
    "calprune study report runs/quick --parquet quick.parquet\n"
    "calprune study report quick.parquet --out report.html",
)
def report_command(
    runs: RunsOrFile,
    more: Annotated[Path | None, typer.Argument(hidden=True)] = None,
    out: Annotated[Path | None, opt.output_option(help="write the page here: one HTML file")] = None,
    csv: Annotated[Path | None, opt.output_option(help="write every result as a row here")] = None,
    json_file: Annotated[Path | None, opt.output_option(help="write the results and statistics as JSON here")] = None,
    markdown: Annotated[Path | None, opt.output_option(help="write the tables as Markdown here")] = None,
    parquet: Annotated[
        Path | None,
        opt.output_option(help="keep every result of every item here, to report from later without the folder"),
    ] = None,
    claims: Annotated[
        Path | None, opt.output_option(help="write the claims of the study with their verdicts as JSON here")
    ] = None,
    study: Annotated[
        Path | None,
        opt.data_option(
            help="the study's file, if its claims were written after the run", show_default="as it was run"
        ),
    ] = None,
    of_interest: opt.OfInterest = None,
    as_json: opt.Json = False,
) -> None:
    """Write what a study found: a page that opens without a network, or tables."""
    from calprune import report

    if more is not None:
        if not as_json:
            raise typer.BadParameter(f"one folder of a study run, please; {more} follows it")
        note(f"the file of results is written with --json-file {more}")
        json_file, as_json = more, False
    wanted = {report.write_html: out, report.write_csv: csv, report.write_json: json_file,
              report.write_markdown: markdown, report.write_claims: claims, report.write_parquet: parquet}  # fmt: skip
    if not any(wanted.values()):
        raise UserError(
            "say what to write: --out PAGE.html, --csv, --json-file, --markdown, --parquet or --claims FILE"
        )
    from calprune.base.output import check_new_file

    named: dict[Path, str] = {}
    for option, path in (("--out", out), ("--csv", csv), ("--json-file", json_file), ("--markdown", markdown),
                         ("--claims", claims), ("--parquet", parquet)):  # fmt: skip
        check_new_file(path, option)
        if path is not None and (first := named.setdefault(path.resolve(), option)) != option:
            raise UserError(f"{first} and {option} name one file, {path}: give each its own")
    results = _with_interest(_as_written(_results(runs, failed=True), study), of_interest)
    for write, path in wanted.items():
        if path is not None:
            write(results, path)
    files = [str(path) for path in wanted.values() if path is not None]
    print(json.dumps({"format": 1, "written": files}, indent=1) if as_json else "\n".join(files))


@study_app.command(
    "new",
    example="calprune study new --like bandari2024 --model my-model --budget 2h\n"
    "calprune study new --like mine.yaml --model my-model --pilot runs/pilot --out smaller.yaml",
)
def new_command(
    like: Annotated[str, opt.data_option(help="a paper's study by its name, or a study's file")],
    model: Annotated[str, opt.data_option(help="a folder, a .gguf file or a hub name")],
    budget: Annotated[str, opt.run_option(help="the time it may take on this machine, such as 30m or 2h")] = "2h",
    pilot: Annotated[
        Path | None, opt.data_option(help="results of a small run on this model: what is at chance there is left out")
    ] = None,
    out: Annotated[
        Path | None, opt.output_option(help="the study's file", show_default="the name of --like, .yaml")
    ] = None,
    data_root: opt.DataRoot = None,
    as_json: opt.Json = False,
) -> None:
    """Write a study like another for your own model, cut to the time there is. What was cut stands in the file."""
    from calprune.base.output import check_new_file
    from calprune.base.store import write_whole
    from calprune.choosing.trials import parse_budget
    from calprune.pages.numbers import counted
    from calprune.starting.study_like import study_like

    path, seconds = out or Path(f"{Path(like).stem}.yaml"), parse_budget(budget)
    assert seconds is not None
    check_new_file(path, "--out")
    if path.exists():
        raise UserError(f"--out: {path} is there already; name a file that is not")
    found = study_like(like, model, seconds, data_root, _results(pilot) if pilot else None)
    write_whole(path, found.text)
    if as_json:
        print(json.dumps({"format": 1, "study": str(path), "trials": found.trials, "seconds": found.seconds,
                          "cut": list(found.gone)}, indent=1))  # fmt: skip
        return
    print(f"{path}: {counted(found.trials, 'trial')}, about {duration(found.seconds)} on this machine; "
          f"{counted(len(found.gone), 'thing')} cut, named in the file; run it: "
          f"{shlex.join(['calprune', 'study', 'run', str(path)])}")  # fmt: skip


@study_app.command(
    "power", example="calprune study power runs/pilot\ncalprune study power runs/pilot --of-interest kl=0.05"
)
def power_command(runs: RunsOrFile, of_interest: opt.OfInterest = None, as_json: opt.Json = False) -> None:
    """Show what a study, or a small pilot of it, can tell: the draws and items that find the smallest difference of
    interest, and which evaluations are at chance."""
    from calprune.report.findings import Findings
    from calprune.report.sections.power import in_words, power_table

    table = power_table(Findings(_with_interest(_results(runs), of_interest)))
    if not table.rows:
        raise UserError(f"{runs}: there is no setting with two sources yet; a pilot has two sources and three draws")
    print(
        json.dumps({"format": 1, "power": table.records()}, indent=1)
        if as_json
        else f"{table.text()}\n{in_words(table)}"
    )


@app.command(
    "query",
    example='calprune query runs/quick "select evaluation, calibration, avg(value) from results group by all"',
)
def query_command(
    runs: RunsOrFile,
    sql: Annotated[str, typer.Argument(help="SQL; the table is `results`")],
    across_metrics: Annotated[
        bool, opt.run_option("--across-metrics", help="allow a mean over several metrics, which has no unit")
    ] = False,
    as_json: opt.Json = False,
) -> None:
    """Ask a study's results in SQL (DuckDB): one row an evaluation of a trial. A mean, sum or spread of values of
    several metrics is refused: group by evaluation or metric, or filter on one."""
    from calprune.pages.table import Column, Table
    from calprune.report.query import as_records, query

    columns, rows = query(runs, sql, across_metrics)
    if as_json:
        print(json.dumps(as_records(columns, rows), indent=1, allow_nan=False))
        return
    cells = tuple(tuple(f"{v:.6g}" if isinstance(v, float) else str(v) for v in row) for row in rows)
    print(Table("query", "", tuple(map(Column, columns)), cells).text())


def _results(runs: Path, failed: bool = False) -> "Results":
    """Of a folder or file, which must hold some; failed: or trials that failed."""
    from calprune.pages.numbers import counted
    from calprune.report import read_results
    from calprune.studies.folder import in_a_line

    results = read_results(runs)
    if results.failed and not results.rows and not failed:
        raise UserError(f"{runs} holds no result: {counted(len(results.failed), 'trial')} failed, the first by "
                        f"{in_a_line(results.failed[0].error)}")  # fmt: skip
    if not results.rows and not results.failed:
        raise UserError(f"{runs} holds no result yet: calprune study run makes them")
    return results


def _as_written(results: "Results", study: Path | None) -> "Results":
    """With what a study's file says of results that are there: all but its settings."""
    from calprune.studies.folder import study_text
    from calprune.studies.reading import parse_study
    from calprune.studies.results import STUDY, of_text

    if study is None:
        return results
    text = study_text(study)
    written = parse_study(text, study.name)
    claims, interest, left_out, labels = of_text(text, study.name)
    return dataclasses.replace(results, title=written.title, question=written.question, claims=claims,
                               interest=interest, left_out=left_out, labels=labels,
                               about=results.about | {STUDY: text})  # fmt: skip


def _with_interest(results: "Results", of_interest: list[str] | None) -> "Results":
    """With the smallest differences that the option names."""
    from calprune.evaluation.metric import read_interest

    if not of_interest:
        return results
    named = read_interest(of_interest, "--of-interest", {row.metric for row in results.rows})
    return dataclasses.replace(results, interest=results.interest.but(named))


def _running(folder: "Runs", steps: Iterator[object], left: "StudyLeft") -> Iterator[None]:
    """Run to the end and report each finished trial on stderr, with what all that are left may take."""
    from calprune.studies.results import BestSoFar, status

    best = BestSoFar(folder)
    if (now := status(folder)).left:
        current().say(f"{now}; about {duration(left.seconds())} left, by this machine's speed now")

    said = (now.done, now.failed)
    with whole(left):
        for _ in steps:
            yield
            now = status(folder)
            if (now.done, now.failed) != said:
                said = (now.done, now.failed)
                rest, first = left.look(), best.look()
                parts = [str(now), *([f"about {duration(rest)} left"] if now.left else [])]
                parts += [f"best by {first.evaluation}: {_described(first)}"] if first else []
                current().say("; ".join(parts))


def _best(row: "Result") -> dict[str, Any]:
    return {"trial": row.trial, "evaluation": row.evaluation, "value": row.value, "draw": row.draw} | dict(row.axes)


def _described(row: "Result") -> str:
    named = [row.calibration, row.method, row.pattern] + ([row.allocation] if row.allocation != "uniform" else [])
    return f"{' '.join(named)}{f' draw {row.draw}' if row.draw is not None else ''} {row.value:.4g}"


def _folder(study: Path, runs: Path | None) -> Path:
    return runs or Path("runs") / study.stem
