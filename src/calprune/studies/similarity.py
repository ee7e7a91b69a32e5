"""How like the study's reference texts each of its calibration sources is: measured once, after the trials."""

from typing import Any

from calprune.base.store import write_json
from calprune.calibration.part import OpenPart, is_folder, open_part, open_source
from calprune.calibration.recipe import parse_spec
from calprune.likeness.texts import MEASURES, compare_texts, texts_of
from calprune.models.load import load
from calprune.studies.bench import Knobs
from calprune.studies.folder import Runs
from calprune.studies.grid import Calibration, Grid
from calprune.studies.plan import Plan
from calprune.text.document import Given


def measure_similarity(runs: Runs, plan: Plan, knobs: Knobs) -> None:
    """Write similarity/<id>.json for each reference that the study names, unless it is there: a calibration by every
    measure, its text and the reference's under the study's first model. Mixtures are left out."""
    how = plan.likeness
    missing = {reference: path for name, reference in plan.similarity.items()
               if not (path := runs.similarity(name)).is_file()}  # fmt: skip
    if not missing:
        return
    model = load(plan.trials[0].model, device=knobs.device)
    given = Given(model, data_root=knobs.data_root)
    opened = {one.label: _open(one, grid, given) for grid in plan.study.grids for one in grid.sets()
              if len(parse_spec(one.spec).parts) == 1}  # fmt: skip
    texts = [how.read(label, texts_of(part)) for label, part in opened.items()]
    for reference, path in missing.items():
        other = open_source(reference, given, "reference")
        found = compare_texts(how, texts, how.read(f"to {reference}", texts_of(other)), model).record()
        measured = list(_measured(found, reference))
        write_json(path, found | {"reference": reference, "stand_in": other.stand_in, "measured": measured})


def _open(one: Calibration, grid: Grid, given: Given) -> OpenPart:
    """The text of a calibration in its format, as its filters leave it."""
    if is_folder(one.spec):
        return open_source(one.spec, given, "calibration")
    recipe = one.recipe(1, grid.max_seq_length, 0)
    return open_part(recipe.parts[0], recipe, given)


def _measured(found: dict[str, Any], reference: str) -> Any:
    """One row a calibration and measure, as `results.Similarity` has it."""
    for text in found["texts"]:
        for name, value in text["measures"].items():
            if value is not None and not text["is_reference"]:
                kind = found["measures"][name]
                title = f"{kind['title']} to {reference}" if MEASURES[name].of_reference else kind["title"]
                yield {"calibration": text["name"], "measure": title, "value": value["value"],
                       "higher_is_more_alike": kind["higher_is_more_alike"]}  # fmt: skip
