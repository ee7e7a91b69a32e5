"""Every decoder family of transformers, tiny and random: does the walk give what the model gives, and what is pruned?

    python benchmarks/families.py                  all of them, into families.json beside this file (some minutes)
    python benchmarks/families.py mamba gemma3     these alone, printed

A model is made of its config's defaults with small numbers in place of the usual ones (`SMALL`, `SPECIAL`). Each family
runs in a process of its own with a time limit.
"""

import json
import multiprocessing
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

from calprune.base.values import UserError
from calprune.calibration.set import CalibrationSet
from calprune.layers.blocks import walk
from calprune.layers.linears import find_blocks
from calprune.methods.wanda import Wanda
from calprune.models.load import quiet_transformers
from calprune.pattern import Unstructured
from calprune.pruning.job import Pruning

RESULT = Path(__file__).parent / "families.json"
SECONDS = 150  # for one family
VOCABULARY, LONGEST = 128, 24
LENGTHS = torch.tensor([24, 7, 13, 24, 2])
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}

SMALL = {  # attributes of configs, by any of their names -> the small number
    "attention_head_dim": 8, "audio_token_id": 121, "bos_token_id": 1, "chunk_size": 8, "conv_kernel": 4,
    "d_ff": 64, "d_inner": 64, "d_model": 32, "decoder_attention_heads": 4, "decoder_ffn_dim": 64,
    "decoder_layers": 2, "depth": 2, "dim": 32, "embed_dim": 32, "encoder_attention_heads": 4, "encoder_ffn_dim": 64,
    "encoder_layers": 2, "eos_token_id": 2, "expert_ffn_hidden_size": 32, "feed_forward_hidden_size": 64,
    "ffn_dim": 64, "ffn_hidden_size": 64, "first_k_dense_replace": 1, "global_head_dim": 8, "head_dim": 8,
    "head_size": 8, "hidden_dim": 64, "hidden_size": 32, "hidden_size_per_layer_input": 16, "image_token_id": 120,
    "image_token_index": 120, "index_head_dim": 8, "index_n_heads": 4, "index_topk": 32, "inner_dim": 64,
    "intermediate_size": 64, "kv_channels": 8, "kv_lora_rank": 16, "lru_width": 32, "mamba_d_head": 8,
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

SPECIAL: dict[str, dict[str, Any]] = {}  # family -> what its config takes besides; "text_config.x": of a part of it


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
    for key, value in special.items():
        if key.startswith(part) and "." not in key[len(part) :]:
            given[key[len(part) :]] = value
    return cls(**{k: v for k, v in given.items() if v is not DROP})


DROP = object()


def _may_be_small(name: str, value: Any) -> bool:
    """Whether the number is one that the family uses: None often means that it is worked out from others."""
    return value is not None or name in ("pad_token_id", "bos_token_id", "eos_token_id", "num_key_value_heads")


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
        own = caught[0][0] if isinstance(caught[0], tuple) else caught[0]
        found, own = batch.by_token(batch.hidden)[mask].float(), batch.by_token(own)[mask].float()
        worst = max(worst, ((found - own).abs().max() / own.abs().max()).item())
    return worst


def reloads(model: Any, family: str) -> bool:
    """Whether the model is the same after it was saved and loaded again."""
    auto = families()[family][1]
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        again = auto.from_pretrained(folder).state_dict()
    return all(torch.equal(value, again[name]) for name, value in model.state_dict().items())


def look(family: str) -> dict[str, Any]:
    """The family's row."""
    row: dict[str, Any] = {"family": family, "wrapper": families()[family][1] is AutoModelForImageTextToText}
    try:
        model = tiny(family)
    except Exception as e:
        return row | {"made": False, "why": _line(e), "trace": traceback.format_exc()}
    row["made"] = True
    try:
        row["blocks"] = find_blocks(model)[0]
        row["difference"] = {name: difference(model.to(dtype)) for name, dtype in DTYPES.items()}
        model = tiny(family)
        total = sum(p.numel() for p in model.parameters())
        done = Pruning(Wanda(), Unstructured(0.5), min_coverage=0.5).run(model, calibration())
    except Exception as e:
        return row | {"refused": isinstance(e, UserError), "why": _line(e), "trace": traceback.format_exc()}
    row["share"] = sum(r.shape[0] * r.shape[1] for r in done.reports) / total
    row["left_dense"] = _kinds(done.dense)
    try:
        row["reloads"] = reloads(model, family)
    except Exception as e:
        row |= {"reloads": False, "why_not": _line(e)}
    return row


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
    line = (str(e).strip().splitlines() or [""])[0]
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
        row = {"family": family, "made": False, "why": f"took more than {SECONDS} s or ended its process"}
    child.join()
    return row


def main() -> None:
    wanted = sys.argv[1:] or list(families())
    rows = []
    for family in wanted:
        started = time.perf_counter()
        row = row_of(family)
        if not sys.argv[1:]:
            row.pop("trace", None)
        rows.append(row)
        state = row.get("why") or f"walked, {row['share']:.0%} pruned"
        print(f"{family}: {state} ({time.perf_counter() - started:.1f} s)", flush=True)
        if sys.argv[1:]:
            print(row.pop("trace", ""), json.dumps(row, indent=1))
    if not sys.argv[1:]:
        versions = {"transformers": transformers.__version__, "torch": torch.__version__}
        RESULT.write_text(json.dumps({"versions": versions, "families": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
