"""How fast models are beside the first of them, and how large: what `calprune speed` shows."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from calprune.deployment.machine import NOISY
from calprune.deployment.rounds import Timed
from calprune.deployment.worker import Work
from calprune.pages.chart import Dots, Panel
from calprune.pages.drawing import Point, ValueAxis
from calprune.pages.names import short_names
from calprune.pages.numbers import counted, listed, percent, with_interval
from calprune.pages.page import HasPage, Page, Section, TextBlock
from calprune.pages.table import Column, Table, Value
from calprune.uncertainty.estimate import Estimate
from calprune.uncertainty.median import median_of

PROMPT, STEPS = 128, 32  # of what is timed as decoding: tokens that are there, tokens that are written
WORKS = (Work(1, 512), Work(1, 2048), Work(1, PROMPT, STEPS), Work(8, PROMPT, STEPS))
INTERVALS = ("Brackets: 95 % intervals of the median over rounds; of a ratio, over each round's ratios. With fewer "
             "than six rounds there is none.")  # fmt: skip


@dataclass(frozen=True, repr=False)
class SpeedReport(HasPage):
    """Models timed in turns on one machine."""

    models: tuple[Timed, ...]
    rounds: int
    machine: dict[str, Any]  # processor, cores, threads, versions
    others: float | None  # the share of the cores that other programs took meanwhile; None: not known
    command: str = ""

    def speed(self, model: int, work: Work) -> Estimate | None:
        """Tokens a second of a model, by its place. None: it cannot read as many."""
        return median_of([work.tokens / seconds for seconds in self.models[model].seconds[work]])

    def ratio(self, model: int, work: Work) -> Estimate | None:
        """How many times as fast as the first model; above 1 it is faster. Paired by round."""
        own, first = self.models[model].seconds[work], self.models[0].seconds[work]
        return median_of([before / after for before, after in zip(first, own, strict=False)])

    @property
    def works(self) -> tuple[Work, ...]:
        """What was timed."""
        return tuple(self.models[0].seconds)

    def page(self) -> Page:
        """How it is read."""
        first, warnings = self.models[0].name, tuple[str, ...]()
        if self.others is not None and self.others >= NOISY:
            warnings = (f"other programs took {percent(self.others, 0)} of this machine's cores meanwhile: read the "
                        "ratios, which are taken in turns, and not the times",)  # fmt: skip
        shown = Section("ratio", panels=(Panel((self._chart(),), wide=True),), tables=(self._ratios(),),
                        notes=(INTERVALS,))  # fmt: skip
        speeds = Section("speed", "Tokens a second", tables=(self._speeds(),), notes=(*self._made(), *self._unread()))
        how = Section("how", "How it was measured", (HOW,), facts=tuple((k, str(v)) for k, v in self.machine.items()),
                      blocks=TextBlock.commands(self.command))  # fmt: skip
        summary = f"{counted(self.rounds, 'round')} on {self.machine['device']}"
        question = f"What is each model worth in speed, memory and disk beside {first}?"
        made = Page(f"How fast, beside {first}", (shown, speeds, how), "calprune speed", question, summary,
                    self.answer(), warnings)  # fmt: skip
        return made.read_as(short_names(model.name for model in self.models))

    def answer(self) -> tuple[str, ...]:
        """How often each is faster, in one sentence; then where, a sentence a model."""
        others = range(1, len(self.models))
        if not others:
            return ()
        return (f"{'; '.join(map(self._short, others))}.", *map(self._sentence, others))

    def _short(self, i: int) -> str:
        verdicts = [_verdict(ratio) for work in self.works if (ratio := self.ratio(i, work)) is not None]
        faster, slower = (verdicts.count(word) or "none" for word in ("faster", "slower"))
        size = percent(_share(self.models[i].about.stored, self.models[0].about.stored), 0)
        return (f"{self.models[i].name} is shown to be faster than {self.models[0].name} at {faster} of "
                f"{counted(len(verdicts), 'kind')} of work and slower at {slower}, with {size} of its bytes on the disk"
                )  # fmt: skip

    def _sentence(self, i: int) -> str:
        """How much faster, where that is shown, and what is as it was."""
        model = self.models[i]
        kinds: dict[str, list[tuple[str, str]]] = {"faster": [], "slower": [], "not shown to differ": []}
        for work in self.works:
            if (ratio := self.ratio(i, work)) is not None:
                kinds[_verdict(ratio)].append((work.name, with_interval(ratio)))
        parts = [f"{word} at {listed([f'{name} ({ratio} times)' for name, ratio in those])}"
                 for word, those in kinds.items() if those]  # fmt: skip
        return f"{model.name}: {'; '.join(parts) or 'no speed was measured'}."

    def _speeds(self) -> Table:
        heads = (Column("model"), Column("on disk, MB", "number"), Column("memory, MB", "number"),
                 *(Column(work.name, "estimate") for work in self.works))  # fmt: skip
        rows = [(one.name, one.about.stored / 1e6, None if one.memory is None else one.memory / 1e6,
                 *(self.speed(i, work) for work in self.works)) for i, one in enumerate(self.models)]  # fmt: skip
        return Table("speed", "", heads, tuple(rows))

    def _ratios(self) -> Table:
        heads = (Column("model"), Column("on disk", "number", percent=True), Column("memory", "number", percent=True),
                 *(Column(work.name, "estimate") for work in self.works))  # fmt: skip
        caption = f"Beside {self.models[0].name}: sizes in per cent of it, speeds as many times as fast"
        return Table("ratio", caption, heads, tuple(self._ratio_row(i) for i in range(1, len(self.models))))

    def _ratio_row(self, i: int) -> tuple[Value, ...]:
        own, first = self.models[i], self.models[0]
        memory = _share(own.memory, first.memory)
        return (own.name, _share(own.about.stored, first.about.stored), memory,
                *(self.ratio(i, work) for work in self.works))  # fmt: skip

    def _chart(self) -> Dots:
        """Each model's ratios: a row a model, a dot a work."""
        points = [Point.of(self.models[i].name, ratio, with_interval(ratio), work.name)
                  for i in range(1, len(self.models)) for work in self.works
                  if (ratio := self.ratio(i, work)) is not None]  # fmt: skip
        names = [model.name for model in self.models[1:]]
        return Dots(f"Speed beside {self.models[0].name}", "how many times as fast, with its interval", tuple(points),
                    ValueAxis("times as fast"), names, [work.name for work in self.works], 1.0,
                    self.models[0].name)  # fmt: skip

    def _made(self) -> tuple[str, ...]:
        """Of models that were not plain: what was timed in their place."""
        return tuple(
            f"{one.name}: {note.partition(', so pruning')[0]}; timed are its weights as {one.about.dtype}, and on the "
            "disk is what was given."
            for one in self.models
            for note in one.about.notes
        )

    def _unread(self) -> tuple[str, ...]:
        return tuple(f"{one.name}: {work.name} goes past its table of {one.about.longest:,} positions."
                     for one in self.models for work in self.works
                     if one.about.longest is not None and work.longest > one.about.longest)  # fmt: skip

    def record(self) -> dict[str, Any]:
        """Every number: bytes, seconds of each round, medians."""
        rows = []
        for i, one in enumerate(self.models):
            works = [asdict(work) | {"name": work.name, "seconds": one.seconds[work],
                                     "tokens_per_second": _plain(self.speed(i, work)),
                                     "times_as_fast": _plain(self.ratio(i, work))} for work in self.works]  # fmt: skip
            rows.append({"name": one.name} | asdict(one.about) | {"memory": one.memory, "works": works})
        return {"format": 1, "rounds": self.rounds, "machine": self.machine, "others": self.others, "models": rows,
                "answer": list(self.answer())}  # fmt: skip


HOW = ("Each model runs in a process of its own, in transformers, and they take turns: each does the same work once "
       "a round, and once before the first, which does not count. Prefill reads a prompt with keys and values kept "
       f"and makes the logits of its last token; decode writes {STEPS} tokens greedily after {PROMPT}. Memory is the "
       "most that the model takes meanwhile beyond what the process held before it was loaded; on a GPU, the most that "
       "torch allocated there.")  # fmt: skip


def _verdict(ratio: Estimate) -> Literal["faster", "slower", "not shown to differ"]:
    if ratio.low is not None and ratio.low > 1:
        return "faster"
    return "slower" if ratio.high is not None and ratio.high < 1 else "not shown to differ"


def _share(own: int | None, first: int | None) -> float | None:
    return own / first if own is not None and first else None


def _plain(estimate: Estimate | None) -> dict[str, Any] | None:
    return None if estimate is None else asdict(estimate)
