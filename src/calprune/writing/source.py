"""Texts that the model writes itself, as a source: the name `self` in a recipe.

    self                                      the default: sampled from the start token
    self:prefixes(of=wikipedia, tokens=8)     a strategy (`asking`), with options of its sampling and screen
    {source: self, strategy: "bos(temperature=2.0:1.0, documents=200)"}     the same in a recipe file

What is written is kept in shards under CALPRUNE_CACHE/self, named by the plan: a run that was killed goes on
behind the last whole shard, and another set of the same texts writes nothing. A batch never crosses a shard and a shard
is written whole, so on one machine the tokens are the same whether or not the run was interrupted.
"""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch

from calprune.base.leftovers import sweep
from calprune.base.progress import Progress, Steps, current
from calprune.base.store import cache_folder, once
from calprune.base.tensors import TensorFile, read_tensors, write_tensors
from calprune.base.values import UserError, identity, plain, rng, tag_of
from calprune.models.likelihood import token_nats
from calprune.text.document import Document, Documents, Given
from calprune.text.encode import tokenizer_hash
from calprune.text.filters.language import identifier_version
from calprune.text.formats import Format
from calprune.text.records import Row
from calprune.text.source import Purpose, RowsRead, Source
from calprune.writing.generate import generate
from calprune.writing.screen import Text
from calprune.writing.strategies import Prompt, RandomToken, Respond, WritingPlan, parse_strategy
from calprune.writing.vllm import VllmEngine, version

SHARD = 128  # documents: twice a batch, so that few slots are idle, and half an hour's work at most is lost


@dataclass
class SelfSource(Source):
    """What a model, that of `given`, writes in a strategy: a `text.source.Source`."""

    plan: WritingPlan
    batch_size: int = 64
    shard: int = SHARD
    work: Path | None = None  # None: CALPRUNE_CACHE/self
    progress: Progress | None = None  # None: that of the process
    _sessions: dict[tuple, "_Session"] = field(default_factory=dict, repr=False)

    name = "self"
    made = "self"

    def __post_init__(self) -> None:
        of = getattr(self.plan.strategy, "of", None)
        self.begins_with = (of,) if of else ()

    def licence_of(self, given: Given) -> str:
        return f"written by {_of_model(given).model.name}: see the licence of that model"

    @cached_property
    def formats(self) -> tuple[str, ...]:
        return (self.default_format,)

    @cached_property
    def default_format(self) -> str:
        """Responses are conversations, one a sequence; the rest is text, for the recipe's layout."""
        if isinstance(self.plan.strategy, Respond):
            return str(Format("chat", responses=True, prompt_weight=self.plan.strategy.prompt_weight))
        return "plain"

    def identity(self, given: Given = Given()) -> str:
        """The hash of who writes and of the plan. Sources and files that begin the texts count by `rows_read`."""
        given = _of_model(given)
        writing = [plain(self.plan.strategy), plain(self.plan.screen), self.plan.documents]
        return identity([writing, plain(self.plan.sampling(given)), given.model.computing, *_others(self.plan)])

    def split_for(self, purpose: Purpose, given: Given = Given(), allow_evaluation_split: bool = False) -> str:
        """The split "evaluation" holds other texts of the same kind: a model is judged on those. Raises UserError where
        the model writes without chance, and so the same again."""
        options, by_chance = self.plan.options, isinstance(self.plan.strategy, RandomToken)
        if purpose == "evaluation" and not by_chance and (options.get("temperature") == 0 or options.get("top_k") == 1):
            raise UserError("self: at temperature 0 or top_k=1 a model would write the same texts to judge on as to "
                            "calibrate on; give others")  # fmt: skip
        return "evaluation" if purpose == "evaluation" else "calibration"

    def rows_read(self, split: str, given: Given = Given(), seed: int = 0) -> RowsRead:
        """By what the texts begin with: the contents of the source or file that it comes from."""
        return RowsRead(identity(self._session(seed, given, split).begins))

    def documents(self, format: Format, split: str = "calibration", given: Given = Given(), seed: int = 0) -> Documents:
        """All documents, written if they are not there yet."""
        skipped = Counter[str]()
        return Documents(self._session(seed, given, split).documents(skipped), skipped)

    def rows(self, split: str, given: Given, skipped: Counter[str]) -> Iterator[Row]:
        raise UserError("self is what a model writes: it has no records")

    def _session(self, seed: int, given: Given, split: str) -> "_Session":
        given = _of_model(given)
        key = (seed, given.data_root, split, given.model.computing)
        if key not in self._sessions:
            purpose = "" if split == "calibration" else f"/{split}"
            self._sessions[key] = _Session(self, given, seed, purpose)
        return self._sessions[key]


class _Session:
    """The writing of one seed's documents."""

    steps: Steps  # of the writing that goes on

    def __init__(self, source: SelfSource, given: Given, seed: int, purpose: str) -> None:
        self.source, self.plan, self.given, self.seed = source, source.plan, given, seed
        self.sampling = self.plan.sampling(given)
        self.prompts = self.plan.strategy.prompts(given, seed)
        self.label = tag_of(type(self.plan.strategy)).lower() + purpose
        count = self.plan.documents or 500
        if isinstance(self.plan.strategy, Respond):
            count = min(self.plan.documents or len(self.prompts), len(self.prompts))
            if count < (self.plan.documents or 0):
                current().note(f"respond: there are {count:,} prompts, so as many documents are written, not "
                               f"{self.plan.documents:,}")  # fmt: skip
        self.count = count
        who = [given.model.computing, tokenizer_hash(given.tokenizer)]
        named = [plain(self.plan.strategy), plain(self.sampling), *who, *_others(self.plan)]
        self.begins = [[prompt.tokens, prompt.lead, prompt.after] for prompt in self.prompts]
        asked = identity([named, self.begins, seed, purpose, source.shard])
        self.folder = (source.work or cache_folder() / "self") / asked

    def documents(self, skipped: Counter[str]) -> Iterator[Document]:
        """The documents that the screen keeps, in order."""
        progress = current() if self.source.progress is None else self.source.progress
        with progress.steps("writing documents", self.count, "tokens") as self.steps:
            texts, about = self._texts(progress)
        reasons = [self.plan.screen.first_reason(text) for text in texts]
        skipped.update(reason for reason in reasons if reason)
        kept = [i for i, reason in enumerate(reasons) if not reason]
        if self.plan.screen.needs_perplexity:
            likely = self.plan.screen.likely(self._perplexities(texts, kept), skipped)
            kept = [i for i, stays in zip(kept, likely, strict=True) if stays]
        if not kept:
            why = ", ".join(f"{n} {reason}" for reason, n in (+skipped).most_common())
            raise UserError(f"self: none of {len(texts)} documents is left ({why}); loosen that filter or write more")
        for i in kept:
            yield self._document(i, texts[i], about[i])

    def _texts(self, progress: Progress) -> tuple[list[Text], list[dict[str, Any]]]:
        texts: list[Text] = []
        about: list[dict[str, Any]] = []
        sweep(self.folder)
        for first in range(0, self.count, self.source.shard):
            last = min(first + self.source.shard, self.count)
            path = self.folder / f"{first:06d}-{last:06d}.safetensors"
            done = self.steps.done
            tensors, said = once(path, partial(self._write, first, last), read_tensors, write_tensors, progress.say)
            found = self.steps.done == done
            rows = tensors["tokens"].split(tensors["lengths"].tolist())
            for row, entry in zip(rows, said, strict=True):
                tokens = tuple(row.tolist())
                texts.append(Text(tokens, entry["written"], entry["stop"] is not None, entry["refused"]))
                if found:
                    self.steps.advance(found=True)
            about += said
        return texts, about

    def _write(self, first: int, last: int) -> TensorFile:
        """One shard: the model writes documents [first, last)."""
        streams = [rng(self.seed, f"self/{self.label}/{i}") for i in range(first, last)]
        prompts = [self.prompts[i % len(self.prompts)] for i in range(first, last)]
        if isinstance(self.plan.strategy, RandomToken):
            prompts = self.plan.strategy.open(streams, self.given, self.sampling, self.source.batch_size)
        written = self._generate(prompts, streams)
        tokens = [list(w) for w, _ in written]
        about = [
            {"lead": p.lead, "written": len(p.tokens), "stop": stop, "after": p.after, "refused": p.refused}
            for p, (_, stop) in zip(prompts, written, strict=True)
        ]
        flat = torch.tensor([t for row in tokens for t in row], dtype=torch.int32)
        return {"tokens": flat, "lengths": torch.tensor([len(row) for row in tokens])}, about

    def _generate(
        self, prompts: Sequence[Prompt], streams: Sequence[random.Random]
    ) -> list[tuple[tuple[int, ...], int | None]]:
        """(tokens, the token that ended them) for each prompt; nothing for one that was refused."""
        asked = [i for i, prompt in enumerate(prompts) if not prompt.refused]
        tokens, own = [prompts[i].tokens for i in asked], [streams[i] for i in asked]
        if self.plan.engine == "vllm":
            found = self._vllm.generate(tokens, own, self.sampling, self.steps)
        else:
            found = generate(self.given.model.model, tokens, own, self.sampling,
                             batch_size=self.source.batch_size, steps=self.steps)  # fmt: skip
        written: list[tuple[tuple[int, ...], int | None]] = [((), None)] * len(prompts)
        for i, one in zip(asked, found, strict=True):
            written[i] = one.tokens, one.stop
        return written

    @cached_property
    def _vllm(self) -> VllmEngine:
        """It is loaded when the first shard is written, with room for the longest prompt of all of them."""
        prompts = [len(prompt.tokens) for prompt in self.prompts]
        if isinstance(self.plan.strategy, RandomToken):  # each document draws its own: two tokens and what follows
            prompts = [2 + self.plan.strategy.opening]
        return VllmEngine(self.given.model, max(prompts) + self.sampling.max_new_tokens)

    def _perplexities(self, texts: list[Text], kept: list[int]) -> list[float]:
        """exp of the mean nats per predicted token, of the whole document or of what was written."""
        nats = token_nats(self.given.model.model, [texts[i].tokens for i in kept])
        first = [texts[i].written if self.plan.screen.perplexity_of == "written" else 1 for i in kept]
        return [float(n[max(f, 1) - 1 :].double().mean().exp()) for n, f in zip(nats, first, strict=True)]

    def _document(self, i: int, text: Text, about: dict[str, Any]) -> Document:
        """Document i (its id counts from 1) without its start mark; a response keeps the token that ended it."""
        tokens, weights, strategy = list(text.tokens[about["lead"] :]), None, self.plan.strategy
        if isinstance(strategy, Respond):
            prompt = about["written"]
            weights = [strategy.prompt_weight] * prompt + [1.0] * (len(tokens) - prompt)
            if about["stop"] is not None:
                tokens.append(about["stop"])
                weights.append(0.0 if strategy.decode_only else 1.0)
        name = f"{self.label}:{i + 1}" + (f" after {about['after']}" if about["after"] else "")
        written = self.given.tokenizer.decode(tokens, skip_special_tokens=True)
        return Document(written, name, tokens=tuple(tokens), token_weights=tuple(weights) if weights else None)


def _others(plan: WritingPlan) -> list[str]:
    """What the tokens depend on beside the model: what tells languages, and another engine than our own."""
    tells = isinstance(plan.strategy, RandomToken) and plan.strategy.language
    return [*([identifier_version()] if tells else []), *([version()] if plan.engine == "vllm" else [])]


def find_self(name: str) -> Source:
    """The source of a name: `self`, or `self:` and a strategy. Raises ConfigError for a strategy that there is not."""
    return SelfSource(parse_strategy(name.removeprefix("self").removeprefix(":") or None))


def _of_model(given: Given) -> Given:
    """With the model's own tokenizer, in whose tokens it writes."""
    if given.model is None:
        raise UserError("self is written by a model: say which with --model")
    return replace(given, tokenizer=given.model.tokenizer)
