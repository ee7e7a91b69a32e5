"""calprune eval: perplexity on text, KL to the dense model, and tasks."""

from typing import Annotated, Any

import typer

from calprune.base.progress import current
from calprune.base.values import UserError
from calprune.cli import options as opt
from calprune.cli.app import app

METRICS = ("perplexity", "kl")
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
    from calprune.api.evaluate import evaluate
    from calprune.base.calls import quoted

    if not perplexity and (kl_to or not task):
        raise UserError("nothing to measure" + (" KL on" if kl_to else "") + "; give --perplexity wikipedia"
                        + ("" if kl_to else ', or --task "boolq(examples=200)"'))  # fmt: skip
    sizes = f"tokens={tokens}, length={window}"
    asked = [f"{metric}({quoted(text)}, {sizes})" for text in perplexity for metric in METRICS[: 1 + bool(kl_to)]]
    kind: Any = dtype  # what is no dtype is named there
    result = evaluate(model, [*asked, *task], dense=kl_to, data_root=data_root, device=device, dtype=kind,
                      batch_size=batch_size, progress=current())  # fmt: skip
    print(result.json() if as_json else result.text())
