"""calprune choose: which calibration data should this model be pruned with? And the pruned model."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from calprune.base.values import ConfigError
from calprune.cli import options as opt
from calprune.cli.app import app, goes_on

USUAL = ("general=1", "mathematics=1", "code=1")  # what the pruned model is to keep, where --for does not say


@app.command(
    "choose",
    example="calprune choose demo --sources c4 --sources gsm8k:icl_cot --sources redpajama_github --for general=1 "
    "--for mathematics=2 --for code=1 --method wanda --pattern 60% --num-samples 16 --max-seq-length 256 --out chosen",
)
def choose_command(
    model: opt.Model,
    out: opt.Out,
    sources: Annotated[
        list[str] | None,
        opt.data_option(
            help="a source to choose among, as for calib build; repeatable",
            show_default="what the model writes itself, c4, a code and a mathematics source, as they can be reached",
        ),
    ] = None,
    more: Annotated[list[str] | None, typer.Argument(hidden=True)] = None,
    for_: Annotated[
        list[str] | None,
        opt.data_option(
            "--for",
            help="what the pruned model is to keep, with its weight: mathematics=2; repeatable",
            show_default=" ".join(f"--for {one}" for one in USUAL),
        ),
    ] = None,
    judge: Annotated[
        list[str] | None,
        opt.data_option(help="the text that a capability is judged on: chat=held_out.jsonl:chat; repeatable"),
    ] = None,
    prompts: Annotated[
        str | None,
        opt.data_option(help="a file of prompts for the model's own responses, where --sources is not given"),
    ] = None,
    method: opt.MethodToCompare = None,
    pattern: opt.PatternOrRemoval = "50%",
    num_samples: Annotated[int, opt.data_option(help="sequences of each calibration set")] = 128,
    max_seq_length: Annotated[int, opt.data_option(help="tokens of a sequence")] = 2048,
    draws: Annotated[int, opt.method_option(help="calibration sets of each source and finalist")] = 3,
    tokens: Annotated[
        int, opt.method_option(help="tokens of each capability's text to search on, and as many for the verdict")
    ] = 8192,
    of_interest: opt.OfInterest = None,
    budget: Annotated[
        str | None,
        opt.run_option(help="how long it may take: 90s, 30m, 2h; what was left out is listed", show_default="no limit"),
    ] = None,
    data_root: opt.DataRoot = None,
    device: opt.Device = "auto",
    batch_size: opt.BatchSize = None,
    as_json: opt.Json = False,
) -> None:
    """Find out whether the calibration data matters for a model, choose it, and prune with it. Goes on where it was
    stopped."""
    if more and not sources:
        raise typer.BadParameter(f"{more[0]} follows no option; a source is written --sources {more[0]}")
    if sources and prompts:
        raise ConfigError(f"--prompts goes without --sources; beside them write --sources 'self:respond({prompts})'")
    sources = [*opt.with_more("--sources", sources or [], more)]
    weights = opt.spread("--for", USUAL if for_ is None else for_)

    from calprune.api.arguments import as_method_and_pattern
    from calprune.base.store import write_whole
    from calprune.choosing.choose import choose
    from calprune.choosing.gate import NothingToChoose
    from calprune.choosing.page import choice_page, headline
    from calprune.choosing.question import Question, default_sources, parse_capabilities
    from calprune.choosing.trials import parse_budget
    from calprune.report.files import write_html
    from calprune.studies.bench import Knobs
    from calprune.studies.results import read

    seconds = parse_budget(budget)
    report = lambda line: print(line, file=sys.stderr, flush=True)  # noqa: E731
    question = Question(
        model, tuple(sources or default_sources(model, prompts, report)), parse_capabilities(weights, judge or ()),
        *as_method_and_pattern(method, pattern), num_samples, max_seq_length, draws, tokens,
        of_interest=_nats_of(of_interest or []),
    )  # fmt: skip
    goes_on("what was done is kept", out)
    try:
        choice = choose(question, out, knobs=Knobs(device, batch_size, data_root), budget=seconds, report=report)
    except NothingToChoose as e:
        write_html(read(out / "runs"), out / "report.html")
        raise NothingToChoose(f"{e}; here is its report: {out / 'report.html'}") from None
    # a page is passed on: its commands name the data root that was typed, and never what CALPRUNE_DATA is here
    here = os.environ.get("CALPRUNE_DATA")
    typed = None if here and data_root == Path(here) else data_root
    write_whole(out / "report.html", choice_page(choice, read(out / "runs"), typed).html())
    lines = headline(choice)
    brief = {"format": 1, "winner": choice.winner, "calibration": choice.result.spec, "answer": lines[:2],
             "left_out": choice.left_out, "out": str(out)}  # fmt: skip
    print(json.dumps(brief, indent=1) if as_json else "\n".join(lines))


def _nats_of(of_interest: list[str]) -> float:
    """The smallest divergence that the user would act on."""
    from calprune.evaluation.metric import KL, NATS_OF_INTEREST, read_interest

    asked = read_interest(of_interest, "--of-interest")
    if others := [name for name in asked.least if name not in ("nats", KL.name)]:
        raise ConfigError(
            f"--of-interest: choose judges by divergence, in nats a token; got {others[0]}; write nats=0.02"
        )
    return asked.of(KL) or NATS_OF_INTEREST
