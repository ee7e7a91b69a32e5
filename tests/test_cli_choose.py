"""calprune choose as a person gives it: several sources, what it prints and writes, one line for every mistake."""

import html
import json
import re
import shlex
import shutil
import socket
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import typer.main

from calprune.base.values import UserError
from calprune.choosing import choose as choosing
from calprune.choosing import question
from calprune.choosing import verdict as final
from calprune.choosing.page import choice_page, commands, headline
from calprune.choosing.question import Question, check_apart, parse_capabilities
from calprune.choosing.trials import parse_budget
from calprune.cli.app import app
from calprune.methods.wanda import Wanda
from calprune.pattern import Unstructured
from calprune.studies.results import read
from calprune.text.document import Given
from tests.test_cli import run  # noqa: F401  a fixture

FOR = "--for prose=1 --for sums=2"
SIZES = "--num-samples 8 --max-seq-length 16 --tokens 256 --device cpu --out out"
JUDGED = "--judge prose=prose_held.jsonl --judge sums=sums_held.jsonl"
TWO = "--sources c4 --sources sums.jsonl"


@pytest.fixture
def asked(run, choice_folder, tmp_path, monkeypatch):  # noqa: F811
    """Ask in a folder with the material of tests/small_choice.py, as in a shell: (exit status, stdout, stderr)."""
    for path in choice_folder.iterdir():
        if path.name not in ("chosen", "alike"):
            (tmp_path / path.name).symlink_to(path)
    monkeypatch.setenv("CALPRUNE_DATA", str(choice_folder / "data"))

    def offline(*_, **__):
        raise OSError("no network in this test")

    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket, "getaddrinfo", offline)
    return lambda line: run("choose", *shlex.split(line))


def fail(said):
    raise UserError(said)


@pytest.fixture
def heard(monkeypatch, asked):
    """Ask, and give the question that was understood, unanswered."""
    found = []

    def listen(question, out, **how):
        found.append((question, out, how))
        fail("understood")

    monkeypatch.setattr(choosing, "choose", listen)

    def ask(line):
        status, _, err = asked(line)
        assert (status, err) == (1, "calprune: understood\n")
        return found.pop()

    return ask


@pytest.mark.parametrize(
    ("words", "sources"),
    [
        ("--sources c4 --sources sums.jsonl --sources 'my code.jsonl'", ("c4", "sums.jsonl", "my code.jsonl")),
        ("--sources c4 --sources 'sums.jsonl:chat(responses)'", ("c4", "sums.jsonl:chat(responses)")),
        ("--sources=c4 --sources sums.jsonl", ("c4", "sums.jsonl")),
        ("--sources sums.jsonl", ("sums.jsonl",)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("last", [False, True], ids=("before other options", "at the end"))
def test_each_source_follows_its_option(words, sources, last, heard):
    others = f"{FOR} {JUDGED} --method 'sparsegpt(damping=0.1)' --pattern 2:4 --budget 30m {SIZES}"
    question, out, how = heard(f"model {others} {words}" if last else f"model {words} {others}")
    assert question.sources == sources and question.model == "model" and out == Path("out")
    assert question.weights == {"prose": 1 / 3, "sums": 2 / 3}
    assert [one.text for one in question.capabilities] == ["prose_held.jsonl", "sums_held.jsonl"]
    assert str(question.pattern) == "2:4" and question.method.damping == 0.1 and how["budget"] == 1800
    assert (question.num_samples, question.max_seq_length, question.tokens) == (8, 16, 256)


def test_sources_and_capabilities_are_also_understood_as_in_0_1_with_a_note(asked, monkeypatch):
    found = []
    monkeypatch.setattr(choosing, "choose", lambda question, *_, **__: found.append(question) or fail("understood"))
    new = "model --sources c4 --sources sums.jsonl --sources gsm8k --for prose=1 --for sums=2"
    old = "model --sources c4 sums.jsonl gsm8k --for 'prose=1 sums=2'"
    assert asked(f"{new} {JUDGED} {SIZES}")[2] == "calprune: understood\n"
    notes = [line.partition("before each: ")[2] for line in asked(f"{old} {JUDGED} {SIZES}")[2].splitlines()[:-1]]
    assert found[0] == found[1] and f"model {' '.join(notes)}" == new


def test_without_sources_it_is_the_models_own_text_web_text_code_and_mathematics(heard):
    asked, _, how = heard(f"model --for code {SIZES}")
    assert asked.sources == ("self:prefixes(of=c4)", "c4", "redpajama_github", "gsm8k:icl_cot")
    assert how["budget"] is None and [one.text for one in asked.capabilities] == ["mbpp"]
    asked, _, _ = heard(f"model --prompts sums.jsonl {SIZES}")
    own, *others = asked.sources
    assert own == "self:respond(sums.jsonl, prompt_weight=0.1)"
    assert tuple(others) == question.default_sources("model", None, print)[1:]
    assert list(asked.weights) == ["general", "mathematics", "code"]
    said: list[str] = []
    assert question.default_sources("no_chat", "sums.jsonl", said.append)[0] == "self:prefixes(of=c4)"
    assert ["no chat template" in line for line in said] == [True]


def test_the_examples_are_understood_as_they_are_written(heard, tmp_path, monkeypatch):
    (tmp_path / "DATA").mkdir()  # the folder that the page names
    page = (Path(__file__).parents[1] / "docs" / "choose.md").read_text()
    blocks = re.findall(r"```(?:python)?\n(.*?)```", page, flags=re.DOTALL)
    command, python, *measured = (block.replace("\\\n", " ").removeprefix("calprune choose") for block in blocks)
    asked, out, _ = heard(command)
    assert asked.sources == ("c4", "gsm8k:icl_cot", "redpajama_github", "my_chat.jsonl:chat") and out == Path("chosen")
    assert asked.weights == {"general": 0.25, "mathematics": 0.5, "code": 0.25}
    assert [len(heard(one)[0].sources) for one in measured] == [5, 4]
    (shown,) = typer.main.get_command(app).commands["choose"].examples
    assert heard(shown.removeprefix("calprune choose"))[0] == replace(asked, sources=asked.sources[:3])
    found = []

    def hear(question, out, **how):
        found.append((question, out))
        raise InterruptedError

    monkeypatch.setattr("calprune.api.choose.answer", hear)
    with pytest.raises(InterruptedError):
        exec(python, {})
    ((question, out),) = found
    assert question.sources == asked.sources[:2] and out == "chosen" and question.method == asked.method
    assert (question.pattern, question.num_samples, question.max_seq_length) == (asked.pattern, 16, 256)


def test_the_command_on_the_page_asks_the_same_and_is_answered_from_the_folder(
    chosen, choice_folder, asked, tmp_path, monkeypatch
):
    shutil.copytree(chosen.folder, tmp_path / "chosen")
    monkeypatch.setattr(final, "save_pruned", lambda *a: pytest.fail("it pruned again"))
    status, out, err = asked(commands(chosen)[0].removeprefix("calprune choose"))
    assert status == 0 and err == "", err
    *answer, where = headline(chosen)
    assert out.splitlines() == [*answer, where.replace(str(chosen.folder), "chosen")]
    page = (tmp_path / "chosen" / "report.html").read_text()
    assert page == choice_page(chosen, read(chosen.folder / "runs")).html()
    status, out, _ = asked(commands(chosen)[0].removeprefix("calprune choose") + " --json")
    found = json.loads(out)
    assert status == 0 and found["answer"] == answer[:2] and found["left_out"] == [] and found["out"] == "chosen"
    assert (found["winner"], found["calibration"]) == (chosen.winner, chosen.result.spec)


def test_the_page_names_the_data_root_as_it_was_typed_and_never_that_of_the_environment(
    chosen, choice_folder, asked, tmp_path, monkeypatch
):
    shutil.copytree(chosen.folder, tmp_path / "chosen")
    ask = commands(chosen)[0].removeprefix("calprune choose")
    page = tmp_path / "chosen" / "report.html"
    assert asked(ask)[0] == 0 and str(choice_folder / "data") not in page.read_text()
    assert "--data-root" not in "\n".join(commands(chosen))
    monkeypatch.delenv("CALPRUNE_DATA")
    (tmp_path / "my data").symlink_to(choice_folder / "data")
    named = commands(chosen, Path("my data"))
    assert [("--data-root 'my data'" in command) for command in named] == [True, True, False], "the last reads a set"
    assert asked(named[0].removeprefix("calprune choose"))[0] == 0
    assert all(command in html.unescape(page.read_text()) for command in named)
    assert asked(ask)[0] == 1, "c4 is nowhere else"


def test_one_source_alone_is_nothing_to_choose_and_its_report_is_written(asked):
    ask = f"model --sources sums.jsonl {FOR} {JUDGED} {SIZES}"
    status, out, err = asked(ask)
    assert status == 1 and out == ""
    last = "calprune: nothing to choose: sums.jsonl is all that can be used; here is its report: out/report.html"
    assert err.splitlines()[-1] == last
    page = Path("out/report.html").read_text()
    assert "calprune study" in page and "Calibration data for model" in page and "sums.jsonl" in page
    trials = list(Path("out").glob("runs/trials/*/trial.json"))
    assert len(trials) == 3 and not Path("out/gate.json").exists()
    made = {path: path.stat().st_mtime_ns for path in trials}
    assert asked(ask)[2].splitlines() == [last]  # it goes on, and there is nothing to do
    assert {path: path.stat().st_mtime_ns for path in trials} == made


def test_a_source_that_cannot_be_reached_is_named_and_the_others_go_on(asked):
    status, _, err = asked(f"model --sources sums.jsonl --sources gsm8k --sources nowhere.jsonl {FOR} {JUDGED} {SIZES}")
    said = err.splitlines()
    assert status == 1 and said[-1].startswith("calprune: nothing to choose: sums.jsonl is all")
    (away,) = [line for line in said if line.startswith("going on without gsm8k: ")]
    assert "--data-root (or CALPRUNE_DATA) a folder with gsm8k/" in away
    (absent,) = [line for line in said if line.startswith("going on without nowhere.jsonl: ")]
    assert "nowhere.jsonl: there is no such file" in absent
    assert Path("out/report.html").exists()


@pytest.mark.parametrize(
    ("evaluation", "more", "apart"),
    [
        ("train", "", False),
        ("test", "", True),
        ("train", "  where: {calibration: row <= 9, evaluation: row > 9}\n", True),
        ("train", "  where: {calibration: row <= 9}\n", False),  # it is judged on all rows
    ],
)
def test_a_source_and_a_text_may_share_a_name_but_no_rows(evaluation, more, apart, tmp_path):
    place = f"  path: someone/notes\n  calibration: train\n  evaluation: {evaluation}\n"
    (tmp_path / "notes.yaml").write_text(f"kind: text\nhub:\n{place}{more}")
    name = str(tmp_path / "notes.yaml")
    q = Question("demo", ("c4", name), parse_capabilities("notes", [f"notes={name}"]), Wanda(), Unstructured(0.5))
    with nullcontext() if apart else pytest.raises(UserError, match="is a source and also what notes is judged on: le"):
        check_apart(q, Given())


@pytest.mark.parametrize("name", ["alpaca_gpt4", "pydoc_topics"])
def test_a_source_that_keeps_rows_of_its_file_apart_to_be_judged_on_can_be_both(name, tmp_path):
    (tmp_path / "alpaca_gpt4_en").mkdir()
    (tmp_path / "alpaca_gpt4_en" / "train.jsonl.gz").write_bytes(b"")
    q = Question("demo", ("c4", name), parse_capabilities("own", [f"own={name}"]), Wanda(), Unstructured(0.5))
    check_apart(q, Given(data_root=tmp_path))
    whole = str(tmp_path / "alpaca_gpt4_en" / "train.jsonl.gz")
    with pytest.raises(UserError, match="is a source and also what own is judged on"):
        check_apart(replace(q, sources=("alpaca_gpt4",), capabilities=parse_capabilities("own", [f"own={whole}"])),
                    Given(data_root=tmp_path))  # fmt: skip


def test_where_no_source_can_be_used_each_is_named(asked):
    status, _, err = asked(f"model --sources gsm8k --sources nowhere.jsonl {FOR} {JUDGED} {SIZES}")
    said = err.splitlines()[-1]
    assert status == 1 and said.startswith("calprune: none of the sources can be used: ")
    assert "gsm8k" in said and "nowhere.jsonl: there is no such file" in said


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (f"model {TWO} --for prose=1 --for mathematcs=2", "no evaluation covers 'mathematcs'; did you mean 'mathem"),
        (f"model {TWO} --for 'poetry'", "mathematics, prose, sums; or name its text: write it like --judge chat="),
        (f"model {TWO} --for 'prose=one'", "the weight of prose must be a number; got 'one'; write it like --for"),
        (f"model {TWO} --for 'prose=-1'", "--for: the weight of prose must be a number above 0; got -1"),
        (f"model {TWO} --for 'prose=nan'", "--for: the weight of prose must be a number above 0; got nan"),
        (f"model {TWO} --for prose --for prose=2", "--for: prose is there twice"),
        (f"model {TWO} --for ''", "--for names no capability"),
        (f"model {TWO} {FOR} --judge sums", "--judge: cannot read 'sums'; write it like --judge chat="),
        (f"model {TWO} {FOR} --judge 'sums=c4 + gsm8k'", "'c4 + gsm8k' is a mixture: name one source at a time"),
        (f"model {TWO} {FOR} --for mine=1 --judge mine=none.jsonl", "none.jsonl: there is no such file"),
        (f"model {TWO} {FOR} {JUDGED} --judge sums=none.jsonl", "--judge: sums is there twice"),
        (f"model {TWO} {FOR} {JUDGED} --judge mine=sums_held.jsonl", "name it by --for mine too"),
        (f"model {TWO} --sources sums_held.jsonl", "sums_held.jsonl is a source and also what sums is judged on"),
        ("model --sources c4 --sources gsm8", "unknown source 'gsm8'; did you mean 'gsm8k'?"),
        ("model --sources c4 --sources sums.jsonl:chatt", "unknown format 'chatt'; did you mean 'chat'?"),
        ("model --sources c4 --sources 'sums.jsonl*2 + c4'", "--sources: 'sums.jsonl*2 + c4' is a mixture"),
        (f"model {TWO} --sources c4", "--sources: c4 is there twice"),
        ("model --sources c4 --sources c4:plain", "--sources: c4 and c4:plain are the same text: leave one out"),
        (f"model {TWO} --method magnitude", "reads no calibration data, so there is nothing to choose"),
        (f"model {TWO} --method wandaa", "unknown method 'wandaa'; did you mean 'wanda'?"),
        (f"model {TWO} --method gptq", "prunes nothing; name a method that does"),
        (f"model {TWO} --method 'block_reconstruction(start=wanda)'", "trains on sequences, and mixtures are"),
        (f"model {TWO} --pattern 2:", "2:"),
        (f"model {TWO} --draws 2", "--draws: expected 3 or more, fewer give no interval; got 2"),
        (f"model {TWO} --budget soon", "--budget: cannot read 'soon'; write it like 90s, 30m or 2h"),
        (f"model {TWO} --budget 0m", "--budget: cannot read '0m'; write it like 90s, 30m or 2h"),
        (f"model {TWO} --prompts sums.jsonl", "--prompts goes without --sources; beside them write --sources"),
        ("model --prompts none.jsonl", "--prompts none.jsonl: there is no such file"),
        (f"nowhere {TWO}", "nowhere"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_and_writes_nothing(line, said, asked):
    asked_for = "" if "--for" in line else f"{FOR}"
    status, out, err = asked(f"{line} {asked_for} {'' if JUDGED in line else JUDGED} {SIZES}")
    assert status == 1 and out == "" and err.count("\n") == 1, err
    assert err.startswith("calprune: ") and said in err, err
    assert not Path("out", "runs").exists() and not list(Path().glob("*.tmp*"))


@pytest.mark.parametrize("budget", ["0.001s", "0.00001m"])
def test_a_budget_too_small_for_the_gate_is_one_line_and_what_it_names_is_larger(budget, asked):
    status, _, err = asked(f"model {TWO} {FOR} {JUDGED} --budget {budget} {SIZES}")
    assert status == 1 and err.count("\n") == 1
    assert "is too small: comparing the sources, the first step, takes about" in err and "here (6 trials)" in err
    give = parse_budget(err.partition("; give --budget ")[2].partition(" or more")[0])
    assert give >= 1 > parse_budget(budget)
    assert sorted(path.name for path in Path("out").iterdir()) == ["question.json"]
