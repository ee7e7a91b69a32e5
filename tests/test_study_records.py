"""What a study's folder holds is read as it was written, also by calprune 0.1, and an axis is one line in the table."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from calprune.base.store import read_json
from calprune.base.values import UserError
from calprune.calibration.set import CalibrationSet
from calprune.evaluation.metric import PERPLEXITY
from calprune.layers.collect import Counting
from calprune.studies.axes import AXES, Setting, read_values, varying_axes
from calprune.studies.folder import Runs
from calprune.studies.records import EvaluationRecord, read_evaluation, read_plan
from calprune.studies.results import read, status
from calprune.studies.trial import read_trial

FOLDER = Path(__file__).parent / "run_of_format_1"  # of nine trials on all axes, as commit 10c88e7 wrote it
ROWS = Path(__file__).parent / "run_of_format_1.json"  # what that commit read from it
TRIALS = sorted(path.name for path in (FOLDER / "trials").iterdir())


def test_rows_of_a_folder_that_an_earlier_version_wrote_are_what_that_version_read():
    before, now = json.loads(ROWS.read_text()), read(FOLDER)
    rows = [{name: getattr(row, name) for name in wanted} for row, wanted in zip(now.rows, before["rows"], strict=True)]
    assert json.loads(json.dumps(rows)) == before["rows"] and len(rows) == 18
    assert [dataclasses.asdict(one) for one in now.similarity] == before["similarity"]
    assert [claim.id for claim in now.claims] == before["claims"]
    named = ("trials", "draws", "passes that collect sums", "passes that sharing saved", "seconds", "versions")
    assert {name: now.about[name] for name in named} == {name: before["about"][name] for name in named}
    assert now.about["seconds if each trial ran alone"] == before["about"]["seconds if each trial ran alone"]
    assert status(Runs(FOLDER)).done == 9 and not now.missing and not now.failed


@pytest.mark.parametrize("name", TRIALS)
def test_a_trial_that_an_earlier_version_wrote_has_the_same_name_and_is_written_the_same(name):
    written = read_json(FOLDER / "trials" / name / "trial.json", "a trial")
    trial = read_trial(written, "trial.json")
    assert trial.id == name
    assert {"format": 1} | trial.to_json() == written
    assert trial.job.needs in ("nothing", "moments", "gram")


def test_the_trials_that_are_read_back_are_on_all_axes():
    trials = [Runs(FOLDER).record(name) for name in TRIALS]
    usual = {name: axis.usual for name, axis in AXES.items() if axis.usual}
    assert all(any(trial.setting[name] not in (value, "") for trial in trials) for name, value in usual.items())
    assert any(trial.refine_on for trial in trials) and any(trial.ignore for trial in trials)
    assert any(trial.min_expert_tokens != Counting().min_expert_tokens for trial in trials)


def contents(path: Path) -> dict:
    """What a file says, without the digest of itself, which earlier versions did not write."""
    return {name: value for name, value in json.loads(path.read_text()).items() if name != "digest"}


def test_sets_plan_and_evaluations_that_an_earlier_version_wrote_are_read_and_written_the_same(tmp_path):
    for folder in (FOLDER / "calibration").iterdir():
        assert CalibrationSet.load(folder).id == folder.name
    read_plan(FOLDER / "plan.json").write(tmp_path / "plan.json")
    assert contents(tmp_path / "plan.json") == contents(FOLDER / "plan.json")
    files = [*FOLDER.glob("trials/*/eval/*.json"), *FOLDER.glob("dense/*/eval/*.json")]
    for path in files:
        read_evaluation(path).write(tmp_path / "eval.json")
        assert contents(tmp_path / "eval.json") == contents(path)
    assert len(files) == 2 * (9 + 1)


def test_what_is_more_than_a_number_can_hold_is_read_back(tmp_path):
    one = EvaluationRecord("perplexity(c4)", "general", PERPLEXITY, float("inf"), (900.0, 3.0), None, 1.5)
    one.write(tmp_path / "eval.json")
    assert json.loads((tmp_path / "eval.json").read_text())["value"] is None
    assert read_evaluation(tmp_path / "eval.json") == one


@pytest.mark.parametrize("gone", ["method", "set", "model", "recipe"])
def test_a_record_that_lacks_something_is_named_in_one_line(gone):
    written = read_json(FOLDER / "trials" / TRIALS[0] / "trial.json", "a trial")
    with pytest.raises(UserError, match=f"trial.json is no trial's record: '{gone}'"):
        read_trial({name: value for name, value in written.items() if name != gone}, "trial.json")


def test_a_record_of_a_set_that_is_damaged_is_named(tmp_path):
    (tmp_path / "eval.json").write_text('{"format": 1, "value": 1.0}')
    with pytest.raises(UserError, match="lacks 'evaluation'"):
        read_evaluation(tmp_path / "eval.json")


KINDS = {"eval.json" if path.parent.name == "eval" else path.name: path.relative_to(FOLDER)
         for path in sorted(FOLDER.rglob("*"))
         if path.suffix in (".json", ".yaml") and "calibration" not in path.parts}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_no_text_is_named_in_one_line(kind, tmp_path):
    """Bytes that no UTF-8 has, in each kind of file of a study's folder."""
    shutil.copytree(FOLDER, tmp_path / "runs")
    damaged = tmp_path / "runs" / KINDS[kind]
    damaged.write_bytes(b"title: \xa2\xb3" + damaged.read_bytes())
    with pytest.raises(UserError) as refused:
        read(tmp_path / "runs")
    assert str(KINDS[kind]) in str(refused.value) and "\n" not in str(refused.value)


def test_an_error_that_is_no_text_hides_no_results(tmp_path):
    shutil.copytree(FOLDER, tmp_path / "runs")
    (tmp_path / "runs" / "trials" / TRIALS[0] / "error.txt").write_bytes(b"out of memory \xa2")
    (failed,) = read(tmp_path / "runs").failed
    assert failed.error.startswith("out of memory")


def setting(**values: str) -> Setting:
    usual = {name: axis.usual for name, axis in AXES.items()} | {"model": "m", "calibration": "c4", "method": "wanda"}
    return Setting(usual | {"pattern": "60%"} | values)


def test_a_setting_is_worded_by_the_table():
    one = setting(method="sparsegpt", allocation="owl", pattern="2:4", permute="assignment", num_samples="1024")
    assert one.words(AXES) == (
        "m c4 sparsegpt owl 2:4 dense propagation even token weights permuted by assignment on 1,024 sequences"
    )
    assert one.words({"method", "pattern"}) == "sparsegpt 2:4"
    assert one.label(1) == "c4 sparsegpt 2:4 owl permuted by assignment draw 1"
    free = setting(method="magnitude").settled(reads_data=False)
    assert free.label(None) == "no data magnitude 60%" and free.words(AXES) == "m magnitude uniform 60%"
    assert varying_axes([one, free, setting(method="magnitude")]) == (
        "method", "pattern", "allocation", "permute", "num_samples")  # fmt: skip


def test_what_has_no_effect_has_its_idle_value():
    asked = setting(permute="assignment", propagate="pruned", token_weights="attention")
    assert asked.settled(True) == asked | {"permute": "none"}, "60% has no order of channels"
    assert asked.settled(False) == setting(calibration="none", num_samples="")


@pytest.mark.parametrize("written", ["", None, True, [["60%"]], {"a": 1}, []])
def test_a_value_that_is_no_text_is_refused_with_its_place(written):
    with pytest.raises(UserError, match=r"study.yaml: models(\.0)?: expected "):
        read_values(AXES["model"], written, "study.yaml")


def test_a_new_axis_is_one_line_in_the_table(programs):
    """Studies read it, trials are named by it and only where it is not usual, results are grouped and worded by it, and
    claims select by it."""
    found = programs.run("-c", NEW_AXIS, anew=True)
    assert found.returncode == 0, found.stderr
    before, *after = json.loads(found.stdout)
    assert [one["label"] for one in after] == ["c4 wanda 60% draw 0", "c4 wanda 60% rounded up draw 0"]
    assert after[0]["name"] == before["name"] != after[1]["name"]
    assert [one["words"] for one in after] == ["wanda rounded usual", "wanda rounded up"]
    assert [one["selected"] for one in after] == [False, True]
    assert [one["row"] for one in after] == ["usual", "up"]


NEW_AXIS = """
import json
from calprune.studies.axes import AXES, Axis
TEXT = '''
title: t
models: m
calibrations: c4
methods: wanda
patterns: 60%
draws: 1
evaluations: kl(c4)
'''
LINE = Axis("rounding", "rounding", str, "usual", words="rounded {}", short="rounded {}")
if __name__ == "__main__":
    AXES["rounding"] = LINE
    from calprune.evaluation.metric import KL
    from calprune.studies.claims import Where
    from calprune.studies.reading import parse_study
    from calprune.studies.results import COLUMNS, Result
    from calprune.studies.trial import read_trial

    def told(trial):
        back = read_trial(trial.to_json(), "trial.json")
        row = Result("t", back.setting, 1, back.draw, "kl(c4)", KL, "general", 1.0, (1.0,), 0.0, (0.0,), None)
        where = Where({"rounding": ("up",)})
        assert "rounding" in COLUMNS and row.cell == tuple(back.setting.values())
        return {"label": trial.label, "name": trial.draft_id, "words": row.axes.words({"method", "rounding"}),
                "selected": where.takes(row.setting), "row": row.rounding}

    both = [told(trial) for trial in parse_study(TEXT + "rounding: [usual, up]", "study.yaml").trials()]
    alone = [told(trial) for trial in parse_study(TEXT, "study.yaml").trials()]
    print(json.dumps(alone + both))
"""
