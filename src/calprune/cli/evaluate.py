"""calprune eval: perplexity on text, KL to the dense model, and tasks."""

import json
import math
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from calprune.base.values import UserError
from calprune.cli import options as opt
from calprune.cli.app import app

if TYPE_CHECKING:
    from torch import Tensor

    from calprune.evaluation.items import Outcomes
    from calprune.models.load import Model
    from calprune.uncertainty.estimate import Estimate

_TASK = 'questions to answer: "boolq(examples=200)", "bandari/gsm8k"; repeatable'
_TEXT = "text to judge on: a catalogue name (its evaluation split), a text file, the folder of a built set; repeatable"


@app.command("eval")
def eval_command(
    model: opt.Model,
    perplexity: Annotated[list[str], typer.Option(default_factory=list, help=_TEXT)],
    task: Annotated[list[str], typer.Option(default_factory=list, help=_TASK)],
    kl_to: Annotated[
        str | None, typer.Option(help="the dense model: measures KL(dense || model) on the same text")
    ] = None,
    window: Annotated[int, typer.Option(help="tokens of a window")] = 512,
    tokens: Annotated[int, typer.Option(help="tokens of each text, at most")] = 16384,
    data_root: opt.DataRoot = None,
    device: opt.Device = "auto",
    dtype: opt.Dtype = None,
    batch_size: opt.BatchSize = None,
    as_json: opt.Json = False,
) -> None:
    """Measure a model's perplexity on held-out text, how far it is from the dense model, and its answers on tasks.

    Example: calprune eval pruned --perplexity wikipedia --perplexity notes.txt --kl-to demo --task "boolq(examples=9)"
    """
    from calprune.base.progress import tracking
    from calprune.calibration.build import open_source
    from calprune.calibration.set import tokenizer_hash
    from calprune.evaluation.tasks import find_task
    from calprune.evaluation.windows import PROTOCOL, windows_of
    from calprune.models.load import load, load_tokenizer
    from calprune.text.given import Given

    started = time.perf_counter()
    if not perplexity and (kl_to or not task):
        raise UserError("nothing to measure" + (" KL on" if kl_to else "") + "; give --perplexity wikipedia"
                        + ("" if kl_to else ', or --task "boolq(examples=200)"'))  # fmt: skip
    tasks = [find_task(text) for text in task]
    for asked in tasks:
        asked.files(data_root)  # so that what is missing is said before a model is loaded
    tokenizer = load_tokenizer(model)
    given = Given(tokenizer=tokenizer, data_root=data_root)
    texts = [open_source(spec, given, "evaluation") for spec in perplexity]
    windows = [windows_of(text.documents(), tokenizer, window, tokens) for text in texts]
    judged = load(model, dtype=dtype, device=device)
    dense = load(kl_to, dtype=dtype, device=device) if kl_to else None
    if dense and tokenizer_hash(dense.tokenizer) != tokenizer_hash(tokenizer):
        raise UserError(
            f"--kl-to {kl_to}: its tokenizer is another than that of {model}, so they have no token in common"
        )
    found = [
        {"name": spec, "held": text.held} | _measured(judged, dense, rows, batch_size or 4)
        for spec, text, rows in zip(perplexity, texts, windows, strict=True)
    ]
    answered = [_answered(each.run(judged, data_root)) for each in tracking(tasks, len(tasks), "tasks")]
    first = found[0] if found else {"perplexity": None, "kl": None}
    told = {
        "format": 1, "model": {"name": judged.name, "id": judged.id},
        "kl_to": {"name": dense.name, "id": dense.id} if dense else None,
        "perplexity": first["perplexity"], "kl": first["kl"], "texts": found, "tasks": answered, "window": window,
        "predictions_per_window": window - 1, "protocol": PROTOCOL, "seconds": time.perf_counter() - started,
    }  # fmt: skip
    print(json.dumps(told, indent=1, allow_nan=False) if as_json else _summary(told))


def _measured(judged: "Model", dense: "Model | None", windows: "Tensor", batch_size: int) -> dict[str, Any]:
    """What is printed of one text."""
    from calprune.base.progress import tracking
    from calprune.evaluation.divergence import DenseReference
    from calprune.evaluation.perplexity import perplexity

    def following(doing: str) -> Any:
        return lambda batches: tracking(batches, len(batches), doing)

    measured = perplexity(judged.model, windows, batch_size=batch_size, follow=following("perplexity"))
    told: dict[str, Any] = {"windows": len(windows)} | _numbers("perplexity", measured.estimate())
    told |= _numbers("nats_per_token", measured.nats_per_token())
    if dense is None:
        return told | _numbers("kl", None)
    reference = DenseReference(dense.model, windows, batch_size=batch_size, follow=following("the dense model"))
    return told | _numbers("kl", reference.divergence(judged.model, following("divergence")).estimate())


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
        size = f"{text['windows']} windows of {told['window']} tokens"
        lines.append(f"{name} on {text['name']} ({text['held']}{note}), {size}")
        lines.append(f"  perplexity        {_shown(text, 'perplexity')}")
        lines.append(f"  nats per token    {_shown(text, 'nats_per_token')}")
        lines += [f"  KL({to['name']} || {name})  {_shown(text, 'kl')} nats per token"] if to else []
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
