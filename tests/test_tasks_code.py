"""humaneval and mbpp: the harness's prompts, programs that are run apart from all else, and right answers that pass."""

import os
import socket
from pathlib import Path

import pytest

from calprune.base.values import CODE_ALLOWED, UserError
from calprune.evaluation.items import task_records
from calprune.evaluation.tasks import apart, find_task
from calprune.evaluation.tasks.code import CODE, up_to
from tests.command import calprune
from tests.test_tasks import toy_model, write_rows


@pytest.fixture
def allowed(monkeypatch) -> None:
    monkeypatch.setenv(CODE_ALLOWED, "1")
    try:
        apart.check_allowed("a test")
    except UserError as e:
        pytest.skip(str(e))


def mbpp(n: int, code: str = "") -> dict:
    return {"task_id": n, "text": f"Write a function to add {n}.", "code": code or f"def add(x):\r\n  return x + {n}",
            "test_setup_code": f"add(0)\nN = {n}", "test_list": [f"assert add({x}) == {x} + N" for x in (1, 2, 3)],
            "challenge_test_list": []}  # fmt: skip


def humaneval(n: int) -> dict:
    return {"task_id": f"HumanEval/{n}", "prompt": f'def add(x):\n    """ Add {n}. """\n', "entry_point": "add",
            "canonical_solution": f"    return x + {n}\n",
            "test": f"def check(candidate):\n    assert candidate(1) == {1 + n}\n"}  # fmt: skip


@pytest.fixture
def data(tmp_path) -> Path:
    write_rows(tmp_path / "mbpp/test.jsonl.gz", [mbpp(n) for n in (11, 12, 13)])
    write_rows(tmp_path / "mbpp/prompt.jsonl.gz", [mbpp(n) for n in (1, 2, 3, 4)])
    write_rows(tmp_path / "humaneval/test.jsonl.gz", [humaneval(n) for n in range(3)])
    return tmp_path


ENDLESS = "while True: pass"
PROGRAMS = {
    "assert sorted([2, 1]) == [1, 2]": True,
    "import math, re, collections\nprint(math.pi)": True,
    "if __name__ == '__main__': input()": True,  # it is read, and not started
    "import asyncio\nasyncio.run(asyncio.sleep(0))": True,
    "assert 1 + 1 == 3": False,
    "def f(:": False,
    "import sys; sys.exit(0)": False,  # it did not come to its end
    "import os; os._exit(0)": False,
    "def f(): return f()\nf()": False,
    "input()": False,
    "bytearray(8 << 30)": False,
    "import os\nfor file in range(3, 9):\n    try: os.write(file, b'\\xff')\n    except OSError: pass": False,
}


@pytest.mark.parametrize(("program", "ends"), PROGRAMS.items(), ids=PROGRAMS)
def test_a_program_is_right_where_it_comes_to_its_end_without_an_error(allowed, program, ends):
    assert apart.run_all([program], "a test") == [ends]


def test_an_endless_program_is_ended_and_the_others_are_judged(allowed, monkeypatch):
    monkeypatch.setattr(apart, "SECONDS", 1)
    monkeypatch.setattr(apart, "WAIT", 3)
    slow = "import time; time.sleep(60)"
    escapes = "import ctypes\nctypes.CDLL(None).prctl(1, 0)\n" + slow
    signals = "import os\nos.kill(0, 15)\n" + slow
    floods = (
        "import os\n"
        "while True:\n"
        "    for file in range(3, 9):\n"
        "        try: os.write(file, b'x' * 65536)\n"
        "        except OSError: pass"
    )
    programs = [ENDLESS, "pass", slow, "pass", escapes, signals, floods]
    assert apart.run_all(programs, "a test") == [False, True, False, True, False, False, False]


def test_a_program_changes_no_file_and_reaches_no_network_and_no_other_process(allowed, tmp_path):
    file = tmp_path / "mine.txt"
    file.write_text("mine")
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as local:
        address, path = server.getsockname(), str(tmp_path / "socket")
        local.bind(path)
        local.listen()
        socket.create_connection(address, 5).close()
        with socket.socket(socket.AF_UNIX) as one:
            one.connect(path)
        reaches = f"import socket\nsocket.create_connection({address}, 2)"
        writable = (
            "import ctypes\n"
            "system, flags = ctypes.CDLL(None), (ctypes.c_uint64 * 4)(0, 1, 0, 0)\n"
            "assert system.syscall(442, -100, b'/', 0x8000, ctypes.byref(flags), ctypes.c_size_t(32)) == 0"
        )
        tried = [
            f"open({str(file)!r}, 'w').write('')",
            f"import os\nos.remove({str(file)!r})",
            f"import os\nos.mkdir({str(tmp_path / 'new')!r})",
            "open('here.txt', 'w').write('x')",
            f"import os, signal\nos.kill({os.getpid()}, signal.SIGTERM)",
            writable,
            reaches,
            f"import socket\nsocket.socket(socket.AF_UNIX).connect({path!r})",
            "open('/dev/zero', 'rb').read(1)",
        ]
        assert apart.run_all(tried, "a test") == [False] * len(tried)
    assert file.read_text() == "mine" and {one.name for one in tmp_path.iterdir()} == {"mine.txt", "socket"}


def test_what_a_program_has_started_ends_with_it(allowed, monkeypatch):
    monkeypatch.setattr(apart, "WAIT", 3)  # what still ran would hold the pipe that is read to its end
    left = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(60)"
    assert apart.run_all([left], "a test") == [True]


@pytest.mark.parametrize("task", ["humaneval", "mbpp"])
def test_the_right_program_passes_and_a_wrong_one_does_not(allowed, task):
    row = mbpp(5) if task == "mbpp" else humaneval(5)
    right, of = row["code"] if task == "mbpp" else row["canonical_solution"], CODE[task]
    wrong = right.replace("+", "-")
    assert apart.run_all([of.tested(row, right), of.tested(row, wrong), of.tested(row, "")], task) == [
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(("task", "solution"), [("humaneval", "canonical_solution"), ("mbpp", "code")])
def test_the_data_sets_own_solutions_pass(allowed, data_root, task, solution):
    rows = [row for _, row in task_records(task, task, "evaluation", data_root)][:60]
    assert all(apart.run_all([CODE[task].tested(row, row[solution]) for row in rows], task))


@pytest.mark.parametrize(("task", "shots"), [("humaneval", 0), ("mbpp", 3)])
def test_prompts_and_ends_are_the_harnesss(data, task, shots):
    engine = pytest.importorskip("calprune.evaluation.tasks.harness_engine", reason="needs calprune[tasks]")
    import jinja2
    import yaml

    class Loader(yaml.SafeLoader):
        """Reads what names a function, too."""

    Loader.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))
    folder = Path(engine.lm_eval.__file__).parent / "tasks" / task
    stock = yaml.load((folder / f"{task}.yaml").read_text(), Loader)
    row = mbpp(7) if task == "mbpp" else humaneval(7)
    assert CODE[task].prompt(row) == jinja2.Template(stock["doc_to_text"], keep_trailing_newline=True).render(row)
    assert [*CODE[task].ends] == stock["generation_kwargs"]["until"] and stock["num_fewshot"] == shots
    if shots:
        target = jinja2.Template(stock["doc_to_target"], keep_trailing_newline=True).render(row, is_fewshot=True)
        assert CODE[task].example(row) == f"{CODE[task].prompt(row)}{target}\n\n"
        assert [f'"task_id": {n}' in (folder / "utils.py").read_text() for n in CODE[task].examples] == [True] * shots


def test_what_a_model_writes_is_cut_at_the_first_end():
    assert up_to("    return 1\n\ndef other():\n#", CODE["humaneval"].ends) == "    return 1\n"
    assert up_to("def f(): pass\n[DONE]\n\nYou", CODE["mbpp"].ends) == "def f(): pass\n"
    assert up_to("    return 1", CODE["humaneval"].ends) == "    return 1"


@pytest.mark.parametrize("task", ["humaneval", "mbpp"])
def test_a_model_is_asked_and_its_programs_are_run(allowed, data, task, monkeypatch):
    monkeypatch.setitem(CODE, task, CODE[task].__class__(**{**vars(CODE[task]), "limit": 8}))
    found = find_task(f"{task}(examples=2)").run(toy_model(positions=4096), data)
    assert found.items == (0.0, 0.0) and found.chance == 0.0 and found.capability == "code", "a random model"
    assert found.metric == "pass_at_1" and len(set(found.ids)) == 2 and found.cut == 0


def test_nothing_is_run_unless_it_was_allowed(data, monkeypatch):
    monkeypatch.delenv(CODE_ALLOWED, raising=False)
    with pytest.raises(UserError, match="give --allow-code-execution"):
        find_task("mbpp").run(toy_model(), data)
    with pytest.raises(UserError, match="give --allow-code-execution"):
        apart.run_all(["pass"], "a test")


def test_the_command_says_in_one_line_how_it_is_allowed(tmp_path, data):
    done = calprune("eval", "demo", "--on", "mbpp(examples=1)", "--data-root", str(data))
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "--allow-code-execution" in done.stderr and CODE_ALLOWED in done.stderr


def test_where_programs_cannot_be_run_apart_none_is_run(monkeypatch):
    monkeypatch.setenv(CODE_ALLOWED, "1")
    monkeypatch.setattr(apart, "_hindrance", lambda: "namespaces: Operation not permitted")
    with pytest.raises(UserError, match=r"cannot be run apart here \(namespaces: Operation not permitted\)"):
        apart.run_all(["pass"], "a test")


def test_worked_examples_that_are_not_there_are_named(allowed, tmp_path):
    write_rows(tmp_path / "mbpp/test.jsonl.gz", [mbpp(11)])
    write_rows(tmp_path / "mbpp/prompt.jsonl.gz", [mbpp(2)])
    with pytest.raises(UserError, match=r"its worked examples are tasks \(2, 3, 4\); 3 is not there"):
        find_task("mbpp").run(toy_model(), tmp_path)


def test_rows_of_another_data_set_are_one_line(allowed, data):
    write_rows(data / "humaneval/test.jsonl.gz", [{"question": "What is 2?", "answer": "2"}])
    with pytest.raises(UserError, match=r"a row is not one of humaneval \(KeyError\('prompt'\)\)"):
        find_task("humaneval").run(toy_model(), data)
