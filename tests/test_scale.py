"""What docs/explanation/scale.md says on paper: the sizes of models as transformers has them, the rates as measured."""

import argparse
import json
import re
import statistics
import sys
from pathlib import Path

import pytest
import torch
import transformers as t

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "docs"))
sys.path.insert(0, str(ROOT / "benchmarks"))
import gpu  # noqa: E402
import large  # noqa: E402
import scale as table  # noqa: E402
import scale_section as scale  # noqa: E402

ONE = {"num_hidden_layers": 1, "vocab_size": 64}
CONFIGS = {name: kind(**sizes, **ONE) for name, (kind, _, sizes) in large.SHAPES.items() if name != "toy"}
CONFIGS["deepseek-v3"] = t.DeepseekV3Config(hidden_size=7168, moe_intermediate_size=2048, n_routed_experts=256,
                                            first_k_dense_replace=0, **ONE)  # fmt: skip


@pytest.mark.parametrize("name", CONFIGS)
def test_a_block_on_paper_has_the_matrices_of_the_model_s(name):
    with torch.device("meta"):
        (block,) = t.AutoModelForCausalLM.from_config(CONFIGS[name]).model.layers
    routers = ("mlp.gate.weight", "mlp.gate.e_score_correction_bias")  # are not pruned
    there = sum(p.numel() for key, p in block.named_parameters() if p.dim() > 1 and key not in routers)
    shape = next(one for one in scale.SHAPES if one.name.lower() == name)
    assert shape.blocks[-1][1].parameters == there


def test_the_formula_gives_the_times_of_the_whole_jobs_that_were_measured():
    text = (ROOT / "benchmarks" / "gpu.md").read_text()
    measured = dict(re.findall(r"^\| (wanda|sparsegpt) \| on the GPU \| ([\d.]+) \|$", text, re.M))
    whole, rates = scale.SHAPES[0], scale.Rates.measured()
    for method, gram in (("wanda", False), ("sparsegpt", True)):
        block = scale.seconds(whole, rates, 2, gram=gram) / 32
        assert block == pytest.approx(float(measured[method]), rel=0.15), method


def test_a_model_s_experts_see_their_share_of_the_tokens():
    dense, routed = scale.feed_forward(64, 96), scale.feed_forward(64, 96, experts=8, chosen=2)
    assert routed.forward == 2 * dense.forward and routed.gram == 2 * dense.gram
    assert routed.parameters == 8 * dense.parameters and routed.gram_bytes == 8 * dense.gram_bytes


def test_the_figures_of_the_run_in_little_memory_are_those_of_its_file():
    found = json.loads((ROOT / "benchmarks" / "large.json").read_text())
    page = " ".join((ROOT / "docs" / "explanation" / "scale.md").read_text().split())
    limited, free = found["runs"]["limited"], found["runs"]["free"]
    assert f"a checkpoint of {found['checkpoint_bytes'] / 2**30:.1f} GiB" in page and found["same_bytes"]
    assert f"allows {found['limit_bytes'] / 2**30:g} GiB it took {limited['seconds']:.0f} s" in page
    assert f"without a limit {free['seconds']:.0f} s" in page
    assert f"The memory of its own is {max(limited['own_bytes'], free['own_bytes']) / 2**30:.1f} GiB" in page


def test_the_table_of_scale_is_made_of_its_files():
    assert (ROOT / "benchmarks" / "scale.md").read_text() == table.page(), "run python benchmarks/scale.py"


def test_the_times_that_pages_tell_are_the_medians_of_the_last_timing():
    runs = json.loads((ROOT / "benchmarks" / "results.json").read_text())["runs"]
    middle = {cell: statistics.median(s for one in found for s in one["seconds"]) for cell, found in runs.items()}
    seconds = {cell: f"{value:.0f} s" for cell, value in middle.items()}
    readme, page = (" ".join((ROOT / name).read_text().split()) for name in ("README.md", "docs/explanation/scale.md"))
    for method, said in (("wanda", "Wanda"), ("sparsegpt", "SparseGPT")):
        both = f"{seconds[f'{method} pruned']} against {seconds[f'{method} peer']}"
        assert f"{said} {both}" in readme and both in page
        share = middle[f"{method} sequential"] / middle[f"{method} pruned"]
        assert f"{share:.2f} ({said})" in page
    for mode in ("sequential", "saved"):
        pair = f"{seconds[f'wanda {mode}']} and {seconds[f'sparsegpt {mode}']}"
        assert pair in readme and pair in page


def test_the_jobs_that_a_gpu_is_timed_with_run_here_too(monkeypatch):
    monkeypatch.setattr(gpu, "DEVICE", "cpu")
    small = argparse.Namespace(hidden=256, intermediate=256, sequences=2, length=16, pattern="2:4")
    rows = [line for line in gpu.whole_jobs(small, 1) if line.startswith(("| wanda |", "| sparsegpt |"))]
    assert len(rows) == 8 and sum(", one pass" in row for row in rows) == 4
