"""The public functions take text or objects, say what is wrong in one line, and give results that show themselves."""

import ast
import dataclasses
import inspect
import json
import os
import shutil
import subprocess
import sys
import typing
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

import calprune
from calprune.base.progress import Progress
from calprune.evaluation.evaluation import OnText
from calprune.evaluation.result import EvaluationResult, ModelName, TextResult
from calprune.pruning.checkpoint import REPORT
from calprune.uncertainty.estimate import Estimate
from tests import bad_calls
from tests.command import calprune as calprune_command

SIZES = {"num_samples": 8, "max_seq_length": 16}
FUNCTIONS = ("accelerate", "build", "choose", "collect", "compensate", "decompose", "evaluate", "load", "pack", "prune",
             "quantize", "recover", "speed", "study", "unpack")  # fmt: skip


@pytest.fixture(scope="module")
def here(choice_folder, tmp_path_factory) -> dict[str, str]:
    """A tiny model, texts, a data root, and what was built of them."""
    model, root = choice_folder / "model", choice_folder / "data"
    folder = tmp_path_factory.mktemp("api")
    calprune.build("c4", model, data_root=root, **SIZES).save(folder / "set")
    calprune.collect(model, str(folder / "set"), needs="gram").save(folder / "sums")
    return {"model": str(model), "root": str(root), "set": str(folder / "set"), "sums": str(folder / "sums"),
            "text": str(choice_folder / "prose_held.jsonl"), "folder": str(folder)}  # fmt: skip


def weights(model: calprune.Model) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.model.named_parameters()}


def same(a: calprune.Model, b: calprune.Model) -> bool:
    return all(torch.equal(p, q) for p, q in zip(weights(a).values(), weights(b).values(), strict=True))


# --- names


def test_nothing_heavy_is_imported_before_a_name_is_used_and_every_name_is_shown():
    code = ("import sys, calprune; assert 'torch' not in sys.modules and 'pydantic' not in sys.modules; "
            "print(*dir(calprune))")  # fmt: skip
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert shown == sorted(calprune.__all__)
    for name in shown:
        assert getattr(calprune, name) is not None


def test_a_type_checker_sees_the_names_that_there_are():
    tree = ast.parse(Path(calprune.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    seen = {alias.name: node.module for node in block.body for alias in node.names}
    assert seen == {name: f"calprune.{place}" for name, place in calprune._PLACES.items()}
    assert set(calprune.__all__) == {*seen, "__version__"}
    assert (Path(calprune.__file__).parent / "py.typed").is_file()


def test_a_name_that_is_not_there_is_an_error_that_knows_what_is_near():
    code = "import calprune; calprune.sparseGPT"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "has no attribute 'sparseGPT'" in ended.stderr and "Did you mean: 'SparseGPT'?" in ended.stderr


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_public_function_names_types_and_explains_each_argument(name):
    function = getattr(calprune, name)
    hints, page = typing.get_type_hints(function), inspect.getdoc(function)
    assert f"calprune.{name}(" in page and "Raises UserError" in page
    for argument in inspect.signature(function).parameters.values():
        assert argument.kind not in (argument.VAR_KEYWORD, argument.VAR_POSITIONAL), argument
        assert hints[argument.name] is not typing.Any, argument
        assert argument.name in page.replace("calprune.", "").split("Raises UserError")[0], argument


@pytest.mark.parametrize("name", ["AttentionConcentration", "Pruning", *calprune.METHODS.values()], ids=str)
def test_methods_are_there_by_their_names(name):
    cls = getattr(calprune, name if isinstance(name, str) else name.__name__)
    assert dataclasses.is_dataclass(cls)


MYPY = """
[mypy]
ignore_missing_imports = true
follow_imports = silent
[mypy-torch.*,transformers.*,numpy.*,jaxtyping.*,safetensors.*,pydantic.*,yaml.*,rich.*,scipy.*,typer.*]
follow_imports = skip
"""
RIGHT = """
import calprune
model = calprune.load("demo")
report = calprune.prune(model, "c4", method="sparsegpt", pattern="2:4", num_samples=16, max_seq_length=256)
report.save("pruned")
share: float = report.sparsity
result = calprune.evaluate("pruned", ["perplexity(wikitext2)", "kl(c4)"], dense="demo")
value: float = result["kl"].value
data = calprune.build("c4 + gsm8k:icl", "demo", num_samples=16)
calprune.prune(model, data, method=calprune.SparseGPT(damping=0.1), pattern=calprune.KeepNofM(2, 4))
calprune.study("studies/quickstart.yaml").write("page.html")
calprune.choose("demo", ["c4", "gsm8k:icl_cot"], capabilities={"code": 1}, out="chosen").winner.upper()
"""
WRONG = {  # a line and a word of what a type checker says of it
    'calprune.prune("demo", "c4", pattern=2)': "pattern",
    'calprune.prune("demo", "c4", pattern="2:4", num_samples="16")': "num_samples",
    'calprune.prune("demo", "c4", pattern="2:4", propagate="x")': "propagate",
    'calprune.prune("demo", "c4", pattern="2:4", num_sample=3)': 'did you mean "num_samples"',
    'calprune.prune("demo", "c4")': "pattern",
    "calprune.SparseGPT(damping='much')": "damping",
    "calprune.wanda": 'maybe "Wanda"',
    'calprune.evaluate("pruned", 3)': "Argument 2",
    'name: str = calprune.prune("demo", pattern="2:4", method="magnitude").sparsity': "assignment",
    'calprune.choose("demo", ["c4"])': "out",
    'calprune.build("c4", "demo").tokenz': "tokenz",
}


def test_a_type_checker_passes_what_is_right_and_finds_each_mistake(tmp_path):
    (tmp_path / "mypy.ini").write_text(MYPY)
    (tmp_path / "right.py").write_text(RIGHT)
    (tmp_path / "wrong.py").write_text("import calprune\n" + "\n".join(WRONG) + "\n")
    source = str(Path(calprune.__file__).parents[1])
    ended = subprocess.run([sys.executable, "-m", "mypy", "right.py", "wrong.py"], cwd=tmp_path, capture_output=True,
                           text=True, env=os.environ | {"MYPYPATH": source})  # fmt: skip
    found = [line for line in ended.stdout.splitlines() if ": error: " in line]
    assert [line.split(":")[:2] for line in found] == [["wrong.py", str(i)] for i in range(2, len(WRONG) + 2)], found
    for line, word in zip(found, WRONG.values(), strict=True):
        assert word in line, line


# --- bad calls


@pytest.fixture(scope="module")
def outcomes(here) -> dict[str, list[str]]:
    """What came of every bad call in a user's script, where nothing checks types beside calprune."""
    environment = {name: value for name, value in os.environ.items() if name != "CALPRUNE_DATA"}
    ended = subprocess.run([sys.executable, bad_calls.__file__, json.dumps(here)], capture_output=True, text=True,
                           cwd=here["folder"], env=environment)  # fmt: skip
    assert not ended.returncode, ended.stderr
    assert not Path(here["folder"], "out").exists()
    return json.loads(ended.stdout.splitlines()[-1])


@pytest.mark.parametrize("case", bad_calls.BAD)
def test_a_bad_call_is_one_line_that_names_what_was_wrong(case, outcomes):
    kind, said = outcomes[case]
    assert kind == "UserError" and bad_calls.BAD[case][0] in said and "\n" not in said, f"{kind}: {said}"


# --- what the functions give


def test_text_and_objects_give_the_same_weights(here, monkeypatch):
    monkeypatch.setenv("CALPRUNE_DATA", here["root"])
    by_text = calprune.prune(here["model"], "c4", method="sparsegpt(damping=0.1)", pattern="2:4", **SIZES)
    model, data = calprune.load(Path(here["model"])), calprune.CalibrationSet.load(here["set"])
    by_object = calprune.prune(model, data, method=calprune.SparseGPT(damping=0.1), pattern=calprune.KeepNofM(2, 4))
    assert by_object.model is model and same(by_text.model, model)
    assert not same(model, calprune.load(here["model"]))
    by_hand = calprune.load(here["model"])
    calprune.Pruning(calprune.SparseGPT(damping=0.1), calprune.KeepNofM(2, 4)).run(by_hand.model, data)
    assert same(by_hand, model)
    again = calprune.prune(
        here["model"], by_text_options := here["set"], pattern="2:4", method="sparsegpt(damping=0.1)"
    )
    assert same(again.model, model) and by_text_options == here["set"]


def test_sums_that_were_collected_once_prune_as_dense_propagation_does(here):
    sums = calprune.Statistics.load(Path(here["sums"]))
    assert repr(sums) == "<Statistics: gram of 2 blocks>"
    saved = calprune.prune(here["model"], here["sums"], method="sparsegpt", pattern="2:4")
    in_memory = calprune.prune(here["model"], sums, method="sparsegpt", pattern="2:4")
    on_the_way = calprune.prune(here["model"], here["set"], method="sparsegpt", pattern="2:4", propagate="dense")
    assert same(saved.model, in_memory.model) and same(saved.model, on_the_way.model)
    other = dataclasses.replace(calprune.load(here["model"]), id="another")
    with pytest.raises(calprune.UserError, match="not of"):
        calprune.prune(other, sums, pattern="2:4")


def test_a_report_shows_itself_and_saves_a_checkpoint(here, tmp_path):
    report = calprune.prune(here["model"], here["set"], method="sparsegpt", pattern="2:4")
    assert len(repr(report)) < 200 and "2:4" in repr(report) and "\n" not in repr(report)
    assert len(report.table().rows) == len(report.linears) == 14
    assert "<table" in report._repr_html_() and "model.layers.0.self_attn.q_proj" in report.table().html()
    assert report.table("kinds").rows[0][:2] == ("q_proj", 2)
    assert report.sparsity == 0.5 > report.sparsity_of_model and 0 < report.relative_error < 1
    assert report.save(tmp_path / "pruned").out == str(tmp_path / "pruned") and report.out == ""
    said = json.loads((tmp_path / "pruned" / REPORT).read_text())
    assert said["method"] == "sparsegpt" and said["calibration"]["asked"] == here["set"]
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "pruned")
    ids = torch.arange(5, 20)[None]
    with torch.no_grad():
        assert torch.equal(loaded(ids).logits, report.model.model(ids).logits)
    with pytest.raises(calprune.UserError, match="holds something else"):
        report.save(tmp_path / "pruned")


def test_a_method_that_reads_no_data_needs_none(here):
    report = calprune.prune(here["model"], method=calprune.Magnitude(), pattern="50%")
    assert report.calibration is None and report.relative_error is None and "none" in report.text()


def test_a_set_is_the_same_by_name_by_folder_and_by_recipe(here, tmp_path):
    made = calprune.build("c4*2 + " + here["text"], here["model"], data_root=here["root"], **SIZES)
    made.save(tmp_path / "set")
    again = calprune.build(tmp_path / "set" / "recipe.yaml", calprune.load(here["model"]), data_root=here["root"])
    assert again.id == made.id and made.made_for == here["model"]
    assert len(repr(made)) < 200 and repr(made).startswith("<CalibrationSet")
    assert [row[0] for row in made.table().rows] == ["c4", here["text"]] and "<table" in made._repr_html_()


def test_results_are_those_of_the_parts_and_the_dense_model_stands_beside_them(here, tmp_path):
    calprune.prune(here["model"], here["set"], pattern="2:4").save(tmp_path / "pruned")
    text = f"{here['text']}, tokens=256, length=16"
    result = calprune.evaluate(tmp_path / "pruned", [f"perplexity({text})", f"kl({text})"], dense=here["model"])
    alone = calprune.evaluate(here["model"], OnText("perplexity", here["text"], 256, 16))
    (one,) = result.texts
    assert one.dense == alone["perplexity"] and alone.texts[0].dense is None and alone.texts[0].kl is None
    assert result["kl"].value > 0 and (one.windows, one.window, one.held) == (16, 16, "file")
    assert result[f"perplexity({text})"] == result["perplexity"] == one.perplexity != one.dense
    model = calprune.load(here["model"])
    assert calprune.evaluate(model, f"kl({text})", dense=model)["kl"].value == pytest.approx(0, abs=1e-6)
    begun = f"perplexity({here['text']}, begin=a, tokens=256, length=16)"
    both = calprune.evaluate(model, [f"perplexity({text})", begun])
    assert both[f"perplexity({text})"] == both.texts[0].perplexity != both.texts[1].perplexity == both[begun]
    assert result.table().rows[0][0] == f"perplexity({here['text']})"
    assert result.table("texts").rows[0][0] == here["text"] and "<table" in result._repr_html_()
    assert "\n" not in repr(result)
    with pytest.raises(calprune.UserError, match=r"judged on: .*prose_held"):
        result["accuracy"]


def test_a_study_is_a_file_or_a_mapping_and_is_not_run_twice(here, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = {"title": "Small", "models": here["model"], "calibrations": [here["text"]], "methods": "wanda",
             "patterns": "2:4", "draws": 2, "evaluations": [f"perplexity({here['text']}, tokens=64, length=16)"],
             **SIZES}  # fmt: skip
    heard = Heard()
    report = calprune.study(asked, runs="runs/small", progress=heard)
    assert (report.status.done, report.status.missing, len(report.rows), report.failed) == (2, 0, 2, ())
    assert any("2 of 2 trials done" in line for line in heard.lines)
    (tmp_path / "small.yaml").write_text(json.dumps(asked))
    again = calprune.study("small.yaml", progress=heard)
    assert again.folder == Path("runs/small") and again.rows == report.rows
    assert calprune.StudyReport.open("runs/small").rows == report.rows
    report.write("rows.csv")
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == 2, "as `calprune study report` writes them"
    report.write("page.html")
    assert "Small" in (tmp_path / "page.html").read_text() and "<table" in report._repr_html_()


def test_a_choice_by_text_goes_on_where_the_same_question_was_answered(chosen, choice_folder, tmp_path):
    out = Path(shutil.copytree(chosen.folder, tmp_path / "chosen"))  # what other tests read stays as it is
    judge = {name: f"{choice_folder / name}_held.jsonl" for name in ("prose", "sums")}
    sources = ["c4", str(choice_folder / "sums.jsonl"), str(choice_folder / "my code.jsonl")]
    how = {"pattern": "60%", "tokens": 256, **SIZES, "data_root": choice_folder / "data", "device": "cpu"}
    report = calprune.choose(choice_folder / "model", sources, capabilities={"prose": 1.0, "sums": 4.0}, judge=judge,
                             out=out, **how)  # fmt: skip
    assert report.choice.judgement == chosen.judgement and report.winner == chosen.winner
    assert (report.model / "config.json").is_file() and report.calibration == chosen.result.spec
    assert "<table" in report._repr_html_() and "\n" not in repr(report)
    here = {"data_root": choice_folder / "data", "device": "cpu"}
    assert calprune.choose(chosen.question, out=out, **here).winner == chosen.winner
    with pytest.raises(calprune.UserError, match="pattern: the question says it already"):
        calprune.choose(chosen.question, out=out, pattern="2:4")


class Heard(Progress):
    """Progress that is written down."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.done: list[str] = []

    def say(self, line):
        self.lines.append(line)

    def track(self, items, total, doing):
        for item in items:
            self.done.append(f"{doing} of {total}")
            yield item


def test_progress_is_reported_to_whom_it_is_given_and_silent_where_nobody_watches(here, capfd):
    heard = Heard()
    calprune.prune(here["model"], here["set"], pattern="2:4", progress=heard)
    assert heard.done == ["pruning model.layers of 2"] * 2
    calprune.prune(here["model"], here["set"], pattern="2:4")
    calprune.build(here["text"], here["model"], num_samples=1, max_seq_length=8, progress=heard)
    assert any("has not full rank" in line for line in heard.lines)
    calprune.build(here["text"], here["model"], num_samples=1, max_seq_length=8)
    assert capfd.readouterr() == ("", "")


def test_sums_of_another_model_are_refused_after_they_were_mixed_too(here):
    sums = calprune.collect(here["model"], here["set"])
    other = calprune.load(here["model"])
    with torch.no_grad():
        other.model.get_input_embeddings().weight.mul_(2)
    other = dataclasses.replace(other, id="0" * 16)  # as it would be from another checkpoint
    for mixed in (sums, 0.5 * sums, sums.per_token(), sums + sums, 0.3 * sums.per_token() + 0.7 * sums.per_token()):
        with pytest.raises(calprune.UserError, match="collect them"):
            calprune.prune(other, mixed, method="wanda", pattern="2:4", progress=False)
    theirs = dataclasses.replace(sums, about={"model": {"name": "other", "id": other.id}})
    with pytest.raises(calprune.UserError, match="two different models"):
        sums + theirs


def test_sums_of_the_library_and_of_the_command_mix_by_tokens(here, tmp_path):
    from calprune.layers.saved import Statistics

    made, folder = calprune.collect(here["model"], here["set"]), str(tmp_path / "sums")
    ended = calprune_command("stats", here["model"], "--calibration", here["set"], "--out", folder)
    assert ended.returncode == 0, ended.stderr
    saved = Statistics.load(folder)
    older = dataclasses.replace(saved, about={key: value for key, value in saved.about.items() if key != "tokens"})
    tokens = int(calprune.CalibrationSet.load(here["set"]).lengths.sum())
    for sums in (made, saved, older):
        name = sums.names()[0]
        (one, of_token) = (next(iter(each.of_block(name).values())) for each in (sums, sums.per_token()))
        assert of_token.tokens * tokens == pytest.approx(one.tokens)


def test_sums_without_inputs_of_linears_say_how_to_collect_them(here):
    sums = calprune.collect(here["model"], here["set"], needs="nothing", units=["blocks"])
    with pytest.raises(calprune.UserError, match="--needs moments"):
        calprune.prune(here["model"], sums, method="wanda", pattern="2:4", progress=False)


def test_an_evaluation_whose_text_has_options_is_found_as_it_is_written():
    one = TextResult("gsm8k:icl(pairs=5)", "file", 4, 16, Estimate(2.0, None, None, 4), None, None)
    result = EvaluationResult(ModelName("m", "0"), None, (one,), (), 0.0)
    for asked in ("perplexity(gsm8k:icl(pairs=5))", "perplexity(gsm8k:icl(pairs=5), tokens=512)", "perplexity"):
        assert result[asked].value == 2.0
