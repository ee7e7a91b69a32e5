"""The items of a task: where they are read, which of them are asked, and what came out of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from calprune.base.calls import written
from calprune.base.values import UserError, rng
from calprune.evaluation.metric import Metric
from calprune.text.find import find_source
from calprune.text.places import data_folder, local_files
from calprune.text.read import read_records

Row = TypeVar("Row")


@dataclass(frozen=True)
class Outcomes:
    """What a model made of an evaluation: of a task 1 for an item answered right, 0 for one answered wrong."""

    task: str  # as `parse_evaluation` reads it
    measures: Metric
    items: tuple[float, ...]
    ids: tuple[str, ...]  # where each item is: "boolq/validation.jsonl.gz:17"
    chance: float | None  # the value of guessing among the items' choices; 0 where an answer is free text
    capability: str
    requests: str  # the hash of all that was asked: where two results agree in it, their items can be paired
    cut: int = 0  # items whose prompt was longer than the model's window, and lost its beginning
    other: Mapping[str, tuple[float, ...]] = field(default_factory=dict)  # the same items by the harness's other scores

    @property
    def metric(self) -> str:
        """Its metric's name."""
        return self.measures.name

    @property
    def value(self) -> float:
        """Of a task the share of items answered right."""
        return self.measures.value(self.items)


def check_options(examples: int | None, shots: int | None, seed: int) -> None:
    """Raise UserError for options that no task can have."""
    if examples is not None and examples < 1:
        raise UserError(f"examples must be at least 1; got {examples} (leave it out for all)")
    if shots is not None and shots < 0:
        raise UserError(f"shots must be 0 or more; got {shots}")


def task_files(task: str, source: str, split: str, data_root: Path | None) -> list[Path]:
    """The files under the data root that hold a split of a source. Raises UserError that says where they were sought:
    a task never asks the hub."""
    found = find_source(source)
    paths = local_files(found, split, data_root)
    if paths:
        return paths
    assert found.local is not None, f"{source} has no local files, so no task may be made of it"
    names, root = found.local.files(split), data_folder(data_root)
    missing = [name for name in names if root is None or not (root / name).is_file()]
    where = f"is not in {root}" if root else "is not here, for no data root is given"
    raise UserError(f"task {task}: its data ({', '.join(missing)}) {where}; "
                    "give --data-root (or CALPRUNE_DATA) a folder that has it")  # fmt: skip


def task_records(task: str, source: str, split: str, data_root: Path | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """The records of a split as they are in its files, each with its id."""
    paths = task_files(task, source, split, data_root)
    local = find_source(source).local
    assert local is not None
    for name, path in zip(local.files(split), paths, strict=False):  # files that are joined come after
        yield from ((f"{name}:{number}", record) for number, record in read_records(path, local.reader))


def some(rows: Sequence[Row], examples: int | None, seed: int, task: str) -> list[Row]:
    """`examples` of the rows at random, in their own order; all where there are not more. Fewer examples of the same
    seed are among the more."""
    order = list(range(len(rows)))
    rng(seed, f"examples/{task}").shuffle(order)
    return [rows[i] for i in sorted(order[:examples])]


def options_text(name: str, options: Mapping[str, tuple[Any, Any]]) -> str:
    """A task as text; `options` are pairs of a value and its default, which is left out."""
    given = [f"{option}={value!r}" for option, (value, default) in options.items() if value != default]
    return written(name, given)
