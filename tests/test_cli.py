"""The command line, driven as a user would: what it writes and prints, and one line for every mistake."""

import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file

from calprune.methods import METHODS
from tests.command import calprune
from tests.tiny import save, toy_tokenizer

WORDS = "the cat sat on a mat and saw that the dog had come home again before the rain. "


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory) -> Path:
    """A checkpoint of a random Llama with tied embeddings over the toy tokenizer's ids."""
    config = transformers.LlamaConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=260,
        max_position_embeddings=512,
        tie_word_embeddings=True,
    )
    folder = tmp_path_factory.mktemp("models") / "tiny"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save(transformers.AutoModelForCausalLM.from_config(config), toy_tokenizer(), folder)
    return folder


@pytest.fixture
def text(tmp_path) -> Path:
    path = tmp_path / "notes.txt"
    path.write_text("\n\n".join(f"{i} {WORDS}" * 3 for i in range(20)))
    return path


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run a command in this process; gives (exit status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        ended = calprune(*words)
        return ended.returncode, ended.stdout, ended.stderr

    return run


SHORT = ("--num-samples", 4, "--max-seq-length", 64)


def test_a_pruned_checkpoint_loads_in_plain_transformers_and_says_what_was_done(run, tiny_folder, text, tmp_path):
    asked = ("prune", tiny_folder, "--method", "sparsegpt", "--pattern", "2:4", "--calibration", text, *SHORT)
    status, out, _ = run(*asked, "--out", "pruned", "--json")
    assert status == 0
    said, kept = json.loads(out), json.loads(Path("pruned/calprune.json").read_text())
    assert kept["format"] == 1 and kept["method"] == "sparsegpt" and kept["pattern"] == "2:4"
    assert said["sparsity"] == kept["sparsity"] and said["out"] == "pruned"
    assert kept["sparsity"]["pruned_linears"] == 0.5 > kept["sparsity"]["whole_model"] > 0.3
    assert len(kept["linears"]) == 14 and all(0 < r["relative_error"] < 1 for r in kept["linears"])
    assert kept["calibration"]["asked"] == str(text) and kept["seconds"] > 0 and kept["peak_bytes"]["resident"] > 0
    assert set(kept["environment"]) >= {"calprune", "torch", "transformers"}
    stored = load_file("pruned/model.safetensors")
    assert "lm_head.weight" not in stored, "tied embeddings are written once"
    loaded = transformers.AutoModelForCausalLM.from_pretrained("pruned")
    for name, p in loaded.named_parameters():
        if "proj" in name:
            assert ((p != 0).reshape(-1, 4).sum(1) <= 2).all(), name
    generated = loaded.generate(torch.tensor([[5, 6, 7]]), max_new_tokens=4, do_sample=False)
    assert generated.shape[1] <= 7
    assert "2:4" in Path("pruned/README.md").read_text()


def test_the_same_command_gives_the_same_weights(run, tiny_folder, text):
    for out in ("one", "two"):
        run("prune", tiny_folder, "--method", "wanda", "--sparsity", 0.6, "--calibration", text, *SHORT, "--out", out)
    assert Path("one/model.safetensors").read_bytes() == Path("two/model.safetensors").read_bytes()
    assert json.loads(Path("one/calprune.json").read_text())["pattern"] == "60%"


def test_saved_sums_prune_as_data_with_dense_propagation(run, tiny_folder, text):
    assert run("stats", tiny_folder, "--calibration", text, *SHORT, "--out", "sums")[0] == 0
    job = ("prune", tiny_folder, "--method", "sparsegpt", "--pattern", "50%")
    assert run(*job, "--calibration", "sums", "--out", "a")[0] == 0
    assert run(*job, "--calibration", text, *SHORT, "--propagate", "dense", "--out", "b")[0] == 0
    a, b = load_file("a/model.safetensors"), load_file("b/model.safetensors")
    for name in a:
        torch.testing.assert_close(a[name], b[name])
    assert json.loads(Path("a/calprune.json").read_text())["calibration"]["asked"] == str(text)


def test_a_built_set_prunes_as_the_text_it_was_built_from(run, tiny_folder, text):
    assert run("calib", "build", text, "--model", tiny_folder, *SHORT, "--out", "set")[0] == 0
    job = ("prune", tiny_folder, "--method", "wanda", "--pattern", "50%")
    assert run(*job, "--calibration", "set", "--out", "a")[0] == 0
    assert run(*job, "--calibration", text, *SHORT, "--out", "b")[0] == 0
    assert Path("a/model.safetensors").read_bytes() == Path("b/model.safetensors").read_bytes()


def test_a_set_is_checked_against_each_evaluation_set_that_is_named(run, tiny_folder, text, tmp_path):
    (tmp_path / "other.txt").write_text(
        "something else entirely that nobody wrote down in any of these notes before us"
    )
    assert run("calib", "build", text, "--model", tiny_folder, *SHORT, "--out", "set")[0] == 0
    status, out, err = run("calib", "check", "set", "--against", text, "--against", "other.txt", "--json")
    assert (status, err) == (0, "") and [one["name"] for one in json.loads(out)["against"]] == [str(text), "other.txt"]
    old = run("calib", "check", "set", "--against", text, "other.txt", "--json")  # as in 0.1
    written = f"--against {text} --against other.txt"
    assert old == (0, out, f"note: several values are written with the option before each: {written}\n")
    status, _, err = run("calib", "check", "set")
    assert status == 1 and "--against gsm8k --against arc_easy" in err


def test_magnitude_needs_no_data_and_ignored_linears_stay_dense(run, tiny_folder):
    assert (
        run("prune", tiny_folder, "--method", "magnitude", "--pattern", "50%", "--ignore", "down_proj", "--out", "m")[0]
        == 0
    )
    weights = load_file("m/model.safetensors")
    assert all(bool((w == 0).any()) == ("down" not in n) for n, w in weights.items() if "proj" in n)


def test_a_dense_and_a_pruned_model_are_judged(run, tiny_folder, text):
    run("prune", tiny_folder, "--method", "magnitude", "--pattern", "70%", "--out", "m")
    on = [word for metric in ("perplexity", "kl") for word in ("--on", f"{metric}({text}, length=64)")]
    status, out, err = run("eval", "m", *on, "--dense", tiny_folder, "--json")
    assert (status, err) == (0, "")
    assert json.loads(out)["perplexity"] > 1 and json.loads(out)["kl"] > 0


def test_the_methods_stand_in_columns_however_long_their_names_are(run):
    header, *lines = run("methods")[1].split("\n\n")[0].splitlines()
    rows = {line.split()[0]: line for line in lines if line[0] != " "}
    assert set(rows) == set(METHODS)
    for column, taken in (("needs", {cls.needs for cls in METHODS.values()}), ("what", None)):
        at = header.index(column)
        assert all(line[at - 1] == " " != line[at] for line in rows.values()), column
        assert taken is None or {line[at:].split()[0] for line in rows.values()} == taken


def test_lists_are_objects_with_a_name(run):
    for command in (("methods",), ("sources",)):
        status, out, _ = run(*command, "--json")
        found = json.loads(out)
        assert status == 0 and found and all(entry["name"] for entry in found)
    assert {e["name"] for e in json.loads(run("methods", "--json")[1])} >= {"magnitude", "wanda", "ria", "sparsegpt"}


PRUNE = ("prune", "{model}", "--out", "out")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((*PRUNE, "--method", "wnada", "--pattern", "2:4", "--calibration", "{text}"), "did you mean 'wanda'"),
        ((*PRUNE, "--method", "sparsegpt(dampin=1)", "--pattern", "2:4"), "did you mean 'damping'"),
        ((*PRUNE, "--method", "wanda", "--pattern", "2;4", "--calibration", "{text}"), "did you mean '2:4'"),
        ((*PRUNE, "--method", "wanda", "--pattern", "120%", "--calibration", "{text}"), "below 1"),
        ((*PRUNE, "--method", "wanda", "--sparsity", "1.5", "--calibration", "{text}"), "below 1"),
        ((*PRUNE, "--method", "wanda", "--calibration", "{text}"), "say how sparse"),
        ((*PRUNE, "--pattern", "2:4", "--sparsity", "0.6", "--calibration", "{text}"), "write one of them"),
        ((*PRUNE, "--pattern", "2:5", "--calibration", "{text}"), "multiple of 5, got 32"),
        (
            (*PRUNE, *SHORT, "--pattern", "2:4", "--data-root", "."),
            "no calibration data is named (--calibration), so",
        ),
        ((*PRUNE, *SHORT, "--pattern", "2:4", "--calibration", "gsm9k"), "did you mean 'gsm8k'"),
        ((*PRUNE, *SHORT, "--pattern", "2:4", "--calibration", "nothing.txt"), "nothing.txt"),
        ((*PRUNE, *SHORT, "--pattern", "2:4", "--calibration", "{empty}"), "{empty}"),
        ((*PRUNE, *SHORT, "--pattern", "2:4", "--calibration", "{broken}"), "broken.jsonl:2"),
        ((*PRUNE, "--pattern", "2:4", "--calibration", "{text}", "--max-seq-length", "99999"), "too few documents"),
        ((*PRUNE, "--pattern", "2:4", "--calibration", "{text}", "--ignore", "donw_proj"), "did you mean 'down_proj'"),
        ((*PRUNE, "--pattern", "2:4", "--calibration", "{text}", "--propagate", "densely"), "did you mean 'dense'"),
        ((*PRUNE, "--pattern", "2:4", "--calibration", "{text}", "--device", "tpu"), "unknown device"),
        (("prune", "{model}", "--pattern", "2:4", "--method", "magnitude", "--out", "{full}"), "holds something else"),
        (
            ("prune", "{model}", "--pattern", "2:4", "--calibration", "nothing.txt", "--out", "{full}"),
            "holds something",
        ),
        (("stats", "{model}", "--calibration", "nothing.txt", "--out", "{full}"), "holds something else"),
        (("prune", "nowhere", "--pattern", "2:4", "--method", "magnitude", "--out", "out"), "there is no such folder"),
        (("stats", "{model}", "--calibration", "{text}", "--needs", "gramm", "--out", "out"), "did you mean 'gram'"),
        (("stats", "{model}", "--calibration", "{text}", "--needs", "nothing", "--out", "out"), "goes with --units"),
        (
            ("decompose", "{model}", "--rank", 1, "--pattern", "half", "--out", "out"),
            'like "50%", "50%/row", "50%/matrix" or "2:4"',
        ),
        (("demo", "--data-root", "."), "--data-root goes with --full"),
        (("quantize", "nowhere", "--method", "rtn", "--device", "tpu", "--out", "out"), "unknown device"),
        (
            (
                "compensate",
                "nowhere",
                "--dense",
                "nowhere",
                "--calibration",
                "{text}",
                "--device",
                "tpu",
                "--out",
                "out",
            ),
            "unknown device",
        ),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(run, tiny_folder, text, tmp_path, words, said):
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "broken.jsonl").write_text('{"text": "one"}\n{"text": \n')
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("do not touch")
    names = {"model": tiny_folder, "text": text, "empty": "empty.txt", "broken": "broken.jsonl", "full": "full"}
    before = sorted(p.name for p in tmp_path.iterdir())
    status, out, err = run(*(str(word).format(**names) for word in words))
    assert status == 1 and out == ""
    *notes, line = err.splitlines()  # sequences past the model's positions are noted before
    assert line.startswith("calprune: ") and all("positions" in note for note in notes) and "Traceback" not in err
    assert len(notes) == ("99999" in words) and said.format(**names) in line
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_a_set_of_another_tokenizer_is_refused(run, tiny_folder, text, tmp_path):
    other = tmp_path / "other"
    save(transformers.AutoModelForCausalLM.from_pretrained(tiny_folder), toy_tokenizer(adds_begin=False), other)
    assert run("calib", "build", text, "--model", other, *SHORT, "--out", "set")[0] == 0
    status, _, err = run("prune", tiny_folder, "--pattern", "2:4", "--calibration", "set", "--out", "out")
    assert status == 1 and "built with another tokenizer" in err and not Path("out").exists()


def test_statistics_of_another_model_are_refused(run, tiny_folder, text):
    assert run("stats", tiny_folder, "--calibration", text, *SHORT, "--out", "sums")[0] == 0
    assert run("prune", tiny_folder, "--method", "magnitude", "--pattern", "50%", "--out", "other")[0] == 0
    status, _, err = run("prune", "other", "--pattern", "50%", "--calibration", "sums", "--out", "out")
    assert status == 1 and "statistics of" in err and "not of other" in err


def test_a_name_that_is_not_utf8_is_refused_of_a_text_and_taken_for_what_is_written(run, tiny_folder, text):
    named = os.fsdecode(b"caf\xe9")
    shutil.copy(text, f"{named}.txt")
    asked = ("prune", tiny_folder, "--pattern", "2:4", "--calibration", f"{named}.txt", *SHORT, "--out", "out")
    status, _, err = run(*asked)
    assert status == 1 and "a name that is not UTF-8; give the file another one" in err
    Path("other.txt").write_text(text.read_text().replace("a", "o"))
    asked = ("calib", "compare", text, "other.txt", "--model", tiny_folder, "--no-halves", *SHORT)
    status, _, err = run(*asked, "--html", f"{named}.html")  # the page has the command
    assert status == 0, err
    assert "udce9.html" in Path(f"{named}.html").read_text()


def test_nan_names_its_linear(run, tiny_folder, tmp_path):
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_folder)
    model.model.layers[1].mlp.up_proj.weight.data[0, 0] = float("nan")
    save(model, toy_tokenizer(), tmp_path / "sick")
    status, _, err = run("prune", "sick", "--method", "magnitude", "--pattern", "50%", "--out", "out")
    assert status == 1 and "model.layers.1.mlp.up_proj holds NaN" in err and not Path("out").exists()


def test_ctrl_c_ends_with_130_and_leaves_nothing(tiny_folder, text, tmp_path, programs):
    text.write_text(WORDS * 40_000)  # minutes of work, were it not stopped
    program = "from calprune.cli import main; print('ready', flush=True); main()"
    words = ["prune", tiny_folder, "--pattern", "50%", "--calibration", text, "--num-samples", 5000]
    running = programs.start("-c", program, *words, "--max-seq-length", 512, "--out", "out", folder=tmp_path)
    running.wait_for("ready\n")
    time.sleep(1)
    assert running.poll() is None
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    assert err.strip().endswith("calprune: interrupted; nothing half-written was left")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["notes.txt"]
