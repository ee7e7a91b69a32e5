"""How like a reference text a text is: in its words, and as a model sees it.

    similarity(documents, reference_documents, model)   ->   {"jaccard": Estimate, ..., "min_k": Estimate}

`Similarity` is the same in steps, for many texts beside one reference. Measures of words need no model. Those under a
model are of each text by itself, to be read beside the reference's own.
"""

import dataclasses
import math
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, ClassVar

from calprune.base.values import ConfigError, UserError, rng
from calprune.calibration.draw import read_pool
from calprune.calibration.layout import Concatenate, Making
from calprune.calibration.part import OpenPart
from calprune.layers.readable import check_length
from calprune.likeness.overlap import UNEQUAL, Signature, Words, jaccard, unigram_divergence
from calprune.pages.chart import Dots, Panel
from calprune.pages.drawing import Point, ValueAxis
from calprune.pages.names import short_names
from calprune.pages.numbers import counted, listed, number, with_interval
from calprune.pages.page import HasPage, Page, Section, TextBlock
from calprune.pages.table import Column, Table
from calprune.text.document import Document
from calprune.text.encode import Encoded, batches, encode, find_marks
from calprune.uncertainty.estimate import Estimate, mean_of

ENDLESS = 256  # documents that are taken of a source that never ends

HELD = 8_000_000  # characters of a text that are kept to draw from, at random; the rest is only streamed

FEWEST = 50  # words that a draw needs

Measured = dict[str, Estimate | None]  # by measure; None: not measured

Follow = Callable[[Sequence[Any]], Iterable[Any]]  # a progress bar


@dataclass(frozen=True)
class Measure:
    """What a number says."""

    title: str
    higher_is_more_alike: bool
    of_reference: bool  # False: of the text alone, under the model


MEASURES = {
    "jaccard": Measure("Jaccard of {ngram}-grams", True, True),
    "minhash": Measure("Jaccard of all (MinHash)", True, True),
    "min_k": Measure("Min-{percent:g}%++", True, False),
    "perplexity": Measure("perplexity", False, False),
    "unigram_kl": Measure("KL of unigrams", False, True),
}


@dataclass(frozen=True)
class Corpus:
    """A text that was read: all of it as a signature, and some of it at random."""

    name: str
    signature: Signature  # of every document
    documents: tuple[Document, ...]  # those kept, in random order
    words: Words  # of those
    # what a model makes of it, which is the same for every reference that it is compared with
    known: dict[Any, Measured] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Similarity:
    """What to measure, and on how much."""

    tag: ClassVar[str] = "Similarity"

    ngram: int = 3  # words
    permutations: int = 128  # of MinHash
    draws: int = 5  # of each text, no word in two; intervals are over them
    words: int = 10_000  # of a draw, at most
    smoothing: float = 0.5  # added to each word's count
    share: float = 0.2  # the K of Min-K%++
    window: int = 256  # tokens of a window that the model reads
    windows: int = 32  # of each text, at most; intervals are over them
    seed: int = 0

    def __post_init__(self) -> None:
        least = {"ngram": 1, "permutations": 1, "draws": 1, "words": FEWEST, "window": 2, "windows": 1, "seed": 0}
        for name, smallest in least.items():
            if getattr(self, name) < smallest:
                raise ConfigError(f"{name} must be at least {smallest}; got {getattr(self, name)}")
        if not 0 < self.share <= 1:
            raise ConfigError(f"the K of Min-K%++ is above 0 and at most 100 %; got {self.share:.4g}")
        if not self.smoothing > 0:
            raise ConfigError(f"smoothing must be above 0, or a word of one text alone is infinitely far; got "
                              f"{self.smoothing:g}")  # fmt: skip

    def title(self, measure: str) -> str:
        """A measure's name with its options."""
        return MEASURES[measure].title.format(ngram=self.ngram, percent=100 * self.share)

    def read(self, name: str, documents: Iterable[Document]) -> Corpus:
        """Read a text to its end, once; memory does not grow with it. Raises UserError where it has too few words."""
        signature = Signature(self.ngram, self.permutations)
        pool = read_pool(f"similarity/{name}", _signed(documents, signature), self.seed, HELD)
        stream = rng(self.seed, f"similarity/{name}")
        kept = [pool.documents[i] for i in pool.order()]
        stream.shuffle(kept)
        words = Words.of([document.text for document in kept]).stretches(stream)
        if len(words.hashes) < FEWEST * self.draws:
            most = len(words.hashes) // FEWEST
            fewer = f", or ask for fewer draws: --draws {most}" if most > 1 else ""
            raise UserError(
                f"{name}: too little text: {counted(signature.words, 'word')} in "
                f"{counted(signature.documents, 'document')} do not make {self.draws} draws of {FEWEST} words or more; "
                f"give more text{fewer}"
            )
        return Corpus(name, signature, tuple(kept), words)

    def fitted(self, corpora: Iterable[Corpus]) -> "Similarity":
        """The same with draws of as many words as each of these texts can give, so that their numbers compare."""
        return replace(self, words=min([self.words, *(len(c.words.hashes) // self.draws for c in corpora)]))

    def of_words(self, text: Corpus, reference: Corpus) -> Measured:
        """The measures of words. A text beside itself is measured on different draws: how alike two parts of it are,
        which is as much as another text can be expected to reach; MinHash then says nothing."""
        size = self.fitted((text, reference)).words
        own, other = (corpus.words.draws(size, self.draws) for corpus in (text, reference))
        same = text is reference
        pairs = _within(own) if same else list(zip(own, other, strict=True))
        shared = mean_of([jaccard(a, b, self.ngram) for a, b in pairs])
        apart = mean_of([unigram_divergence(a, b, self.smoothing) for a, b in pairs])
        return {
            "jaccard": shared and shared.within(0.0, 1.0),
            "minhash": None if same else text.signature.jaccard(reference.signature),
            "unigram_kl": apart and apart.within(0.0, math.inf),
        }

    def check(self, model: Any) -> None:
        """Raise UserError where a `models.Model` cannot read windows as long as these. Reads no text."""
        check_length(model.model, self.window, "windows", "--window ")

    def under(self, text: Corpus, model: Any) -> Measured:
        """The measures under a `models.Model`: one pass over `windows` windows, of documents joined as the layout
        concatenate joins them. Raises UserError where the text does not fill one or the model cannot read it."""
        key = (self.share, self.window, self.windows, self.seed, model.computing)
        if key not in text.known:
            text.known[key] = self._under(text, model)
        return text.known[key]

    def _under(self, text: Corpus, model: Any) -> Measured:
        from calprune.models.likelihood import lowest_mean, nats_and_z  # transformers' models are imported

        self.check(model)
        making = Making(text.name, "", model.tokenizer, find_marks(model.tokenizer), self.seed)
        documents = self._runs(text.name, encode(model.tokenizer, text.documents))
        rows = [row.tokens for row in Concatenate()(documents, [self.window] * self.windows, making)]
        if not rows:
            raise UserError(f"{text.name}: too little text for one window of {self.window} tokens; "
                            "ask for shorter windows")  # fmt: skip
        found = nats_and_z(model.model, rows)
        if any(nats.isnan().any() for nats, _ in found):
            raise UserError(f"the logits of {model.name} hold NaN on {text.name}, so nothing can be measured")
        nats = mean_of([float(nats.double().mean()) for nats, _ in found])
        return {
            "min_k": mean_of([lowest_mean(z, self.share) for _, z in found]),
            "perplexity": nats.map(_exp) if nats else None,
        }

    def _runs(self, name: str, documents: Iterable[Encoded]) -> Iterator[Encoded]:
        """Of each document a random run of `window` tokens at most, so that no book fills all windows."""
        stream = rng(self.seed, f"windows/{name}")
        for document in documents:
            first = stream.randrange(max(1, len(document.tokens) - self.window + 1))
            yield document._replace(tokens=document.tokens[first : first + self.window], weights=None)


def texts_of(opened: OpenPart) -> Iterator[Document]:
    """The documents of a source, each with its text: one that was made as tokens has the text that they spell."""
    for document in islice(opened.documents(), ENDLESS if opened.source.endless else None):
        if document.tokens is not None and not document.text:
            text = opened.given.tokenizer.decode(
                document.tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
            document = replace(document, text=text)
        yield document


def similarity(
    documents: Iterable[Document], reference: Iterable[Document], model: Any = None, how: Similarity = Similarity()
) -> Measured:
    """Every measure of MEASURES: those of words between the two texts, and, with a `models.Model`, those of the first
    under it. Raises UserError where a text is too short."""
    text, other = how.read("the text", documents), how.read("the reference", reference)
    found = how.of_words(text, other) | (how.under(text, model) if model is not None else {})
    return {name: found.get(name) for name in MEASURES}


@dataclass(frozen=True)
class TextFigures:
    """One text beside the reference, by every measure."""

    name: str
    is_reference: bool
    documents: int
    words: int
    distinct_ngrams: int
    measures: Measured
    split: str = ""  # which of its splits was read, where it is known

    def record(self) -> dict[str, Any]:
        """As JSON has it."""
        measures = {name: None if one is None else vars(one) for name, one in self.measures.items()}
        found = vars(self) | {"measures": measures}
        return found if self.split else {name: value for name, value in found.items() if name != "split"}


@dataclass(frozen=True, repr=False)
class TextComparison(HasPage):
    """How like a reference texts are, and the reference itself, on draws of one size."""

    to: str
    model: dict[str, str] | None  # name and id
    options: Similarity
    texts: tuple[TextFigures, ...]  # the reference last
    notes: tuple[str, ...]
    command: str = ""  # that made it, to be copied

    def record(self) -> dict[str, Any]:
        kinds = {name: vars(measure) | {"title": self.options.title(name)} for name, measure in MEASURES.items()}
        return {"format": 1, "to": self.to, "model": self.model, "options": dataclasses.asdict(self.options),
                "measures": kinds, "texts": [text.record() for text in self.texts],
                "notes": list(self.notes), "verdict": self.verdict}  # fmt: skip

    @property
    def verdict(self) -> str:
        """Which text is most like the reference, by the n-grams that draws share, beside what two parts of the
        reference share. Two are told apart where their intervals do not overlap."""
        *texts, itself = self.texts
        found = sorted((one for one in texts if one.measures["jaccard"]), key=_shared, reverse=True)
        own = itself.measures["jaccard"]
        if not found or own is None or own.low is None:
            few = "one draw" if self.options.draws == 1 else "one pair of draws"
            return f"No verdict: {few} of the reference says nothing of chance; take three or more (--draws)."
        first = found[0]
        ties = [one.name for one in found[1:] if _overlap(one.measures["jaccard"], first.measures["jaccard"])]
        if len(found) > 1:
            apart = f"not distinguished from {listed(ties)}" if ties else "and is distinguished from the others"
            words = f"By its words {first.name} is most like {self.to}, {apart}: "
        else:
            words = f"By its words {first.name}, beside {self.to}: "
        grams = f"{self.options.ngram}-grams"
        kl, own_kl = first.measures.get("unigram_kl"), itself.measures.get("unigram_kl")
        if _overlap(first.measures["jaccard"], own) and not _overlap(kl, own_kl) and kl and own_kl:
            words += (
                f"its {grams} do not tell it from a part of {self.to}, but how often it uses each word does: KL of "
                f"unigrams {number(kl.value, 2)}, between two parts of {self.to} {number(own_kl.value, 2)} nats."
            )
        elif _overlap(first.measures["jaccard"], own):
            words += f"it shares as many {grams} with it as two parts of {self.to} do with each other."
        else:
            part = f"{_shared(first) / own.value:.0%}".replace("%", " %") if own.value else "none"
            words += f"it shares {part} of the {grams} that two parts of {self.to} share with each other."
        both = shlex.join([first.name, self.to])
        sources = shlex.join(["--sources", first.name, "--sources", self.to])
        return (f"{words} Which prunes better is another question: calprune calib compare {both} --model MODEL says "
                f"whether the two lead to other weights; calprune choose MODEL {sources} --out DIR prunes with "
                "each and judges.")  # fmt: skip

    def page(self) -> Page:
        how = self.options
        about = (f"{how.draws} draws of {how.words:,} words of each text. Lines and brackets are 95 % intervals: over "
                 f"draws; of MinHash over its {how.permutations} permutations; under the model over windows of "
                 f"{how.window} tokens.")  # fmt: skip
        charts = tuple(chart for name in MEASURES if (chart := self._chart(name)))
        panel = Panel(charts, wide=True, choose="Measure:")
        sections = (
            Section("measures", "Each text", (), (panel,), (self._table(),)),
            Section("again", "Reproduce", blocks=TextBlock.commands(self.command)),
        )
        question = f"Which of these texts is the most like {self.to}?"
        made = Page(f"Likeness to {self.to}", sections, "calprune calib similar", question, about, (self.verdict,),
                    self.notes)  # fmt: skip
        return made.read_as(short_names([self.to, *(text.name for text in self.texts)]))

    def _table(self) -> Table:
        arrow = {True: "↑", False: "↓"}
        measures = [name for name in MEASURES if any(text.measures[name] for text in self.texts)]
        *others, itself = self.texts
        others.sort(key=_shared, reverse=True)  # as the chart and the verdict have them
        heads = (Column("text"), Column("split", show="varying"), Column("words", "number"),
                 *(Column(f"{self.options.title(name)} {arrow[MEASURES[name].higher_is_more_alike]}", "estimate")
                   for name in measures))  # fmt: skip
        rows = tuple(
            (text.name + (" (itself)" if text.is_reference else ""), text.split or None, text.words,
             *(text.measures[name] for name in measures))
            for text in (*others, itself)
        )  # fmt: skip
        words = (f"to {self.to}; on {self.options.draws} draws of {self.options.words:,} words of each text; ↑ higher "
                 f"is more alike, ↓ lower; brackets: 95 % intervals. N-grams are of words. KL: symmetric, in nats, "
                 f"{self.options.smoothing:g} added to each word's count.")  # fmt: skip
        under = (f"Min-K%++ and perplexity: {self.model['name']} on up to {self.options.windows} windows of "
                 f"{self.options.window} tokens.",) if self.model else ()  # fmt: skip
        return Table("similarity", "How like the reference each text is", heads, rows, (words, *under))

    def _chart(self, name: str) -> Dots | None:
        """The texts that were measured, the most alike first, and as a zone how like itself the reference is."""
        kind, found, itself = MEASURES[name], [], None
        for text in self.texts:
            if (one := text.measures[name]) is not None:
                label = f"{text.name} (itself)" if text.is_reference else text.name
                found.append(Point.of(label, one, with_interval(one), "itself" if text.is_reference else "text"))
                itself = one if text.is_reference else itself
        if not found:
            return None
        model = self.model["name"] if self.model else "the model"
        what = f"more like {self.to if kind.of_reference else f'what {model} was trained on'}"
        title, side = self.options.title(name), "right" if kind.higher_is_more_alike else "left"
        axis = ValueAxis(f"farther {side}: {what}", log=name == "perplexity")
        found.sort(key=lambda point: (point.series == "itself", point.value * (-1 if kind.higher_is_more_alike else 1)))
        zone = (itself.low, itself.high) if itself and itself.low is not None and itself.high is not None else None
        return Dots(title, axis.title, tuple(found), axis, [point.source for point in found], ("text", "itself"),
                    itself.value if itself else None, f"{self.to} itself", zone,
                    f"no difference: as {self.to} is like itself")  # fmt: skip


def compare_texts(
    how: Similarity, texts: Sequence[Corpus], reference: Corpus, model: Any = None, follow: Follow = iter
) -> TextComparison:
    """Every text, and the reference itself, by every measure; all on draws of one size. `follow` is given the texts,
    and takes them one by one."""
    asked, how = how.words, how.fitted([*texts, reference])
    rows = []
    for text in follow([*texts, reference]):
        measured = how.of_words(text, reference) | (how.under(text, model) if model is not None else {})
        rows.append(
            TextFigures(text.name, text is reference, text.signature.documents, text.signature.words,
                        text.signature.distinct, {name: measured.get(name) for name in MEASURES})
        )  # fmt: skip
    notes = list(_notes(texts, reference))
    if how.words < asked:
        shortest = min([*texts, reference], key=lambda text: len(text.words.hashes))
        notes.append(f"draws are of {how.words:,} words, because {shortest.name} has no more to give")
    about = None if model is None else {"name": model.name, "id": model.id}
    return TextComparison(reference.name, about, how, tuple(rows), tuple(notes))


def _notes(texts: Sequence[Corpus], reference: Corpus) -> Iterator[str]:
    """What whoever reads the numbers should know."""
    bounds = [(text, text.signature.bound(reference.signature)) for text in texts]
    if unequal := [f"{bound:.2g} for {text.name}" for text, bound in bounds if bound < UNEQUAL]:
        yield (f"sizes differ: MinHash reads all of each text, so its index cannot be above {', '.join(unequal)}, "
               f"whatever the words ({reference.name} has about {reference.signature.distinct:,} distinct n-grams); "
               "the index of draws has no such limit, for they are of one size")  # fmt: skip


def _within(draws: Sequence[Words]) -> list[tuple[Words, Words]]:
    """Each draw with another one, no pair twice: halves of them where their number is even. Not with its neighbour,
    which may share a document with it, where there are more than three."""
    turn = len(draws) // 2
    pairs = len(draws) if len(draws) % 2 else turn  # by half of an even number, (i, j) comes again as (j, i)
    return [(draws[i], draws[(i + turn) % len(draws)]) for i in range(pairs)] if turn else []


def _signed(documents: Iterable[Document], signature: Signature) -> Iterator[Document]:
    """The same documents, added to the signature as they go by."""
    for batch in batches(documents):
        signature.add([document.text for document in batch])
        yield from batch


def _shared(text: TextFigures) -> float:
    found = text.measures["jaccard"]
    return found.value if found else 0.0


def _overlap(a: Estimate | None, b: Estimate | None) -> bool:
    """Whether two intervals have a point in common; where one is not known, they may."""
    ends = [end for one in (a, b) if one for end in (one.low, one.high)]
    if len(ends) < 4 or None in ends:
        return True
    (a_low, a_high, b_low, b_high) = ends
    return bool(a_low <= b_high and b_low <= a_high)  # type: ignore[operator]


def _exp(nats: float) -> float:
    return math.exp(min(nats, 700))  # float64 ends at exp(709)
