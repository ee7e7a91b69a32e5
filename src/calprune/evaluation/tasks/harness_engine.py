"""The harness at work: its tasks built on our rows, and its model class around ours. Importing this imports lm_eval."""

import contextlib
import copy
import io
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import datasets
import lm_eval
import torch
from jaxtyping import Float, Int
from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from torch import Tensor

from calprune.base.memory import Fitting
from calprune.base.values import UserError, did_you_mean
from calprune.evaluation.tasks.stock import STOCK, Record
from calprune.layers.products import faster_products
from calprune.models.head import HEAD_NUMBERS, Follow, Head
from calprune.models.load import Model

Request = tuple[tuple[str, str], list[int], list[int]]  # the harness's: texts, tokens of context and of continuation

TOKENS = {"cpu": 2048, "cuda": 16384}  # of inputs that are read in one pass, padding included: what fills a device well


@dataclass(frozen=True, eq=False)
class Item:
    """One item of a task: the requests made of it, and the harness's task that makes scores of the answers."""

    task: ConfigurableTask
    requests: list[Instance]

    def scores(self, answers: Sequence[tuple[float, bool]]) -> dict[str, float]:
        """The harness's metrics of one item ("acc", "acc_norm"), given what `Scorer.loglikelihood` said."""
        found = self.task.process_results(self.requests[0].doc, list(answers))
        return {name: float(value) for name, value in found.items() if name in ("acc", "acc_norm")}


def build_items(
    task: str, rows: Sequence[tuple[str, Record]], shown: Sequence[tuple[str, Record]], *, shots: int, seed: int
) -> list[Item]:
    """The items of the rows, in their order, with the harness's own prompts. `task`: a name of `STOCK`."""
    stock = STOCK[task]
    name_of = stock.task.format_map
    places: dict[str, list[int]] = {}
    for i, (_, row) in enumerate(rows):
        places.setdefault(name_of(row), []).append(i)
    items: dict[int, Item] = {}
    for name, where in places.items():
        examples = [row for _, row in shown if name_of(row) == name]
        changed = dict.fromkeys(stock.replaced) | {
            "custom_dataset": partial(_splits, [rows[i][1] for i in where], examples),
            "num_fewshot": shots,
        }
        built = _build(task, name, changed)
        with _quiet():
            built.set_fewshot_seed(seed)
            built.build_all_requests()
        requests: dict[int, list[Instance]] = {}
        for request in built.instances:
            requests.setdefault(request.doc_id, []).append(request)
        items |= {where[at]: Item(built, found) for at, found in requests.items()}
    return [items[i] for i in range(len(rows))]


def _build(task: str, name: str, changed: dict[str, Any]) -> ConfigurableTask:
    """The stock task `name` with fields of its YAML changed: on our rows instead of those it would load."""
    manager = _manager(STOCK[task].folder)
    if name not in manager.all_subtasks:
        raise UserError(f"task {task}: lm-evaluation-harness has no {name!r}{did_you_mean(name, manager.all_subtasks)}")
    with _quiet():
        group = {"group": "calprune", "task": [{"task": name} | changed]}  # how the harness takes a task with changes
        return manager.load([group])["tasks"][name]


def _splits(rows: list[Record], shown: list[Record], **metadata: Any) -> dict[str, datasets.Dataset]:
    """The splits by every name that stock tasks have for them."""
    asked, examples = datasets.Dataset.from_list(rows), datasets.Dataset.from_list(shown)
    return {"test": asked, "validation": asked, "train": examples, "dev": examples}


def _manager(folder: str) -> TaskManager:
    return TaskManager(include_path=[Path(lm_eval.__file__).parent / "tasks" / folder], include_defaults=False)


def answer(
    items: Sequence[Item], model: Model, batch_size: int | None, follow: Follow
) -> tuple[dict[str, tuple[float, ...]], int]:
    """Each score of each item, and how many items did not fit into the model's window."""
    scorer = Scorer(model, batch_size, follow)
    requests = [request for item in items for request in item.requests]
    with faster_products(model.model):
        answers = iter(scorer.loglikelihood(requests, disable_tqdm=True))
    scores = [item.scores([next(answers) for _ in item.requests]) for item in items]
    cut = iter(scorer.cut)
    return (
        {name: tuple(score[name] for score in scores) for name in scores[0]},
        sum(any([next(cut) for _ in item.requests]) for item in items),
    )


class Scorer(HFLM):
    """The harness's model class around a loaded model: its tokens and its rules, and its numbers within rounding.

    Only the scoring is ours: the head runs where a continuation is judged and not on the whole prompt (whose logits
    take 0.8 GB for 4 prompts of 1,000 tokens and 49,152 words), and choices that differ in their last token alone
    share one pass, as they do in the harness. Inputs of like length are read together, as many as have `TOKENS`; where
    memory does not hold them, half as many go on, which is noted.
    """

    def __init__(self, model: Model, batch_size: int | None, follow: Follow) -> None:
        self.head, self.rows, self.follow = Head(model.model), batch_size, follow
        self.tokens = TOKENS.get(self.head.device.type, TOKENS["cuda"])
        self.cut: list[bool] = []  # for each request of the last call: whether its prompt lost its beginning
        with _quiet():  # a copy of the tokenizer, for the harness gives it a padding token
            super().__init__(pretrained=model.model, tokenizer=copy.deepcopy(model.tokenizer))

    def _loglikelihood_tokens(
        self, requests: list[Request], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        widest = self.max_length
        longest = max((len(continuation) for _, _, continuation in requests), default=0)
        if longest > widest:
            raise UserError(f"an answer of {longest} tokens is longer than the model's {widest} positions")
        self.cut = [len(context) + len(continuation) > widest + 1 for _, context, continuation in requests]
        inputs: dict[tuple[int, ...], list[int]] = {}  # what the model reads: the requests that it answers
        for i, (_, context, continuation) in enumerate(requests):
            inputs.setdefault(tuple((context + continuation)[-(widest + 1) :][:-1]), []).append(i)
        batches = list(self._batches(sorted(inputs, key=len, reverse=True)))
        found: dict[int, tuple[float, bool]] = {}
        fitting = Fitting(self.head.device, "prompt")
        for read, batch in zip(self.follow([_padded(batch) for batch in batches]), batches, strict=True):
            wanted = [{i: requests[i][2] for i in inputs[tokens]} for tokens in batch]
            for judged in fitting.each([*map(len, batch)], partial(self._read, read, [*map(len, batch)], wanted)):
                found |= judged
        return [found[i] for i in range(len(requests))]

    def _batches(self, falling: list[tuple[int, ...]]) -> Iterator[list[tuple[int, ...]]]:
        """Inputs of falling length, as many at a time as have `tokens` with their padding."""
        while falling:
            rows = self.rows or max(1, self.tokens // len(falling[0]))
            yield falling[:rows]
            falling = falling[rows:]

    def _read(
        self, inputs: Int[Tensor, "b T"], lengths: Sequence[int], wanted: Sequence[dict[int, list[int]]], part: slice
    ) -> dict[int, tuple[float, bool]]:
        """What `_judged` says of some of a batch's inputs, of falling lengths."""
        states = self.head.hidden(inputs[part, : lengths[part.start]])
        return self._judged([row[:n] for row, n in zip(states, lengths[part], strict=True)], wanted[part])

    def _judged(
        self, rows: Sequence[Float[Tensor, "_ hidden"]], wanted: Sequence[dict[int, list[int]]]
    ) -> dict[int, tuple[float, bool]]:
        """Of each continuation at the end of its row: its log-likelihood, and whether each token is the likeliest.

        The head runs on the rows' ends together, where their logits are not too many.
        """
        ends = [row[-max(map(len, each.values())) :] for row, each in zip(rows, wanted, strict=True)]
        found: dict[int, tuple[float, bool]] = {}
        while ends:
            most = max(HEAD_NUMBERS // self.head.vocabulary, len(ends[0]))
            count = sum(total <= most for total in accumulate(map(len, ends)))
            log_p = self.head.log_probabilities(torch.cat(ends[:count])).split([*map(len, ends[:count])])
            for judged, continuations in zip(log_p, wanted[:count], strict=True):
                found |= {i: _likelihood(judged[-len(tokens) :], tokens) for i, tokens in continuations.items()}
            ends, wanted = ends[count:], wanted[count:]
        return found


def _likelihood(log_p: Float[Tensor, "n vocabulary"], tokens: list[int]) -> tuple[float, bool]:
    wanted = torch.tensor(tokens, device=log_p.device)
    return float(log_p.gather(1, wanted[:, None]).sum()), bool((log_p.argmax(-1) == wanted).all())


def _padded(batch: list[tuple[int, ...]]) -> torch.Tensor:
    """Rows filled up at the right, where a causal model does not look."""
    rows = torch.zeros(len(batch), len(batch[0]), dtype=torch.long)
    for row, tokens in zip(rows, batch, strict=True):
        row[: len(tokens)] = torch.tensor(tokens)
    return rows


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the harness's advice and progress bars, which no option of it turns off."""
    log = logging.getLogger("lm_eval")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        log.setLevel(level)
