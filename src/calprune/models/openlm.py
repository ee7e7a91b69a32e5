"""OpenLM models, DCLM-7B among them: the architecture of mlfoundations/open_lm, opened from its checkpoints' layout.

A block of width d, with N a LayerNorm that may hold a gain only:

    h = x + W_out attention(R(N_q(q)), R(N_k(k)), v),    q, k, v = the thirds of W_in N(x)
    y = h + W_3 (silu(a) · b),                           a, b = the halves of W_12 N(h)

Beside Llama's: q, k, v and the two matrices before the gate are fused; N_q and N_k run over all heads together, before
the heads are told apart; the gate's width is the multiple of 256 from ⌊8d/3⌋ up; there is no begin-of-text token. R is
the rotation by halves, base 10000. Its frequencies, which some checkpoints hold, are computed and not read.

Importing this module makes the model type `openlm` known to transformers' Auto classes. Nothing of a checkpoint is run.
(The package named openlm is something else.)
"""

from collections.abc import Callable
from functools import partial
from pathlib import PurePath
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    Cache,
    DynamicCache,
    GenerationMixin,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.masking_utils import create_causal_mask
from transformers.modeling_outputs import CausalLMOutputWithPast

from calprune.base.values import ConfigError, did_you_mean

Rotation = tuple[Float[Tensor, "#b T 1 head"], Float[Tensor, "#b T 1 head"]]  # cosines, sines

NORMS: dict[str, Callable[..., nn.Module]] = {
    "default_layer_norm": nn.LayerNorm,
    "gain_only_layer_norm": partial(nn.LayerNorm, bias=False),
    "gain_only_lp_layer_norm": partial(nn.LayerNorm, bias=False),  # lp: their autocast, which we do not use
    "lp_layer_norm": nn.LayerNorm,
    "no_wb_layer_norm": partial(nn.LayerNorm, elementwise_affine=False),
    "rms_norm": nn.RMSNorm,
}

ONE_OF = {  # what can be told of a model, and which of it is known here
    "norm_type": tuple(NORMS),
    "positional_embedding_type": ("rotary",),
    "ffn_type": ("swiglu", "swiglu_torch"),  # one formula, two implementations
    "attn_name": ("auto", "torch_attn", "xformers_attn", "xformers_attn_variable_length"),
}

OTHER_NAMES = {"hidden_dim": "dim", "model_norm": "norm_type", "qk_norm": "apply_qk_norm"}  # in files of sizes

# Width, blocks and heads of the files of sizes that checkpoints name; all have 2048 positions and 50,432 tokens.
SIZES = {"open_lm_1b": (2048, 24, 16), "open_lm_3b": (2560, 32, 32), "open_lm_7b": (4096, 32, 32)}


class OpenLMConfig(PreTrainedConfig):
    """`params_args_dict` is what the model was trained with, or its own names are; the former wins."""

    model_type = "openlm"
    attribute_map: ClassVar[dict[str, str]] = {
        "hidden_size": "dim",
        "num_hidden_layers": "n_layers",
        "num_attention_heads": "n_heads",
        "max_position_embeddings": "seq_len",
    }
    params_args_dict: dict[str, Any] | None = None
    dim: int = 512
    n_layers: int = 8
    n_heads: int = 8
    vocab_size: int = 50432
    seq_len: int = 2048
    norm_eps: float = 1e-5
    norm_type: str = "default_layer_norm"
    apply_qk_norm: bool = False
    post_embed_norm: bool = False
    weight_tying: bool = False
    positional_embedding_type: str = "rotary"
    ffn_type: str = "swiglu"
    attn_name: str = "auto"
    moe_freq: int = 0

    def __init__(self, params_args_dict: dict[str, Any] | None = None, **named: Any) -> None:
        super().__init__(**named)
        self.params_args_dict = params_args_dict
        given = params_args_dict or {}
        for name, value in (_sizes(given) | given).items():
            name = OTHER_NAMES.get(name, name)
            if name in OpenLMConfig.__annotations__ and value is not None:
                setattr(self, name, value)
        for name, known in ONE_OF.items():
            if (value := getattr(self, name)) not in known:
                raise ConfigError(f"an OpenLM model with {name} {value!r} is unknown{did_you_mean(str(value), known)}; "
                                  f"expected {' or '.join(known)}")  # fmt: skip
        if self.moe_freq:
            raise ConfigError("an OpenLM model with experts (moe_freq) is not known; expected one with moe_freq 0")
        self.tie_word_embeddings = self.weight_tying

    @property
    def inner(self) -> int:
        """The gate's width."""
        return -(-(8 * self.dim // 3) // 256) * 256


def _sizes(given: dict[str, Any]) -> dict[str, Any]:
    """What a named file of sizes says, where the sizes themselves are not given."""
    if not given or "dim" in given or "hidden_dim" in given:
        return {}
    name = PurePath(str(given.get("model"))).stem.removesuffix("_swiglutorch")
    if name not in SIZES:
        raise ConfigError(f"the sizes of the OpenLM model {name!r} are not known{did_you_mean(name, SIZES)}; write "
                          "hidden_dim, n_layers, n_heads, seq_len and vocab_size into params_args_dict")  # fmt: skip
    dim, n_layers, n_heads = SIZES[name]
    return {"dim": dim, "n_layers": n_layers, "n_heads": n_heads, "seq_len": 2048, "vocab_size": 50432}


class OpenLMAttention(nn.Module):
    def __init__(self, config: OpenLMConfig, index: int) -> None:
        super().__init__()
        width, self.heads, self.index = config.dim, config.n_heads, index
        self.in_proj = nn.Linear(width, 3 * width, bias=False)
        self.out_proj = nn.Linear(width, width, bias=False)
        self.q_norm = _norm(config) if config.apply_qk_norm else nn.Identity()
        self.k_norm = _norm(config) if config.apply_qk_norm else nn.Identity()

    def forward(self, x: Tensor, rotation: Rotation, mask: Tensor | None, cache: Cache | None) -> Tensor:
        q, k, v = self.in_proj(x).chunk(3, -1)
        q, k = self.q_norm(q), self.k_norm(k)
        q, k, v = (part.unflatten(-1, (self.heads, -1)) for part in (q, k, v))
        q, k, v = (part.transpose(1, 2) for part in (_rotate(q, rotation), _rotate(k, rotation), v))
        if cache is not None:
            k, v = cache.update(k, v, self.index)
        alone = mask is None and q.shape[2] > 1  # without a mask, one new token sees all
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=alone)
        return self.out_proj(seen.transpose(1, 2).flatten(2))


class OpenLMFeedForward(nn.Module):
    def __init__(self, config: OpenLMConfig) -> None:
        super().__init__()
        self.w12 = nn.Linear(config.dim, 2 * config.inner, bias=False)
        self.w3 = nn.Linear(config.inner, config.dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.w12(x).chunk(2, -1)
        return self.w3(F.silu(gate) * up)


class OpenLMBlock(nn.Module):
    def __init__(self, config: OpenLMConfig, index: int) -> None:
        super().__init__()
        self.attention = OpenLMAttention(config, index)
        self.feed_forward = OpenLMFeedForward(config)
        self.attention_norm, self.ffn_norm = _norm(config), _norm(config)

    def forward(
        self, x: Float[Tensor, "b T width"], rotation: Rotation, mask: Tensor | None, cache: Cache | None
    ) -> Float[Tensor, "b T width"]:
        x = x + self.attention(self.attention_norm(x), rotation, mask, cache)
        return x + self.feed_forward(self.ffn_norm(x))


class OpenLMTransformer(nn.Module):
    """What OpenLM itself saves: the head is inside."""

    def __init__(self, config: OpenLMConfig) -> None:
        super().__init__()
        self.tok_embeddings = nn.Embedding(config.vocab_size, config.dim)
        self.post_embed_norm = _norm(config) if config.post_embed_norm else nn.Identity()
        self.layers = nn.ModuleList(OpenLMBlock(config, i) for i in range(config.n_layers))
        self.norm = _norm(config)
        self.output = nn.Linear(config.dim, config.vocab_size, bias=False)


class OpenLMForCausalLM(PreTrainedModel, GenerationMixin):
    config: OpenLMConfig
    config_class = OpenLMConfig
    base_model_prefix = "model"
    _supports_sdpa = True
    _no_split_modules = ["OpenLMBlock"]  # noqa: RUF012
    _tied_weights_keys = {"model.output.weight": "model.tok_embeddings.weight"}  # noqa: RUF012
    _keys_to_ignore_on_load_unexpected = [r"\.pos_embed\.inv_freq$"]  # noqa: RUF012

    def __init__(self, config: OpenLMConfig) -> None:
        super().__init__(config)
        self.model = OpenLMTransformer(config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.model.tok_embeddings

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.model.tok_embeddings = value  # type: ignore[assignment]

    def get_output_embeddings(self) -> nn.Module:
        return self.model.output

    def set_output_embeddings(self, value: nn.Linear) -> None:
        self.model.output = value

    def forward(
        self,
        input_ids: Int[Tensor, "b T"],
        attention_mask: Tensor | None = None,
        position_ids: Int[Tensor, "#b T"] | None = None,
        past_key_values: Cache | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int = 0,
        **other: Any,
    ) -> CausalLMOutputWithPast:
        """Logits of the last `logits_to_keep` tokens; 0: of all."""
        if unknown := set(other) - {"return_dict"}:  # generate says it; there is nothing else to return
            raise TypeError(f"an OpenLM model takes no {', '.join(sorted(unknown))}")
        cache = DynamicCache(config=self.config) if use_cache and past_key_values is None else past_key_values
        x = self.model.post_embed_norm(self.model.tok_embeddings(input_ids))
        if position_ids is None:
            seen = 0 if cache is None else cache.get_seq_length()
            position_ids = torch.arange(seen, seen + x.shape[1], device=x.device)[None]
        mask = create_causal_mask(self.config, x, attention_mask, cache, position_ids)
        rotation = _rotation(position_ids, self.config.dim // self.config.n_heads, x.dtype)
        for block in self.model.layers:
            x = block(x, rotation, mask, cache)
        logits = self.model.output(self.model.norm(x)[:, -logits_to_keep:])
        return CausalLMOutputWithPast(logits=logits, past_key_values=cache)  # type: ignore[arg-type]


def _norm(config: OpenLMConfig) -> nn.Module:
    return NORMS[config.norm_type](config.dim, eps=config.norm_eps)


def _rotation(positions: Int[Tensor, "#b T"], head: int, dtype: torch.dtype) -> Rotation:
    """Angle of pair i at position t: t · 10000^(-2i / head), in float32; each stands in both halves."""
    frequencies = 1.0 / 10000 ** (torch.arange(0, head, 2, device=positions.device).float() / head)
    angles = (positions[..., None] * frequencies).repeat(1, 1, 2)[:, :, None]
    return angles.cos().to(dtype), angles.sin().to(dtype)


def _rotate(x: Float[Tensor, "b T heads head"], rotation: Rotation) -> Float[Tensor, "b T heads head"]:
    cosines, sines = rotation
    first, second = x.chunk(2, -1)
    return x * cosines + torch.cat((-second, first), -1) * sines


AutoConfig.register("openlm", OpenLMConfig)

AutoModelForCausalLM.register(OpenLMConfig, OpenLMForCausalLM)
