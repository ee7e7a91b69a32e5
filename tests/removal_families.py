"""Tiny models of more families, dense and of experts, for what takes units out."""

import transformers as t

from tests.families import _GROUPED, _SMALL, ALL, VOCABULARY, random_model

DENSE = {
    "cohere": lambda: t.CohereConfig(**_GROUPED),
    "ernie4_5": lambda: t.Ernie4_5Config(**_GROUPED, head_dim=8),
    "exaone4": lambda: t.Exaone4Config(**_GROUPED),
    "gemma": lambda: t.GemmaConfig(**_GROUPED, head_dim=8),
    "glm": lambda: t.GlmConfig(**_GROUPED, head_dim=8),
    "glm4": lambda: t.Glm4Config(**_GROUPED, head_dim=8),
    "granite": lambda: t.GraniteConfig(**_GROUPED),
    "helium": lambda: t.HeliumConfig(**_GROUPED, head_dim=8),
    "nemotron": lambda: t.NemotronConfig(**_GROUPED),
    "olmo": lambda: t.OlmoConfig(**_GROUPED),
    "phi": lambda: t.PhiConfig(**_GROUPED),
    "smollm3": lambda: t.SmolLM3Config(**_GROUPED),
    "stablelm": lambda: t.StableLmConfig(**_GROUPED),
    "starcoder2": lambda: t.Starcoder2Config(**_GROUPED),
}
_EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 32}
EXPERTS = {
    "dots1": lambda: t.Dots1Config(
        **_GROUPED, **_EXPERTS, head_dim=8, n_routed_experts=8, n_shared_experts=1, first_k_dense_replace=1
    ),
    "ernie4_5_moe": lambda: t.Ernie4_5_MoeConfig(
        **_GROUPED, moe_num_experts=8, moe_k=2, moe_intermediate_size=32, moe_num_shared_experts=1,
        moe_layer_start_index=1
    ),
    "glm4_moe": lambda: t.Glm4MoeConfig(
        **_GROUPED, **_EXPERTS, head_dim=8, n_routed_experts=8, n_group=2, topk_group=1, first_k_dense_replace=1
    ),
    "granitemoe": lambda: t.GraniteMoeConfig(**_GROUPED, num_local_experts=8, num_experts_per_tok=2),
    "hunyuan": lambda: t.HunYuanMoEV1Config(
        **_GROUPED, head_dim=8, num_experts=8, moe_topk=[2, 2], num_shared_expert=1
    ),
    "minimax_m2": lambda: t.MiniMaxM2Config(
        **_GROUPED, head_dim=8, num_local_experts=8, num_experts_per_tok=2
    ),
    "phimoe": lambda: t.PhimoeConfig(**_GROUPED, num_local_experts=8, num_experts_per_tok=2),
    "qwen2_moe": lambda: t.Qwen2MoeConfig(
        **_GROUPED, **_EXPERTS, num_experts=8, shared_expert_intermediate_size=32
    ),
    "qwen3_next": lambda: t.Qwen3NextConfig(
        **_GROUPED, **_EXPERTS, head_dim=8, num_experts=8, shared_expert_intermediate_size=32,
        linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=8, linear_value_head_dim=8
    ),
}  # fmt: skip
EVERY = {name: ALL[name] for name in ALL} | DENSE | EXPERTS


def tiny(family: str, seed: int = 0):
    """A random model of the family."""
    return random_model(EVERY[family](), seed)


__all__ = ["DENSE", "EVERY", "EXPERTS", "VOCABULARY", "_SMALL", "tiny"]
