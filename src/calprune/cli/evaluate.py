"""calprune eval: perplexity on text, KL to the dense model, and tasks."""

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from calprune.base.values import UserError
from calprune.cli import options as opt
from calprune.cli.app import app

if TYPE_CHECKING:
    from torch import Tensor

    from calprune.evaluation.result import TextResult
    from calprune.evaluation.text import Text
    from calprune.models.load import Model

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
    from calprune.evaluation.contract import files_read
    from calprune.evaluation.evaluation import outcomes_of
    from calprune.evaluation.result import EvaluationResult, ModelName
    from calprune.evaluation.tasks import find_task
    from calprune.evaluation.windows import windows_of
    from calprune.models.load import load, load_tokenizer
    from calprune.text.encode import tokenizer_hash
    from calprune.text.given import Given

    started = time.perf_counter()
    tasks = [find_task(text) for text in task]
    if not perplexity and not any(one.measures.needs_dense for one in tasks) and (kl_to or not task):
        raise UserError("nothing to measure" + (" KL on" if kl_to else "") + "; give --perplexity wikipedia"
                        + ("" if kl_to else ', or --task "boolq(examples=200)"'))  # fmt: skip
    for asked in tasks:
        files_read(asked, data_root)  # so that what is missing is said before a model is loaded
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
    found = tuple(
        _measured(judged, dense, text, rows, batch_size or 4) for text, rows in zip(texts, windows, strict=True)
    )
    answered = tuple(outcomes_of(each, judged, data_root, dense) for each in tracking(tasks, len(tasks), "tasks"))
    named = ModelName(judged.name, judged.id)
    result = EvaluationResult(named, ModelName(dense.name, dense.id) if dense else None, found, answered, window,
                              time.perf_counter() - started)  # fmt: skip
    print(result.json() if as_json else result.text())


def _measured(judged: "Model", dense: "Model | None", text: "Text", windows: "Tensor", batch_size: int) -> "TextResult":
    """One text."""
    from calprune.base.progress import tracking
    from calprune.evaluation.divergence import DenseReference
    from calprune.evaluation.perplexity import perplexity
    from calprune.evaluation.result import TextResult

    def following(doing: str) -> Any:
        return lambda batches: tracking(batches, len(batches), doing)

    measured = perplexity(judged.model, windows, batch_size=batch_size, follow=following("perplexity"))
    kl = None
    if dense is not None:
        reference = DenseReference(dense.model, windows, batch_size=batch_size, follow=following("the dense model"))
        kl = reference.divergence(judged.model, following("divergence")).estimate()
    return TextResult(text.name, text.held, len(windows), measured.estimate(), measured.nats_per_token(), kl)
