"""What docs/explanation/scale.md says on paper: the sizes of models as transformers has them, the rates as measured."""

import re
import sys
from pathlib import Path

import pytest
import torch
import transformers as t

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "docs"))
import scale_section as scale  # noqa: E402

LLAMA = {"num_hidden_layers": 1, "vocab_size": 64}
CONFIGS = {
    "Llama-2-13B": t.LlamaConfig(hidden_size=5120, intermediate_size=13824, num_attention_heads=40, **LLAMA),
    "Llama-3-70B": t.LlamaConfig(hidden_size=8192, intermediate_size=28672, num_attention_heads=64,
                                 num_key_value_heads=8, **LLAMA),
    "Qwen3-235B-A22B": t.Qwen3MoeConfig(hidden_size=4096, moe_intermediate_size=1536, num_experts=128, head_dim=128,
                                        num_experts_per_tok=8, num_attention_heads=64, num_key_value_heads=4, **LLAMA),
    "DeepSeek-V3": t.DeepseekV3Config(hidden_size=7168, moe_intermediate_size=2048, n_routed_experts=256,
                                      first_k_dense_replace=0, **LLAMA),
}  # fmt: skip


@pytest.mark.parametrize("name", CONFIGS)
def test_a_block_on_paper_has_the_matrices_of_the_model_s(name):
    with torch.device("meta"):
        (block,) = t.AutoModelForCausalLM.from_config(CONFIGS[name]).model.layers
    routers = ("mlp.gate.weight", "mlp.gate.e_score_correction_bias")  # are not pruned
    there = sum(p.numel() for key, p in block.named_parameters() if p.dim() > 1 and key not in routers)
    shape = next(one for one in scale.SHAPES if one.name == name)
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
