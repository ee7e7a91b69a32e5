"""Models whose blocks are of several kinds: where blocks go, those that stay keep all their tensors."""

import pytest
import transformers as t

from calprune.base.values import UserError
from calprune.layers.linears import find_blocks
from tests.families import _GROUPED, VOCABULARY, random_model
from tests.test_removal import data, job, loaded_again, logits, own_cache, same, skip_blocks  # noqa: F401

_SIX = _GROUPED | {"num_hidden_layers": 6}
_MOE = {"num_experts_per_tok": 2, "moe_intermediate_size": 16}
_LINEAR = {"linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8}
_LATENT = {"q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 16}
_MAMBA = {"mamba_n_heads": 4, "mamba_d_state": 8, "mamba_d_head": 16, "mamba_n_groups": 1, "mamba_chunk_size": 8}
FULL, LINEAR = "full_attention", "linear_attention"
KINDS = [LINEAR, FULL, FULL, LINEAR, LINEAR, FULL]

MIXED = {
    "bamba": lambda: t.BambaConfig(**_SIX, **_MAMBA, attn_layer_indices=[1, 4]),
    "deepseek_v2": lambda: t.DeepseekV2Config(
        **_SIX | {"num_key_value_heads": 4}, **_MOE, **_LATENT, n_routed_experts=4, n_group=1, topk_group=1,
        first_k_dense_replace=2, n_shared_experts=1
    ),
    "deepseek_v3": lambda: t.DeepseekV3Config(
        **_SIX | {"num_key_value_heads": 4}, **_MOE, **_LATENT, n_routed_experts=4, n_group=2, topk_group=1,
        first_k_dense_replace=3
    ),
    "dots1": lambda: t.Dots1Config(
        **_SIX, **_MOE, head_dim=8, n_routed_experts=4, n_shared_experts=1, first_k_dense_replace=3
    ),
    "glm4_moe": lambda: t.Glm4MoeConfig(
        **_SIX, **_MOE, head_dim=8, n_routed_experts=4, n_group=1, topk_group=1, first_k_dense_replace=3
    ),
    "granitemoehybrid": lambda: t.GraniteMoeHybridConfig(
        **_SIX, **_MAMBA, num_local_experts=4, num_experts_per_tok=2, shared_intermediate_size=32,
        layer_types=["mamba", "attention", "mamba", "attention", "attention", "mamba"]
    ),
    "lfm2": lambda: t.Lfm2Config(**_SIX, layer_types=["conv", FULL, "conv", FULL, FULL, "conv"]),
    "llama4": lambda: t.Llama4TextConfig(
        **_SIX, head_dim=8, intermediate_size_mlp=64, num_local_experts=4, num_experts_per_tok=2,
        moe_layers=[1, 2, 5], attention_chunk_size=8
    ),
    "minimax": lambda: t.MiniMaxConfig(
        **_SIX, head_dim=8, num_local_experts=4, num_experts_per_tok=2, block_size=8, layer_types=KINDS
    ),
    "nemotron_h": lambda: t.NemotronHConfig(
        **_SIX, head_dim=8, layers_block_type=["mamba", "attention", "moe", "mamba", "moe", "attention"],
        mamba_num_heads=4, mamba_head_dim=16, ssm_state_size=8, n_groups=1, chunk_size=8, n_routed_experts=4,
        num_experts_per_tok=2, moe_intermediate_size=16, moe_shared_expert_intermediate_size=16, use_mamba_kernels=False
    ),
    "qwen2_moe": lambda: t.Qwen2MoeConfig(
        **_SIX, **_MOE, num_experts=4, shared_expert_intermediate_size=32, mlp_only_layers=[0, 3]
    ),
    "qwen3_5": lambda: t.Qwen3_5TextConfig(**_SIX, **_LINEAR, head_dim=8, layer_types=KINDS),
    "qwen3_next": lambda: t.Qwen3NextConfig(
        **_SIX, **_MOE, **_LINEAR, head_dim=8, num_experts=4, shared_expert_intermediate_size=32, layer_types=KINDS
    ),
}  # fmt: skip


SEEDS = {"deepseek_v2": 3, "nemotron_h": 1, "qwen2_moe": 4}  # which draw puts a block where one of another kind was


@pytest.mark.parametrize("family", sorted(MIXED))
def test_blocks_of_another_kind_than_the_one_whose_number_they_take_keep_their_tensors(family, tmp_path):
    dense = random_model(MIXED[family](), 0)
    smaller, report = loaded_again(tmp_path, dense, "blocks:3", f"random(seed={SEEDS.get(family, 0)})")
    before = logits(dense)
    skip_blocks(dense, report.choices[0].gone)
    assert len(find_blocks(smaller)[1]) == 3
    assert same(logits(smaller), logits(dense)) and not same(logits(smaller), before)


EIGHT = {"num_attention_heads": 8, "num_key_value_heads": 4, "hidden_size": 64, "num_hidden_layers": 2}


def test_a_number_of_heads_that_the_family_would_not_read_is_refused_before_any_work():
    llama, qwen = (random_model(kind(**_GROUPED | EIGHT), 0) for kind in (t.LlamaConfig, t.Qwen2Config))
    with pytest.raises(UserError, match=r"64.*not a multiple.*heads.*6.*: write heads:2 or heads:3$") as e:
        job("random", "heads:25%").plan(llama)
    assert "\n" not in str(e.value)
    assert job("random", "heads:50%").plan(llama)
    assert job("random", "heads:25%").plan(qwen)


def _shared_keys() -> t.Gemma3nTextConfig:
    kinds = ["sliding_attention", FULL] * 3
    return t.Gemma3nTextConfig(
        **_SIX, head_dim=8, sliding_window=8, hidden_size_per_layer_input=16, vocab_size_per_layer_input=VOCABULARY,
        num_kv_shared_layers=2, activation_sparsity_pattern=[0.0] * 6, layer_types=kinds
    )  # fmt: skip


UNUSUAL = {
    "gemma3n": (_shared_keys, "blocks:2", ["kl(sequences=2)", "evolve(sequences=2)"]),
    "gpt_neo": (
        lambda: t.GPTNeoConfig(
            hidden_size=32, num_layers=2, num_heads=4, vocab_size=VOCABULARY, max_position_embeddings=64,
            attention_types=[[["global", "local"], 1]], bos_token_id=1, eos_token_id=2
        ),
        "heads:1",
        ["random"],
    ),
    "zamba2": (
        lambda: t.Zamba2Config(
            **_SIX, mamba_d_state=8, n_mamba_heads=4, mamba_headdim=16, mamba_ngroups=1, chunk_size=8, num_mem_blocks=1,
            layers_block_type=["mamba", "mamba", "hybrid", "mamba", "hybrid", "mamba"], use_mamba_kernels=False
        ),
        "blocks:2",
        ["random", "random(seed=4)"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("family", sorted(UNUSUAL))
def test_an_unusual_model_gets_smaller_or_is_refused_in_one_line(family):
    config, pattern, methods = UNUSUAL[family]
    for method in methods:
        try:
            job(method, pattern).run(random_model(config(), 0), data(rows=2))
        except UserError as e:
            assert "\n" not in str(e)
