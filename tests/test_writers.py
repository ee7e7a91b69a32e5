# ruff: noqa: SIM117
"""Two writers of one folder, writers that were killed, and outputs that cannot be written: each is one line."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from safetensors import SafetensorError

from calprune.base import output
from calprune.base.claims import claim, sole_writer
from calprune.base.leftovers import part_of
from calprune.base.output import check_apart, check_new_file, check_room, filled_folder, new_folder
from calprune.base.store import is_free, replaced, whole_folder, write_whole
from calprune.base.tensors import save_tensors
from calprune.base.values import UserError
from calprune.refine.kept import KeptBlocks
from calprune.studies import runner
from calprune.studies.folder import Runs
from calprune.studies.plan import plan
from calprune.studies.reading import parse_study
from calprune.studies.runner import attempt
from tests.small_choice import answer_of


def in_another_process(program: str, *arguments) -> subprocess.Popen:
    """Runs until its input is closed; has printed a line when it is given back."""
    process = subprocess.Popen([sys.executable, "-c", program, *map(str, arguments)], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)  # fmt: skip
    assert process.stdout.readline()
    return process


HOLD = """
import sys
from calprune.base.output import filled_folder
with filled_folder(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_folder_that_another_command_fills_is_refused_by_process_and_free_when_that_ends_however_it_ends(tmp_path):
    folder = tmp_path / "new" / "out"
    holder = in_another_process(HOLD, folder)
    with pytest.raises(UserError, match=rf"another command writes there now \(process {holder.pid} on "):
        with filled_folder(folder):
            pass
    holder.kill()
    holder.wait()
    with filled_folder(folder):
        pass
    assert [one.name for one in tmp_path.rglob("*")] == ["new"], "the claim is not left"


def test_the_claim_of_a_killed_writer_does_not_occupy_a_folder_beside_which_nothing_can_be_written(
    tmp_path, monkeypatch
):
    out = tmp_path / "out"
    out.mkdir()
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path and real(path, mode))
    with sole_writer(out):
        assert [one.name for one in out.iterdir()] == [".claim"]
        with pytest.raises(UserError, match="another command"), sole_writer(out):
            pass
    (out / ".claim").write_text("{}")  # of one that was killed
    assert is_free(out) and list(out.iterdir()) == []


def test_a_claim_does_not_follow_a_link_nor_write_to_what_is_no_ordinary_file(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("kept")
    (tmp_path / "link").symlink_to(precious)
    os.link(precious, tmp_path / "hard")
    os.mkfifo(tmp_path / "fifo")
    for name in ("link", "hard", "fifo"):
        with pytest.raises(UserError, match=name), claim(tmp_path / name):
            pass
    assert precious.read_text() == "kept"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("hold", [sole_writer, claim, whole_folder])
@pytest.mark.parametrize("step", ["open", "fstat", "ftruncate", "write", "unlink", "close", "mkdir", "rmdir"])
def test_a_signal_at_any_step_of_taking_and_giving_back_leaves_nothing(tmp_path, monkeypatch, number, hold, step):
    """The signal comes right after the system call: its handler runs before the next line of the program."""
    call, sent = getattr(os, step), []

    def interrupted(*given, **more):
        found = call(*given, **more)
        if not sent:
            sent.append(number)
            os.kill(os.getpid(), number)
        return found

    before = signal.signal(signal.SIGTERM, lambda number, frame: signal.default_int_handler(signal.SIGINT, frame))
    try:
        with monkeypatch.context() as patched:
            patched.setattr(os, step, interrupted)
            with suppress(KeyboardInterrupt), hold(tmp_path / "out"):
                time.sleep(0)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert [one for one in tmp_path.iterdir() if one.name != "out"] == []
    assert hold is not claim or not any(tmp_path.iterdir())


def test_of_two_that_write_one_folder_one_wins_whole_and_the_other_says_so(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(UserError, match="another command wrote it meanwhile; this one wrote nothing"):
        with whole_folder(out) as second:
            (second / "a").write_text("second")
            with whole_folder(out) as first:
                (first / "a").write_text("first")
    assert (out / "a").read_text() == "first" and [one.name for one in tmp_path.iterdir()] == ["out"]


def test_a_folder_that_is_made_again_is_there_until_the_new_one_is(tmp_path):
    out = tmp_path / "out"

    def write(text, fail=False):
        with replaced(out), whole_folder(out) as making:
            (making / "a").write_text(text)
            assert not fail

    write("one")
    write("two")
    with pytest.raises(AssertionError):
        write("three", fail=True)
    assert (out / "a").read_text() == "two" and list(tmp_path.iterdir()) == [out]


# -- parts


def test_a_part_of_a_process_that_had_the_number_of_another_is_an_ended_writers(tmp_path):
    mine = part_of(tmp_path / "a")
    running = in_another_process("import sys; print(1, flush=True); sys.stdin.read()")
    theirs = tmp_path / mine.name.replace(f"-{os.getpid()}~", f"-{running.pid}~")  # but with my beginning
    theirs.write_text("")
    write_whole(tmp_path / "b", "b")  # another name: all that was left in the folder goes
    assert not theirs.exists()
    running.communicate()


def test_a_part_of_a_process_that_ended_and_was_not_waited_for_is_swept(tmp_path):
    made = "from calprune.base.leftovers import part_of; part_of(Path(sys.argv[1])).touch()"
    program = f"import sys; from pathlib import Path; {made}"
    ended = subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "a")])
    while Path(f"/proc/{ended.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.05)
    assert len(list(tmp_path.iterdir())) == 1
    write_whole(tmp_path / "b", "b")
    assert [one.name for one in tmp_path.iterdir()] == ["b"]
    ended.wait()


def test_a_name_of_255_letters_is_written_and_a_longer_one_is_refused_at_once(tmp_path):
    write_whole(tmp_path / ("a" * 255), "a")
    write_whole(tmp_path / ("ü" * 127), "u")
    with pytest.raises(UserError, match="at most 255 bytes here; this one has 256"):
        with new_folder(tmp_path / ("a" * 256)):
            pass
    assert len(list(tmp_path.iterdir())) == 2


# -- outputs


def test_what_cannot_be_a_new_folder_is_refused_before_the_work(tmp_path, monkeypatch):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "file").write_text("")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").write_text("")
    monkeypatch.chdir(tmp_path / "real")
    wanted = {"../link": "it is a link to real", ".": "current folder", "..": "current folder", "": "current folder",
              "../file": "is no folder", "../file/below": "is no folder", "../full": "holds something else",
              "/proc": "mount point", "/proc/out": "cannot write", "a\0b": "zero byte"}  # fmt: skip
    for name, why in wanted.items():
        with pytest.raises(UserError, match=why), new_folder(name):
            raise AssertionError(f"{name!r} was taken")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["file", "full", "link", "real"]


def test_what_cannot_be_a_file_is_refused_before_the_work(tmp_path):
    (tmp_path / "file").write_text("")
    for name, why in {".": "it is a folder", "file/a.html": "is no folder", "a" * 256: "at most 255"}.items():
        with pytest.raises(UserError, match=why):
            check_new_file(tmp_path / name, "--html")
    check_new_file("/dev/null", "--html")
    check_new_file(tmp_path / "new" / "a.html", "--html")


def test_a_checkpoint_that_does_not_fit_is_refused_with_what_it_takes_and_what_is_free(tmp_path, monkeypatch):
    monkeypatch.setattr(output.shutil, "disk_usage", lambda path: type("", (), {"free": 2 * 10**9})())
    check_room(tmp_path / "a" / "out", 10**9)
    with pytest.raises(UserError, match=r"takes 3\.00 GB, and 2\.00 GB are free"):
        check_room(tmp_path / "a" / "out", 3 * 10**9)


@pytest.mark.parametrize("resume", ["out", "out/kept", ".", "x/../out"])
def test_kept_blocks_stand_beside_the_result(tmp_path, monkeypatch, resume):
    monkeypatch.chdir(tmp_path)
    check_apart("kept", "out")
    check_apart(None, "out")
    with pytest.raises(UserError, match="one holds the other"):
        check_apart(resume, "out")


def test_what_is_no_ordinary_file_is_written_to_and_stays_and_a_link_is_replaced(tmp_path):
    write_whole("/dev/null", "gone")
    assert Path("/dev/null").is_char_device()
    fifo, got = tmp_path / "fifo", tmp_path / "got"
    os.mkfifo(fifo)
    reader = subprocess.Popen(["sh", "-c", f"cat {fifo} > {got}"])
    write_whole(fifo, "through")
    reader.wait()
    assert fifo.is_fifo() and got.read_text() == "through"
    (tmp_path / "link").symlink_to(got)
    write_whole(tmp_path / "link", "new")
    assert got.read_text() == "through" and not (tmp_path / "link").is_symlink()
    program = "from calprune.base.store import write_whole; write_whole('/dev/stdout', 'printed')"
    with (tmp_path / "to a file").open("w") as stdout:
        subprocess.run([sys.executable, "-c", program], stdout=stdout, check=True)
    assert (tmp_path / "to a file").read_text() == "printed" and Path("/dev/stdout").is_symlink()


def test_files_that_a_library_makes_for_nobody_else_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        with whole_folder(tmp_path / "out") as making:
            (making / "a").touch(mode=0o600)
            (making / "b").touch(mode=0o755)
    finally:
        os.umask(before)
    assert [oct((tmp_path / "out" / name).stat().st_mode & 0o777) for name in "ab"] == ["0o640", "0o750"]


# -- choose


def test_a_second_choice_in_one_folder_is_refused_while_the_first_works(choice_folder, tmp_path):
    said = []

    def report(line):
        if not said:
            said.append(line)
            with pytest.raises(UserError, match="another command writes there now"):
                answer_of(choice_folder, tmp_path / "out")

    answer_of(choice_folder, tmp_path / "out", report)
    assert said


def test_a_stage_that_finds_fewer_trials_than_it_wanted_fails_and_writes_no_answer(
    choice_folder, tmp_path, monkeypatch
):
    """As when another command had claimed some of them."""
    tried = []

    def sometimes(session, trial, needs):
        tried.append(trial)
        return None if len(tried) % 3 == 0 else attempt(session, trial, needs)

    monkeypatch.setattr("calprune.studies.runner.attempt", sometimes)
    with pytest.raises(UserError, match="3 of 9 trials are not there: another command works on"):
        answer_of(choice_folder, tmp_path / "out")
    assert not (tmp_path / "out" / "gate.json").exists()


# -- studies and workers


STUDY = """
title: {title}
models: {model}
calibrations: [{text}]
methods: [{method}]
patterns: [50%]
num_samples: 4
max_seq_length: 16
draws: 1
evaluations: ["perplexity({text}, tokens=64, length=16)"]
"""


def planned(choice_folder, title, method="wanda"):
    text = STUDY.format(title=title, model=choice_folder / "model", text=choice_folder / "sums.jsonl", method=method)
    return plan(parse_study(text, "study.yaml"), None), text


def test_workers_of_one_study_share_its_folder_and_another_study_is_refused_while_they_do(choice_folder, tmp_path):
    runs = Runs(tmp_path / "runs")
    (one, text), (other, other_text) = planned(choice_folder, "one"), planned(choice_folder, "one", "magnitude")
    with one.doing(runs, text), one.doing(runs, text):
        with pytest.raises(UserError, match="another study is done there now"), other.doing(runs, other_text):
            pass
        assert runs.plan() == one.record()
    with other.doing(runs, other_text):
        assert runs.plan() == other.record(), "the same study, changed, is done there when the first has ended"


def test_a_worker_whose_parent_has_died_ends_within_a_trial(choice_folder, tmp_path, monkeypatch):
    runs, (made, text) = Runs(tmp_path / "runs"), planned(choice_folder, "one", "wanda, magnitude, sparsegpt")
    made.write(runs, text)
    knobs = {
        "device": "cpu",
        "batch_size": None,
        "data_root": None,
        "parent": os.getpid(),
    }  # not the parent of this one
    assert runner.main(str(runs.path), json.dumps(knobs)) == 1
    assert sum(runs.whole(trial.id, list(made.evaluations)) for trial in made.trials) == 1


def test_rules_that_leave_nothing_to_prune_or_match_nothing_are_named_before_a_trial(choice_folder):
    for rule, why in {"*": "leaves nothing to prune", "donw_proj": "matches nothing"}.items():
        text = STUDY.format(title="t", model=choice_folder / "model", text=choice_folder / "sums.jsonl", method="wanda")
        with pytest.raises(UserError, match=why):
            plan(parse_study(f'{text}ignore: ["{rule}"]\n', "study.yaml"), None)


def test_a_folder_that_holds_something_else_is_no_place_for_kept_blocks(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="holds something else"):
        KeptBlocks(tmp_path, {"a": 1})
    assert [one.name for one in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG])
def test_a_disk_that_fails_while_a_library_writes_tensors_is_one_line(tmp_path, monkeypatch, number):
    def fail(tensors, path, metadata=None):
        raise SafetensorError(f"Error while serializing: I/O error: it failed (os error {number})")

    monkeypatch.setattr("safetensors.torch.save_file", fail)
    why = "the disk is full" if number == errno.ENOSPC else "File too large"
    with (
        pytest.raises(UserError, match=f"cannot write .*out: {why}; nothing was left there"),
        whole_folder(tmp_path / "out") as m,
    ):
        save_tensors({}, m / "a.safetensors")
    assert list(tmp_path.iterdir()) == []


DEAF = """
import os, signal, sys
from calprune.base.signals import end_on_signals
end_on_signals()
class Deaf:
    def __del__(self):
        os.kill(os.getpid(), int(sys.argv[1]))
        for _ in range(1000): pass
Deaf()
for _ in range(10**8): pass
print("went on")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_comes_where_python_ignores_what_is_raised_ends_the_program_all_the_same(number):
    """In a `__del__` or a callback of C an exception is printed and forgotten, and the program goes on."""
    ended = subprocess.run([sys.executable, "-c", DEAF, str(int(number))], capture_output=True, text=True)
    assert ended.returncode and "went on" not in ended.stdout and "KeyboardInterrupt" in ended.stderr


def test_other_errors_that_python_ignores_are_said_as_ever():
    program = DEAF.replace("os.kill(os.getpid(), int(sys.argv[1]))", "raise ValueError('of a finaliser')")
    program = program.replace("10**8", "10")
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.stdout == "went on\n" and "of a finaliser" in ended.stderr
