"""Get back what pruning cost a model."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from calprune.api.arguments import ModelLike, OpenData, SetLike, Sizes, as_data_root, open_model, open_set
from calprune.api.models import Dtype
from calprune.api.progress import ProgressLike, shown
from calprune.base.checks import Count, checked
from calprune.base.output import filled_folder
from calprune.base.progress import current
from calprune.base.store import read_json
from calprune.base.values import UserError
from calprune.calibration.build import only_part, open_source
from calprune.calibration.set import CalibrationSet
from calprune.evaluation.windows import windows_of
from calprune.models.load import Model
from calprune.pruning.card import REPORT
from calprune.pruning.kept_blocks import kept_in_cache
from calprune.recovery.adapter import check_peft
from calprune.recovery.job import OtherText, run_name
from calprune.recovery.job import recover as train
from calprune.recovery.report import RecoveryReport
from calprune.recovery.trained import What
from calprune.recovery.training import RATES, Recovering
from calprune.text.document import Given

USUAL = ("wikitext2", "c4")  # texts of another source, where the user names none: the first that is not the set's own
LENGTH = 512  # tokens of a window, at most


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
    batch: Count = 8,
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
    learning_rate: the highest; None: by `what`. weight_decay: of AdamW. batch: sequences of a step.
    top: tokens of each dense distribution that are kept, the others as one; None: all, worked out at each pass.
    rank: of "lora". keep_adapter: of "lora": it is saved as a PEFT adapter, and the pruned weights stay as they were.
    watch: a text of another source, as for `evaluate`; None: wikitext2, or c4 where that is the set's own source.
        watch_tokens: of it.
    num_samples, max_seq_length, seed: of a set that is built here. seed is of the order of training too.
    resume: a folder that keeps the state of the run: the same call goes on where it was stopped.
    data_root, device, dtype, progress: as for `prune`.

    Raises UserError where the two models are of different shapes or tokenizers, the set is not the model's or has less
    than four sequences, or the memory does not suffice.
    """
    how = Recovering(what, epochs, minutes, learning_rate, weight_decay=weight_decay, batch=batch, top=top, rank=rank,
                     keep_adapter=keep_adapter, seed=seed or 0)  # fmt: skip
    if keep_adapter:
        check_peft()
    with shown(progress):
        job = open_job(how, pruned, dense, data, Sizes(num_samples, max_seq_length, seed), data_root, device, dtype)
        other = job.other(watch, watch_tokens)
        return job.run(other, Path(resume) if resume is not None else None)


class RecoveryJob:
    """The models and the set of a recovery, opened."""

    def __init__(
        self, how: Recovering, models: tuple[Model, Model], given: OpenData[CalibrationSet], root: Path | None
    ) -> None:
        self.how, self.models, self.given, self.root = how, models, given, root
        self.base = _description(models[0])

    def other(self, watch: str | None, tokens: int) -> OtherText | None:
        """The text that is watched beside the set. Raises UserError where it is named and cannot be read."""
        data, model = self.given.data, self.models[0]
        length = min(LENGTH, int(data.lengths.max()))
        given = Given(model, model.tokenizer, self.root, current().say)

        def opened(text: str) -> OtherText:
            source = open_source(text, given, "evaluation")
            return OtherText(text, windows_of(source.documents(), model.tokenizer, length, max(tokens, length)))

        if watch is not None:
            only_part(watch)
            return opened(watch)
        own = {part.source for part in data.drawn}
        for text in (one for one in USUAL if one not in own):
            try:
                return opened(text)
            except UserError:
                continue
        return None

    def run(self, other: OtherText | None, resume: Path | None, command: str = "") -> RecoveryReport:
        """Train, and say what came of it. resume: where the state is kept; None: nowhere."""
        pruned, dense = self.models
        with filled_folder(resume, "--resume") if resume is not None else nullcontext():
            done = train(self.how, self.models, self.given.data, other, resume)
        return RecoveryReport(pruned, dense.name, done, self.given.about, self.base, command=command)

    @contextmanager
    def kept(self, other: OtherText | None) -> Iterator[Path | None]:
        """A folder in the cache for the state of the run, removed when it has ended well."""
        size = 20 * sum(p.numel() for p in self.models[0].model.parameters())
        with kept_in_cache(run_name(self.how, self.models, self.given.data, other), size) as folder:
            yield folder


def open_job(
    how: Recovering, pruned: ModelLike, dense: ModelLike, data: SetLike, sizes: Sizes, data_root: str | Path | None,
    device: str | None, dtype: Dtype | None,
) -> RecoveryJob:  # fmt: skip
    """Load both models and open the set."""
    root = as_data_root(data_root)
    one = open_model(pruned, dtype, device, "pruned")
    other = open_model(dense, dtype, device, "dense")
    one.prove_origin()
    given = open_set(data, one, sizes, root)
    if given.data.masked is not None:
        raise UserError("data: the set has padding that counts and that no token attends to (count_padding: masked), "
                        "which is for comparing with other programs; recover on a set without it")  # fmt: skip
    return RecoveryJob(how, (one, other), given, root)


def _description(pruned: Model) -> dict[str, Any] | None:
    """What calprune.json of the pruned checkpoint says; None: there is none."""
    if pruned.origin is None or not (path := pruned.origin.checkpoint.folder / REPORT).is_file():
        return None
    return read_json(path, "the report of a pruned checkpoint")


__all__ = ["RATES", "RecoveryJob", "open_job", "recover"]
