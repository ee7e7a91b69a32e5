"""What a start found: a table by what was judged, a sentence, and what to do next."""

import math
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calprune.base.progress import duration
from calprune.choosing.job import FINALISTS, RESULT_TRIALS
from calprune.evaluation.metric import KL, PERPLEXITY
from calprune.pages.numbers import listed, number, with_interval
from calprune.pages.table import Column, Table
from calprune.report.answer import warnings
from calprune.report.findings import Cell, Comparison, Findings, Lead
from calprune.report.retained import of_cell
from calprune.starting.proposal import CHAT, DRAWS, OWN, Proposal
from calprune.uncertainty.estimate import Estimate

DEPLOY = "docs/deploy.md"


def better_set(findings: Findings) -> str:
    """The set with the least KL, the mean over all that was judged."""
    means = _mean_kl(findings)
    return min(means, key=lambda label: means[label])


def _mean_kl(findings: Findings) -> dict[str, float]:
    """Of each set the mean of KL over all texts that were judged, each counting alike."""
    means: dict[str, list[float]] = {}
    for cell in findings.cells:
        if cell.of.metric == KL.name:
            means.setdefault(cell.of.calibration, []).append(math.fsum(cell.values) / len(cell.values))
    return {label: math.fsum(values) / len(values) for label, values in means.items()}


@dataclass(frozen=True)
class Started:
    """What was done and found."""

    made: Proposal
    findings: Findings
    label: str  # of the set that the model was pruned with
    model: Path
    page: Path

    def table(self) -> Table:
        """Three rows a text: perplexity and KL, and what is left of the dense model's."""
        sets = tuple(self.made.sets)
        rows: list[tuple[Any, ...]] = []
        for name in self.made.texts:
            perplexity, kl = ([self._cell(metric, name, one) for one in sets] for metric in ("perplexity", "kl"))
            dense = perplexity[0].of.dense
            rows += [
                (name, "perplexity", _plain(dense), *(cell.spread.interval for cell in perplexity)),
                ("", "KL to dense, nats a token", _plain(0.0), *(cell.spread.interval for cell in kl)),
                ("", "what is left, %", _plain(100.0), *(_hundred(of_cell(cell)) for cell in perplexity)),
            ]
        columns = [Column("judged on"), Column(""), Column("dense", "estimate")]
        columns += [Column(one, "estimate") for one in sets]
        notes = (
            f"Means of {DRAWS} draws with 95 % intervals over draws. Perplexity: lower is better. KL: how far guesses",
            "of the next word are from the dense model's, 0 is the dense model. Left: dense perplexity ÷ pruned.",
        )
        return Table("start", "", tuple(columns), tuple(rows), notes)

    def _cell(self, metric: Any, name: str, label: str) -> Cell:
        written = str(self.made.evaluations(metric)[name])
        return next(c for c in self.findings.cells if (c.of.evaluation, c.of.calibration) == (written, label))

    @property
    def main(self) -> str:
        """What the sentence is of: the user's own text, if there is one."""
        return next((name for name in self.made.texts if name.startswith(OWN)), next(iter(self.made.texts)))

    def sentence(self) -> str:
        """The answer, with its interval."""
        name, setting = self.main, f"{self.made.wanted.pattern} ({self.made.wanted.method})"
        on = f"On {name if name.startswith(OWN) else f'{name} text'}"
        left = of_cell(self._cell(PERPLEXITY.name, name, self.label))
        assert left is not None
        kept = f"{with_interval(left, as_percent=True)} of the dense model's perplexity is left at {setting}"
        comparison = self._compared(name)
        if comparison is None:
            return f"{on}, {kept} and {self.label} (dense perplexity ÷ pruned)."
        best, other = comparison.sources[:2]
        contrast = comparison.contrasts[0]
        apart = contrast.difference.estimate
        low, high = (None if end is None else -end for end in (apart.high, apart.low))
        nearer = Estimate(-apart.value, low, high, apart.n)
        by = f"by {with_interval(nearer)} nats a token of KL (95 % interval)"
        if low is not None and low > 0:  # one question, so its own interval decides
            said = f"pruning with {best} is shown to keep the model nearer to the dense one than {other}, {by}"
        else:
            said = f"no difference is shown between {best} and {other} to prune with; {best} has the better mean {by}"
        return f"{on}, {said}. {self._why_kept(best)}With {self.label}, {kept}."

    def cautions(self) -> list[str]:
        """What to know before the sentence is believed: draws that share documents, texts that stand in."""
        return warnings(self.findings)

    def lead(self) -> Lead:
        """The sentence, with what it is of."""
        return Lead(self.sentence(), str(self.made.evaluations(KL.name)[self.main]))

    def _why_kept(self, best: str) -> str:
        """Why the model is not that of the set which is best on the text that the sentence is of."""
        if self.label == best:
            return ""
        means, texts = _mean_kl(self.findings), listed([*self.made.texts])
        return (f"The model that is kept was pruned with {self.label} all the same, for over all that was judged "
                f"({texts}, each counting alike) its mean KL is the least: {number(means[self.label], 4)} nats a "
                f"token, with {best} {number(means[best], 4)}. ")  # fmt: skip

    def _compared(self, name: str) -> Comparison | None:
        written = str(self.made.evaluations(KL.name)[name])
        return next((one for one in self.findings.comparisons if one.of.evaluation == written), None)

    def following(self) -> list[str]:
        """What to do next: commands as they can be pasted."""
        return [
            f"model: {self.model} (pruned with {self.label}, draw 0)",
            f"page:  {self.page}",
            "next:  look at it     calprune diff " + shlex.join([self.made.wanted.model, str(self.model)]),
            "       judge it surely, on fresh text, against mixtures (about "
            f"{duration(self.choose_seconds(), up=True)}):",
            f"         {self.choose_command()}",
            f"       use it         AutoModelForCausalLM.from_pretrained({str(self.model)!r})",
            f"                      where a pruned model runs, and where zeros bring nothing: {DEPLOY}",
        ]

    def choose_seconds(self) -> float:
        """What that may take, by what the trials here took: draws of each source, of the finalists and of the default,
        and the model that is kept."""
        about = self.findings.results.about
        trials = DRAWS * (len(self._sources()) + FINALISTS + 1) + RESULT_TRIALS
        return about["seconds"] / about["trials"] * trials

    def _sources(self) -> list[str]:
        """What `choose` is to choose among: two at least."""
        made = self.made
        sources = [spec for label, spec in made.sets.items() if label != OWN and "+" not in spec]
        sources += [str(one.parts(made.data_folder)[0]) for one in made.own]
        return sources if len(sources) > 1 else [*sources, "self:bos(documents=200)"]

    def choose_command(self) -> str:
        """The whole command that judges these sources."""
        made, wanted = self.made, self.made.wanted
        words = ["calprune", "choose", wanted.model, *(w for one in self._sources() for w in ("--sources", one))]
        for name, text in made.texts.items():
            short = "yours" if name.startswith(OWN) else name
            short += str([*made.texts].index(name)) if short == "yours" and len(made.own) > 1 else ""
            words += ["--for", f"{short}=1", *(("--judge", f"{short}={text.of}") if name != CHAT else ())]
        words += ["--method", wanted.method, "--pattern", wanted.pattern, "--num-samples", str(made.num_samples),
                  "--max-seq-length", str(made.max_seq_length), "--out", str(wanted.out / "choose")]  # fmt: skip
        root = wanted.knobs.data_root
        return shlex.join([*words, *(("--data-root", str(root)) if root else ())])


def _plain(value: float) -> Estimate:
    return Estimate(value, None, None, 1)


def _hundred(estimate: Estimate | None) -> Estimate | None:
    return estimate and estimate.map(lambda share: 100 * share)
