"""Studies: what a YAML file means, which trials it has, and what a folder holds after runs that were disturbed."""

import contextlib
import errno
import fcntl
import json
import math
import os
import shutil
import signal
import threading
import time
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
import yaml

import calprune
from calprune.api.study import _written
from calprune.base.patterns import parse_any
from calprune.base.progress import Progress, showing
from calprune.base.store import DiskError
from calprune.base.values import ConfigError, UserError
from calprune.evaluation.evaluation import parse_evaluation
from calprune.methods.wanda import Wanda
from calprune.removal import REMOVALS
from calprune.studies.bench import Knobs
from calprune.studies.cluster import work_anywhere
from calprune.studies.folder import Runs
from calprune.studies.plan import plan
from calprune.studies.reading import parse_study
from calprune.studies.results import read, status
from calprune.studies.runner import begin, work, work_in_processes
from calprune.studies.similarity import measure_similarity
from calprune.text.find import catalogue
from tests.families import tiny_model
from tests.tiny import save, toy_tokenizer

STUDY = """
title: A tiny study
models: {model}
calibrations: [{text}, random_tokens]
methods: [magnitude, wanda, sparsegpt]
patterns: [50%, "2:4"]
num_samples: 4
max_seq_length: 16
draws: 2
evaluations: ["perplexity({text}, tokens=64, length=16)", "kl({text}, tokens=64, length=16)"]
"""


@pytest.fixture(scope="session")
def material(tmp_path_factory) -> dict[str, str]:
    """A tiny model on disk and a text that calibrates and evaluates."""
    folder = tmp_path_factory.mktemp("material")
    tokenizer = toy_tokenizer()
    model = tiny_model("llama")
    model.resize_token_embeddings(len(tokenizer))
    save(model, tokenizer, folder / "model")
    words = ["river", "stone", "lantern", "quiet", "harbour", "seven", "marble", "orchard", "winter", "copper"]
    lines = [json.dumps({"text": " ".join(words[(i * 7 + j * j) % 10] for j in range(12))}) for i in range(60)]
    (folder / "text.jsonl").write_text("\n".join(lines))
    return {"model": str(folder / "model"), "text": str(folder / "text.jsonl")}


def study_text(material: dict[str, str], **changed: str) -> str:
    lines = STUDY.format(**material).strip().splitlines()
    return "\n".join([line for line in lines if line.split(":")[0] not in changed]
                     + [f"{key}: {value}" for key, value in changed.items()]) + "\n"  # fmt: skip


def run(text: str, folder: Path) -> Runs:
    runs = Runs(folder)
    plan(parse_study(text, "study.yaml"), None).write(runs, text)
    begin(runs)
    list(work(runs, Knobs("cpu")))
    return runs


def contents(folder: Path) -> dict[str, object]:
    """Every file's bytes, JSON without what is a time or a size of memory, or the digest of these."""

    def settled(value):
        if isinstance(value, dict):
            return {k: settled(v) for k, v in value.items() if k not in ("seconds", "peak_bytes", "digest")}
        return [settled(v) for v in value] if isinstance(value, list) else value

    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): settled(json.loads(path.read_text())) if path.suffix == ".json"
            else path.read_bytes() for path in files}  # fmt: skip


@pytest.fixture(scope="session")
def undisturbed(material, tmp_path_factory) -> Runs:
    return run(study_text(material), tmp_path_factory.mktemp("runs") / "undisturbed")


def ids(text: str) -> list[str]:
    return [trial.id for trial in plan(parse_study(text, "study.yaml"), None).trials]


def test_a_method_that_reads_no_data_is_one_trial_whatever_the_data(material):
    trials = plan(parse_study(study_text(material), "study.yaml"), None).trials
    assert len(trials) == 2 + 2 * 2 * 2 * 2  # magnitude: a pattern each; the rest: method, pattern, set, draw
    assert sum(trial.set_id is None for trial in trials) == 2


def test_changing_a_study_adds_and_drops_only_what_changed(material):
    before, more = ids(study_text(material)), ids(study_text(material, draws="3"))
    assert set(before) < set(more) and len(more) - len(before) == 2 * 2 * 2
    fewer = ids(study_text(material, methods="[wanda]"))
    assert set(fewer) < set(before)


def test_labels_and_order_do_not_name_a_trial_but_contents_do(material, tmp_path):
    text = study_text(material)
    renamed = study_text(material, calibrations=f"[random_tokens, {{spec: {material['text']}, label: mine}}]")
    assert set(ids(renamed)) == set(ids(text))
    copy = tmp_path / "copy.jsonl"
    copy.write_text(Path(material["text"]).read_text())
    moved = text.replace(f"[{material['text']}", f"[{copy}")
    assert set(ids(moved)) == set(ids(text))
    copy.write_text(copy.read_text() + '\n{"text": "one more"}')
    assert set(ids(moved)) != set(ids(text))


def test_grids_are_joined_each_trial_once(material):
    both = study_text(material, grids="[{}, {methods: [wanda], patterns: [50%, 70%]}]")
    assert len(ids(both)) == len(ids(study_text(material))) + 4  # 50 % was there


def test_every_result_is_there_and_is_what_the_library_gives(undisturbed, material):
    from calprune.calibration.build import make_set
    from calprune.calibration.part import open_source
    from calprune.evaluation.divergence import DenseReference
    from calprune.evaluation.windows import windows_of
    from calprune.methods import parse_method
    from calprune.models.load import load
    from calprune.pattern import parse_pattern
    from calprune.pruning.job import Pruning
    from calprune.text.document import Given

    results = read(undisturbed.path)
    assert len(results.rows) == 18 * 2 and not results.failed and not results.missing
    row = next(r for r in results.rows if (r.method, r.pattern, r.draw, r.metric) == ("sparsegpt", "2:4", 1, "kl")
               and r.calibration == "random_tokens")  # fmt: skip
    loaded = load(material["model"])
    data = make_set("random_tokens", loaded.tokenizer, num_samples=4, max_seq_length=16, seed=1)
    windows = windows_of(
        open_source(material["text"], Given(tokenizer=loaded.tokenizer), "evaluation").documents(),
        loaded.tokenizer,
        16,
        64,
    )
    reference = DenseReference(loaded.model, windows)
    Pruning(parse_method("sparsegpt"), parse_pattern("2:4"), propagate="dense").run(loaded.model, data)
    assert torch.tensor(row.items, dtype=torch.float64).allclose(reference.divergence(loaded.model).nats, rtol=1e-5)
    assert row.value == pytest.approx(sum(row.items) / len(row.items)) and row.tokens == 4 * 16


def test_one_pass_a_set_serves_all_its_trials(undisturbed):
    pruned = [read_seconds(undisturbed, trial) for trial in undisturbed.plan().trials]
    assert sum("collect" in seconds for seconds in pruned) == 4 and sum("load" in seconds for seconds in pruned) == 1
    about = read(undisturbed.path).about
    assert (about["passes that collect sums"], about["passes that sharing saved"]) == (4, 12)


def read_seconds(runs: Runs, trial: str) -> dict[str, float]:
    return json.loads((runs.trial(trial) / "prune.json").read_text())["seconds"]


def test_what_is_done_is_not_done_again(undisturbed, material):
    before = {path: path.stat().st_mtime_ns for path in undisturbed.path.rglob("*.json") if path.name != "plan.json"}
    run(study_text(material), undisturbed.path)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_new_evaluation_makes_its_file_and_leaves_the_others(material, tmp_path):
    text = study_text(material, methods="[wanda]", calibrations="[random_tokens]")
    runs = run(text, tmp_path / "runs")
    kept = {p: p.stat().st_mtime_ns for p in runs.path.rglob("eval/*.json")}
    of = material["text"]
    longer = f'["perplexity({of}, tokens=64, length=16)", "perplexity({of}, tokens=32, length=8)"]'
    run(study_text(material, methods="[wanda]", calibrations="[random_tokens]", evaluations=longer), runs.path)
    assert {p: p.stat().st_mtime_ns for p in kept} == kept
    assert len(list(runs.path.rglob("trials/*/eval/*.json"))) == len([p for p in kept if "trials" in str(p)]) + 4


@pytest.mark.parametrize("gone", ["plan.json", "calibration", "dense", "prune.json", "eval"])
def test_a_file_that_is_gone_is_made_again_with_the_same_contents(gone, undisturbed, material, tmp_path):
    import shutil

    runs = Runs(Path(shutil.copytree(undisturbed.path, tmp_path / "runs")))
    for path in list(runs.path.rglob(gone)):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    run(study_text(material), runs.path)
    assert contents(runs.path).keys() >= contents(undisturbed.path).keys() - {"calibration"} or gone == "calibration"
    again = contents(runs.path)
    assert all(again[name] == value for name, value in contents(undisturbed.path).items() if name in again)
    assert status(runs).done == 18


def test_a_trial_that_fails_keeps_its_error_and_is_tried_again(material, tmp_path, monkeypatch):
    text = study_text(material, calibrations="[random_tokens]", methods="['tests.test_study:Failing()', wanda]",
                      patterns="50%", draws="1")  # fmt: skip
    runs = run(text, tmp_path / "runs")
    results = read(runs.path)
    assert [f.label for f in results.failed] == ["random_tokens tests.test_study:Failing() 50% draw 0"]
    assert "no such luck" in results.failed[0].error and "while pruning" in results.failed[0].error
    assert status(runs).done == 1 and status(runs).failed == 1
    monkeypatch.setattr(Failing, "broken", False)
    run(text, runs.path)
    assert status(runs).done == 2 and not read(runs.path).failed


@dataclass(frozen=True)
class Failing:
    """A method that fails when told so."""

    needs: ClassVar[str] = "moments"
    version: ClassVar[int] = 1
    broken: ClassVar[bool] = True

    def __call__(self, weight, stats, pattern):
        if Failing.broken:
            raise UserError("no such luck")
        return Wanda()(weight, stats, pattern)


def test_two_runners_never_do_a_trial_twice(material, tmp_path, programs):
    text = study_text(material)
    runs = Runs(tmp_path / "runs")
    plan(parse_study(text, "study.yaml"), None).write(runs, text)
    did = [programs.start("-c", COUNTING, runs.path) for _ in range(2)]
    done = [line for process in did for line in process.communicate()[0].split()]
    assert sorted(done) == sorted(runs.plan().trials)


COUNTING = """
import sys, torch
from pathlib import Path
torch.set_num_threads(1)
from calprune.studies.folder import Runs
from calprune.studies.runner import work
from calprune.studies.bench import Knobs
for done in work(Runs(Path(sys.argv[1])), Knobs("cpu")):
    assert done.error is None, done.error
    print(done.trial.id)
"""


def test_a_killed_runner_leaves_nothing_in_the_way(material, tmp_path, undisturbed, programs):
    text = study_text(material)
    runs = Runs(tmp_path / "runs")
    plan(parse_study(text, "study.yaml"), None).write(runs, text)
    process = programs.start("-c", COUNTING, runs.path)
    while process.poll() is None and not status(runs).done:
        time.sleep(0.01)  # a trial is done: another is under way
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    run(text, runs.path)
    assert without_claims(runs.path) == without_claims(undisturbed.path)


def test_a_claim_is_held_by_one_and_free_when_its_holder_ended(tmp_path, programs):
    runs = Runs(tmp_path)
    with runs.claim("a") as mine:
        assert mine and runs.claimed("a")
        holder = programs.run("-c", CLAIMING, tmp_path)
        assert holder.stdout.strip() == "False"
    assert not runs.claimed("a") and not (runs.trial("a") / "claim").exists()


CLAIMING = """
import sys
from pathlib import Path
from calprune.studies.folder import Runs
with Runs(Path(sys.argv[1])).claim("a") as mine:
    print(mine)
"""


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"method": "wanda"}, "unknown option 'method'; did you mean 'methods'?"),
        ({"methods": "[wandda]"}, "methods.0: unknown method 'wandda'; did you mean 'wanda'?"),
        ({"patterns": "[50%, 2of4]"}, "patterns.1:"),
        ({"calibrations": "[{spec: c4, count_paddings: true}]"}, "did you mean 'count_padding'?"),
        ({"calibrations": "[gsm9k]"}, "gsm9k"),
        ({"evaluations": "[perplexity(c44)]"}, "evaluations.0: unknown source 'c44'; did you mean 'c4'?"),
        ({"evaluations": "[bolq]"}, "evaluations.0: unknown evaluation 'bolq'; did you mean 'boolq'?"),
        ({"evaluations": "['kl(c4, token=5)']"}, "did you mean 'tokens'?"),
        ({"draws": "0"}, "draws: expected 1 or more; got 0"),
        ({"draws": "many"}, "draws:"),
        ({"propagate": "[prunned]"}, "propagate"),
        ({"allocations": "[owll]"}, "allocations.0: unknown allocation 'owll'; did you mean 'owl'?"),
        ({"grids": "[{}, {pattern: 50%}]"}, "grids.1: unknown option 'pattern'; did you mean 'patterns'?"),
        ({"title": "yes"}, "title: expected text; got True, which stands for something else"),
        ({"question": "yes"}, "question: expected text; got True"),
        ({"num_samples": "016"}, "016 would be read as the number 14"),
        ({"patterns": "2:4"}, "2:4 would be read as the number 124"),
        ({"calibrations": "[{spec: random_tokens, label: no}]"}, "label: expected text; got False"),
        ({"calibrations": "gsm8k", "formats": "[icl, sinlge]"}, "formats: no calibration of the grid has 'sinlge'"),
        ({"claims": "[{says: a, best: {calibration: random_tokens, of: []}}]"}, "of: expected calibrations, others"),
        ({"claims": "[{says: a, order: {calibrations: [random_tokens]}}]"}, "calibrations: expected two or more"),
        ({"claims": "[{says: a, better: {first: {method: wanda}, than: []}}]"}, "than: expected one selection"),
        ({"claims": "[{says: a, better: {first: {method: []}, than: {}}}]"}, "method: expected one value or more"),
        ({"claims": "[{says: a, sources_differ: {by: -1}}]"}, "by: expected a number of 0 or more; got -1"),
        ({"claims": "[{says: a, sources_alike: {margin: .inf}}]"}, "margin: expected a number above 0; got inf"),
        ({"claims": "[{says: a, alike: {first: {}, than: {}, margin: -1}}]"}, "margin: expected a number above 0"),
        ({"labels": "[wanda]"}, "labels: expected names by what the study writes"),
        ({"labels": "{wanda: 3}"}, "labels: expected names by what the study writes"),
        ({"labels": "{wonda: ours}"}, "labels: no grid has 'wonda'; did you mean 'wanda'?"),
        ({"labels": "{wanda: sparsegpt}"}, "labels: 'sparsegpt' is the name of something else too"),
        ({"labels": "{wanda: ours, sparsegpt: ours}"}, "labels: 'ours' is the name of something else too"),
        ({"calibrations": "[c4, c4]"}, "two calibrations are called 'c4'"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_place(changed, words, material):
    with pytest.raises(ConfigError) as e:
        parse_study(study_text(material, **changed), "study.yaml")
    assert words in str(e.value) and str(e.value).startswith("study.yaml: ") and "\n" not in str(e.value)


def test_a_key_written_twice_is_a_mistake(material):
    with pytest.raises(ConfigError, match="'draws' is written twice"):
        parse_study(study_text(material) + "draws: 5\n", "study.yaml")


def test_a_folder_of_another_study_is_left_alone(tmp_path, material):
    text, runs = study_text(material), Runs(tmp_path / "runs")
    with plan(parse_study(text, "study.yaml"), None).doing(runs, text):
        pass
    before = {path: path.read_bytes() for path in runs.path.rglob("*") if path.is_file()}
    other = study_text(material, title="Another", methods="[ria]")
    said = 'holds another study, "A tiny study", which shares no trial with this one; name another folder with --runs'
    with pytest.raises(UserError, match=said), plan(parse_study(other, "other.yaml"), None).doing(runs, other):
        pass
    assert {path: path.read_bytes() for path in runs.path.rglob("*") if path.is_file()} == before
    renamed = study_text(material, title="Its new name")
    with plan(parse_study(renamed, "study.yaml"), None).doing(runs, renamed):
        assert runs.plan().title == "Its new name"  # the same trials


def test_a_folder_of_another_format_or_of_something_else_is_left_alone(tmp_path, material):
    (tmp_path / "FORMAT").write_text("calprune 9\n")
    with pytest.raises(UserError, match="format 'calprune 9'"):
        run(study_text(material), tmp_path)
    (tmp_path / "FORMAT").unlink()
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="holds something else"):
        run(study_text(material), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_disk_that_is_full_ends_the_study_and_keeps_what_was_done(material, tmp_path, monkeypatch):
    runs = run(study_text(material, methods="[magnitude]"), tmp_path / "runs")
    kept = contents(runs.path)
    replace = os.replace

    def full(source, target):
        if "/eval/" in str(target):
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(DiskError, match="the disk is full"):
        run(study_text(material, methods="[magnitude, wanda]"), runs.path)
    monkeypatch.undo()
    assert {n: v for n, v in contents(runs.path).items() if n in kept and n not in ("plan.json", "study.yaml")} == {
        n: v for n, v in kept.items() if n not in ("plan.json", "study.yaml")}  # fmt: skip
    assert not list(runs.path.rglob("*.part")) and not list(runs.path.rglob("claim"))


def test_results_are_there_while_the_study_is_still_running(material, tmp_path):
    text = study_text(material)
    runs = Runs(tmp_path / "runs")
    plan(parse_study(text, "study.yaml"), None).write(runs, text)
    steps = work(runs, Knobs("cpu"))
    for _ in range(3):
        next(steps)
    now = status(runs)
    assert (now.done, now.failed) == (3, 0) and len(read(runs.path).rows) == 6
    steps.close()


def test_workers_give_the_same_files_also_when_one_is_killed(material, tmp_path, undisturbed):
    text = study_text(material)
    runs = Runs(tmp_path / "runs")
    plan(parse_study(text, "study.yaml"), None).write(runs, text)
    killed = 0
    for _ in work_in_processes(runs, Knobs("cpu"), 2):
        for claim in runs.path.rglob("claim") if not killed else ():
            with contextlib.suppress(OSError, ValueError):
                os.kill(json.loads(claim.read_text())["pid"], signal.SIGKILL)
                killed += 1
                break
    assert killed and status(runs).done == 18
    assert without_claims(runs.path) == without_claims(undisturbed.path)


def test_a_trial_that_kills_its_worker_twice_is_kept_as_failed(material, tmp_path):
    text = study_text(material, calibrations="[random_tokens]", methods="['tests.test_study:Deadly()', wanda]",
                      patterns="50%", draws="1")  # fmt: skip
    runs = Runs(tmp_path / "runs")
    plan(parse_study(text, "study.yaml"), None).write(runs, text)
    for _ in work_in_processes(runs, Knobs("cpu"), 1):
        pass
    (failure,) = read(runs.path).failed
    assert "killed twice (signal 9)" in failure.error and "Deadly" in failure.label and status(runs).done == 1


@dataclass(frozen=True)
class Deadly:
    """A method that its process does not survive."""

    needs: ClassVar[str] = "moments"
    version: ClassVar[int] = 1

    def __call__(self, weight, stats, pattern):
        os.kill(os.getpid(), signal.SIGKILL)


def test_ray_gives_the_same_files(material, tmp_path, undisturbed, monkeypatch):
    pytest.importorskip("ray", reason="Ray is not installed")
    from calprune.studies.cluster import work_on_ray

    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # else they wait for whatever runs beside the tests
    monkeypatch.setenv("RAY_OVERRIDE_RESOURCES", '{"CPU": 2}')  # of many cores each would load a model
    text = study_text(material)
    runs = Runs(tmp_path / "runs")
    plan(parse_study(text, "study.yaml"), None).write(runs, text)
    assert len(list(work_on_ray(runs, Knobs("cpu"), "local"))) > 0
    assert without_claims(runs.path) == without_claims(undisturbed.path)


def test_two_trials_share_a_gpu_of_a_ray_cluster(material, tmp_path, undisturbed, monkeypatch):
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    from calprune.studies.cluster import work_on_ray

    under_way, wait = [], ray.wait
    monkeypatch.setattr(ray, "wait", lambda tasks: under_way.append(len(tasks)) or wait(tasks))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_worker_niceness", "0")
    monkeypatch.setenv("RAY_OVERRIDE_RESOURCES", '{"CPU": 4, "GPU": 1}')  # Ray counts them and asks no driver
    text = study_text(material)
    for share, at_once in ((0.5, 2), (None, 1)):
        runs = Runs(tmp_path / str(share))
        plan(parse_study(text, "study.yaml"), None).write(runs, text)
        under_way.clear()
        list(work_on_ray(runs, Knobs("cpu", gpus_per_trial=share), "local"))
        assert max(under_way) == at_once
        assert without_claims(runs.path) == without_claims(undisturbed.path)
    monkeypatch.setenv("RAY_OVERRIDE_RESOURCES", '{"CPU": 4}')
    with pytest.raises(UserError, match="the Ray cluster has no GPU"):
        next(work_on_ray(runs, Knobs("cpu", gpus_per_trial=0.5), "local"))


@pytest.mark.parametrize("share", [0.0, -1.0, 1.5, math.nan])
def test_a_trial_takes_a_share_of_one_gpu(share):
    with pytest.raises(ConfigError, match="above 0 and at most 1"):
        Knobs(gpus_per_trial=share)


def test_a_share_of_gpus_is_of_a_cluster(tmp_path):
    with pytest.raises(UserError, match="give --ray too"):
        work_anywhere(Runs(tmp_path), Knobs(gpus_per_trial=0.5))


def without_claims(folder: Path) -> dict[str, object]:
    return {name: value for name, value in contents(folder).items() if not name.endswith("claim")}


def test_a_trial_says_the_same_whatever_else_its_study_has(material, tmp_path, undisturbed):
    alone = run(study_text(material, methods="[wanda]"), tmp_path / "alone")  # no Gram matrix is collected here
    assert set(alone.plan().trials) < set(undisturbed.plan().trials)
    both = [contents(runs.path / "trials" / trial) for trial in alone.plan().trials for runs in (alone, undisturbed)]
    assert both[::2] == both[1::2]


@dataclass(frozen=True)
class TooLarge:
    """A method for which there is no room."""

    needs: ClassVar[str] = "moments"
    version: ClassVar[int] = 1

    def __call__(self, weight, stats, pattern):
        raise torch.OutOfMemoryError("tried to allocate 80 GiB")


def test_a_model_that_does_not_fit_is_told_what_would(material, tmp_path):
    text = study_text(material, calibrations="[random_tokens]", methods="['tests.test_study:TooLarge()']",
                      patterns="50%", draws="1")  # fmt: skip
    (failure,) = read(run(text, tmp_path / "runs").path).failed
    assert "80 GiB" in failure.error and "dtype: bfloat16" in failure.error and "\n" not in failure.error


def test_a_study_that_is_edited_while_it_runs_changes_nothing_of_what_is_under_way(material, tmp_path):
    text = study_text(material)
    runs = Runs(tmp_path / "runs")
    plan(parse_study(text, "study.yaml"), None).write(runs, text)
    steps = work(runs, Knobs("cpu"))
    next(steps)
    edited = study_text(material, methods="[magnitude]")
    plan(parse_study(edited, "study.yaml"), None).write(runs, edited)
    assert all(done.error is None for done in steps)
    assert status(runs).done == 2 and len(list(runs.path.glob("trials/*/prune.json"))) == 18


def test_a_reference_that_stands_in_is_called_so(material, tmp_path, data_root):
    text = study_text(material, methods="[wanda]", patterns="50%", draws="1", similarity="[dclm, fineweb_edu]")
    runs, made = Runs(tmp_path / "runs"), plan(parse_study(text, "study.yaml"), data_root)
    made.write(runs, text)
    measure_similarity(runs, made, Knobs("cpu", data_root=data_root))
    assert read(runs.path).stand_ins == {"dclm": catalogue()["dclm"].stand_in}


def test_likeness_to_a_reference_is_measured_once_and_read_back(material, tmp_path):
    other = tmp_path / "other.jsonl"
    other.write_text(Path(material["text"]).read_text().replace("river", "meadow"))
    text = study_text(material, methods="[wanda]", patterns="50%", draws="1", similarity=f"[{other}]")
    runs, made = Runs(tmp_path / "runs"), plan(parse_study(text, "study.yaml"), None)
    made.write(runs, text)
    measure_similarity(runs, made, Knobs("cpu"))
    (path,) = runs.path.glob("similarity/*.json")
    before = path.stat().st_mtime_ns
    measure_similarity(runs, made, Knobs("cpu"))
    assert path.stat().st_mtime_ns == before
    found = {(one.calibration, one.measure): one for one in read(runs.path).similarity}
    likeness = {c: one.value for (c, measure), one in found.items() if measure.startswith("Jaccard of 3-grams")}
    assert likeness[material["text"]] > likeness["random_tokens"] and (material["text"], "perplexity") in found


def test_a_calibration_that_gets_another_label_is_called_so(material, tmp_path):
    runs = Runs(tmp_path / "runs")
    calibrations = "[{{spec: random_tokens, label: {}}}, {{spec: ellipses, label: {}}}]"
    for labels in (("web", "dots"), ("dots", "web")):
        text = study_text(material, methods="[wanda]", patterns='"2:4"', calibrations=calibrations.format(*labels))
        plan(parse_study(text, "study.yaml"), None).write(runs, text)
        begin(runs)
        list(work(runs, Knobs("cpu")))
        found = read(runs.path)
        assert {row.sources: row.calibration for row in found.rows} == {
            ("random_tokens",): labels[0], ("ellipses",): labels[1]}  # fmt: skip


def test_one_set_under_two_labels_is_refused(material):
    text = study_text(material, calibrations="[random_tokens, {spec: random_tokens, label: again}]")
    with pytest.raises(ConfigError, match="'again' and 'random_tokens' are the same set; leave one out"):
        parse_study(text, "study.yaml")


def test_labels_are_what_a_page_calls_a_method_or_pattern_and_files_keep_what_the_study_writes(undisturbed, tmp_path):
    from calprune.report.files import write_csv
    from calprune.report.findings import Findings
    from calprune.report.page import page

    text = (undisturbed.path / "study.yaml").read_text() + 'labels: {wanda: by activations, "2:4": two of four}\n'
    runs = run(text, tmp_path / "labelled")
    shown = page(Findings(read(runs.path)))
    said = "\n".join([*shown.answer, *(section.text() for section in shown.sections if section.title != "Reproduce")])
    assert "by activations" in said and "two of four" in said and "wanda" not in said
    write_csv(read(runs.path), tmp_path / "rows.csv")
    written = (tmp_path / "rows.csv").read_text()
    assert "wanda" in written and "by activations" not in written
    assert set(runs.plan().trials) == set(undisturbed.plan().trials)


def test_a_damaged_set_is_built_again_by_the_same_command(material, tmp_path):
    text = study_text(material, methods="wanda", patterns="50%", draws="1")
    runs = run(text, tmp_path / "runs")
    before = contents(runs.path)
    for folder in (runs.path / "calibration").iterdir():
        (folder / "tokens.safetensors").write_bytes((folder / "tokens.safetensors").read_bytes()[:-3])
    for trial in runs.plan().trials:
        shutil.rmtree(runs.trial(trial))
    run(text, runs.path)
    assert contents(runs.path) == before


def test_a_study_goes_on_where_its_model_and_its_files_were_moved_to(material, tmp_path):
    for name in ("model", "text.jsonl"):
        source = Path(material[Path(name).stem])
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    how = {"methods": "wanda", "patterns": "50%", "draws": "1"}

    def text(model: str, file: str) -> str:
        return study_text(material, **how, models=str(tmp_path / model),
                          calibrations=f"[{{spec: {tmp_path / file}, label: mine}}]")  # fmt: skip

    runs = run(text("model", "text.jsonl"), tmp_path / "runs")
    [trial] = runs.plan().trials
    shutil.rmtree(runs.trial(trial) / "eval")
    shutil.rmtree(runs.path / "calibration")
    for before, after in (("model", "moved"), ("text.jsonl", "moved.jsonl")):
        (tmp_path / before).rename(tmp_path / after)
    run(text("moved", "moved.jsonl"), runs.path)
    assert runs.error(trial) is None and runs.whole(trial, list(runs.plan().evaluations))


def test_the_best_so_far_is_the_best_of_what_is_there(undisturbed):
    from calprune.studies.results import BestSoFar

    best = BestSoFar(undisturbed)
    assert best.look() == read(undisturbed.path).best() == best.look()


def test_a_worker_that_is_asked_to_end_is_replaced_and_its_trial_done(material, tmp_path):
    text = study_text(material, methods="[wanda]", patterns="50%", draws="3")
    runs = Runs(tmp_path / "runs")
    plan(parse_study(text, "study.yaml"), None).write(runs, text)
    ended = 0
    for _ in work_in_processes(runs, Knobs("cpu"), 2):
        for claim in runs.path.rglob("claim") if not ended else ():
            with contextlib.suppress(OSError, ValueError):
                os.kill(json.loads(claim.read_text())["pid"], signal.SIGTERM)
                ended += 1
                break
    now = status(runs)
    assert ended and now.done == len(runs.plan().trials) and not now.failed


def test_a_trial_is_done_though_someone_looks_at_it_as_it_is_claimed(material, tmp_path):
    """Whoever looks holds a shared lock for an instant; the trial is not lost by that."""
    text = study_text(material, methods="[magnitude]", patterns="50%")
    runs = Runs(tmp_path / "runs")
    plan(parse_study(text, "study.yaml"), None).write(runs, text)
    (trial,) = runs.plan().trials
    look = os.open(runs.trial(trial) / "claim", os.O_RDWR | os.O_CREAT)
    fcntl.flock(look, fcntl.LOCK_SH)
    gone = threading.Timer(0.03, os.close, [look])
    gone.start()
    with runs.claim(trial) as mine:
        assert mine
    gone.join()


@pytest.fixture
def no_locks(monkeypatch):
    def flock(file, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)


def test_a_file_system_without_locks_is_noted_and_one_process_does_the_study(material, tmp_path, no_locks):
    class Said(Progress):
        def say(self, line):
            lines.append(line)

    lines = []
    text = study_text(material, methods="[magnitude]", patterns="[50%, '2:4']")
    with showing(Said()):
        runs = run(text, tmp_path / "runs")
    assert status(runs).done == 2 and not list(runs.path.rglob("claim"))
    assert [line for line in lines if "on a file system without locks" in line] == [
        f"note: {runs.path} is on a file system without locks: take care that no other command works there"
    ]
    with pytest.raises(UserError, match=r"--workers 2: .* is on a file system without locks"):
        work_anywhere(runs, Knobs("cpu"), 2)


def test_workers_of_this_machine_and_a_cluster_are_not_given_at_once(tmp_path):
    with pytest.raises(UserError, match="--workers 2 is of processes on this machine, and --ray local"):
        work_anywhere(Runs(tmp_path), Knobs("cpu"), 2, "local")
    with pytest.raises(UserError, match="--workers 2 is of processes"):
        calprune.study({"title": "x"}, runs=tmp_path / "runs", workers=2, ray="local")


def test_a_study_of_objects_is_the_study_of_the_texts_that_mean_them(material, tmp_path):
    """Paths, numbers of numpy, methods, patterns, allocations and evaluations."""
    text = study_text(material, methods="['sparsegpt(damping=0.1)', 'flap(update=true)']",
                      patterns="['2:4', 'heads:1']", allocations="['owl(m=3)', uniform]",
                      evaluations="['perplexity(c4, tokens=64, length=16)']")  # fmt: skip
    objects = yaml.safe_load(text) | {
        "models": Path(material["model"]), "num_samples": np.int64(4), "methods": (calprune.SparseGPT(damping=0.1),
        REMOVALS.make("flap(update=true)")), "patterns": [calprune.KeepNofM(2, 4), parse_any("heads:1")],
        "allocations": [calprune.OWL(m=3.0), calprune.Uniform()],
        "evaluations": parse_evaluation("perplexity(c4, tokens=64, length=16)"),
    }  # fmt: skip
    given, meant = parse_study(_written(objects)[0], "study"), parse_study(text, "study")
    assert [trial.draft_id for trial in given.trials()] == [trial.draft_id for trial in meant.trials()]
    assert given.evaluations == meant.evaluations
    with pytest.raises(ConfigError, match=r"study: calibrations: expected text, .*; got object: write it as text"):
        calprune.study(objects | {"grids": [{"calibrations": [object()]}]}, runs=tmp_path / "runs")


def test_what_a_public_function_gives_has_a_public_name():
    assert calprune.RemovalReport is typing.get_type_hints(calprune.prune)["return"].__args__[1]
