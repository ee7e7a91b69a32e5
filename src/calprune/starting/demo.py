"""calprune demo: six lines on the demo model, from what the package brings. What is done is a study: demo.yaml."""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from calprune.base.output import filled_folder
from calprune.base.store import is_free
from calprune.base.values import UserError
from calprune.pages.table import Column, Table
from calprune.report.files import write_html
from calprune.starting.run import one_bar, run_study
from calprune.studies.bench import Knobs
from calprune.studies.folder import Runs
from calprune.studies.plan import Plan, plan
from calprune.studies.reading import parse_study
from calprune.studies.results import Results, read
from calprune.studies.time_left import estimate

BLOCKS = 30  # of the demo model
WORDS = {  # setting -> what it is, in words; in the order of the table
    ("none", "magnitude", "2:4"): "the smallest numbers",
    ("random_tokens", "wanda", "2:4"): "small numbers that meet weak inputs; inputs of random words",
    ("pydoc_topics", "wanda", "2:4"): "the same; inputs of real text",
    ("pydoc_topics", "sparsegpt", "2:4"): "as real text says, and the weights that stay mend the error",
    ("pydoc_topics", "wanda", "50%"): "as wanda with real text, any half of a row",
}
ON = {"none": "nothing", "random_tokens": "random words", "pydoc_topics": "Python's help texts"}
NOTES = (
    "2:4: two of every four weights in a row are zero; 50%: any half of a row. Perplexity: how many words the model",
    "wavers between, on help texts that it was not pruned with; lower is better. KL: how far its guesses are from the",
    "dense model's, 0 is the dense model. The two lines of wanda at 2:4 differ in nothing but the calibration data.",
    "One draw and 1,280 tokens a line: a demonstration, no evidence. --full: more sets, and checkpoints.",
)


@dataclass(frozen=True)
class Demo:
    """What is to be done, and where."""

    out: Path
    planned: Plan
    text: str

    @property
    def runs(self) -> Runs:
        return Runs(self.out / "runs")

    @property
    def page(self) -> Path:
        return self.out / "report.html"

    def seconds(self) -> float:
        """What it may take here, roughly."""
        return 20.0 + 1.5 * estimate(self.planned, self.planned.trials)  # on what `Knobs` usually name, as it runs

    def run(self, knobs: Knobs) -> Results:
        """Do what is missing, and write the page."""
        with filled_folder(self.out):
            with one_bar("pruning and judging SmolLM2-135M", self.planned, BLOCKS, BLOCKS, 0) as bar:
                run_study(self.planned, self.text, self.runs, knobs, bar)
            results = read(self.runs.path)
            write_html(results, self.page)
        return results


def demo(out: Path, knobs: Knobs) -> Demo:
    """Plan it. Makes the demo model's checkpoint, if it is not there. Raises UserError where `out` is another's."""
    check_demo_folder(out, Path("runs", "FORMAT"))
    text = (files("calprune.studies") / "demo.yaml").read_text(encoding="utf-8")
    return Demo(out, plan(parse_study(text, "demo.yaml"), knobs.data_root), text)


def check_demo_folder(out: Path, mark: Path) -> None:
    """Raise UserError where the folder holds something, and no demo's mark."""
    if not (out / mark).is_file() and not is_free(out):
        raise UserError(f"--out {out}: it holds something else; name a folder that is absent, empty or a demo's")


def table(results: Results) -> Table:
    """Six lines, explained in words."""
    found = {(row.calibration, row.method, row.pattern, row.metric): row for row in results.rows}
    dense = next(row.dense for row in results.rows if row.metric == "perplexity")
    rows: list[tuple[str | float, ...]] = [("dense", "", "nothing", dense, 0.0, "nothing: the model as it is")]
    for (calibration, method, pattern), words in WORDS.items():
        values = (found[calibration, method, pattern, metric].value for metric in ("perplexity", "kl"))
        rows.append((method, pattern, ON[calibration], *values, words))
    columns = (Column("method"), Column("pattern"), Column("calibrated on"), Column("perplexity", "number"),
               Column("KL", "number"), Column("what is set to zero"))  # fmt: skip
    return Table("demo", "SmolLM2-135M-Instruct", columns, tuple(rows), NOTES)
