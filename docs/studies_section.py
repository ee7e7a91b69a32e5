"""The section of docs/studies.md that is made from studies/*.yaml: what each asks, and its size."""

from pathlib import Path

from calprune.evaluation.evaluation import OnText
from calprune.studies.folder import study_text
from calprune.studies.grid import Study
from calprune.studies.reading import parse_study

HERE = Path(__file__).parent
PAGE, FOLDER = HERE / "studies.md", HERE.parent / "studies"
BEGIN, END = "<!-- studies: made by docs/studies_section.py -->\n", "<!-- studies: end -->\n"


def section() -> str:
    """A row a study, in alphabetical order."""
    lines = ["| study | what it asks | trials | draws | a set, in tokens | judged on |", "|---|---|---|---|---|---|"]
    for path in sorted(FOLDER.glob("*.yaml")):
        study = parse_study(study_text(path), path.name)
        asks = study.question or study.title
        cells = [f"[{path.stem}](../studies/{path.name})", asks, f"{sum(1 for _ in study.trials()):,}", *_sizes(study)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def current() -> str:
    """The page with the section as the files have it now."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    return before + BEGIN + "\n" + section() + "\n" + END + rest.partition(END)[2]


def _sizes(study: Study) -> list[str]:
    """Draws, sizes of a set, what is judged: those that read data, each size once."""
    grids = [grid for grid in study.grids if grid.calibrations]
    draws = sorted({grid.draws for grid in grids})
    sets = sorted({(n, grid.max_seq_length) for grid in grids for n in grid.num_samples})
    texts = {one.text: one.tokens for one in study.evaluations if isinstance(one, OnText)}
    tasks = sum(not isinstance(one, OnText) for one in study.evaluations)
    judged = [f"{sum(texts.values()):,} tokens"] if texts else []
    judged += [f"{tasks} tasks"] if tasks else []
    sizes = [f"{n} x {length:,}" for n, length in sets]
    return [" or ".join(map(str, draws)), ", ".join(sizes), ", ".join(judged)]
