"""Cards of models and of sets are read by huggingface_hub as they were meant, and what they say can be run."""

import json
import re
from pathlib import Path

import pytest
import transformers
from huggingface_hub import DatasetCard, EvalResult, ModelCard

import calprune
from calprune.calibration.card import set_card
from calprune.calibration.provenance import Drawn
from calprune.pruning.card import card, carried_on
from tests.test_cli import run, tiny_folder  # noqa: F401  (fixtures)

WORDS = " ".join(f"{i} quick brown foxes jump over lazy dogs" for i in range(400))


@pytest.fixture
def pruned(run, tiny_folder):  # noqa: F811
    """The folder of a pruned model whose base has a card with a licence, and its description."""
    Path(tiny_folder, "README.md").write_text("---\nlicense: apache-2.0\nbase_model: x/y\n---\n# Tiny\n")
    Path("notes.txt").write_text(WORDS)
    sizes = ("--num-samples", 4, "--max-seq-length", 16)
    status, _, err = run(
        "prune",
        tiny_folder,
        "--pattern",
        "2:4",
        "--method",
        "wanda",
        "--calibration",
        "notes.txt",
        *sizes,
        "--out",
        "pruned",
    )
    assert status == 0, err
    return Path("pruned"), json.loads(Path("pruned/calprune.json").read_text())


def test_a_models_card_is_read_by_the_hubs_own_parser(pruned):
    folder, _ = pruned
    read = ModelCard.load(folder / "README.md", ignore_metadata_errors=False).data
    assert (read.library_name, read.license, read.pipeline_tag) == ("transformers", "apache-2.0", "text-generation")
    assert {"calprune", "pruned", "wanda"} <= set(read.tags)
    assert read.base_model is None and read.eval_results is None  # a folder of this machine is no model of the hub


def test_the_lines_of_use_run(pruned):
    folder, _ = pruned
    (lines,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    assert len([line for line in lines.splitlines() if line]) <= 6
    said = {}
    exec(lines.replace("THIS_FOLDER", str(folder)).replace("print(", "said.update(text="), {"said": said})
    assert isinstance(said["text"], str) and len(said["text"]) > 5


def test_what_was_evaluated_stands_in_a_table_and_in_the_metadata(pruned):
    _, about = pruned
    about |= {"evaluations": [{"evaluation": "general", "dense": 20.5, "pruned": 41.25, "kl": 0.5}]}
    about["model"]["name"], about["calibration"]["datasets"] = "owner/name@main", ["allenai/c4", "openai/gsm8k"]
    made = ModelCard(card(about), ignore_metadata_errors=False)
    read = made.data
    assert (read.base_model, read.datasets) == ("owner/name", ["allenai/c4", "openai/gsm8k"]) and read.license is None
    assert all(isinstance(one, EvalResult) for one in read.eval_results)
    assert {one.metric_type: one.metric_value for one in read.eval_results} == {"perplexity": 41.25, "kl_to_dense": 0.5}
    assert re.search(r"\| general \| 20\.5\d* \| 41\.25 \| 0\.5", made.text)


def test_the_card_of_a_base_that_cannot_be_read_adds_nothing(pruned, tmp_path):
    _, about = pruned
    for front in ("", "- a", "license: [a]", "a: &a [*a]", "{", 'license: "a\\nb: c"'):
        (tmp_path / "README.md").write_text(f"---\n{front}\n---\n" if front else "no front matter")
        assert ModelCard(card(about, tmp_path), ignore_metadata_errors=False).data.license is None
    assert ModelCard(card(about, tmp_path / "nowhere")).data.license is None


def drawn(source, licence):
    return Drawn(source, "plain", 1.0, licence, 9, 1, 1, 1, 9)


def test_a_sets_card_names_its_data_sets_languages_and_licences(tmp_path):
    text = set_card(
        "# A set", "A set", 16, (drawn("gsm8k", "MIT"), drawn("xquad_zh", "CC BY-SA 4.0"), drawn("mine.txt", "ours"))
    )
    (tmp_path / "README.md").write_text(text)
    read = DatasetCard.load(tmp_path / "README.md", ignore_metadata_errors=False).data
    assert read.license == ["cc-by-sa-4.0", "mit", "other"] and read.language == ["en", "zh"]
    assert "extended|openai/gsm8k" in read.source_datasets and read.size_categories == "n<1K"


def test_a_sets_lines_of_use_run(run, tiny_folder):  # noqa: F811
    Path("notes.txt").write_text(WORDS)
    run(
        "calib",
        "build",
        "notes.txt",
        "--model",
        tiny_folder,
        "--num-samples",
        4,
        "--max-seq-length",
        16,
        "--out",
        "set",
    )
    text = Path("set/README.md").read_text()
    assert DatasetCard(text, ignore_metadata_errors=False).data.source_datasets == ["original"]
    (lines,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(lines.replace("THIS_FOLDER", "set").replace("MODEL", str(tiny_folder)), {})
    assert transformers.AutoModelForCausalLM.from_pretrained("pruned") and calprune.load("pruned")


def test_what_is_made_of_a_pruned_model_does_not_carry_its_figures(pruned):
    _, about = pruned
    about |= {"evaluations": [{"evaluation": "general", "dense": 20.5, "pruned": 41.25, "kl": 0.5}]}
    kept = carried_on(about)
    assert "41.25" in card(about) and "41.25" not in card(kept)
    assert ModelCard(card(kept)).data.eval_results is None and kept["pattern"] == about["pattern"]
    assert carried_on(None) == {}


def test_the_card_of_a_smaller_model_says_what_was_done_to_it_afterwards(pruned):
    _, about = pruned
    about |= {"removed": {"what": "8 of 32 neurons"}, "parameters": {"dense": 100, "smaller": 80}}
    recovery = {"how": {"what": "lora"}, "calibration": {"asked": "c4"}, "dense": "demo"}
    healed = card(about | {"recovery": recovery})
    assert "trained afterwards (lora) towards demo on `c4`\n" in healed and "in any runtime" in healed
    packed = card(about | {"quantisation": {"method": "gptq", "bits_a_weight": 4.2}})
    assert "quantised afterwards: `gptq`, 4.2 bits" in packed
    assert "compressed-tensors" in packed and "ordinary model" not in packed
