"""calprune start: the guided way, from a model and texts of one's own to a pruned model and a first table."""

import json
import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from calprune.base.values import UserError
from calprune.cli import options as opt
from calprune.cli.app import app, goes_on


@app.command(
    "start",
    example="calprune start demo --yes\n"
    "calprune start my-model --data my_chat.jsonl --for general --for code --data-root DATA --out started",
)
def start_command(
    model: opt.Model,
    data: Annotated[
        list[Path] | None,
        opt.data_option(help="a file of yours: texts or conversations (.jsonl, .txt, .csv, ...); repeatable"),
    ] = None,
    for_: Annotated[
        list[str] | None,
        opt.data_option(
            "--for",
            help="what the pruned model is to keep beside your data: general, code, mathematics, commonsense, "
            "knowledge, language, chat; repeatable, or code,chat",
            show_default="general",
        ),
    ] = None,
    out: Annotated[
        Path | None, opt.output_option(help="folder to write", show_default="runs/start- and the model's name")
    ] = None,
    yes: Annotated[bool, opt.run_option("--yes", help="do not ask")] = False,
    minutes: Annotated[float, opt.run_option(help="how long it may take: the sets are as large as that allows")] = 15.0,
    method: opt.MethodToCompare = None,
    pattern: opt.Pattern = "50%",
    data_root: opt.DataRoot = None,
    device: opt.Device = "auto",
    as_json: opt.Json = False,
) -> None:
    """Prune a model with the usual text and with yours, compare them, and keep the better one: five lines say what will
    be done and what it takes, before anything is. Goes on where it was stopped."""
    from calprune.base.patterns import parse_pattern
    from calprune.base.progress import current
    from calprune.starting.own_data import check_file

    for file in data or ():
        check_file(file)
    current().say("looking at the model and the texts ...")  # what is imported next takes seconds
    from calprune.pruning.default import default_method
    from calprune.starting.look import look
    from calprune.starting.proposal import Wanted, propose, same_run, sized
    from calprune.starting.run import carry_out, read_run
    from calprune.studies.bench import Knobs

    folder = out or Path("runs") / f"start-{re.sub(r'[^A-Za-z0-9.-]+', '-', model.rstrip('/')).strip('-.') or 'model'}"
    names = [word for one in for_ or ["general"] for word in one.replace(",", " ").split()]
    wanted = Wanted(model, folder, tuple(data or ()), tuple(dict.fromkeys(names)),
                    method or default_method(parse_pattern(pattern), often=True), pattern, minutes,
                    Knobs(device, None, data_root))  # fmt: skip
    there = read_run(folder)
    made = propose(wanted, look(model))
    made = sized(made, same_run(made, there) if there else None)
    for line in (*(f"note: {note}" for note in made.notes), *made.lines()):
        print(line, file=sys.stderr)
    if there:
        print(f"going on in {folder}: what is done there is not done again", file=sys.stderr)
    else:
        _confirm(yes)
    goes_on("what was done is kept", folder)
    found = carry_out(made)
    if as_json:
        table = found.table().records()
        print(json.dumps({"format": 1, "table": table, "sentence": found.sentence(), "warnings": found.cautions(),
                          "calibration": found.label,
                          "model": str(found.model), "page": str(found.page) if found.page else None,
                          "next": found.choose_command()}, indent=1))  # fmt: skip
    else:
        print(found.table().text(), "", found.sentence(), *found.cautions(), "", *found.following(), sep="\n")


def _confirm(yes: bool) -> None:
    """Go on only with a yes. Raises UserError where there is nobody to ask."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UserError("nothing was done: there is no terminal to ask on whether to go on; give --yes")
    typer.confirm("Go on?", default=True, abort=True, err=True)
