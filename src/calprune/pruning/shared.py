"""A job that several processes share (`layers.together.processes`): what cannot be shared is refused."""

from pathlib import Path
from typing import Any

from calprune.base.values import UserError
from calprune.layers.saved import Statistics
from calprune.layers.together.processes import DataShare, Processes
from calprune.pruning.job import Pruning
from calprune.refine import Refinement


def check_shared(job: Any, processes: Processes, resume: str | Path | None) -> None:
    """Raise UserError for a job that is of one process: what takes units out, trains blocks or keeps done ones."""
    alone = "start it without torchrun"
    if not isinstance(job, Pruning):
        raise UserError(f"{processes.size} processes share the sums of linears' inputs, and {job.pattern} takes whole "
                        f"{job.pattern.kind} out: {alone}")  # fmt: skip
    if isinstance(job.method, Refinement):
        raise UserError(f"{job.method_text} trains blocks on sequences, which {processes.size} processes do not share: "
                        f"{alone}")  # fmt: skip
    if job.needs == "nothing":
        raise UserError(f"{job.method_text} reads no data, so there is nothing for {processes.size} processes: {alone}")
    if resume is not None:
        raise UserError(f"--resume keeps the blocks of one process, not of {processes.size}: leave it out")


def share_of(data: Any, processes: Processes) -> DataShare:
    """This process's part of a calibration set. Raises UserError where it holds fewer sequences than processes."""
    if isinstance(data, Statistics):
        raise UserError(f"saved sums are collected already, so there is nothing for {processes.size} processes: start "
                        "it without torchrun")  # fmt: skip
    return DataShare.of(data, processes)
