"""What is on disk: whole or absent whatever kills its writer, forced to the disk, and noticed where it is altered."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from calprune.base import leftovers, store
from calprune.base.leftovers import sweep
from calprune.base.store import (
    DamagedError,
    check_files,
    file_digests,
    once,
    read_json,
    refuse_occupied,
    whole_folder,
    write_json,
    write_whole,
)
from calprune.base.tensors import read_tensors, write_tensors
from calprune.base.values import UserError
from calprune.calibration.set import CalibrationSet
from calprune.layers.inputs import StatsError
from calprune.layers.linears import find_blocks, linears
from calprune.layers.saved import Statistics
from calprune.methods.wanda import Wanda
from calprune.pattern import parse_pattern
from calprune.pruning.job import Pruning
from calprune.refine.kept import KeptBlocks
from calprune.studies.folder import Runs
from tests.families import tiny_model
from tests.test_blocks import calibration

VALUE = {"format": 1, "b": [0.1, 2.5], "a": {"10": None, "9": "ünï"}}
TENSORS = {"weight": torch.arange(6.0).reshape(2, 3), "none": torch.empty(0)}


def write_tree(path):
    with whole_folder(path) as making:
        (making / "inside").mkdir()
        (making / "inside" / "a.txt").write_text("a")
        write_json(making / "about.json", VALUE)


def read_tree(path):
    return (path / "inside" / "a.txt").read_text(), read_json(path / "about.json", "a tree")


def write_set(path):
    CalibrationSet.from_tokens([[1, 2, 3], [4, 5]]).save(path)


def write_sums(path):
    Statistics.collect(tiny_model("llama"), calibration(), "moments").save(path)


def read_sums(path):
    sums = Statistics.load(path)
    sums.check()
    return {name: stats.sum_x.tolist() for b in sums.names() for name, stats in sums.of_block(b).items()}


KINDS = {  # what writes, what reads it back
    "json": (lambda path: write_json(path, VALUE), lambda path: read_json(path, "a value")),
    "text": (lambda path: write_whole(path, "calprune\n"), Path.read_text),
    "tensors": (
        lambda path: write_tensors(path, (TENSORS, {"lead": 1})),
        lambda path: [{k: v.tolist() for k, v in read_tensors(path)[0].items()}, read_tensors(path)[1]],
    ),
    "folder": (write_tree, read_tree),
    "set": (write_set, lambda path: CalibrationSet.load(path).tokens.tolist()),
    "sums": (write_sums, read_sums),
    "runs": (lambda path: Runs(path).create(), lambda path: Runs(path).check()),
}
STEPS = ("fsync", "replace", "rename", "mkdir", "open", "close")  # of `os`, before each of which a writer is killed


def killed_before_step(number, write, path) -> bool:
    """Write in a process that is killed by the kernel before its so-many-th step; False: it ended before."""
    if (child := os.fork()) == 0:
        left = [number]

        def counted(call):
            def step(*args, **options):
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*args, **options)

            return step

        for name in STEPS:
            setattr(os, name, counted(getattr(os, name)))
        try:
            write(path)
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL), "the writer failed, and was not killed"
    return status != 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_writer_that_is_killed_at_any_step_leaves_the_whole_or_nothing_and_the_next_one_works(kind, tmp_path):
    write, read = KINDS[kind]
    write(tmp_path / "expected")
    expected, outcomes = read(tmp_path / "expected"), set()
    for step in range(10_000):
        path = tmp_path / str(step) / "out"
        path.parent.mkdir()
        killed = killed_before_step(step, write, path)
        outcomes.add((killed, path.is_file() or (path.is_dir() and kind != "runs")))
        if outcomes & {(killed, True)} and path.exists() and kind != "runs":
            assert read(path) == expected
        if not path.exists() or kind == "runs":
            write(path)
            assert read(path) == expected
            assert not list(path.parent.rglob("*.part")), "what the killed writer left was removed by the next"
        if not killed:
            break
    assert step > 4 and (True, False) in outcomes, "it was killed on the way"
    assert kind == "runs" or (True, True) in outcomes, "and after the rename"


def test_a_killed_first_write_does_not_make_a_folder_occupied(tmp_path):
    for i in range(50):
        path = tmp_path / str(i)
        killed = killed_before_step(i, lambda folder: write_json(folder / "about.json", VALUE), path)
        if not (path / "about.json").exists():
            refuse_occupied(path)
        if not killed:
            break
    assert i > 4


def test_a_kept_block_is_whole_or_absent_and_the_job_goes_on_to_the_same_weights(tmp_path):
    job, data = Pruning(Wanda(), parse_pattern("2:4")), calibration()
    whole = tiny_model("llama")
    list(job.blocks(whole, data))
    for i, step in enumerate((1, 4, 9, 13, 17, 20, 24, 40)):
        folder = tmp_path / str(i)
        killed_before_step(step, lambda at: list(job.blocks(tiny_model("llama"), data, resume=at)), folder)
        model = tiny_model("llama")
        list(job.blocks(model, data, resume=folder))
        assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), model.parameters(), strict=True))
        assert not list(folder.rglob("*.part"))


# -- forced to the disk


@pytest.fixture
def steps(monkeypatch):
    """Every fsync and rename, in order, by the names of what they are of; each is done too."""
    seen = []

    def fsync(file, real=os.fsync):
        seen.append(("fsync", os.readlink(f"/proc/self/fd/{file}")))
        real(file)

    def renamed(source, target, real=os.rename):
        seen.append(("rename", str(source)))
        real(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", renamed)
    monkeypatch.setattr(os, "replace", renamed)
    return seen


def test_a_file_is_forced_to_the_disk_before_it_gets_its_name_and_its_folder_after(tmp_path, steps):
    write_whole(tmp_path / "new" / "a.txt", "a")
    (first, made), (second, named), (third, folder) = steps[-3:]
    assert (first, second, third) == ("fsync", "rename", "fsync")
    assert made == named and made.endswith(".part") and folder == str(tmp_path / "new")
    assert ("fsync", str(tmp_path)) in steps[:-3], "the new folder's own name"


def test_all_of_a_folder_is_forced_to_the_disk_before_it_gets_its_name(tmp_path, steps):
    write_tree(tmp_path / "out")
    at = max(i for i, (what, _) in enumerate(steps) if what == "rename")
    beside = steps[at][1]
    forced = {name for what, name in steps[:at] if what == "fsync"}
    assert {beside, f"{beside}/inside", f"{beside}/inside/a.txt", f"{beside}/about.json"} <= forced
    assert steps[at + 1 :] == [("fsync", str(tmp_path))]


# -- altered


def flipped(path: Path, at: int) -> None:
    """One bit of the file's byte `at` is another."""
    contents = bytearray(path.read_bytes())
    contents[at] ^= 1
    path.write_bytes(contents)


@pytest.mark.parametrize("name, write, read", [
    ("a.json", lambda path: write_json(path, VALUE), lambda path: read_json(path, "a value")),
    ("a.safetensors", lambda path: write_tensors(path, (TENSORS, {"lead": 1})), read_tensors),
])  # fmt: skip
def test_a_flipped_bit_or_a_file_cut_short_is_noticed_and_named(tmp_path, name, write, read):
    path, stream = tmp_path / name, random.Random(0)
    write(path)
    whole = path.read_bytes()
    first = whole.index(b"ffffffff") if b"ffffffff" in whole else 0
    payload = [i for i in range(first, len(whole)) if name != "a.json" or b"digest" not in _line(whole, i)]
    for at in stream.sample(payload, min(30, len(payload))):
        flipped(path, at)
        with pytest.raises(UserError, match=name):
            read(path)
        path.write_bytes(whole)
    for length in (0, 1, len(whole) // 2, len(whole) - 2):
        path.write_bytes(whole[:length])
        with pytest.raises(DamagedError, match=name):
            read(path)


def _line(contents: bytes, at: int) -> bytes:
    return contents[contents.rfind(b"\n", 0, at) + 1 : contents.find(b"\n", at)]


def test_json_without_a_digest_as_written_before_is_read_and_any_order_of_keys_has_one_digest(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(store.to_json(VALUE))
    assert read_json(path, "a value") == VALUE
    write_json(path, VALUE, sort=False)
    assert list(read_json(path, "a value")) == ["format", "b", "a"]
    write_json(path, {"format": 1, "by number": {9: "a", 10: "b"}})  # JSON's keys are texts, in another order
    assert read_json(path, "a value") == {"format": 1, "by number": {"9": "a", "10": "b"}}


def test_sums_that_were_altered_are_refused_and_named(tmp_path):
    write_sums(tmp_path / "sums")
    file = next((tmp_path / "sums").glob("*.1.safetensors"))
    flipped(file, file.stat().st_size - 1)
    sums = Statistics.load(tmp_path / "sums")
    sums.of_block("model.layers.0")
    with pytest.raises(StatsError, match=r"model\.layers\.1\.safetensors is damaged.*collect the statistics again"):
        sums.of_block("model.layers.1")


def test_a_kept_block_that_was_altered_is_named_and_done_again(tmp_path):
    job, data = Pruning(Wanda(), parse_pattern("2:4")), calibration()
    whole, again = tiny_model("llama"), tiny_model("llama")
    list(job.blocks(whole, data, resume=tmp_path))
    pruned = [p.detach().clone() for p in whole.parameters()]  # they are read from the files, one of which is altered
    file = tmp_path / "model.layers.1" / "weights.safetensors"
    before = file.read_bytes()
    flipped(file, len(before) - 1)
    with pytest.warns(UserWarning, match=r"model\.layers\.1/weights\.safetensors is damaged.*made again"):
        list(job.blocks(again, data, resume=tmp_path))
    assert all(torch.equal(a, b) for a, b in zip(pruned, again.parameters(), strict=True))
    assert file.read_bytes() == before


def test_a_kept_block_written_before_digests_is_read(tmp_path):
    sites = linears(find_blocks(tiny_model("llama"))[1][0])
    kept = KeptBlocks(tmp_path, {"a": 1})
    kept.block("model.layers.0", sites, [], lambda: [{"name": "q"}])
    block = tmp_path / "model.layers.0" / "block.json"
    old = {key: value for key, value in read_json(block, "a block").items() if key != "files"}
    block.write_text(store.to_json(old))
    assert kept.block("model.layers.0", sites, [], lambda: 1 / 0) == [{"name": "q"}]


# -- once


def test_what_is_there_is_not_made_and_what_is_damaged_is_made_again_and_named(tmp_path):
    path, made, said = tmp_path / "a.json", [], []

    def get():
        def make():
            made.append(1)
            return VALUE

        return once(path, make, lambda path: read_json(path, "a value"), write_json, said.append)

    assert get() == get() == VALUE and made == [1] and said == []
    path.write_bytes(path.read_bytes()[:20])
    assert get() == get() == VALUE and made == [1, 1]
    assert len(said) == 1 and str(path) in said[0] and said[0].endswith("it is made again")


def test_a_damaged_folder_is_replaced(tmp_path):
    folder = tmp_path / "out"

    def read(folder):
        check_files(folder, read_json(folder / "files.json", "a folder")["files"])
        return (folder / "a.txt").read_text()

    def write(folder, text):
        with whole_folder(folder) as making:
            (making / "a.txt").write_text(text)
            write_json(making / "files.json", {"format": 1, "files": file_digests(making)})

    said = []
    assert once(folder, lambda: "one", read, write, said.append) == "one"
    flipped(folder / "a.txt", 0)
    (folder / "more.txt").write_text("more")
    assert once(folder, lambda: "two", read, write, said.append) == "two" and len(said) == 1
    assert read(folder) == "two" and sorted(p.name for p in folder.iterdir()) == ["a.txt", "files.json"]
    assert list(tmp_path.iterdir()) == [folder]
    with pytest.raises(ZeroDivisionError):
        once(folder, lambda: 1 / 0, lambda folder: None, write)
    assert read(folder) == "two", "what is there stays until the new one is made"


def test_where_another_process_was_faster_its_result_is_taken(tmp_path):
    def make():
        write_tree(tmp_path / "out")
        return "ours"

    assert once(tmp_path / "out", make, read_tree, lambda path, made: write_tree(path)) == read_tree(tmp_path / "out")


# -- what killed writers leave


def test_a_sweep_removes_what_ended_writers_left_and_disturbs_nobody_else(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    host, name = leftovers.host(), "0123456789ab.part"
    gone = [
        f".a.{host}-{ended.pid}.{name}",
        f"sub/.b.json.{host}-{ended.pid}.{name}",
        f".own.{host}-{os.getpid()}.{name}",
    ]
    stays = [
        f".a.{host}-{os.getppid()}.{name}",
        f".a.elsewhere-{ended.pid}.{name}",
        ".mine.part",
        f".new.{name}",
        "x.part",
    ]
    for file in [*gone, *stays, f".old.safetensors.{name}"]:
        path = tmp_path / file
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    folder = tmp_path / f".set.{host}-{ended.pid}.{name}"
    (folder / "inside").mkdir(parents=True)
    yesterday = time.time() - 2 * leftovers.OLD  # written by 0.1, which did not say by whom: nobody writes for a day
    os.utime(tmp_path / f".old.safetensors.{name}", (yesterday, yesterday))
    os.utime(tmp_path / ".mine.part", (yesterday, yesterday))
    with whole_folder(tmp_path / "in the making") as making:
        (making / "a").write_text("a")
        sweep(tmp_path)
    assert (tmp_path / "in the making" / "a").is_file()
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")} - {
        "sub",
        "in the making",
        "in the making/a",
    }
    assert left == set(stays)
