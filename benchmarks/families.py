"""Every decoder family of transformers, tiny and random: does the walk give what the model gives, and what is pruned?

    python benchmarks/families.py                  all of them, into families.json beside this file (some minutes)
    python benchmarks/families.py mamba gemma3     these anew; the others' rows stay as they are

A model is made of its config's defaults with small numbers in place of the usual ones (`SMALL`, `SPECIAL`). Each family
runs in a process of its own with a time limit.
"""

import json
import multiprocessing
import signal
import sys
import tempfile
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

from calprune.base.values import UserError
from calprune.calibration.set import CalibrationSet
from calprune.layers.arguments import hidden_of
from calprune.layers.blocks import walk
from calprune.layers.linears import find_blocks
from calprune.methods.wanda import Wanda
from calprune.models.checkpoint import open_checkpoint
from calprune.models.editor import edit
from calprune.models.load import quiet_transformers
from calprune.models.origin import Origin
from calprune.pattern import Unstructured
from calprune.pruning.job import Pruning

RESULT = Path(__file__).parent / "families.json"
SECONDS, WORKERS = 120, 2  # for one family; at a time
VOCABULARY, LONGEST = 128, 24
LENGTHS = torch.tensor([24, 7, 13, 24, 2])

SMALL = {  # attributes of configs, by any of their names -> the small number
    "attention_head_dim": 8, "audio_token_id": 121, "bos_token_id": 1, "chunk_size": 8, "conv_kernel": 4,
    "d_ff": 64, "d_inner": 64, "d_model": 32, "decoder_attention_heads": 4, "decoder_ffn_dim": 64,
    "decoder_layers": 2, "depth": 2, "dim": 32, "embed_dim": 32, "encoder_attention_heads": 4, "encoder_ffn_dim": 64,
    "encoder_layers": 2, "eos_token_id": 2, "expert_ffn_hidden_size": 32, "feed_forward_hidden_size": 64,
    "ffn_dim": 64, "ffn_hidden_size": 64, "first_k_dense_replace": 1, "global_head_dim": 8, "head_dim": 8,
    "head_size": 8, "hidden_dim": 64, "hidden_size": 32, "hidden_size_per_layer_input": 16, "image_token_id": 120,
    "image_token_index": 120, "index_head_dim": 8, "index_n_heads": 4, "index_topk": 32, "inner_dim": 64,
    "intermediate_size": 64, "kv_channels": 8, "kv_lora_rank": 16, "lru_width": 32, "mamba_d_head": 16,
    "mamba_d_ssm": 64, "mamba_d_state": 8, "mamba_dt_rank": 4, "mamba_head_dim": 16, "mamba_headdim": 16,
    "mamba_n_groups": 1, "mamba_n_heads": 4, "mamba_num_heads": 4, "max_position_embeddings": 64, "max_seq_len": 64,
    "max_sequence_length": 64, "moe_ffn_hidden_size": 32, "moe_intermediate_size": 32, "moe_num_experts": 4,
    "moe_shared_expert_intermediate_size": 32, "moe_top_k": 2, "moe_topk": 2, "n_ctx": 64, "n_embd": 32, "n_group": 1,
    "n_groups": 1, "n_head": 4, "n_heads": 4, "n_inner": 64, "n_layer": 2, "n_layers": 2, "n_positions": 64,
    "n_routed_experts": 4, "num_attention_heads": 4, "num_channels": 3, "num_experts": 4, "num_experts_per_tok": 2,
    "num_experts_per_token": 2, "num_global_key_value_heads": 2, "num_heads": 4, "num_hidden_layers": 2,
    "num_key_value_heads": 2, "num_layers": 2, "num_local_experts": 4, "num_mem_blocks": 1, "o_lora_rank": 16,
    "out_hidden_size": 32, "pad_token_id": 0, "projection_dim": 32, "q_lora_rank": 16, "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8, "router_hidden_size": 16, "shared_expert_intermediate_size": 32,
    "shared_intermediate_size": 32, "sliding_window": 8, "ssm_state_size": 8, "state_size": 8, "time_step_rank": 4,
    "time_step_min": 0.001, "time_step_max": 0.1, "top_k_experts": 2, "topk_group": 1, "v_head_dim": 8,
    "video_token_id": 122, "vision_token_id": 123, "vocab_size": VOCABULARY, "vocab_size_per_layer_input": VOCABULARY,
    "word_embed_proj_dim": 32, "zero_expert_num": 2,
}  # fmt: skip

DROP = object()

_MROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}  # of a head of 8
_ROPE = {"rope_type": "default", "rope_theta": 10000.0}

SPECIAL: dict[str, dict[str, Any]] = {
    "chameleon": {"vocabulary_map": {"<image>": 120}},
    "codegen": {"rotary_dim": 4},
    "cohere_compass": {"text_config.rope_parameters": {"full_attention": _ROPE, "sliding_attention": _ROPE}},
    "cohere_compass_text": {"rope_parameters": {"full_attention": _ROPE, "sliding_attention": _ROPE}},
    "cosmos3_edge": {"text_config.rope_parameters": _MROPE},
    "dbrx": {"attn_config.rope_theta": 10000.0, "attn_config.clip_qkv": 8.0, "attn_config.kv_n_heads": 2},
    "deepseek_ocr2": {"text_config.mlp_layer_types": ["dense", "sparse"]},
    "dots1": {"n_shared_experts": 1},
    "dots3_note": {"text_config.num_key_value_heads": 4},
    "dots3_note_text": {"num_key_value_heads": 4},
    "emu3": {"vocabulary_map": {"<image>": 120}},
    "ernie4_5_vl_moe": {"text_config.rope_parameters": _MROPE | {"mrope_section": [1, 1, 2]}},
    "gemma3n_text": {"num_kv_shared_layers": 0, "activation_sparsity_pattern": [0.0, 0.0]},
    "glm5_next": {"text_config.num_key_value_heads": 4, "text_config.qk_rope_head_dim": 0},
    "glm46v": {"text_config.rope_parameters": _MROPE},
    "glm4v": {"text_config.rope_parameters": _MROPE},
    "glm4v_moe": {"text_config.rope_parameters": _MROPE | {"mrope_section": [1, 1, 0]}},
    "glm_ocr": {"text_config.rope_parameters": _MROPE},
    "glmga": {"text_config.rope_parameters": _MROPE},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "gptj": {"rotary_dim": 4},
    "granite4_vision": {"deepstack_layer_map": [], "spatial_target_layers": []},
    "hunyuan_v1_dense": {"head_dim": 8},
    "hunyuan_v1_moe": {"head_dim": 8},
    "hunyuan_vl": {"text_config.head_dim": 8},
    "inkling2": {"vision_config.text_hidden_size": 32},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "longcat_flash": {"head_dim": 8},
    "mamba2": {"head_dim": 16},
    "ministral": {"head_dim": 8},
    "mistral4": {"head_dim": DROP},
    "molmo2": {"adapter_config.vision_feature_layer": [1, 0]},
    "qwen2_5_omni_thinker": {"vision_start_token_id": 119, "text_config.rope_parameters": _MROPE},
    "qwen3_omni_moe_thinker": {"vision_start_token_id": 119},
    "qwen4_exp": {"text_config.head_dim": 8},
    "qwen4_exp_text": {"head_dim": 8},
    "paddleocr_vl": {"text_config.rope_parameters": _MROPE},
    "qwen2_5_vl": {"text_config.rope_parameters": _MROPE},
    "qwen2_vl": {"text_config.rope_parameters": _MROPE},
    "reformer": {"axial_pos_embds_dim": [16, 16], "axial_pos_shape": [8, 8]},
    "step3p7": {"text_config.sliding_window": 8},
    "xmod": {"languages": ["en_XX"], "default_language": "en_XX"},
    "zamba": {"num_hidden_layers": 4, "layers_block_type": ["mamba", "hybrid", "mamba", "hybrid"]},
    "zamba2": {"n_mamba_heads": 4},
    "zaya": {"num_experts_per_tok": 1},
}  # family -> what its config takes besides; "text_config.x": of a part of it


def families() -> dict[str, tuple[type, Any]]:
    """model_type -> its config's class, and the auto class that makes a model of it."""
    found = {c.model_type: (c, AutoModelForCausalLM) for c in transformers.MODEL_FOR_CAUSAL_LM_MAPPING.keys()}  # noqa: SIM118
    for config in transformers.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING.keys():  # noqa: SIM118
        found[config.model_type] = (config, AutoModelForImageTextToText)
    return dict(sorted(found.items()))


def tiny_config(cls: type, special: dict[str, Any], part: str = "") -> Any:
    """The defaults with small numbers; a list with an entry a layer keeps one of each kind."""
    usual = cls()
    given: dict[str, Any] = {}
    other_names = {native: other for other, native in cls.attribute_map.items()}
    for name, value in vars(usual).items():
        if hasattr(value, "to_dict") and hasattr(value, "attribute_map"):
            given[name] = tiny_config(type(value), special, f"{part}{name}.").to_dict()
        elif name in SMALL and not isinstance(value, (list, tuple, dict)) and _may_be_small(name, value):
            given[name] = SMALL[name]
        elif other_names.get(name) in SMALL and not isinstance(value, (list, tuple, dict)):
            given[name] = SMALL[other_names[name]]
    for name in ("layer_types", "mlp_layer_types", "layers_block_type"):
        kinds = getattr(usual, name, None)
        if name in vars(usual) and isinstance(kinds, (list, tuple)) and kinds:
            each = list(dict.fromkeys(kinds))
            given[name] = each = each if len(each) > 1 else each * 2
            given["num_hidden_layers"] = len(each)
    if "is_decoder" in vars(usual):
        given["is_decoder"] = True
    if "qk_rope_head_dim" in vars(usual):  # latent attention: the width of a head is that of its rotated part
        given |= {"head_dim": DROP, "num_key_value_heads": 4}
    rope = getattr(usual, "rope_parameters", None)
    if isinstance(rope, dict) and "mrope_section" in rope:
        given["rope_parameters"] = rope | {"mrope_section": _MROPE["mrope_section"]}
    for key, value in special.items():
        if key.startswith(part) and "." not in key[len(part) :]:
            given[key[len(part) :]] = value
    return cls(**{k: v for k, v in given.items() if v is not DROP})


def _may_be_small(name: str, value: Any) -> bool:
    """Whether the number is one that the family uses: None often means that it is worked out from others."""
    ids = ("pad_token_id", "bos_token_id", "eos_token_id")
    return value is not None or name in (*ids, "num_key_value_heads", "num_experts_per_tok")


def tiny(family: str) -> Any:
    """A random model of the family whose blocks do something: weights of 0.2, norms near 1."""
    cls, auto = families()[family]
    torch.manual_seed(0)
    model = auto.from_config(tiny_config(cls, SPECIAL.get(family, {}))).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn_like(p) * (0.2 if p.dim() > 1 else 0.1) + (1.0 if p.dim() == 1 else 0.0))
    return model


def calibration() -> CalibrationSet:
    numbers = torch.Generator().manual_seed(0)
    return CalibrationSet.from_tokens(torch.randint(3, 110, (len(LENGTHS), LONGEST), generator=numbers), LENGTHS)


def difference(model: Any) -> float:
    """The largest between the walk and the model's own forward with a mask, on real tokens of the last block's output,
    relative to the largest number there."""
    data = calibration()
    *_, block = walk(model, data, batch_size=2)
    block.run()
    worst = 0.0
    for batch in block.batches:
        length = batch.shape[1]
        mask = torch.arange(length) < batch.lengths[:, None]
        caught: list[Any] = []
        hook = find_blocks(model)[1][-1].register_forward_hook(lambda m, a, out, caught=caught: caught.append(out))
        with torch.no_grad(), hook:
            model(input_ids=data.tokens[batch.sequences, :length], attention_mask=mask.long(), use_cache=False)
        own = hidden_of(caught[0])
        found, own = batch.by_token(batch.hidden)[mask].float(), batch.by_token(own)[mask].float()
        if not (found.isfinite().all() and own.isfinite().all() and len(found)):
            raise ValueError("the tiny model's hidden states hold NaN or infinity, so nothing can be compared")
        worst = max(worst, ((found - own).abs().max() / own.abs().max()).item())
    return worst


def edited(family: str) -> bool:
    """Whether a checkpoint that transformers wrote, pruned by the editor, holds exactly the pruned model: what is
    loaded from it is what was pruned in memory, and the tensors that differ on the disk are those of pruned
    matrices."""
    auto = families()[family][1]
    with tempfile.TemporaryDirectory() as place:
        dense, pruned = Path(place, "dense"), Path(place, "pruned")
        tiny(family).save_pretrained(dense)
        model, told = auto.from_pretrained(dense, dtype=torch.float32, output_loading_info=True)
        if told["missing_keys"]:
            raise LookupError(f"transformers itself does not find {len(told['missing_keys'])} tensors of what it wrote")
        model.eval()
        origin = Origin(model, open_checkpoint(dense))
        origin.prove()
        done = Pruning(Wanda(), Unstructured(0.5), min_coverage=0.5).run(model, calibration())
        pruned.mkdir()
        written = edit(origin, pruned, {})
        again = auto.from_pretrained(pruned, dtype=torch.float32).state_dict()
    same = all(torch.equal(value, again[name]) for name, value in model.state_dict().items())
    return same and sum(written.values()) >= sum(report.zeros for report in done.reports) > 0


def look(family: str) -> dict[str, Any]:
    """The family's row."""
    row = _begun(family)
    try:
        model = tiny(family)
    except Exception as e:
        return row | {"made": False, "why": _line(e), "trace": traceback.format_exc()}
    row["made"] = True
    try:
        row["blocks"] = find_blocks(model)[0]
        row["difference"] = {"float32": difference(model)}
        try:
            row["difference"]["bfloat16"] = difference(model.bfloat16())
        except Exception as e:
            row["difference"]["bfloat16"] = _line(e)
        model = tiny(family)
        total = sum(p.numel() for p in model.parameters())
        done = Pruning(Wanda(), Unstructured(0.5), min_coverage=0.5).run(model, calibration())
    except Exception as e:
        return row | {"refused": isinstance(e, UserError), "why": _line(e), "trace": traceback.format_exc()}
    row["share"] = sum(r.shape[0] * r.shape[1] for r in done.reports) / total
    row["left_dense"] = _kinds(done.dense)
    try:
        row["reloads"] = edited(family)
    except Exception as e:
        row |= {"reloads": False, "why_not": _line(e)}
    return row


def _begun(family: str) -> dict[str, Any]:
    return {"family": family, "wrapper": families()[family][1] is AutoModelForImageTextToText}


def _kinds(dense: Any) -> dict[str, list[str]]:
    """Why -> the names within a block of what stayed dense."""
    found: dict[str, list[str]] = {}
    for name, why in dense.items():
        parts = name.split(".")
        start = next(i for i, part in enumerate(parts) if part.isdigit()) + 1
        kinds = found.setdefault(why, [])
        if (kind := ".".join("*" if p.isdigit() else p for p in parts[start:])) not in kinds:
            kinds.append(kind)
    return found


def _line(e: BaseException) -> str:
    lines = str(e).strip().splitlines() or [""]
    line = " ".join(line.strip() for line in lines[:2]) if "validator" in lines[0] else lines[0]
    return line if isinstance(e, UserError) else f"{type(e).__name__}: {line}"


def _in_child(family: str, pipe: Any) -> None:
    torch.set_num_threads(1)
    signal.alarm(SECONDS)
    with quiet_transformers():
        pipe.send(look(family))


def row_of(family: str) -> dict[str, Any]:
    """`look` in a process of its own."""
    context = multiprocessing.get_context("fork")
    mine, its = context.Pipe(duplex=False)
    child = context.Process(target=_in_child, args=(family, its))
    child.start()
    its.close()
    try:
        row = mine.recv()
    except EOFError:
        row = _begun(family) | {"made": False, "why": f"took more than {SECONDS} s or ended its process"}
    child.join()
    return row


def main() -> None:
    wanted = sys.argv[1:] or list(families())
    known = {} if not sys.argv[1:] else {row["family"]: row for row in json.loads(RESULT.read_text())["families"]}
    with ThreadPoolExecutor(WORKERS) as pool:
        for row in pool.map(row_of, wanted):
            print(f"{row['family']}: {row.get('why') or format(row['share'], '.0%') + ' pruned'}", flush=True)
            if sys.argv[1:]:
                print(row.get("trace", ""))
            row.pop("trace", None)
            known[row["family"]] = row
            versions = {"transformers": transformers.__version__, "torch": torch.__version__}
            rows = [known[family] for family in sorted(known)]
            RESULT.write_text(json.dumps({"versions": versions, "families": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
