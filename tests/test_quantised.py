"""Codes are never taken for weights: a quantised checkpoint is refused in one line, or made bfloat16."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, FineGrainedFP8Config, Mxfp4Config

import calprune
from calprune.base.values import UserError
from calprune.models import dequantise
from calprune.models import load as models
from calprune.models.dequantise import E2M1, from_fp8, from_mxfp4, plain_config
from calprune.models.quantised import KINDS
from tests.families import FUSED_EXPERTS, random_model, tiny_model
from tests.quantised_forms import FORMS, SIMPLE, fp8_blocks
from tests.test_cli import run  # noqa: F401  fixture
from tests.test_evaluate import word_tokenizer
from tests.tiny import save

TOKENS = torch.arange(3, 35)[None]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CALPRUNE_CACHE", str(tmp_path / "cache"))


def rewrite(folder: Path, change, **config) -> None:
    """Put other tensors and config in the place of a checkpoint's; `change`: its tensors -> those written."""
    tensors = change(load_file(folder / "model.safetensors"))
    save_file({name: t.contiguous() for name, t in tensors.items()}, folder / "model.safetensors", {"format": "pt"})
    known = json.loads((folder / "config.json").read_text()) | config
    (folder / "config.json").write_text(json.dumps({k: v for k, v in known.items() if v is not None}))


def linears(quantise):
    """A change that quantises each linear of the blocks."""

    def change(tensors):
        kept = {}
        for name, tensor in tensors.items():
            stem = name.removesuffix(".weight")
            kept |= quantise(stem, tensor) if stem.endswith("_proj") else {name: tensor}
        return kept

    return change


@pytest.fixture(scope="module")
def dense(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dense") / "model"
    save(tiny_model("llama").bfloat16(), word_tokenizer(), folder)
    return folder


@pytest.fixture
def folder(dense, tmp_path) -> Path:
    return Path(shutil.copytree(dense, tmp_path / "model"))


def refused(name, **options) -> str:
    with pytest.raises(UserError) as error:
        models.load(str(name), **options)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("says", ["quant_method", "the rest of its section", "nothing"])
@pytest.mark.parametrize("form", FORMS)
def test_each_kind_is_refused_in_one_line_that_says_what_to_do(run, folder, form, says):  # noqa: F811
    section, quantise, kind = FORMS[form]
    section = {key: value for key, value in section.items() if says == "quant_method" or key != "quant_method"}
    rewrite(folder, linears(quantise), quantization_config=section if says != "nothing" else None)
    status, out, err = run("prune", folder, "--method", "magnitude", "--sparsity", 0.5, "--out", "out")
    assert (status, out, err.count("\n")) == (1, "", 1) and "it is quantised (" in err
    if says == "quant_method":
        assert f"it is quantised ({kind}: config.json says" in err
    if form in SIMPLE:
        assert "write --dequantize (Python: dequantize=True) to prune it as bfloat16" in err
    else:
        assert "prune the model it was made from, then quantise that" in err
        assert "which --dequantize does not know (it knows block FP8, FP8, MXFP4)" in refused(folder, dequantize=True)
    assert not Path("out").exists()


def test_the_forms_that_are_tried_are_of_all_kinds_that_are_known():
    assert {kind.name for kind in KINDS} == {kind for _, _, kind in FORMS.values()} - {"of an unknown kind"} | {"MXFP4"}


def test_fp8_in_a_layout_that_is_not_known_is_not_guessed_at(folder):
    section, quantise, _ = FORMS["MXFP8"]
    rewrite(folder, linears(quantise), quantization_config=section | {"quant_method": "fp8"})
    assert "(FP8 in a layout of its own: config.json says fp8, " in (line := refused(folder, dequantize=True))
    assert "prune the model it was made from" in line


@pytest.mark.parametrize("place", ["text_config", "thinker_config.text_config", "language_config"])
@pytest.mark.parametrize("section", ["quantization_config", "compression_config"])
def test_a_config_says_so_at_any_depth(folder, place, section):
    value: dict = {section: {"quant_method": "gptq"}}
    for key in reversed(place.split(".")):
        value = {key: value}
    rewrite(folder, linears(FORMS["GPTQ"][1]), **value)
    assert f"(GPTQ: config.json, {place.replace('.', ', ')} says gptq" in refused(folder)


def test_a_file_beside_the_config_says_so(folder):
    (folder / "hf_quant_config.json").write_text('{"quantization": {"quant_algo": "NVFP4"}}')
    rewrite(folder, linears(FORMS["NVFP4"][1]))
    assert "(NVFP4: hf_quant_config.json says NVFP4, " in refused(folder)
    (folder / "hf_quant_config.json").write_text("{")
    assert "hf_quant_config.json cannot be read" in refused(folder)


def test_a_config_that_speaks_of_quantising_beside_plain_weights_is_named(folder):
    rewrite(folder, lambda tensors: tensors, quantization_config={"quant_method": "mxfp4"})
    expected = "(MXFP4: config.json says mxfp4), but its tensors are plain; if they are its weights, take quantization"
    assert expected in refused(folder) and expected in refused(folder, dequantize=True)
    rewrite(folder, lambda tensors: tensors, quantization_config={})
    assert "(of an unknown kind: config.json speaks of it), but its tensors are plain" in refused(folder)


def test_buffers_of_integers_are_no_quantising(folder):
    buffers = {
        "model.position_ids": torch.arange(512)[None],
        "model.embeddings.token_type_ids": torch.zeros(2, 512, dtype=torch.int32),
        "model.layers.0.attn.bias": torch.ones(1, 1, 8, 8, dtype=torch.uint8),
        "model.layers.0.attn.masked_bias": torch.tensor(-10000, dtype=torch.int64),
        "model.layers.0.attn.mask": torch.ones(8, 8, dtype=torch.bool),
        "model.relative_position_index": torch.zeros(64, 64, dtype=torch.int64),
        "model.norm.num_batches_tracked": torch.tensor(3),
        "logit_scale": torch.tensor(1.0),
        "model.layers.0.layer_scale": torch.ones(32),
    }
    rewrite(folder, lambda tensors: tensors | buffers)
    assert models.load(str(folder)).notes == ()


# -- what is dequantised


def dequantised(folder: Path) -> Path:
    """The plain checkpoint that is made of it."""
    models.load(str(folder), dequantize=True)
    (made,) = (folder.parent / "cache" / "dequantised").iterdir()
    return made


def wide_model(seed: int = 0):
    """A Llama whose widths are multiples of 128, as transformers' own dequantising needs them."""
    config = transformers.LlamaConfig(hidden_size=256, intermediate_size=384, num_hidden_layers=2,
                                      num_attention_heads=4, vocab_size=96, max_position_embeddings=64,
                                      initializer_range=0.06)  # fmt: skip
    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(config).bfloat16().eval()


def test_block_fp8_becomes_what_transformers_itself_dequantises_to(tmp_path):
    folder = tmp_path / "model"
    save(wide_model(), word_tokenizer(), folder)
    section, quantise, _ = FORMS["block FP8"]
    rewrite(folder, linears(quantise), quantization_config=section)
    theirs = AutoModelForCausalLM.from_pretrained(
        folder, quantization_config=FineGrainedFP8Config(dequantize=True), dtype=torch.bfloat16
    ).state_dict()
    ours = models.load(str(folder), dequantize=True)
    assert ours.notes == (
        "the weights were dequantised from block FP8 to bfloat16, so pruning began from rounded weights",
    )
    found = ours.model.state_dict()
    assert found.keys() == theirs.keys() and all(torch.equal(found[name], theirs[name]) for name in theirs)
    assert not torch.equal(found["model.layers.0.mlp.up_proj.weight"], wide_model().model.layers[0].mlp.up_proj.weight)


@pytest.fixture
def mxfp4_folder(tmp_path) -> Path:
    folder = tmp_path / "oss"
    save(random_model(FUSED_EXPERTS["gpt_oss"]()).bfloat16(), word_tokenizer(), folder)
    random = torch.Generator().manual_seed(0)

    def quantise(tensors):
        kept = {}
        for name, t in tensors.items():
            if name.endswith("_proj"):
                experts, columns, rows = t.shape
                blocks = torch.randint(0, 256, (experts, rows, columns // 32, 16), generator=random, dtype=torch.uint8)
                scales = torch.randint(118, 126, blocks.shape[:-1], generator=random, dtype=torch.uint8)
                kept |= {f"{name}_blocks": blocks, f"{name}_scales": scales}
            else:
                kept[name] = t
        return kept

    rewrite(folder, quantise, quantization_config={"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]})
    return folder


@pytest.mark.parametrize("says", [True, False])
def test_mxfp4_becomes_what_transformers_itself_dequantises_to(mxfp4_folder, says):
    theirs = AutoModelForCausalLM.from_pretrained(
        mxfp4_folder, quantization_config=Mxfp4Config(dequantize=True), dtype=torch.bfloat16
    ).state_dict()
    if not says:
        rewrite(mxfp4_folder, lambda tensors: tensors, quantization_config=None)
    assert "(MXFP4: " in refused(mxfp4_folder) and "write --dequantize" in refused(mxfp4_folder)
    found = models.load(str(mxfp4_folder), dequantize=True).model.state_dict()
    assert found.keys() == theirs.keys() and all(torch.equal(found[name], theirs[name]) for name in theirs)


def test_an_mxfp4_value_is_its_code_times_its_groups_power_of_two():
    blocks = torch.arange(64, dtype=torch.uint8).reshape(1, 2, 2, 16) * 4 + 3
    scales = torch.tensor([[[127, 120], [0, 250]]], dtype=torch.uint8)
    made = from_mxfp4(blocks, scales)
    assert made.shape == (1, 64, 2)
    for row in range(2):
        for column in range(64):
            byte = int(blocks[0, row, column // 32, column % 32 // 2])
            code = byte >> 4 if column % 2 else byte & 15
            assert float(made[0, column, row]) == E2M1[code] * 2.0 ** (int(scales[0, row, column // 32]) - 127)


@pytest.mark.parametrize("shape", [(200, 300), (128, 128), (1, 129), (3, 130, 40)])
def test_an_fp8_value_is_its_code_times_its_blocks_scale_the_last_blocks_cut(shape):
    codes, grid = fp8_blocks(torch.randn(shape))
    made = from_fp8(codes, grid)
    for i in range(0, shape[-2], 37):
        for j in range(0, shape[-1], 29):
            expected = (codes[..., i, j].float() * grid[..., i // 128, j // 128]).bfloat16()
            assert torch.equal(made[..., i, j], expected)


def test_a_scale_a_row_or_a_matrix_multiplies_its_row_or_matrix():
    codes = torch.randn(6, 8).to(torch.float8_e4m3fn)
    rows = torch.rand(6)
    assert torch.equal(from_fp8(codes, rows), (codes.float() * rows[:, None]).bfloat16())
    assert torch.equal(from_fp8(codes, rows[:, None]), from_fp8(codes, rows))
    for one in (torch.tensor(0.25), torch.tensor([0.25]), torch.tensor([[0.25]])):
        assert torch.equal(from_fp8(codes, one), (codes.float() * 0.25).bfloat16())
    fused = torch.randn(2, 6, 8).to(torch.float8_e4m3fn)
    assert torch.equal(
        from_fp8(fused, torch.tensor([1.0, 2.0])), (fused.float() * torch.tensor([1.0, 2.0])[:, None, None]).bfloat16()
    )
    with pytest.raises(UserError, match="do not fit"):
        from_fp8(codes, torch.rand(5))


@pytest.mark.parametrize("form", sorted(SIMPLE))
def test_all_else_is_copied_byte_for_byte_and_the_result_is_a_plain_bfloat16_checkpoint(folder, form):
    section, quantise, kind = FORMS[form]
    (folder / "extra").mkdir()
    (folder / "extra" / "licence.txt").write_bytes(b"as it was\r\n")
    (folder / "hf_quant_config.json").write_text(json.dumps({"quantization": {"quant_algo": "FP8"}}))
    rewrite(folder, linears(quantise), quantization_config=section, dtype="float32")
    made, before = dequantised(folder), load_file(folder / "model.safetensors")
    config = json.loads((made / "config.json").read_text())
    assert config["dtype"] == "bfloat16" and "quantization_config" not in config
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - {"hf_quant_config.json"}
    assert {str(path.relative_to(made)) for path in made.rglob("*") if path.is_file()} == names
    for name in names - {"config.json", "model.safetensors"}:
        assert (made / name).read_bytes() == (folder / name).read_bytes(), name
    after = load_file(made / "model.safetensors")
    assert not [name for name in after if "scale" in name] and {t.dtype for t in after.values()} == {torch.bfloat16}
    assert all(torch.equal(after[name], t) for name, t in before.items() if "proj" not in name)
    plain, loaded = AutoModelForCausalLM.from_pretrained(made), models.load(str(folder), dequantize=True)
    assert plain.dtype == torch.bfloat16 and torch.equal(plain(TOKENS).logits, loaded.model(TOKENS).logits)
    assert loaded.notes and kind in loaded.notes[0] and loaded.id == models.identity(str(made))


def test_large_checkpoints_are_written_in_shards_with_an_index(folder, monkeypatch):
    whole = models.load(str(folder)).model.state_dict()
    section, quantise, _ = FORMS["block FP8"]
    rewrite(folder, linears(quantise), quantization_config=section)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    halves = [{n: t for n, t in tensors.items() if ("scale" in n) == last} for last in (False, True)]  # apart
    places = {}
    for i, half in enumerate(halves, 1):
        save_file(half, folder / f"model-0000{i}-of-00002.safetensors", {"format": "pt"})
        places |= dict.fromkeys(half, f"model-0000{i}-of-00002.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    monkeypatch.setattr(dequantise, "SHARD", 20_000)
    made = dequantised(folder)
    index = json.loads((made / "model.safetensors.index.json").read_text())
    files = sorted(path.name for path in made.glob("*.safetensors"))
    assert (
        files == [f"model-{i:05}-of-{len(files):05}.safetensors" for i in range(1, len(files) + 1)] and len(files) > 2
    )
    assert set(index["weight_map"]) == set(whole) and set(index["weight_map"].values()) == set(files)
    assert index["metadata"]["total_size"] == sum(2 * t.numel() for t in whole.values())
    assert all(name in load_file(made / file) for name, file in index["weight_map"].items())
    for name, t in AutoModelForCausalLM.from_pretrained(made).state_dict().items():
        torch.testing.assert_close(t, whole[name], atol=0.05, rtol=0.07)  # e4m3 has 3 bits after the point: 2^-4


def test_a_checkpoint_is_dequantised_once_and_again_where_it_was_cut_short_or_is_another(folder):
    section, quantise, _ = FORMS["block FP8"]
    rewrite(folder, linears(quantise), quantization_config=section)
    made = dequantised(folder)
    file = made / "model.safetensors"
    first, when = file.read_bytes(), file.stat().st_mtime_ns
    assert dequantised(folder) == made and file.stat().st_mtime_ns == when
    file.write_bytes(first[:-10])
    assert dequantised(folder) == made and file.read_bytes() == first
    (folder / "generation_config.json").write_text('{"max_new_tokens": 7}')
    models.load(str(folder), dequantize=True)
    assert len(list(made.parent.iterdir())) == 2, "a file beside the weights is another, so the folder is"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("weight", torch.full((64, 32), torch.nan).to(torch.float8_e4m3fn), "stand for no finite number"),
        ("weight_scale_inv", torch.full((1, 1), torch.inf), "stand for no finite number"),
        ("weight_scale_inv", torch.ones(2, 3), "has shape (2, 3), which fits neither blocks of 128 x 128"),
    ],
)
def test_codes_and_scales_that_make_no_weights_are_named_and_leave_nothing(folder, tmp_path, name, value, message):
    section, quantise, _ = FORMS["block FP8"]
    rewrite(folder, linears(quantise), quantization_config=section)
    rewrite(folder, lambda tensors: tensors | {f"model.layers.1.mlp.up_proj.{name}": value})
    assert message in (line := refused(folder, dequantize=True)) and "model.layers.1.mlp.up_proj.weight" in line
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


def test_a_plain_checkpoint_is_itself_with_dequantize(folder, tmp_path):
    assert models.load(str(folder), dequantize=True).id == models.load(str(folder)).id
    assert not (tmp_path / "cache" / "dequantised").exists()


def test_a_config_says_nothing_of_quantising_afterwards_at_any_depth():
    config = {
        "quantization_config": {"a": 1},
        "torch_dtype": "float8",
        "text_config": {"dtype": None, "compression_config": {}},
    }
    assert plain_config(config) == {"torch_dtype": "bfloat16", "text_config": {"dtype": "bfloat16"}}
    assert plain_config({"quantization_config": None}) == {"dtype": "bfloat16"}


def divergence(of, model) -> float:
    """Mean KL over tokens, in nats."""
    with torch.no_grad():
        p, q = (F.log_softmax(one(TOKENS).logits.double(), -1) for one in (of, model))
    return float((p.exp() * (p - q)).sum(-1).mean())


def test_pruned_after_dequantising_it_is_close_to_what_is_pruned_from_bfloat16(tmp_path):
    save(wide_model(), word_tokenizer(), tmp_path / "dense")
    shutil.copytree(tmp_path / "dense", tmp_path / "fp8")
    section, quantise, _ = FORMS["block FP8"]
    rewrite(tmp_path / "fp8", linears(quantise), quantization_config=section)
    how = {"method": "magnitude", "pattern": "10%"}
    expected = calprune.prune(str(tmp_path / "dense"), **how)
    report = calprune.prune(str(tmp_path / "fp8"), **how, dequantize=True)
    assert divergence(expected.model.model, report.model.model) < 0.01
    assert report.sparsity == pytest.approx(0.1, abs=0.001)


def test_weights_that_lie_on_the_mxfp4_grid_come_back_exactly(mxfp4_folder, tmp_path):
    on_grid = models.load(str(mxfp4_folder), dequantize=True)
    save(on_grid.model, on_grid.tokenizer, tmp_path / "plain")
    how = {"method": "magnitude", "pattern": "10%"}
    expected = calprune.prune(str(tmp_path / "plain"), **how)
    report = calprune.prune(str(mxfp4_folder), **how, dequantize=True)
    assert divergence(expected.model.model, report.model.model) == 0.0


def test_the_report_the_description_and_the_card_say_what_the_weights_come_from(run, folder):  # noqa: F811
    section, quantise, _ = FORMS["block FP8"]
    rewrite(folder, linears(quantise), quantization_config=section)
    asked = ("prune", folder, "--method", "magnitude", "--sparsity", 0.1, "--dequantize", "--out", "out")
    status, out, _ = run(*asked)
    note = "the weights were dequantised from block FP8 to bfloat16"
    assert status == 0 and note in out
    assert note in json.loads(Path("out/calprune.json").read_text())["model"]["notes"][0]
    assert note in Path("out/README.md").read_text()
    assert AutoModelForCausalLM.from_pretrained("out").dtype == torch.bfloat16
    assert models.load("out").notes == (), "what was written is plain"
