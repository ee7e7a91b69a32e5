"""What users give in several forms: text, a path or an object becomes the object that the rooms below take."""

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from calprune.allocation import ALLOCATIONS, Allocation
from calprune.base.patterns import Pattern, Removal, parse_any, parse_pattern
from calprune.base.progress import current
from calprune.base.values import UserError
from calprune.calibration.build import make_set
from calprune.calibration.set import CalibrationSet, is_set
from calprune.evaluation.evaluation import Evaluation, parse_evaluation
from calprune.layers.attention import TokenWeights, parse_token_weights
from calprune.layers.collect import Counting
from calprune.layers.saved import Statistics, is_saved
from calprune.methods import METHODS
from calprune.methods.contract import Method
from calprune.models.load import Model, load
from calprune.pages.numbers import listed
from calprune.pruning.default import CALIBRATION, default_method
from calprune.removal import check_method, parse_removal_method
from calprune.removal.methods.contract import RemovalMethod

ModelLike = str | Path | Model  # `demo`, a folder, a hub name, or a model that is loaded
SetLike = str | Path | CalibrationSet  # a source, a file, a mixture, a recipe's YAML, the folder of a set, or a set
DataLike = SetLike | Statistics  # or saved sums, or their folder
MethodLike = str | Method
PatternLike = str | Pattern
AnyPatternLike = str | Pattern | Removal
AllocationLike = str | Allocation
EvaluationLike = str | Evaluation
WeightsLike = str | TokenWeights
D = TypeVar("D", CalibrationSet, Statistics, covariant=True)


@dataclass(frozen=True)
class Sizes:
    """How large a set that is built becomes, and which draw it is; None: as its recipe says, else as by default."""

    num_samples: int | None = None
    max_seq_length: int | None = None
    seed: int | None = None

    def refuse(self, what: str) -> None:
        """Raise UserError where one is given although the data is there already."""
        for field in fields(self):
            if getattr(self, field.name) is not None:
                option = f"--{field.name.replace('_', '-')}"
                raise UserError(f"{field.name} ({option}): {what} is made already, so its size and draw are fixed; "
                                "leave it out")  # fmt: skip


def note_unread(reader: str | object, given: object, sizes: Sizes, counting: Counting | None = None) -> None:
    """A note on what is given of data although nothing reads any.

    reader: the method, as text or an object; given: calibration data, None: none; sizes: of a set that would be built;
    counting: with the weights of tokens.
    """
    values = {"data (--calibration)": given, "token_weights (--token-weights)": counting and counting.token_weights}
    values |= {f"{f.name} (--{f.name.replace('_', '-')})": getattr(sizes, f.name) for f in fields(sizes)}
    if unread := [name for name, value in values.items() if value is not None]:
        name = reader if isinstance(reader, str) else type(reader).__name__
        verb = "is" if len(unread) == 1 else "are"
        current().note(f"{name} reads no data: {listed(unread)} {verb} not read")


@dataclass(frozen=True)
class OpenData(Generic[D]):
    """Data to prune with, and what is written down of it."""

    data: D
    about: dict[str, Any]  # for calprune.json

    @property
    def name(self) -> str:
        """As given."""
        return str(self.about["asked"])

    def of_sums(self, model: Model, counting: Counting) -> dict[str, Any]:
        """What sums over this set are of: their `about`."""
        tokens = int(cast(CalibrationSet, self.data).lengths.sum())
        of = {"model": {"name": model.name, "id": model.id}, "calibration": self.about, "tokens": tokens}
        return of | counting.summary()


def open_model(
    given: ModelLike,
    dtype: str | None = None,
    device: str | None = None,
    name: str = "model",
    *,
    dequantize: bool = False,
) -> Model:
    """The model, loaded where it is a name or a folder. Raises UserError where one that is loaded is to be another."""
    if not isinstance(given, Model):
        return load(str(given), dtype=dtype, device=device, dequantize=dequantize)
    if dtype is not None:
        raise UserError(f"dtype: {name} {given.name} is loaded already; give dtype to calprune.load")
    return given


def open_set(given: SetLike, model: Model, sizes: Sizes, root: Path | None) -> OpenData[CalibrationSet]:
    """A calibration set for the model: built, read from its folder, or as given."""
    if isinstance(given, CalibrationSet):
        sizes.refuse(f"calibration set {given.id}")
        given.check_tokenizer(model.tokenizer)
        given.check_model(model)
        return OpenData(given, given.about(described(given)))
    if is_set(given):
        sizes.refuse(f"the calibration set {given}")
    made = make_set(str(given), model.tokenizer, data_root=root, model=model, num_samples=sizes.num_samples,
                    max_seq_length=sizes.max_seq_length, seed=sizes.seed)  # fmt: skip
    return OpenData(made, made.about(str(given)))


def open_data(
    given: DataLike, model: Model, sizes: Sizes, root: Path | None
) -> OpenData[CalibrationSet] | OpenData[Statistics]:
    """A calibration set or saved sums for the model. Raises UserError for sums of another model."""
    if isinstance(given, CalibrationSet):
        return open_set(given, model, sizes, root)
    if isinstance(given, Statistics):
        where, saved = "the statistics", given
    elif is_saved(given):
        where, saved = str(given), Statistics.load(Path(given))
    else:
        return open_set(given, model, sizes, root)
    sizes.refuse(f"what {where} were collected from" if where == "the statistics" else f"the folder {where}")
    of = saved.about.get("model", {})
    if of.get("id") not in (None, model.id):
        holds = "hold" if where == "the statistics" else "holds"
        raise UserError(f"{where} {holds} statistics of {of.get('name')} ({of.get('id')}), not of {model.name} "
                        f"({model.id}); collect them: calprune.collect or calprune stats")  # fmt: skip
    calibration = saved.about.get("calibration") or {}
    calibration = calibration if isinstance(calibration, dict) else {"id": calibration}
    counting = {"counting": saved.about["counting"]} if "counting" in saved.about else {}
    return OpenData(saved, {"asked": calibration.get("asked", where), "id": calibration.get("id"), "statistics": where,
                         "licences": calibration.get("licences", [])} | counting)  # fmt: skip


def open_job_data(
    data: DataLike | None, refine_on: SetLike | None, model: Model, sizes: Sizes, root: Path | None
) -> tuple[OpenData[CalibrationSet] | OpenData[Statistics] | None, CalibrationSet | None]:
    """What a method reads and what it trains on. Sizes are of what is built; where nothing is, they are refused."""
    built = [given is not None and not _is_made(given) for given in (data, refine_on)]
    of = [sizes if one or not any(built) else Sizes() for one in built]
    found = open_data(data, model, of[0], root) if data is not None else None
    if refine_on is None:
        return found, None
    trained = open_data(refine_on, model, of[1], root).data
    if isinstance(trained, Statistics):
        raise UserError(f"refine_on (--refine-on): {refine_on} holds sums and no sequences to train on; give a set")
    return found, trained


def open_usual_data(model: Model, sizes: Sizes, root: Path | None) -> OpenData[CalibrationSet]:
    """The data of a command that names none, with a note."""
    try:
        found = open_set(CALIBRATION, model, sizes, root)
    except UserError as error:
        raise UserError(f"no calibration data is named (--calibration), so it is {CALIBRATION}: {error}") from None
    current().say(f"note: the calibration data is {CALIBRATION}, the usual text; --calibration names your own")
    return found


def _is_made(given: DataLike) -> bool:
    """Whether it is a set or sums already, and not what a set is built from."""
    return isinstance(given, CalibrationSet | Statistics) or is_set(given) or is_saved(given)


def described(made: CalibrationSet) -> str:
    """A set as its sources: "c4:text + gsm8k:icl"."""
    return " + ".join(f"{part.source}:{part.format}" for part in made.drawn) or f"calibration set {made.id}"


def as_method(given: MethodLike) -> Method:
    """The method that a text means, or the method."""
    return cast(Method, METHODS.read(given))


def as_pattern(given: PatternLike) -> Pattern:
    """The pattern that a text means, or the pattern."""
    return parse_pattern(given) if isinstance(given, str) else given


def as_any_pattern(given: AnyPatternLike) -> Pattern | Removal:
    """The pattern that a text means, of zeros or of what is taken out, or the pattern."""
    return parse_any(given) if isinstance(given, str) else given


def as_method_and_pattern(
    method: str | Method | RemovalMethod | None, pattern: AnyPatternLike
) -> tuple[Method | RemovalMethod, Pattern | Removal]:
    """Both, of zeros or of what is taken out, for a model that is pruned often; None: the pattern's method. Raises
    UserError where the method is not for the pattern."""
    wanted = as_any_pattern(pattern)
    method = default_method(wanted, often=True) if method is None else method
    if not isinstance(wanted, Removal):
        return as_method(cast(MethodLike, method)), wanted
    if isinstance(method, str):
        return parse_removal_method(method, wanted), wanted
    return check_method(cast(RemovalMethod, method), wanted), wanted


def as_allocation(given: AllocationLike) -> Allocation:
    """The allocation that a text means, or the allocation."""
    return cast(Allocation, ALLOCATIONS.read(given))


def as_evaluations(given: EvaluationLike | Sequence[EvaluationLike]) -> list[Evaluation]:
    """The evaluations that texts mean, each once. Raises UserError for none, and for one that is there twice."""
    several = [given] if isinstance(given, str) or not isinstance(given, Sequence) else given
    found = [parse_evaluation(one) if isinstance(one, str) else one for one in several]
    if not found:
        raise UserError('evaluations: none is given; write ["perplexity(wikitext2)", "boolq(examples=200)"]')
    if twice := [one for i, one in enumerate(found) if one in found[:i]]:
        raise UserError(f"evaluations: {twice[0]} is there twice")
    return found


def as_counting(min_expert_tokens: int, all_experts: bool, token_weights: WeightsLike) -> Counting:
    """Which tokens count in whose statistics."""
    weights = parse_token_weights(token_weights) if isinstance(token_weights, str) else token_weights
    if weights is not None and not (dataclasses.is_dataclass(weights) and callable(weights)):
        raise UserError(f'token_weights: expected "even", "attention(least=0.05)" or a dataclass of your own; got '
                        f"{type(weights).__name__}")  # fmt: skip
    return Counting(min_expert_tokens, all_experts, weights)


def as_data_root(given: str | Path | None) -> Path | None:
    """The folder of data sets: as given, else CALPRUNE_DATA. Raises UserError where it is given and not there."""
    if given is None:
        return Path(os.environ["CALPRUNE_DATA"]) if os.environ.get("CALPRUNE_DATA") else None
    if not os.path.isdir(given):
        raise UserError(f"data_root: there is no folder {given}")
    return Path(given)
