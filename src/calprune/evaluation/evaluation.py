"""What a study judges models by, as text: perplexity(wikitext2), kl(c4, tokens=16384), boolq(examples=200)."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from calprune.base.calls import Registry, quoted, written
from calprune.base.values import ConfigError, UserError, identity, plain
from calprune.calibration.part import only_part, open_source
from calprune.evaluation.capabilities import capability_of
from calprune.evaluation.contract import (
    BY_TOKEN,
    PAGE,
    AgainstDense,
    Direct,
    Evaluation,
    as_outcomes,
    check_evaluation_class,
    check_runnable,
    files_read,
)
from calprune.evaluation.divergence import DenseReference, as_text
from calprune.evaluation.items import Outcomes
from calprune.evaluation.metric import KL, METRICS, PERPLEXITY, Metric
from calprune.evaluation.tasks import TASKS
from calprune.evaluation.windows import begins_itself, first_token, windows_of
from calprune.layers.readable import check_length
from calprune.models.load import Model, load_tokenizer
from calprune.text.chat import chat_hash
from calprune.text.document import Document, Given
from calprune.text.places import files_hash


@dataclass(frozen=True)
class OnText:
    """Perplexity on held-out text, or KL to the dense model there."""

    metric: Literal["perplexity", "kl"]
    of: str  # a text as `calibration.part.open_source` takes it
    tokens: int = 8192  # of the text, at most
    length: int = 512  # of a window
    skip: int = 0  # tokens at the text's beginning: those of another evaluation, with windows of the same length
    begin: str = ""  # what every window begins with: "<|im_start|>", where that is what the model's inputs begin with

    tag: ClassVar[str] = "OnText"
    named_by: ClassVar[str] = "metric"
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.length < 2 or self.tokens < self.length:
            raise ConfigError(f"expected tokens >= length >= 2; got tokens={self.tokens}, length={self.length}")
        if self.skip < 0:
            raise ConfigError(f"expected skip >= 0; got skip={self.skip}")

    def __str__(self) -> str:
        sizes = [f"{n}={v}" for n in ("tokens", "length", "skip") if (v := getattr(self, n)) != getattr(OnText, n)]
        return written(self.metric, [quoted(self.of), *sizes, *([f"begin={quoted(self.begin)}"] if self.begin else [])])

    @property
    def measures(self) -> Metric:
        return METRICS[self.metric]

    @property
    def capability(self) -> str:
        return capability_of(self.of)

    @property
    def text(self) -> tuple[str, int, int, int, str]:
        """What perplexity and KL can share one pass over."""
        return (self.of, self.tokens, self.length, self.skip, self.begin)

    @property
    def shares(self) -> tuple[str, int, int, int, str]:
        return self.text

    def check_model(self, model: Model) -> None:
        """Raise UserError where the model cannot read windows as long as these. Reads no text."""
        check_length(model.model, self.length, "windows", "length=")
        first_token(model.tokenizer, self.begin)

    def reference(self, model: Model, data_root: Path | None = None) -> DenseReference:
        """What the dense model makes of the text."""
        self.check_model(model)
        text = open_source(self.of, Given(model, data_root=data_root), "evaluation")
        return DenseReference(model.model, self.windows(text.documents(), model.tokenizer))

    def windows(self, documents: Iterable[Document], tokenizer: PreTrainedTokenizerBase) -> Int[Tensor, "n T"]:
        """The text as the model reads it."""
        return windows_of(documents, tokenizer, self.length, self.tokens, self.skip, self.begin)

    def compare(self, model: Model, reference: DenseReference) -> Mapping[str, Any]:
        """Both metrics of each window, from one pass, and what each token lost."""
        kl, perplexity = reference.compare(model.model)
        return {
            PERPLEXITY.name: perplexity.nats.tolist(),
            KL.name: kl.nats.tolist(),
            BY_TOKEN: as_text(kl.by_token(), model),
        }

    def of_dense(self, reference: DenseReference) -> Mapping[str, Sequence[float]]:
        """The dense model's own, from what was kept of it."""
        nats = reference.perplexity().nats.tolist()
        return {PERPLEXITY.name: nats, KL.name: [0.0] * len(nats)}


EVALUATIONS = Registry(
    "evaluation",
    {**dict.fromkeys((PERPLEXITY.name, KL.name), OnText), **TASKS},
    '"perplexity(wikitext2)", "kl(c4, tokens=16384)" or "boolq(examples=200)"',
    Evaluation,
    PAGE,
)


def parse_evaluation(text: str) -> Evaluation:
    """The evaluation that a text means. Raises ConfigError for one that there is none of."""
    made = EVALUATIONS.make(text)
    check_evaluation_class(made, text)
    if isinstance(made, OnText):
        only_part(made.of)
    return made


def evaluation_id(evaluation: Evaluation, data_root: Path | None, models: Iterable[str] = ()) -> str:
    """The name of its results' files: a hash of the evaluation with its options, of its files' contents and, where it
    is judged on conversations, of the chat templates that these models write them with."""
    if isinstance(evaluation, OnText):
        opened = open_source(evaluation.of, Given(data_root=data_root), "evaluation")
        named = {"evaluation": plain(evaluation), "text": opened.text_identity}
        if opened.format.name == "chat":
            tokenizers = [load_tokenizer(name) for name in models]
            named["chat"] = sorted({chat_hash(one) for one in tokenizers})
            if any(begins_itself(one) for one in tokenizers):
                named["windows"] = 2  # in those of 1 the template's own begin-of-text was predicted
        return identity(named)
    return identity({"evaluation": plain(evaluation), "files": files_hash(files_read(evaluation, data_root))})


def check_evaluation(evaluation: Evaluation, tokenizer: Any, data_root: Path | None) -> None:
    """Raise UserError where it cannot be run here, or its data are not to be had. What the model itself writes is not
    looked at."""
    if not isinstance(evaluation, OnText):
        check_runnable(evaluation, data_root)
    elif re.split("[:(]", evaluation.of)[0] != "self":
        given = Given(tokenizer=tokenizer, data_root=data_root)
        next(open_source(evaluation.of, given, "evaluation").documents(), None)


def outcomes_of(
    evaluation: Evaluation, model: Model, data_root: Path | None = None, dense: Model | None = None
) -> Outcomes:
    """What a model makes of an evaluation. Raises UserError where it compares with a dense model and none is given."""
    text = EVALUATIONS.write(evaluation)
    if isinstance(evaluation, AgainstDense):
        if dense is None:
            raise UserError(f"{text} compares with the dense model, and none is given")
        compared = evaluation.compare(model, evaluation.reference(dense, data_root))
        return as_outcomes(evaluation, text, compared[evaluation.measures.name])
    assert isinstance(evaluation, Direct), "as parse_evaluation checks"
    return as_outcomes(evaluation, text, evaluation.run(model, data_root))
