"""A pruned model with the dense one that it was, and a set for both: what recover and compensate begin with."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calprune.api.arguments import ModelLike, OpenData, SetLike, Sizes, as_data_root, open_model, open_set
from calprune.api.models import Dtype
from calprune.base.progress import current
from calprune.base.store import read_json
from calprune.base.values import UserError
from calprune.calibration.part import only_part, open_source
from calprune.calibration.set import CalibrationSet
from calprune.evaluation.windows import windows_of
from calprune.models.load import Model
from calprune.pruning.card import REPORT
from calprune.recovery.job import OtherText, check_pair
from calprune.text.document import Given

USUAL = ("wikitext2", "c4")  # texts of another source, where the user names none: the first that is not the set's own
LENGTH = 512  # tokens of a window, at most


@dataclass(frozen=True)
class Pair:
    """Both models and the set, opened."""

    pruned: Model
    dense: Model
    given: OpenData[CalibrationSet]
    root: Path | None

    def other(self, watch: str | None, tokens: int) -> OtherText | None:
        """The text that is watched beside the set. Raises UserError where it is named and cannot be read."""
        return other_text(self.pruned, self.given.data, self.root, watch, tokens)

    @property
    def base(self) -> dict[str, Any] | None:
        """What calprune.json of the pruned checkpoint says; None: there is none."""
        return description_of(self.pruned)


def other_text(
    model: Model, data: CalibrationSet, root: Path | None, watch: str | None, tokens: int
) -> OtherText | None:
    """The text that a model is judged on beside the set. Raises UserError where it is named and cannot be read."""
    length = min(LENGTH, int(data.lengths.max()))
    given = Given(model, model.tokenizer, root, current().say)

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


def check_masked(data: CalibrationSet) -> None:
    """Raise UserError for a set that quirks of another program made, with which no training is compared."""
    if data.masked is not None:
        raise UserError("data: the set has padding that counts and that no token attends to (count_padding: masked), "
                        "which is for comparing with other programs; take a set without it")  # fmt: skip


def open_pair(
    pruned: ModelLike, dense: ModelLike, data: SetLike, sizes: Sizes, data_root: str | Path | None, device: str | None,
    dtype: Dtype | None,
) -> Pair:  # fmt: skip
    """Load both models and open the set. Raises UserError where the models do not belong together."""
    root = as_data_root(data_root)
    one = open_model(pruned, dtype, device, "pruned")
    other = open_model(dense, dtype, device, "dense")
    check_pair(one, other)
    one.prove_origin()
    given = open_set(data, one, sizes, root)
    check_masked(given.data)
    return Pair(one, other, given, root)


def description_of(model: Model) -> dict[str, Any] | None:
    """What calprune.json of a checkpoint says; None: there is none."""
    if model.origin is None or not (path := model.origin.checkpoint.folder / REPORT).is_file():
        return None
    return read_json(path, "the report of a pruned checkpoint")
