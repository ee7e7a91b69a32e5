"""calprune eval: perplexity on text, KL to the dense model, and tasks."""

import json
import math
import shlex
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from calprune.base.values import UserError
from calprune.cli import options as opt
from calprune.cli.app import app, note
from calprune.cli.names import check_each, complete

if TYPE_CHECKING:
    from torch import Tensor

    from calprune.evaluation.evaluation import OnText
    from calprune.evaluation.items import Outcomes
    from calprune.models.load import Model
    from calprune.uncertainty.estimate import Estimate

_ON = (
    'what to measure: "perplexity(wikipedia)", "kl(notes.txt, tokens=16384, length=512)", "boolq(examples=200)", '
    '"bandari/gsm8k"; a text is a catalogue name (its evaluation split), a text file or the folder of a built set; '
    "repeatable"
)
old_option = typer.Option(hidden=True)  # as it was written until 0.1


@app.command(
    "eval",
    example='calprune eval pruned --on "perplexity(wikipedia)" --on "kl(notes.txt)" --on "boolq(examples=9)" '
    "--dense demo",
)
def eval_command(
    model: opt.Model,
    on: Annotated[
        list[str] | None,
        opt.method_option(callback=check_each("evaluation"), autocompletion=complete("evaluation"), help=_ON),
    ] = None,
    dense: Annotated[str | None, opt.method_option(help="the dense model, which kl(...) compares with")] = None,
    perplexity: Annotated[list[str] | None, old_option] = None,
    task: Annotated[list[str] | None, old_option] = None,
    kl_to: Annotated[str | None, old_option] = None,
    window: Annotated[int | None, old_option] = None,
    tokens: Annotated[int | None, old_option] = None,
    data_root: opt.DataRoot = None,
    device: opt.Device = "auto",
    dtype: opt.Dtype = None,
    batch_size: opt.BatchSize = None,
    as_json: opt.Json = False,
) -> None:
    """Measure a model's perplexity on held-out text, how far it is from the dense model, and its answers on tasks."""
    dense = dense or kl_to
    wanted = [*(on or ()), *_as_evaluations(perplexity or [], task or [], kl_to, window, tokens)]
    if not wanted:
        raise UserError('nothing to measure; give --on "perplexity(wikipedia)" or --on "boolq(examples=200)"')
    if not dense and (kl := [one for one in wanted if one.partition("(")[0].strip() == "kl"]):
        raise UserError(f"{kl[0]} compares with the dense model; name it: --dense demo")

    from calprune.base.progress import tracking
    from calprune.calibration.build import open_source
    from calprune.calibration.set import tokenizer_hash
    from calprune.evaluation.evaluation import OnText, parse_evaluation
    from calprune.evaluation.windows import PROTOCOL, windows_of
    from calprune.models.load import load, load_tokenizer
    from calprune.text.given import Given

    started = time.perf_counter()
    evaluations = [parse_evaluation(one) for one in wanted]
    on_text = [one for one in evaluations if isinstance(one, OnText)]
    tasks = [one for one in evaluations if not isinstance(one, OnText)]
    for asked in tasks:
        asked.files(data_root)  # so that what is missing is said before a model is loaded
    tokenizer = load_tokenizer(model)
    given = Given(tokenizer=tokenizer, data_root=data_root)
    texts = {one.text: open_source(one.of, given, "evaluation") for one in on_text}
    windows = {key: windows_of(text.documents(), tokenizer, length, tokens, skip)
               for key, text in texts.items() for _, tokens, length, skip in [key]}  # fmt: skip
    judged = load(model, dtype=dtype, device=device)
    reference = load(dense, dtype=dtype, device=device) if dense and "kl" in {one.metric for one in on_text} else None
    if reference and tokenizer_hash(reference.tokenizer) != tokenizer_hash(tokenizer):
        raise UserError(
            f"--dense {dense}: its tokenizer is another than that of {model}, so they have no token in common"
        )
    found = [
        {"name": key[0], "held": text.held, "window": key[2]}
        | _measured(judged, reference, windows[key], [o for o in on_text if o.text == key], batch_size or 4)
        for key, text in texts.items()
    ]
    answered = [_answered(each.run(judged, data_root)) for each in tracking(tasks, len(tasks), "tasks")]
    one: dict[str, Any] = found[0] if found else {"perplexity": None, "kl": None, "window": None}
    told = {
        "format": 1, "model": {"name": judged.name, "id": judged.id},
        "kl_to": {"name": reference.name, "id": reference.id} if reference else None,
        "perplexity": one["perplexity"], "kl": one["kl"], "texts": found, "tasks": answered, "window": one["window"],
        "predictions_per_window": one["window"] and one["window"] - 1, "protocol": PROTOCOL,
        "seconds": time.perf_counter() - started,
    }  # fmt: skip
    print(json.dumps(told, indent=1, allow_nan=False) if as_json else _summary(told))


def _as_evaluations(
    texts: Sequence[str], tasks: Sequence[str], dense: str | None, window: int | None, tokens: int | None
) -> list[str]:
    """The evaluations that the options of 0.1 mean, with a note that writes them as they are written now."""
    from calprune.base.calls import quoted

    if not texts and (dense or window or tokens):
        raise UserError('--kl-to, --window and --tokens go with --perplexity; write --on "kl(wikipedia)" --dense demo')
    sizes = f"tokens={tokens or 16384}" + (f", length={window}" if window not in (None, 512) else "")
    found = [
        f"{metric}({quoted(text)}, {sizes})" for text in texts for metric in ("perplexity", *(["kl"] if dense else []))
    ]
    found += tasks
    if found:
        wanted = [*(f"--on {shlex.quote(one)}" for one in found), *([f"--dense {dense}"] if dense else [])]
        note(f"this is written {' '.join(wanted)} now")
    return found


def _measured(
    judged: "Model", dense: "Model | None", windows: "Tensor", wanted: "Sequence[OnText]", batch_size: int
) -> dict[str, Any]:
    """What is printed of one text."""
    from calprune.base.progress import tracking
    from calprune.evaluation.divergence import DenseReference
    from calprune.evaluation.perplexity import perplexity

    def following(doing: str) -> Any:
        return lambda batches: tracking(batches, len(batches), doing)

    metrics = {one.metric for one in wanted}
    if dense is not None and "kl" in metrics:
        reference = DenseReference(dense.model, windows, batch_size=batch_size, follow=following("the dense model"))
        kl, measured = reference.compare(judged.model, following("divergence"))
    else:
        kl, measured = None, perplexity(judged.model, windows, batch_size=batch_size, follow=following("perplexity"))
    asked = "perplexity" in metrics
    told: dict[str, Any] = {"windows": len(windows)} | _numbers("perplexity", measured.estimate() if asked else None)
    told |= _numbers("nats_per_token", measured.nats_per_token() if asked else None)
    return told | _numbers("kl", kl.estimate() if kl else None)


def _answered(outcomes: "Outcomes") -> dict[str, Any]:
    """What is printed of one task."""
    from calprune.uncertainty.estimate import mean_of

    found = mean_of(outcomes.items)
    assert found is not None, "a task has one item at least"
    about = {"name": outcomes.task, "metric": outcomes.metric, "capability": outcomes.capability}
    sizes = {
        "chance": outcomes.chance,
        "items": len(outcomes.items),
        "cut": outcomes.cut,
        "requests": outcomes.requests,
    }
    return about | _numbers("value", found) | sizes


def _numbers(name: str, estimate: "Estimate | None") -> dict[str, float | None]:
    """A value and its interval; null is not measured, or more than a number can say."""
    ends = (estimate.value, estimate.low, estimate.high) if estimate else (None, None, None)
    value, low, high = (end if end is not None and math.isfinite(end) else None for end in ends)
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def _summary(told: dict[str, Any]) -> str:
    name, to, lines = told["model"]["name"], told["kl_to"], []
    for text in told["texts"]:
        note = ": NOT held out" if text["held"] == "calibration text" else ""
        size = f"{text['windows']} windows of {text['window']} tokens"
        lines.append(f"{name} on {text['name']} ({text['held']}{note}), {size}")
        if text["perplexity"] is not None or text["kl"] is None:
            lines.append(f"  perplexity        {_shown(text, 'perplexity')}")
            lines.append(f"  nats per token    {_shown(text, 'nats_per_token')}")
        if text["kl"] is not None:
            lines.append(f"  KL({to['name']} || {name})  {_shown(text, 'kl')} nats per token")
    for task in told["tasks"]:
        cut = f", {task['cut']} cut to the model's window" if task["cut"] else ""
        lines.append(f"{name} on {task['name']}, {task['items']} items{cut}")
        metric = task["metric"].replace("_", " ")
        lines.append(f"  {metric:17} {_shown(task, 'value')}, by guessing {task['chance']:.4g}")
    protocol = f" Protocol of perplexity: {told['protocol']}." if told["texts"] else ""
    return "\n".join([*lines, f"brackets: 95 % intervals over windows or items.{protocol}"])


def _shown(text: dict[str, Any], name: str) -> str:
    value, low, high = (text[key] for key in (name, f"{name}_low", f"{name}_high"))
    if value is None:
        return "not measured"
    return f"{value:.4g}" + (f" [{low:.4g}, {high:.4g}]" if low is not None and high is not None else "")
