"""calprune eval: perplexity on text, KL to the dense model, and tasks."""

import shlex
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from calprune.base.progress import current
from calprune.base.values import UserError
from calprune.cli import options as opt
from calprune.cli.app import app, note
from calprune.cli.known import NEEDS_DENSE
from calprune.cli.names import check_each, complete

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
    dense: Annotated[
        str | None,
        opt.method_option(help="the dense model: its figures, the KL to it and what is left stand beside the model's"),
    ] = None,
    perplexity: Annotated[list[str] | None, old_option] = None,
    task: Annotated[list[str] | None, old_option] = None,
    kl_to: Annotated[str | None, old_option] = None,
    window: Annotated[int | None, old_option] = None,
    tokens: Annotated[int | None, old_option] = None,
    data_root: opt.DataRoot = None,
    device: opt.Device = "auto",
    dtype: opt.Dtype = None,
    dequantize: opt.Dequantize = False,
    batch_size: opt.BatchSize = None,
    as_json: opt.Json = False,
) -> None:
    """Measure a model's perplexity on held-out text, how far it is from the dense model, and its answers on tasks."""
    dense = dense or kl_to
    wanted = [*(on or ()), *_as_evaluations(perplexity or [], task or [], kl_to, window, tokens)]
    if not wanted:
        raise UserError('nothing to measure; give --on "perplexity(wikipedia)" or --on "boolq(examples=200)"')
    if not dense and (needs := [one for one in wanted if one.partition("(")[0].strip() in NEEDS_DENSE]):
        raise UserError(f"{needs[0]} compares with the dense model; name it: --dense demo")

    from calprune.api.evaluate import evaluate

    kind: Any = dtype  # what is no dtype is named there
    result = evaluate(model, wanted, dense=dense, data_root=data_root, device=device, dtype=kind,
                      dequantize=dequantize, batch_size=batch_size, progress=current())  # fmt: skip
    print(result.json() if as_json else result.text())


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
