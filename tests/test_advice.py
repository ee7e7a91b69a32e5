"""Known traps of calibration data are said once, where they are known, and not elsewhere."""

import io
import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from calprune.base.progress import ProgressBars, showing
from calprune.calibration.advice import RESPONSES, advice, advise, widest_input, widest_of
from calprune.calibration.recipe import parse_spec
from calprune.calibration.set import CalibrationSet
from calprune.methods import parse_method
from calprune.report import read_results
from tests.families import tiny_model

ROOT = Path(__file__).parents[1]
TEMPLATE = "{{ messages }}<|turn|>"
PLAIN, CHAT = (SimpleNamespace(chat_template=TEMPLATE, eos_token=end) for end in ("<|text|>", "<|turn|>"))
SPARSEGPT, WANDA = parse_method("sparsegpt"), parse_method("wanda")


def said(spec, *, tokens=4096, sequences=16, tokenizer=PLAIN, **known):
    return list(advice([parse_spec(spec)], tokens, sequences, tokenizer, **known))


@pytest.mark.parametrize(
    "spec", ["alpaca:chat(responses)", "self:respond(prompts.jsonl)", "c4 + alpaca:chat(responses)*3"]
)
def test_responses_alone_are_a_trap_for_sparsegpt_and_what_is_advised_is_none(spec):
    (line,) = said(spec, method=SPARSEGPT)
    assert "prompt_weight=0.1" in line and said(spec) == [line]  # also where the method is not known yet
    advised = line.partition("write ")[2]
    assert not said(advised, method=SPARSEGPT)
    assert not said(spec, method=WANDA) and said(spec, method=parse_method("refit(start=sparsegpt)")) == [line]


@pytest.mark.parametrize(
    "spec", ["c4", "alpaca:chat", "c4*3 + alpaca:chat(responses)", "self:respond(p.jsonl, prompt_weight=1)"]
)
def test_what_counts_the_first_token_is_no_trap(spec):
    assert not said(spec, method=SPARSEGPT)


def test_fewer_tokens_than_the_widest_input_are_a_trap_for_what_reads_gram_matrices_and_what_is_advised_is_enough():
    (line,) = said("c4", tokens=1000, sequences=10, method=SPARSEGPT, widest=4321)
    assert "1,000 tokens" in line and "4,321 inputs" in line and "--num-samples 44" in line
    assert not said("c4", tokens=4400, sequences=44, method=SPARSEGPT, widest=4321)
    assert said("c4", tokens=4300, sequences=43, method=SPARSEGPT, widest=4321)
    assert not said("c4", tokens=1000, method=WANDA, widest=4321)


def test_text_of_one_kind_is_a_trap_for_a_model_that_ends_turns_and_not_for_one_that_carries_a_template():
    for spec, other in (("c4 + wikipedia", "chat(responses, prompt_weight=0.1)"), ("alpaca:chat", "c4")):
        (line,) = said(spec, tokenizer=CHAT)
        assert other in line and not said(spec)
        assert not said(line.split('"')[1], tokenizer=CHAT)  # what is advised
    assert not said("c4 + gsm8k:icl", tokenizer=CHAT)


def test_each_is_said_once_however_many_sets_of_one_recipe_there_are():
    made = CalibrationSet.from_tokens([[1, 2, 3, 4]] * 2)
    made = replace(made, recipe={"parts": [{"source": "alpaca", "format": "chat(responses)"}], "num_samples": 2})
    shown = ProgressBars(io.StringIO())
    with showing(shown):
        for _ in range(3):
            advise(made, PLAIN, method=SPARSEGPT, widest=64)
    lines = shown.stream.getvalue().splitlines()
    assert len(lines) == 2 and all(line.startswith("note: ") for line in lines)


def test_the_widest_input_is_that_of_the_model_and_a_config_says_the_same(tmp_path):
    model = tiny_model("llama")
    (tmp_path / "config.json").write_text(json.dumps(model.config.to_dict()))
    assert widest_input(model) == max(model.config.intermediate_size, model.config.hidden_size)
    assert widest_of(None, str(tmp_path)) == widest_input(model)


def test_the_figures_of_the_trap_are_those_of_the_study():
    rows = [row for row in read_results(ROOT / "docs/results/first_token.parquet").rows if row.metric == "perplexity"]
    nats = {name: [math.log(row.value) for row in rows if row.calibration == name] for name in (
        "alpaca, responses", "alpaca, prompts weigh 0.1")}  # fmt: skip
    ruined, mended = (math.exp(math.fsum(values) / len(values)) for values in nats.values())
    assert f"(perplexity {round(ruined):,} against {round(mended):,} on the demo model)" in RESPONSES
