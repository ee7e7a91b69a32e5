"""2:4 linears in the form that GPUs are faster with."""

from torch import nn

from calprune.base.checks import Count, checked
from calprune.deployment.semi_structured import AccelerateReport, accelerate_linears
from calprune.models.load import Model


@checked
def accelerate(model: Model | nn.Module, *, rows: Count = 2048) -> AccelerateReport:
    """Make exact 2:4 linears torch's semi-structured tensors, in place, where that is measured to be faster here.

        model = calprune.load("pruned", dtype="bfloat16", device="cuda")
        report = calprune.accelerate(model, rows=4096)
        report.changed

    model: on an NVIDIA GPU of compute capability 8.0 or later; one that `load` gave, or a torch module. It is for
        running: it cannot be pruned or saved afterwards.
    rows: how many tokens are multiplied at a time, a batch's together: a prompt has many, decoding one a sequence. Each
        shape of matrix is timed at so many rows in both forms, and stays dense where that is faster.

    Raises UserError where there is no such GPU, and where no linear is exactly 2:4 in float16 or bfloat16.
    """
    return accelerate_linears(model.model if isinstance(model, Model) else model, rows)
