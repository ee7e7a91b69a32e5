"""Every Python example of the pages runs as a user would run it: in a folder of one's own, with nothing set for it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoConfig

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
HERE = {"README.md", "docs/start.md", "docs/python.md", "docs/choose.md", "docs/results/README.md",
        "docs/structured.md", "docs/deploy.md"}  # fmt: skip


def examples(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def run(code: str, folder: Path, **environment: str) -> str:
    (folder / "example.py").write_text(code)
    ended = subprocess.run([sys.executable, "example.py"], cwd=folder, env=os.environ | environment,
                           capture_output=True, text=True)  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_every_page_with_an_example_is_run_by_a_test():
    others = "".join(path.read_text() for path in (ROOT / "tests").glob("test_*.py") if path != Path(__file__))
    pages = {name(page) for page in PAGES if examples(page)}
    assert pages >= HERE
    for page in pages - HERE:  # how to add things: each has a test that follows it
        assert f'"{Path(page).name}"' in others, page


@pytest.mark.demo
@pytest.mark.data
def test_the_example_of_the_first_page(tmp_path, demo_folder, data_root):
    (code,) = examples(ROOT / "README.md")
    code = smaller(code, {"wikitext2, tokens=8192": "wikitext2, tokens=512", "c4, tokens=8192": "c4, tokens=512",
                          "num_samples=16": "num_samples=4"})  # fmt: skip
    said = run(code.replace("calprune.evaluate", "print(calprune.evaluate") + ".text())", tmp_path)
    assert "wikitext2" in said and (tmp_path / "pruned" / "calprune.json").is_file()


def test_the_example_of_the_page_on_structured_pruning_on_a_tiny_model(tmp_path, choice_folder):
    (code,) = examples(ROOT / "docs" / "structured.md")
    code = smaller(code, {'"demo"': repr(str(choice_folder / "model")),
                          "num_samples=16, max_seq_length=256": "num_samples=4, max_seq_length=16"})  # fmt: skip
    run(code, tmp_path, CALPRUNE_DATA=str(choice_folder / "data"))
    dense, pruned = (AutoConfig.from_pretrained(folder) for folder in (choice_folder / "model", tmp_path / "smaller"))
    assert pruned.intermediate_size * 4 == dense.intermediate_size * 3


def test_the_example_of_the_start_on_a_tiny_model(tmp_path, choice_folder):
    (code,) = examples(ROOT / "docs" / "start.md")
    code = smaller(code, {'"demo"': repr(str(choice_folder / "model")),
                          "num_samples=16, max_seq_length=256": "num_samples=4, max_seq_length=16"})  # fmt: skip
    run(code, tmp_path)
    assert (tmp_path / "pruned" / "model.safetensors").is_file()


def test_the_first_example_of_the_page_about_python_on_a_tiny_model(tmp_path, choice_folder):
    code, model = examples(ROOT / "docs" / "python.md")[0], str(choice_folder / "model")
    assert code.count('"demo"') == 3
    said = run(code.replace('"demo"', repr(model)), tmp_path)
    assert f"{model} pruned with sparsegpt(damping=0.1) to 2:4" in said and (tmp_path / "sets" / "mixed").is_dir()


def smaller(code: str, replaced: dict[str, str]) -> str:
    """The example with a model and sizes that take seconds, and nothing else changed."""
    for old, new in replaced.items():
        assert code.count(old) == 1, old
        code = code.replace(old, new)
    return code


def test_the_study_of_the_page_about_python_on_a_tiny_model(tmp_path, choice_folder):
    code = smaller(examples(ROOT / "docs" / "python.md")[1], {
        '"demo"': repr(str(choice_folder / "model")), '"max_seq_length": 64': '"max_seq_length": 16',
        "tokens=1024, length=256": "tokens=64, length=16",
    })  # fmt: skip
    said = run(code, tmp_path)
    assert "4 of 4 trials done" in said and "Does the text matter?" in (tmp_path / "report.html").read_text()


def test_the_example_of_choose_on_a_tiny_model(tmp_path, choice_folder):
    code = smaller(examples(ROOT / "docs" / "choose.md")[0], {
        '"demo"': repr(str(choice_folder / "model")),
        '"gsm8k:icl_cot"': repr(str(choice_folder / "sums.jsonl")),
        '{"general": 1, "mathematics": 2}': '{"general": 1}, tokens=256, device="cpu"',
        "num_samples=16": "num_samples=8",
        "max_seq_length=256": "max_seq_length=16",
    })  # fmt: skip
    said = run(code, tmp_path, CALPRUNE_DATA=str(choice_folder / "data")).splitlines()
    assert said[0].startswith("<ChoiceReport: ") and said[-1] == "chosen/model"
    assert (tmp_path / "chosen" / "report.html").is_file()


def test_the_example_of_the_page_about_use_loads_a_folder(tmp_path, choice_folder):
    (code,) = (one for one in examples(ROOT / "docs" / "deploy.md") if "cuda" not in one)
    shutil.copytree(choice_folder / "model", tmp_path / "pruned")
    assert run(code + "print(type(model).__name__, len(tokenizer) > 0)", tmp_path).endswith("ForCausalLM True\n")


def test_the_example_of_the_results_reads_a_kept_study(tmp_path):
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    (code,) = examples(ROOT / "docs" / "results" / "README.md")
    assert [line.split()[0] for line in run(code, tmp_path).splitlines()] == ["13", "9", "4"]
