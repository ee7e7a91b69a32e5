"""Code that comes with a checkpoint is never run, and nobody is asked whether it may be."""

import ast
import json
from pathlib import Path

import pytest

from tests.families import tiny_model
from tests.programs import Programs
from tests.test_evaluate import word_tokenizer
from tests.tiny import save

SOURCE = Path(__file__).parents[1] / "src" / "calprune"
COMMANDS = {
    "prune": ("prune", "model", "--method", "magnitude", "--sparsity", "0.5", "--out", "out"),
    "eval": ("eval", "model", "--on", "perplexity(text.txt)"),
    "calib build": ("calib", "build", "text.txt", "--model", "model", "--out", "out"),
    "study run": ("study", "run", "study.yaml", "--runs", "runs"),
}
STUDY = """title: own
models: model
calibrations: [random_tokens]
methods: [magnitude]
patterns: ["50%"]
evaluations: ["perplexity(text.txt)"]
"""


@pytest.fixture
def folder(tmp_path) -> Path:
    """A checkpoint whose every file of Python would leave a mark, beside a text and a study."""
    folder = tmp_path / "model"
    save(tiny_model("llama"), word_tokenizer(), folder)
    for name in ("modeling_own", "configuration_own", "tokenization_own", "custom_generate/generate"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    (tmp_path / "text.txt").write_text("w1 w2 w3 " * 200)
    (tmp_path / "study.yaml").write_text(STUDY)
    return folder


def edit(folder: Path, file: str, **changes) -> None:
    known = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(known | changes))


def answered_yes(programs: Programs, folder: Path, command: str) -> tuple[int, str, str]:
    """The program in its own process, where every question is answered with y."""
    ended = programs.run("-m", "calprune", *COMMANDS[command], folder=folder.parent, input="y\n" * 9)
    return ended.returncode, ended.stdout, ended.stderr


CASES = [("prune", "config.json"), ("eval", "config.json"), ("study run", "config.json"),
         ("prune", "tokenizer_config.json"), ("calib build", "tokenizer_config.json")]  # fmt: skip


@pytest.mark.parametrize(("command", "file"), CASES)
def test_nothing_is_run_and_nothing_is_asked(programs, folder, tmp_path, command, file):
    if file == "config.json":
        classes = {"AutoConfig": "configuration_own.Own", "AutoModelForCausalLM": "modeling_own.Own"}
        edit(folder, file, model_type="own", auto_map=classes)
    else:
        edit(folder, file, tokenizer_class="Own", auto_map={"AutoTokenizer": ["tokenization_own.Own", None]})
        edit(folder, "config.json", auto_map={"AutoModelForCausalLM": "modeling_own.Own"})
    status, out, err = answered_yes(programs, folder, command)
    assert not (tmp_path / "ran").exists()
    assert "custom code" not in out + err and "[y/N]" not in out + err
    if file == "config.json":
        assert status == 1 and err.count("\n") == 1 and "code of its own (auto_map), which is not run" in err


def test_every_call_that_opens_a_model_says_that_no_code_is_run():
    calls = []
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):  # code, not the examples that are printed
            match node:
                case ast.Call(func=ast.Attribute(ast.Name(name), "from_pretrained" | "from_config")):
                    calls.append(name)
                case ast.Call(func=ast.Attribute(ast.Attribute(_, name), "from_pretrained" | "from_config")):
                    calls.append(name)
                case _:
                    continue
            said = {one.arg: ast.unparse(one.value) for one in node.keywords}
            safe = said.get("trust_remote_code") == "False" or said.get(None) == "place"
            # these read a file of numbers and know no code: they would keep the option as a value
            assert safe or name in ("PreTrainedConfig", "GenerationConfig"), f"{path}:{node.lineno}"
    assert len(calls) > 6
