"""Calls of the public functions that are wrong, by what is wrong with them: what their error names, and the call.

Run as a program, it makes them all as a user's script would, and prints what came of each as JSON.
"""

import json
import sys
from pathlib import Path

import torch

import calprune

BAD = {
    "model is no model": ("model", lambda h: calprune.prune(5, h["set"], pattern="2:4")),
    "model is a torch module": ("model", lambda h: calprune.prune(torch.nn.Linear(2, 2), h["set"], pattern="2:4")),
    "no such model": ("model", lambda h: calprune.prune("./nowhere", h["set"], pattern="2:4")),
    "pattern is missing": ("pattern", lambda h: calprune.prune(h["model"], h["set"])),
    "pattern is a number": ("pattern", lambda h: calprune.prune(h["model"], h["set"], pattern=0.5)),
    "pattern is no pattern": ("pattern", lambda h: calprune.prune(h["model"], h["set"], pattern="2/4")),
    "sparsity above 1": ("sparsity", lambda h: calprune.prune(h["model"], h["set"], pattern="150%")),
    "sparsity of an object above 1": ("sparsity", lambda h: calprune.Unstructured(1.5)),
    "sparsity is text": ("sparsity", lambda h: calprune.Unstructured("50%")),
    "n of n:m is a fraction": ("keep", lambda h: calprune.KeepNofM(2.5, 4)),
    "unknown method": ("method", lambda h: calprune.prune(h["model"], h["set"], pattern="2:4", method="wando")),
    "method is a class": (
        "Wanda()",
        lambda h: calprune.prune(h["model"], h["set"], pattern="2:4", method=calprune.Wanda),
    ),
    "method is a number": ("method", lambda h: calprune.prune(h["model"], h["set"], pattern="2:4", method=3)),
    "a method's option is text": ("damping", lambda h: calprune.SparseGPT(damping="much")),
    "a method's option is out of range": ("damping", lambda h: calprune.SparseGPT(damping=3)),
    "a method's option is true": ("column_block", lambda h: calprune.SparseGPT(column_block=True)),
    "a start is no method": ("start", lambda h: calprune.DSnoT(start="wanda")),
    "unknown allocation": ("allocation", lambda h: calprune.prune(h["model"], pattern="50%", allocation="olw")),
    "allocation is no allocation": (
        "allocation",
        lambda h: calprune.prune(h["model"], h["set"], pattern="50%", allocation=calprune.Wanda()),
    ),
    "an allocation's option": ("per", lambda h: calprune.OWL(per="layer")),
    "no data": ("data", lambda h: calprune.prune(h["model"], pattern="2:4")),
    "data is a list": ("data", lambda h: calprune.prune(h["model"], ["c4", "gsm8k"], pattern="2:4")),
    "data is a number": ("data", lambda h: calprune.prune(h["model"], 4, pattern="2:4")),
    "data is no source": ("c44", lambda h: calprune.prune(h["model"], "c44", pattern="2:4")),
    "num_samples is text": (
        "num_samples",
        lambda h: calprune.prune(h["model"], "c4", pattern="2:4", num_samples="16"),
    ),
    "num_samples is 0": ("num_samples", lambda h: calprune.prune(h["model"], "c4", pattern="2:4", num_samples=0)),
    "max_seq_length is a fraction": (
        "max_seq_length",
        lambda h: calprune.prune(h["model"], "c4", pattern="2:4", max_seq_length=25.6),
    ),
    "seed is below 0": (
        "seed",
        lambda h: calprune.prune(h["model"], "c4", pattern="2:4", seed=-1, data_root=h["root"]),
    ),
    "a size of a set that is there": (
        "num_samples",
        lambda h: calprune.prune(h["model"], h["set"], pattern="2:4", num_samples=4),
    ),
    "a size of sums that are there": ("seed", lambda h: calprune.prune(h["model"], h["sums"], pattern="2:4", seed=4)),
    "propagate is another word": (
        "propagate",
        lambda h: calprune.prune(h["model"], h["set"], pattern="2:4", propagate="x"),
    ),
    "propagate of an object": (
        "propagate",
        lambda h: calprune.Pruning(calprune.Wanda(), calprune.KeepNofM(2, 4), propagate="x"),
    ),
    "ignore is a text": ("ignore", lambda h: calprune.prune(h["model"], h["set"], pattern="2:4", ignore="down_proj")),
    "ignore holds numbers": ("ignore", lambda h: calprune.prune(h["model"], h["set"], pattern="2:4", ignore=[1])),
    "ignore names nothing": (
        "donw_proj",
        lambda h: calprune.prune(h["model"], h["set"], pattern="2:4", ignore=["donw_proj"]),
    ),
    "min_coverage above 1": (
        "min_coverage",
        lambda h: calprune.prune(h["model"], h["set"], pattern="2:4", min_coverage=3.0),
    ),
    "permute is another word": (
        "permute",
        lambda h: calprune.prune(h["model"], h["set"], pattern="2:4", permute="random"),
    ),
    "refine_on for what trains nothing": (
        "refine_on",
        lambda h: calprune.prune(h["model"], h["set"], pattern="2:4", refine_on=h["set"]),
    ),
    "refine_on is sums": (
        "refine_on",
        lambda h: calprune.prune(
            h["model"], h["set"], pattern="2:4", method="regional(start=wanda)", refine_on=h["sums"]
        ),
    ),
    "token_weights": (
        "token weights",
        lambda h: calprune.prune(h["model"], h["set"], pattern="2:4", token_weights="atention"),
    ),
    "min_expert_tokens": (
        "min_expert_tokens",
        lambda h: calprune.prune(h["model"], h["set"], pattern="2:4", min_expert_tokens=0),
    ),
    "all_experts is a word": (
        "all_experts",
        lambda h: calprune.prune(h["model"], h["set"], pattern="2:4", all_experts="yes"),
    ),
    "no such device": ("device", lambda h: calprune.prune(h["model"], h["set"], pattern="2:4", device="gpu")),
    "unknown dtype": ("dtype", lambda h: calprune.load(h["model"], dtype="float8")),
    "dtype of a model that is loaded": (
        "dtype",
        lambda h: calprune.prune(calprune.load(h["model"]), h["set"], pattern="2:4", dtype="bfloat16"),
    ),
    "batch_size is 0": ("batch_size", lambda h: calprune.prune(h["model"], h["set"], pattern="2:4", batch_size=0)),
    "no such data root": (
        "data_root",
        lambda h: calprune.prune(h["model"], "c4", pattern="2:4", data_root="./nowhere"),
    ),
    "progress is a word": ("progress", lambda h: calprune.prune(h["model"], h["set"], pattern="2:4", progress="bar")),
    "an argument that is not there": (
        "num_sample",
        lambda h: calprune.prune(h["model"], h["set"], pattern="2:4", num_sample=3),
    ),
    "load a number": ("name", lambda h: calprune.load(5)),
    "load nothing": ("name", lambda h: calprune.load()),
    "load on a device that is not there": ("device", lambda h: calprune.load(h["model"], device="tpu9")),
    "build a built set": ("spec", lambda h: calprune.build(h["set"], h["model"])),
    "build a list": ("spec", lambda h: calprune.build(["c4"], h["model"])),
    "build without a model": ("model", lambda h: calprune.build("c4")),
    "unknown layout": ("layout", lambda h: calprune.build("c4", h["model"], layout="cropp")),
    "unknown selection": ("selection", lambda h: calprune.build("c4", h["model"], selection="best")),
    "filters is a text": ("filters", lambda h: calprune.build("c4", h["model"], filters="min_words(5)")),
    "unknown filter": ("filter", lambda h: calprune.build("c4", h["model"], filters=["min_word(5)"])),
    "unknown licence tag": (
        "license",
        lambda h: calprune.build("c4", h["model"], exclude_license=["noncommercial"], data_root=h["root"]),
    ),
    "collect nothing": ("needs", lambda h: calprune.collect(h["model"], h["set"], needs="nothing")),
    "collect from sums": ("sums", lambda h: calprune.collect(h["model"], h["sums"])),
    "no evaluation": ("evaluations", lambda h: calprune.evaluate(h["model"], [])),
    "evaluations is a number": ("evaluations", lambda h: calprune.evaluate(h["model"], 3)),
    "evaluations holds numbers": ("evaluations", lambda h: calprune.evaluate(h["model"], [3])),
    "an evaluation twice": (
        "evaluations",
        lambda h: calprune.evaluate(h["model"], ["perplexity(c4)", "perplexity(c4)"]),
    ),
    "unknown evaluation": ("evaluation", lambda h: calprune.evaluate(h["model"], "perplexty(c4)")),
    "kl without dense": ("dense", lambda h: calprune.evaluate(h["model"], "kl(c4)")),
    "dense is a number": ("dense", lambda h: calprune.evaluate(h["model"], "kl(c4)", dense=1)),
    "models is a number": ("models", lambda h: calprune.speed(3)),
    "no models": ("models", lambda h: calprune.speed([])),
    "rounds is 0": ("rounds", lambda h: calprune.speed([h["model"]], rounds=0)),
    "pack into a folder that is there": ("--out", lambda h: calprune.pack(h["model"], h["folder"])),
    "unpack what is no archive": ("packed.json", lambda h: calprune.unpack(h["model"], h["folder"] + "/unpacked")),
    "accelerate a name": ("model", lambda h: calprune.accelerate(h["model"])),
    "a study that is not there": ("study", lambda h: calprune.study("nowhere.yaml")),
    "a study that is a number": ("study", lambda h: calprune.study(3)),
    "a study without a folder": ("runs", lambda h: calprune.study({"title": "x", "evaluations": ["kl(c4)"]} | STUDY)),
    "workers is 0": ("workers", lambda h: calprune.study("nowhere.yaml", workers=0)),
    "unknown tracker": ("track", lambda h: calprune.study("nowhere.yaml", track="tensorboard")),
    "sources is a text": ("sources", lambda h: calprune.choose(h["model"], "c4", out=h["folder"] + "/out")),
    "no source": ("sources", lambda h: calprune.choose(h["model"], [], out=h["folder"] + "/out")),
    "prompts beside sources": (
        "prompts",
        lambda h: calprune.choose(h["model"], ["c4"], prompts="p.jsonl", out=h["folder"] + "/out"),
    ),
    "no folder for the answer": ("out", lambda h: calprune.choose(h["model"], ["c4"])),
    "unknown capability": (
        "maths",
        lambda h: calprune.choose(h["model"], ["c4"], capabilities={"maths": 1}, out=h["folder"] + "/out"),
    ),
    "a weight that is text": (
        "capabilities",
        lambda h: calprune.choose(h["model"], ["c4"], capabilities={"code": "1"}, out=h["folder"] + "/out"),
    ),
    "too few draws": ("draws", lambda h: calprune.choose(h["model"], ["c4"], draws=2, out=h["folder"] + "/out")),
    "a budget that cannot be read": (
        "budget",
        lambda h: calprune.choose(h["model"], ["c4"], budget="soon", out=h["folder"] + "/out"),
    ),
    "a budget below 0": ("budget", lambda h: calprune.choose(h["model"], ["c4"], budget=-5, out=h["folder"] + "/out")),
    "a method that reads no data": (
        "Magnitude",
        lambda h: calprune.choose(h["model"], ["c4"], method="magnitude", out=h["folder"] + "/out"),
    ),
    "a question with a text of sources": (
        "sources",
        lambda h: calprune.Question(h["model"], "c4", (), calprune.Wanda(), calprune.KeepNofM(2, 4)),
    ),
    "tokens that are fractions": ("tokens", lambda h: calprune.CalibrationSet.from_tokens([[1.5]])),
    "tokens that are words": ("tokens", lambda h: calprune.CalibrationSet.from_tokens([["one"]])),
    "tokens that are a text": ("tokens", lambda h: calprune.CalibrationSet.from_tokens("one two")),
    "tokens without end": ("tokens", lambda h: calprune.CalibrationSet.from_tokens([1, 2, 3])),
    "lengths that do not fit": ("lengths", lambda h: calprune.CalibrationSet.from_tokens([[1, 2]], lengths=[3])),
    "lengths that are fractions": ("lengths", lambda h: calprune.CalibrationSet.from_tokens([[1, 2]], lengths=[1.5])),
    "weights that do not fit": (
        "weights",
        lambda h: calprune.CalibrationSet.from_tokens([[1, 2]], weights=torch.ones(2, 2)),
    ),
    "weights that are a list": ("weights", lambda h: calprune.CalibrationSet.from_tokens([[1, 2]], weights=[[1, 1]])),
    "a set's folder that is a number": ("folder", lambda h: calprune.CalibrationSet.load(4)),
    "a set's folder that is not there": ("nowhere", lambda h: calprune.CalibrationSet.load("nowhere")),
    "sums that are not there": ("nowhere", lambda h: calprune.Statistics.load(Path("nowhere"))),
    "a walk of no model": ("model", lambda h: calprune.walk(h["model"], calprune.CalibrationSet.load(h["set"]))),
    "a walk over text": ("calibration", lambda h: calprune.walk(calprune.load(h["model"]).model, "c4")),
    "a walk with another word": (
        "propagate",
        lambda h: calprune.walk(calprune.load(h["model"]).model, calprune.CalibrationSet.load(h["set"]), propagate="x"),
    ),
    "a walk in batches of 0": (
        "batch_size",
        lambda h: calprune.walk(calprune.load(h["model"]).model, calprune.CalibrationSet.load(h["set"]), batch_size=0),
    ),
    "a study's page of no form": (
        "path",
        lambda h: calprune.StudyReport(Path("."), None, None).write("page.pdf"),
    ),
}  # fmt: skip
STUDY = {"models": "demo", "calibrations": "c4", "methods": "wanda", "patterns": "2:4"}


def outcome(call, given):
    """The type and the text of what was raised; what the call gave, where nothing was."""
    try:
        return ["", repr(call(given))]
    except Exception as e:
        kind = "UserError" if isinstance(e, calprune.UserError) else type(e).__name__
        return [kind, str(e)]


if __name__ == "__main__":
    print(json.dumps({case: outcome(call, json.loads(sys.argv[1])) for case, (_, call) in BAD.items()}))
