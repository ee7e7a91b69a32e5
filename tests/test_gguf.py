"""A GGUF file is a model like another: its weights are those that it stands for, and what it was is said."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM
from transformers.convert_slow_tokenizer import bytes_to_unicode

from calprune.base.values import UserError
from calprune.deployment.rounds import Timed
from calprune.deployment.speed import SpeedReport
from calprune.deployment.worker import Runner, Work
from calprune.models import load as models
from tests.test_cli import run  # noqa: F401  fixture

if importlib.util.find_spec("gguf") is None or importlib.util.find_spec("accelerate") is None:
    pytest.skip("needs the packages gguf and accelerate", allow_module_level=True)
import gguf

HEADS = 4
NAMES = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}  # fmt: skip


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CALPRUNE_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def model():
    config = transformers.LlamaConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=2, vocab_size=260,
                                      num_attention_heads=HEADS, max_position_embeddings=64,
                                      rms_norm_eps=1e-5)  # fmt: skip
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config).eval()


def stored(name: str, weight: torch.Tensor) -> tuple[str, np.ndarray]:
    """A tensor's name in GGUF, and its values as llama.cpp has them: the halves of rotated pairs in turn."""
    stem = name.removesuffix(".weight")
    block = ""
    if stem.startswith("model.layers."):
        _, _, number, stem = stem.split(".", 3)
        block = f"blk.{number}."
    values = weight.detach().numpy()
    if stem.endswith(("q_proj", "k_proj")):
        values = values.reshape(HEADS, 2, -1, values.shape[1]).swapaxes(1, 2).reshape(values.shape)
    return f"{block}{NAMES[stem]}.weight", np.ascontiguousarray(values)


def write_gguf(path: Path, model, kind: str = "F32", architecture: str = "llama", left_out: str = "") -> Path:
    """`kind`: what matrices are stored as; vectors are float32."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer, config = gguf.GGUFWriter(path, architecture), model.config
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(config.hidden_size // HEADS)
    writer.add_vocab_size(config.vocab_size)
    letters = sorted(bytes_to_unicode().values())
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([*letters, "<s>", "<|endoftext|>", "<unk>", "ab"])
    writer.add_token_types([1] * 256 + [3] * 3 + [1])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(256)
    writer.add_eos_token_id(257)
    writer.add_unk_token_id(258)
    for name, weight in model.state_dict().items():
        if left_out and left_out in name:
            continue
        name, values = stored(name, weight)
        how = gguf.GGMLQuantizationType[kind if values.ndim > 1 else "F32"]
        writer.add_tensor(name, gguf.quants.quantize(values, how), raw_dtype=how)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def refused(name) -> str:
    with pytest.raises(UserError) as error:
        models.load(str(name))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_file_with_plain_weights_is_the_model_it_was_made_from(model, tmp_path):
    file = write_gguf(tmp_path / "models" / "tiny.gguf", model)
    found = models.load(str(file))
    tokens = torch.arange(3, 40)[None]
    with torch.no_grad():
        assert torch.equal(found.model(tokens).logits, model(tokens).logits)
    assert found.tokenizer("ab ")["input_ids"][-2:] == [259, found.tokenizer.convert_tokens_to_ids("Ġ")]
    assert found.notes == ("the weights come from the GGUF file tiny.gguf, where they are not quantised",)
    assert found.id == models.load(str(file.parent)).id == models.identity(str(file)), "its folder holds nothing else"
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_quantised_weights_are_the_numbers_that_their_codes_stand_for(model, tmp_path):
    found = models.load(str(write_gguf(tmp_path / "tiny.gguf", model, "Q8_0")))
    q8 = gguf.GGMLQuantizationType.Q8_0
    for name, weight in model.state_dict().items():
        values = weight.numpy()
        expected = gguf.quants.dequantize(gguf.quants.quantize(values, q8), q8) if values.ndim > 1 else values
        assert np.array_equal(found.model.state_dict()[name].numpy(), expected), name
    assert "tiny.gguf, where they are quantised (Q8_0), so pruning began from rounded weights" in found.notes[0]


def test_a_file_is_made_a_checkpoint_once_for_its_contents_whatever_it_is_called(model, tmp_path):
    file = write_gguf(tmp_path / "tiny.gguf", model, "Q8_0")
    models.load(str(file))
    (made,) = (tmp_path / "cache" / "gguf").iterdir()
    when = (made / "model" / "model.safetensors").stat().st_mtime_ns
    file.rename(tmp_path / "renamed")  # it is known by its first letters, not by its name
    assert "tiny.gguf" in models.load(str(tmp_path / "renamed")).notes[0]
    assert (made / "model" / "model.safetensors").stat().st_mtime_ns == when
    (tmp_path / "tiny.gguf").unlink(missing_ok=True)
    models.load(str(write_gguf(tmp_path / "tiny.gguf", model, "F16")))
    assert len(list(made.parent.iterdir())) == 2


def test_what_is_pruned_is_safetensors_and_says_what_it_came_from(run, model, tmp_path):  # noqa: F811
    file = write_gguf(tmp_path / "tiny.gguf", model, "Q8_0")
    status, out, _ = run("prune", file, "--method", "magnitude", "--sparsity", 0.5, "--out", "out")
    note = "the weights come from the GGUF file tiny.gguf, where they are quantised (Q8_0)"
    assert status == 0 and note in out and note in Path("out/README.md").read_text()
    assert note in json.loads(Path("out/calprune.json").read_text())["model"]["notes"][0]
    assert load_file("out/model.safetensors") and not list(Path("out").glob("*.gguf"))
    assert AutoModelForCausalLM.from_pretrained("out").dtype == torch.float32


def test_speed_says_the_size_of_the_file_that_was_given_and_what_is_timed(model, tmp_path):
    file = write_gguf(tmp_path / "tiny.gguf", model, "Q8_0")
    about = Runner(str(file), None, "cpu", False).about()
    assert about.stored == file.stat().st_size
    report = SpeedReport((Timed("tiny", about, {Work(1, 8): [1.0]}),), 1, {"device": "cpu"}, None)
    (note,) = [n for section in report.page().sections for n in section.notes if n.startswith("tiny: ")]
    assert "quantised (Q8_0); timed are its weights as " in note and "pruning" not in note


def test_what_is_no_model_is_refused_in_one_line(model, tmp_path):
    (tmp_path / "text.gguf").write_text("not a model")
    assert "text.gguf is no GGUF file" in refused(tmp_path / "text.gguf")
    whole = write_gguf(tmp_path / "whole.gguf", model).read_bytes()
    (tmp_path / "cut.gguf").write_bytes(whole[: len(whole) // 2])
    assert "cut.gguf" in refused(tmp_path / "cut.gguf")
    (tmp_path / "short.gguf").write_bytes(b"GGUF")
    assert "short.gguf cannot be read as GGUF" in refused(tmp_path / "short.gguf")
    write_gguf(tmp_path / "other.gguf", model, architecture="wavtokenizer-dec")
    assert "transformers cannot read other.gguf: " in refused(tmp_path / "other.gguf")
    write_gguf(tmp_path / "lacking.gguf", model, left_out="layers.1.mlp.up_proj")
    assert "lacking.gguf lacks 1 tensors of its model (model.layers.1.mlp.up_proj.weight)" in refused(
        tmp_path / "lacking.gguf"
    )
    (tmp_path / "tiny-00001-of-00002.gguf").write_bytes(whole)
    assert "is one part of several; merge them first" in refused(tmp_path / "tiny-00001-of-00002.gguf")
    assert "the folder holds 7 GGUF files; name one: " in refused(tmp_path)
    made = tmp_path / "cache" / "gguf"
    assert not made.exists() or list(made.iterdir()) == []


def test_a_folder_with_other_weights_too_is_what_those_say(model, tmp_path):
    write_gguf(tmp_path / "tiny.gguf", model)
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert "has no config.json" in refused(tmp_path)


def test_without_its_packages_it_says_what_to_install(model, tmp_path, monkeypatch):
    file = write_gguf(tmp_path / "tiny.gguf", model)
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *more: None if name == "gguf" else find(name, *more))
    assert "packages are missing: pip install gguf" in refused(file)
