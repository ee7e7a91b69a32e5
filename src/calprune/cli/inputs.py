"""What a command is given to collect statistics from: a calibration set, a recipe for one, or saved statistics."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from calprune.base.values import UserError

if TYPE_CHECKING:
    from calprune.calibration.set import CalibrationSet
    from calprune.layers.collect import Counting
    from calprune.layers.saved import Statistics
    from calprune.models.load import Model


def open_data(
    spec: str, loaded: "Model", num_samples: int, max_seq_length: int, seed: int, data_root: Path | None
) -> "tuple[CalibrationSet | Statistics, dict[str, Any]]":
    """The data that `spec` stands for, and what calprune.json says of it."""
    if (Path(spec) / "statistics.json").is_file():
        return _open_statistics(spec, loaded)
    from calprune.calibration.build import make_set

    made = make_set(spec, loaded.tokenizer, data_root=data_root, model=loaded, num_samples=num_samples,
                    max_seq_length=max_seq_length, seed=seed)  # fmt: skip
    return made, made.about(spec)


def _open_statistics(spec: str, loaded: "Model") -> "tuple[Statistics, dict[str, Any]]":
    from calprune.layers.saved import Statistics

    saved = Statistics.load(Path(spec))
    of = saved.about.get("model", {})
    if of.get("id") not in (None, loaded.id):
        raise UserError(
            f"{spec} holds statistics of {of.get('name')} ({of.get('id')}), not of {loaded.name} ({loaded.id}); "
            f"collect them: calprune stats {loaded.name} --calibration SPEC --out FOLDER"
        )
    calibration = saved.about.get("calibration") or {}
    counting = {"counting": saved.about["counting"]} if "counting" in saved.about else {}
    return saved, {"asked": calibration.get("asked", spec), "id": calibration.get("id"), "statistics": spec,
                   "licences": calibration.get("licences", [])} | counting  # fmt: skip


def read_counting(min_expert_tokens: int, all_experts: bool, token_weights: str) -> "Counting":
    """The options of collecting."""
    from calprune.layers.attention import parse_token_weights
    from calprune.layers.collect import Counting

    return Counting(min_expert_tokens, all_experts, parse_token_weights(token_weights))
