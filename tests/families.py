"""Tiny random models of the families that calprune is tested on: two blocks, a few thousand weights."""

import torch
import transformers as t
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    PreTrainedModel,
)

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
STREAMS = {
    "gemma3n": lambda: t.Gemma3nTextConfig(  # four streams of hidden states
        **_GROUPED,
        head_dim=8,
        **_WINDOW,
        hidden_size_per_layer_input=16,
        vocab_size_per_layer_input=VOCABULARY,
        num_kv_shared_layers=0,
        activation_sparsity_pattern=[0.0, 0.0],
        layer_types=["sliding_attention", "full_attention"],
    ),
}
HYBRIDS = {
    "jamba": lambda: t.JambaConfig(  # mamba, then attention, with experts in turn
        **_GROUPED,
        num_experts=4,
        num_experts_per_tok=2,
        expert_layer_period=2,
        expert_layer_offset=1,
        attn_layer_period=2,
        attn_layer_offset=1,
        mamba_d_state=8,
        mamba_dt_rank=4,
        use_mamba_kernels=False,
    ),
    "mamba": lambda: t.MambaConfig(
        hidden_size=32, num_hidden_layers=2, vocab_size=VOCABULARY, state_size=8, time_step_rank=4, pad_token_id=0
    ),
}
ODD_EXPERTS = {
    "dbrx": lambda: t.DbrxConfig(  # tensors of two dimensions
        d_model=32,
        n_heads=4,
        n_layers=2,
        max_seq_len=64,
        vocab_size=VOCABULARY,
        attn_config={"kv_n_heads": 2, "rope_theta": 10000.0, "clip_qkv": 8.0},
        ffn_config={"ffn_hidden_size": 64, "moe_num_experts": 4, "moe_top_k": 2, "hidden_size": 32},
    ),
    "llama4": lambda: t.Llama4TextConfig(  # called with each expert's share of the tokens
        **_GROUPED,
        head_dim=8,
        intermediate_size_mlp=64,
        num_local_experts=4,
        num_experts_per_tok=2,
        interleave_moe_layer_step=1,
        attention_chunk_size=8,
    ),
}
_VISION = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4}
_IMAGES = {"image_size": 28, "patch_size": 14}
_MROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}
WRAPPERS = {  # a text decoder beside a larger tower of images
    "gemma3_wrapper": lambda: t.Gemma3Config(
        text_config=t.Gemma3TextConfig(**_GROUPED, head_dim=8, **_WINDOW),
        vision_config=t.SiglipVisionConfig(**_VISION, **_IMAGES),
        mm_tokens_per_image=4,
        image_token_index=90,
        boi_token_index=91,
        eoi_token_index=92,
    ),
    "llava": lambda: t.LlavaConfig(
        text_config=t.LlamaConfig(**_GROUPED),
        vision_config=t.CLIPVisionConfig(**_VISION, **_IMAGES),
        image_token_index=90,
    ),
    "mistral3": lambda: t.Mistral3Config(
        text_config=t.MistralConfig(**_GROUPED, head_dim=8),
        vision_config=t.PixtralVisionConfig(**_VISION, **_IMAGES, head_dim=16),
        image_token_index=90,
    ),
    "qwen2_vl": lambda: t.Qwen2VLConfig(
        text_config=_GROUPED | {"rope_parameters": _MROPE},
        vision_config={"embed_dim": 64, "hidden_size": 32, "depth": 3, "num_heads": 4, "patch_size": 14},
        image_token_id=90,
        video_token_id=91,
        vision_start_token_id=92,
        vision_end_token_id=93,
    ),
}
REFUSED = {
    "embedding_gemma": lambda: t.Gemma3TextConfig(**_GROUPED, head_dim=8, **_WINDOW, use_bidirectional_attention=True),
    "rwkv": lambda: t.RwkvConfig(
        hidden_size=32, attention_hidden_size=32, num_hidden_layers=2, vocab_size=VOCABULARY, context_length=64
    ),
}
ALL = CONFIGS | FUSED_EXPERTS | STREAMS | HYBRIDS | ODD_EXPERTS | WRAPPERS


def tiny_model(family: str, seed: int = 0) -> PreTrainedModel:
    """A random model of the family."""
    return random_model((ALL | REFUSED)[family](), seed)


def random_model(config, seed: int = 0) -> PreTrainedModel:
    """Its weights are ten times the usual, so that its blocks do something."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        auto = AutoModelForCausalLM if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING else AutoModelForImageTextToText
        model = auto.from_config(config).eval()
        with torch.no_grad():
            for p in model.parameters():
                p.copy_(torch.randn_like(p) * (0.2 if p.dim() > 1 else 0.1) + (1.0 if p.dim() == 1 else 0.0))
    return model
