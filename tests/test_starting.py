"""calprune start: what it proposes, what it does, how it goes on, and one line for every mistake."""

import html
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file

from calprune.base.progress import Progress, Steps, showing
from calprune.base.values import ConfigError, UserError
from calprune.choosing.question import parse_capabilities
from calprune.cli.app import app
from calprune.starting.look import look
from calprune.starting.own_data import EVERY, halves, stem_of
from calprune.starting.proposal import SIZES, Wanted, propose, sized
from calprune.starting.run import carry_out
from tests.test_cli import WORDS, run, tiny_folder  # noqa: F401  fixtures

SMALL = ("--minutes", "0.001", "--device", "cpu", "--yes")


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """No data sets, no network, no terminal, and a cache of its own."""

    def offline(*_, **__):
        raise OSError("no network in this test")

    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "CALPRUNE_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket, "getaddrinfo", offline)
    monkeypatch.setenv("CALPRUNE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def mine(tmp_path) -> Path:
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps({"text": f"{i} {WORDS[i % 40 :]}"}) + "\n" for i in range(60)))
    return path


@pytest.fixture(scope="module")
def started(tiny_folder, tmp_path_factory):  # noqa: F811
    """What a start of a tiny model found, with the bars that were shown."""
    folder = tmp_path_factory.mktemp("start")
    (folder / "mine.jsonl").write_text(
        "".join(json.dumps({"text": f"{i} {WORDS[i % 40 :]}"}) + "\n" for i in range(60))
    )
    wanted = Wanted(str(tiny_folder), folder / "out", (folder / "mine.jsonl",), minutes=0.001)
    bars = Bars()
    with pytest.MonkeyPatch.context() as patch, showing(bars):
        patch.setenv("CALPRUNE_CACHE", str(folder / "cache"))
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.delenv("CALPRUNE_DATA", raising=False)
        found = carry_out(sized(propose(wanted, look(str(tiny_folder)))))
    return found, bars


class Bars(Progress):
    """Remembers every piece of work that was shown."""

    def __init__(self):
        self.shown: list[Steps] = []

    @contextmanager
    def steps(self, doing, total, counted=""):
        self.shown.append(Steps(doing, total, counted))
        yield self.shown[-1]


def test_all_phases_are_one_bar_that_ends_where_it_said(started):
    (bar,) = started[1].shown
    assert bar.done == bar.total > 6 * 2, "six trials of two blocks, and what is judged and saved"


def test_the_table_has_the_dense_model_and_both_sets_on_both_texts(started):
    found, _ = started
    rows = found.table().records()
    assert [row["judged on"] for row in rows] == ["your data", "", "", "general", "", ""]
    for perplexity, kl, left in (rows[:3], rows[3:]):
        for name in ("pydoc_topics", "your data"):
            assert kl[name]["value"] > kl["dense"]["value"] == 0
            assert perplexity[name]["low"] <= perplexity[name]["value"] <= perplexity[name]["high"]
            ratio = perplexity["dense"]["value"] / perplexity[name]["value"]
            assert left[name]["value"] == pytest.approx(100 * ratio, rel=1e-6)


def test_the_sentence_is_of_ones_own_data_and_has_an_interval(started):
    found, _ = started
    said = found.sentence()
    assert said.startswith("On your data, ") and "95 % interval" in said and re.search(r"\[[-−\d., ]+\]", said)
    kl = found.table().records()[1]
    nearer = "your data" if kl["your data"]["value"] < kl["pydoc_topics"]["value"] else "pydoc_topics"
    if "no difference is shown between" in said:
        assert f"; {nearer} has the better mean by " in said
    else:
        assert said.startswith(f"On your data, pruning with {nearer} is shown to keep the model nearer")


def test_its_page_answers_with_the_same_sentence_and_names_files_alone(started):
    found, _ = started
    page = html.unescape(re.sub(r"<[^>]+>", "", found.page.read_text(encoding="utf-8")))
    page = re.sub(r"[\s\u2060]+", " ", page)  # what is held on one line
    before, sentence, _ = page.partition(found.sentence())
    assert sentence and "Each mark is a mean" not in before
    assert page.index("kl(mine.judge.jsonl") < page.index("kl(pydoc_topics"), "what it speaks of is shown first"


def test_ones_own_data_are_judged_first(started):
    found, _ = started
    assert list(found.made.texts) == ["your data", "general"]
    assert found.table().records()[0]["judged on"] == "your data"


def test_where_the_model_that_is_kept_is_not_the_best_on_ones_own_data_the_sentence_says_why(started):
    found, _ = started
    kl = found.table().records()[1]
    nearer = min(found.made.sets, key=lambda name: kl[name]["value"])
    other = next(one for one in found.made.sets if one != nearer)
    said, why = replace(found, label=other).sentence(), "The model that is kept was pruned with"
    assert f"{why} {other} all the same, for over all that was judged (your data and general, each" in said
    assert why not in replace(found, label=nearer).sentence()


def test_the_model_that_is_kept_is_the_first_trial_of_the_better_set(started):
    found, _ = started
    weights = load_file(found.model / "model.safetensors")
    zeros = [(w == 0).float().mean().item() for name, w in weights.items() if "proj" in name]
    assert len(zeros) == 14 and all(abs(share - 0.5) < 0.02 for share in zeros)
    transformers.AutoModelForCausalLM.from_pretrained(found.model)
    trial = next(row for row in found.findings.rows if row.calibration == found.label and row.draw == 0)
    linears = json.loads((found.made.wanted.out / "runs" / "trials" / trial.trial / "prune.json").read_text())[
        "linears"
    ]
    kept = json.loads((found.model / "calprune.json").read_text())["linears"]
    assert [one["sparsity"] for one in kept] == [one["sparsity"] for one in linears]


def test_what_comes_next_is_a_command_that_choose_understands(started):
    import typer.main

    found, _ = started
    program, name, *words = shlex.split(found.choose_command())
    command = typer.main.get_command(app).commands[name]
    given = command.make_context(name, words).params
    assert program == "calprune" and len(given["sources"]) == 2
    parse_capabilities(" ".join(given["for_"]), given["judge"])


def test_a_record_is_calibrated_on_or_judged_on_and_never_both(tmp_path):
    records = [{"text": str(i % 23)} for i in range(60)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records))
    calibrate, judge = ({one["text"] for one in part} for part in halves(tmp_path / "a.jsonl"))
    assert not calibrate & judge and calibrate | judge == {str(i) for i in range(23)}
    assert len(judge) == 23 // EVERY


def test_five_lines_say_what_it_takes_and_nothing_is_done_without_a_yes(run, tiny_folder, mine):  # noqa: F811
    status, out, err = run("start", tiny_folder, "--data", mine, "--out", "out")
    assert status == 1 and out == "" and err.strip().endswith("give --yes") and not Path("out").exists()
    lines = [line.split()[0] for line in err.splitlines()[-6:-1]]
    assert lines == ["model", "sets", "prune", "judge", "cost"]
    assert "60 texts, 48 to calibrate on, 12 to judge on" in err and "c4 is not to be had here" in err


def test_a_start_that_is_stopped_says_how_to_go_on_and_the_same_command_does(
    tiny_folder,  # noqa: F811
    mine,
    tmp_path,
    programs,
):
    words = ["start", str(tiny_folder), "--data", "mine.jsonl", "--out", "out", *SMALL]
    command, how = ["-m", "calprune", *words], {"folder": tmp_path, "env": os.environ | {"HF_HUB_OFFLINE": "1"}}
    running = programs.start(*command, **how)
    there = tmp_path / "out" / "runs" / "trials"
    while running.poll() is None and not list(there.glob("*/eval/*.json")):
        time.sleep(0.01)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    before = {path: path.stat().st_mtime_ns for path in there.glob("*/eval/*.json")}
    assert running.returncode == 130 and f"to go on: calprune {shlex.join(words)}" in err and before
    again = programs.run(*command, **how)
    assert again.returncode == 0 and "going on in out" in again.stderr, again.stderr
    assert {path: path.stat().st_mtime_ns for path in before} == before, "what was done is not done again"
    other = programs.run(*command, "--pattern", "60%", **how)
    assert other.returncode == 1 and "holds another start" in other.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--for", "cooking"], "nobody knows the capability 'cooking'"),
        (["--for", "maths"], "whatever it is called); did you mean 'mathematics'?"),
        (["--for", "code,chat"], "--for chat is judged on conversations of yours"),
        (["--for", "code"], "--for code is judged on mbpp, which is not to be had here"),
        (["--data", "absent.jsonl"], "absent.jsonl: there is no such file"),
        (["--data", "shorts.jsonl"], "there is no such file; did you mean short.jsonl?"),
        (["--data", "short.jsonl:chat"], "give the file alone, --data short.jsonl"),
        (["--data", "."], "a folder; give the files in it"),
        (["--data", "empty.jsonl"], "none of its records holds text"),
        (["--data", "numbers.jsonl"], "has neither a field 'text' nor those of a conversation"),
        (["--data", "few.jsonl"], "it has 3 different records; 10 or more are needed"),
        (["--data", "few.txt"], "it has 2 different passages of about 4,096 characters; 10 or more are needed"),
        (["--data", "short.jsonl"], "give a larger file"),
        (["--method", "magnitude"], "takes a method that reads data"),
        (["--minutes", "-1"], "--minutes: expected a number above 0"),
        (["--out", "."], "it holds something else"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(run, tiny_folder, words, said):  # noqa: F811
    for name, texts in (("empty", [" "] * 20), ("few", [WORDS * 30] * 9 + ["a", "b"]), ("short", map(str, range(20)))):
        Path(f"{name}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    Path("numbers.jsonl").write_text('{"n": 1}\n' * 20)
    Path("few.txt").write_text("\n\n".join(f"{n} {WORDS * 10}" for n in range(30))[:8_000])
    before = sorted(Path().rglob("*"))
    status, out, err = run("start", tiny_folder, *SMALL, *words)
    assert status == 1 and out == "" and said in err.splitlines()[-1], err
    assert [path for path in sorted(Path().rglob("*")) if "cache" not in path.parts] == before


def test_the_first_line_comes_before_what_takes_seconds_to_import():
    said = "import sys; from calprune.base import progress; "
    said += "progress.Progress.say = lambda self, text: sys.exit(text + str('torch' in sys.modules)); "
    said += "from calprune.cli.start import start_command; start_command('demo')"
    ended = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True)
    assert ended.stderr.strip() == "looking at the model and the texts ...False"


def test_a_model_that_does_not_fit_is_refused_with_what_would(tiny_folder, tmp_path):  # noqa: F811
    made = propose(Wanted(str(tiny_folder), tmp_path / "out"), look(str(tiny_folder)))
    large = replace(made, look=replace(made.look, stored=10**16, parameters=5 * 10**15))
    with pytest.raises(UserError, match=r"does not fit: the smallest set, .* what fits: a machine or a GPU .* billion"):
        sized(large)
    assert sized(made).size <= max(n * length for n, length in SIZES)


def test_more_minutes_allow_a_larger_set_and_a_larger_set_takes_more_memory(tiny_folder, tmp_path):  # noqa: F811
    found = look(str(tiny_folder))
    short, long = (sized(propose(Wanted(str(tiny_folder), tmp_path, minutes=m), found)) for m in (0.001, 10_000.0))
    assert short.size < long.size and short.memory < long.memory and long.max_seq_length <= found.positions
    assert found.memory(1, grams=False) < found.memory(1, grams=True)
    assert short.seconds > sized(propose(short.wanted, replace(found, of_blocks=1))).seconds, "sets go through blocks"


def test_short_minutes_compare_less_and_too_few_are_named(tiny_folder, tmp_path):  # noqa: F811
    def lines(minutes):
        made = sized(propose(Wanted(str(tiny_folder), tmp_path, minutes=minutes), found))
        return made, "\n".join(made.lines())

    found = replace(look(str(tiny_folder)), parameters=10**12, of_blocks=10**12)
    enough, said = lines(1e9)
    assert "no smaller" not in said and "3 times to compare, then one" in said and enough.judged == 4096
    short, said = lines(0.001)
    assert f"more than --minutes 0.001 (no smaller comparison is made), {short.memory / 1e9:.2f} GB" in said
    assert short.size < enough.size and short.judged < enough.judged
    assert all(one.tokens <= short.judged and one.tokens >= 8 * one.length for one in short.texts.values())


def test_a_model_is_looked_at_without_its_weights(tiny_folder):  # noqa: F811
    found = look(str(tiny_folder))
    weights = load_file(tiny_folder / "model.safetensors")
    assert found.parameters == sum(w.numel() for w in weights.values()) and found.stored == 4 * found.parameters
    assert found.pruned == sum(w.numel() for name, w in weights.items() if "proj" in name)
    assert all(p.device == torch.device("meta") for p in found.model.model.parameters())


def test_files_whose_names_differ_after_a_dot_are_two(tmp_path):
    names = ("chat.2024.jsonl", "chat.2025.jsonl", "Chat.2025.JSONL.gz", "notes.txt")
    assert [stem_of(Path(name)) for name in names] == ["chat.2024", "chat.2025", "Chat.2025", "notes"]
    for name in ("a.csv", "a.jsonl"):
        (tmp_path / name).write_text("x")
    with pytest.raises(ConfigError, match="two files are called a"):
        Wanted("demo", tmp_path / "out", (tmp_path / "a.csv", tmp_path / "a.jsonl"))
