"""Get back what pruning cost a model."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from calprune.api.arguments import ModelLike, SetLike, Sizes
from calprune.api.models import Dtype
from calprune.api.progress import ProgressLike, shown
from calprune.api.pruned.pairs import Pair, open_pair
from calprune.base.checks import Count, checked
from calprune.base.output import filled_folder
from calprune.layers.together.processes import Processes
from calprune.pruning.kept_blocks import kept_in_cache
from calprune.recovery.adapter import check_peft
from calprune.recovery.job import OtherText, run_name
from calprune.recovery.job import recover as train
from calprune.recovery.report import RecoveryReport
from calprune.recovery.trained import What
from calprune.recovery.training import Recovering


@checked
def recover(
    pruned: ModelLike,
    data: SetLike,
    *,
    dense: ModelLike,
    what: What = "weights",
    epochs: float = 3.0,
    minutes: float | None = None,
    learning_rate: float | None = None,
    weight_decay: float = 0.0,
    batch: Count | None = None,
    top: Count | None = 64,
    rank: Count = 16,
    keep_adapter: bool = False,
    watch: str | None = None,
    watch_tokens: Count = 2048,
    num_samples: Count | None = None,
    max_seq_length: Count | None = None,
    seed: int | None = None,
    resume: str | Path | None = None,
    data_root: str | Path | None = None,
    device: str | None = "auto",
    dtype: Dtype | None = None,
    progress: ProgressLike | None = None,
) -> RecoveryReport:
    """Train what is left of a pruned model towards the dense model's next-token distributions; its zeros stay.

        report = calprune.recover("pruned", "c4", dense="demo", minutes=10, num_samples=256, max_seq_length=256)
        report.before, report.after      # KL to the dense model on held-out text
        report.save("recovered")

    pruned: the folder of a pruned model, or one that is loaded; it is changed in place. dense: the model that it was.
    data: what it is trained on, as for `prune`; one sequence in eight is held out and watched.
    what: "weights", all numbers of the blocks that are not zero; "lora", a low-rank change under the mask; "norms",
        norms and biases alone.
    epochs: passes over the set. minutes: the run ends by then; it learns as slowly at its end as it would have.
    learning_rate: the highest; None: by `what`, and lowered to a quarter where the watched texts get worse at first.
    weight_decay: of AdamW. batch: sequences of a step; None: as many as have about 512 tokens together, 8,192 on a GPU.
    top: tokens of each dense distribution that are kept, the others as one; None: all, worked out at each pass.
    rank: of "lora". keep_adapter: of "lora": it is saved as a PEFT adapter, and the pruned weights stay as they were.
    watch: a text of another source, as for `evaluate`; None: wikitext2, or c4 where that is the set's own source.
        watch_tokens: of it.
    num_samples, max_seq_length, seed: of a set that is built here. seed is of the order of training too.
    resume: a folder that keeps the state of the run: the same call goes on where it was stopped.
    data_root, device, dtype, progress: as for `prune`.

    Raises UserError where the first model cannot be what pruning left of the second (a tokenizer or a shape outside the
    blocks is another), the set is not the model's or has less than four sequences, or the memory does not suffice.
    """
    how = Recovering(what, epochs, minutes, learning_rate, weight_decay=weight_decay, batch=batch, top=top, rank=rank,
                     keep_adapter=keep_adapter, seed=seed or 0)  # fmt: skip
    if keep_adapter:
        check_peft()
    with shown(progress):
        sizes = Sizes(num_samples, max_seq_length, seed)
        pair = open_pair(pruned, dense, data, sizes, data_root, device, dtype)
        job = RecoveryJob(how, pair, pair.other(watch, watch_tokens))
        return job.run(Path(resume) if resume is not None else None)


@dataclass(frozen=True)
class RecoveryJob:
    """A recovery with what it is of."""

    how: Recovering
    pair: Pair
    other: OtherText | None
    processes: Processes | None = None  # that share it, this one among them

    def run(self, resume: Path | None, command: str = "") -> RecoveryReport:
        """Train, and say what came of it. resume: where the state is kept; None: nowhere."""
        with filled_folder(resume, "--resume") if resume is not None else nullcontext():
            done = train(self.how, (self.pair.pruned, self.pair.dense), self.pair.given.data, self.other, resume,
                         self.processes)  # fmt: skip
        return RecoveryReport(self.pair.pruned, self.pair.dense.name, done, self.pair.given.about, self.pair.base,
                              command=command)  # fmt: skip

    @contextmanager
    def kept(self) -> Iterator[Path | None]:
        """A folder in the cache for the state of the run, removed when it has ended well."""
        models = (self.pair.pruned, self.pair.dense)
        size = 20 * sum(p.numel() for p in models[0].model.parameters())
        with kept_in_cache(run_name(self.how, models, self.pair.given.data, self.other), size) as folder:
            yield folder
