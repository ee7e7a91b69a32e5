"""Names of the hub, as a server on loopback answers them: what is fetched, which revision, and what is said offline."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save

from tests.hub_server import Hub, serving
from tests.programs import Programs
from tests.test_cli import tiny_folder  # noqa: F401  (a fixture)

TEXT = b"".join(b'{"text": "%d quick brown foxes jump over lazy dogs"}\n' % i for i in range(300))
OWN = """kind: text
hub: {path: owner/notes, revision: %s, reader: json, calibration: train.jsonl, evaluation: held.jsonl}
"""
SIZES = ("--num-samples", "4", "--max-seq-length", "16")


@pytest.fixture(scope="module")
def hub():
    """A model with two commits, of which main has other weights, and a data set."""
    with serving(Hub()) as found:
        yield found


@pytest.fixture(scope="module")
def program(hub, tiny_folder, tmp_path_factory):  # noqa: F811
    """The program as a user runs it: words -> exit code, stdout, stderr; the commits of the model; the folder. Offline
    it is started anew, for the hub's client reads as it is imported whether it is."""
    folder = tmp_path_factory.mktemp("hub")
    files = {path.name: path.read_bytes() for path in Path(tiny_folder).iterdir() if path.is_file()}
    model = hub.repository("models", "owner/tiny")
    first = model.commit(files)
    weights = {name: tensor + 1 for name, tensor in load_file(Path(tiny_folder, "model.safetensors")).items()}
    model.commit(files | {"model.safetensors": save(weights, metadata={"format": "pt"})})
    notes = hub.repository("datasets", "owner/notes")
    pinned = notes.commit({"train.jsonl": TEXT, "held.jsonl": TEXT.replace(b"fox", b"hare"), "README.md": b""})
    notes.commit({"train.jsonl": TEXT.replace(b"fox", b"toad"), "held.jsonl": TEXT, "README.md": b""})
    given = {"HF_ENDPOINT": hub.address, "HF_HOME": str(folder / "hub"), "CALPRUNE_CACHE": str(folder / "cache"),
             "OMP_NUM_THREADS": "1", "HF_HUB_DISABLE_XET": "1"}  # fmt: skip
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "CALPRUNE_"))} | given
    (folder / "notes.yaml").write_text(OWN % pinned)
    (folder / "words.txt").write_text(TEXT.decode())
    with Programs(environment) as programs:

        def run(*words, program=("-m", "calprune")):
            if "--offline" in words:
                done = subprocess.run([sys.executable, *program, *words], cwd=folder, env=environment,
                                      capture_output=True, text=True, timeout=300)  # fmt: skip
            else:
                done = programs.run(*program, *words, folder=folder, env=environment)
            return done.returncode, done.stdout, done.stderr

        yield run, first, folder


def test_a_model_of_the_hub_is_fetched_pruned_and_then_there_without_it(program, hub):
    run, first, folder = program
    words = ("prune", "owner/tiny", "--pattern", "2:4", "--method", "magnitude")
    status, _, err = run(*words, "--out", "newest")
    assert status == 0, err
    status, _, err = run("prune", f"owner/tiny@{first}", *words[2:], "--out", "pinned")
    assert status == 0, err
    newest, pinned = (load_file(folder / name / "model.safetensors") for name in ("newest", "pinned"))
    name = next(name for name in newest if "norm" in name)
    assert torch.equal(newest[name], pinned[name] + 1)  # main is the second commit, the pinned one the first
    asked = len(hub.asked)
    status, _, err = run("--offline", *words, "--out", "offline")
    assert status == 0 and len(hub.asked) == asked, err
    assert torch.equal(load_file(folder / "offline" / "model.safetensors")[name], newest[name])
    status, out, err = run("prune", "owner/other", *words[2:], "--out", "x", "--offline")
    assert (status, out) == (1, "") and err.count("\n") == 1 and len(hub.asked) == asked
    assert "owner/other" in err and "offline" in err and "is not in the hub's cache" in err
    status, _, err = run("prune", "owner/other", *words[2:], "--out", "x")
    assert status == 1 and err.count("\n") == 1 and "has no such model" in err


def test_a_data_set_of_the_hub_is_read_at_its_pinned_commit(program):
    run = program[0]
    status, _, err = run("calib", "build", "notes.yaml", "--model", "owner/tiny", *SIZES, "--out", "set")
    assert status == 0, err
    status, shown, err = run("calib", "show", "set", "--texts", "4", "--model", "owner/tiny")
    assert status == 0 and "foxes" in shown and "toad" not in shown, err
    status, out, err = run("eval", "owner/tiny", "--on", "perplexity(notes.yaml, tokens=64, length=16)", "--json")
    assert status == 0 and '"held": "evaluation split"' in out, err
    status, out, err = run("--offline", "calib", "build", "notes.yaml", "--model", "owner/tiny", *SIZES, "--out", "off")
    assert (status, out) == (1, "") and err.count("\n") == 1 and "owner/notes" in err and "offline" in err


def test_the_lines_of_data_folder_md_lay_out_a_folder_that_a_source_is_read_from(program, hub):
    run = program[0]
    page = (Path(__file__).parents[1] / "docs" / "data-folder.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    front = "---\nconfigs:\n- config_name: main\n  data_files:\n  - split: train\n    path: main/train.jsonl\n---\n"
    rows = b"".join(b'{"question": "%d?", "answer": "One.\\n#### %d"}\n' % (i, i) for i in range(30))
    hub.repository("datasets", "openai/gsm8k").commit({"README.md": front.encode(), "main/train.jsonl": rows})
    status, _, err = run(code, program=("-c",))
    assert status == 0, err
    data = ("--data-root", "DATA")
    status, out, err = run("sources", "gsm8k", *data)
    assert status == 0 and re.search(r"^here +calibration$", out, re.MULTILINE), out + err
    hub.repository("models", "owner/small").commit(hub.repository("models", "owner/tiny").commits[program[1]])
    words = ("calib", "build", "gsm8k:icl", "--model", "owner/small", "--num-samples", "4", *data, "--max-seq-length",
             "64", "--out", "examples")  # fmt: skip
    status, _, err = run("--offline", *words)
    assert status == 1 and "not in the hub's cache" in err  # the model was not fetched yet
    status, _, err = run(*words)
    assert status == 0, err
