"""Tiny random models of the families that calprune is tested on: two blocks, a few thousand weights."""

import torch
import transformers as t
from transformers import AutoModelForCausalLM, PreTrainedModel

VOCABULARY = 96
_SMALL = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_GROUPED = _SMALL | {"num_key_value_heads": 2}
_WINDOW = {"sliding_window": 8}  # shorter than the tests' sequences, so that it matters

CONFIGS = {
    "bloom": lambda: t.BloomConfig(hidden_size=32, n_layer=2, n_head=4, vocab_size=VOCABULARY),
    "gemma2": lambda: t.Gemma2Config(**_GROUPED, head_dim=8, **_WINDOW),
    "gemma3": lambda: t.Gemma3TextConfig(**_GROUPED, head_dim=8, **_WINDOW),
    "gpt2": lambda: t.GPT2Config(
        n_embd=32, n_layer=2, n_head=4, vocab_size=VOCABULARY, n_positions=64, bos_token_id=1, eos_token_id=2
    ),
    "gpt_neox": lambda: t.GPTNeoXConfig(**_SMALL),
    "llama": lambda: t.LlamaConfig(**_GROUPED),
    "mistral": lambda: t.MistralConfig(**_GROUPED, **_WINDOW),
    "olmo2": lambda: t.Olmo2Config(**_GROUPED),
    "opt": lambda: t.OPTConfig(
        hidden_size=32,
        ffn_dim=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        vocab_size=VOCABULARY,
        max_position_embeddings=64,
        word_embed_proj_dim=32,
    ),
    "phi3": lambda: t.Phi3Config(**_GROUPED),
    "qwen2": lambda: t.Qwen2Config(**_GROUPED),
    "qwen3": lambda: t.Qwen3Config(**_GROUPED, head_dim=8),
}
FUSED_EXPERTS = {
    "deepseek_v3": lambda: t.DeepseekV3Config(  # a dense block, then one with a shared expert
        **_SMALL,
        num_key_value_heads=4,
        moe_intermediate_size=32,
        n_routed_experts=8,
        num_experts_per_tok=2,
        n_group=2,
        topk_group=1,
        first_k_dense_replace=1,
        q_lora_rank=16,
        kv_lora_rank=16,
        qk_rope_head_dim=8,
        qk_nope_head_dim=8,
        v_head_dim=16,  # as wide as queries, so that torch has one attention for masked and unmasked: equal to the bit
    ),
    "gpt_oss": lambda: t.GptOssConfig(  # transposed, gate and up in turn, with biases
        **_GROUPED, head_dim=8, num_local_experts=4, num_experts_per_tok=2, **_WINDOW
    ),
    "mixtral": lambda: t.MixtralConfig(**_GROUPED, num_local_experts=4),
    "olmoe": lambda: t.OlmoeConfig(**_GROUPED, num_experts=4, num_experts_per_tok=2),
    "qwen3_moe": lambda: t.Qwen3MoeConfig(
        **_GROUPED, head_dim=8, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32
    ),
}


def tiny_model(family: str, seed: int = 0) -> PreTrainedModel:
    """A random model of the family."""
    return random_model((CONFIGS | FUSED_EXPERTS)[family](), seed)


def random_model(config, seed: int = 0) -> PreTrainedModel:
    """Its weights are ten times the usual, so that its blocks do something."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config).eval()
        with torch.no_grad():
            for p in model.parameters():
                p.copy_(torch.randn_like(p) * (0.2 if p.dim() > 1 else 0.1) + (1.0 if p.dim() == 1 else 0.0))
    return model
