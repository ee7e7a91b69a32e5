"""A pruned checkpoint is the input's folder with exactly the pruned tensors changed, byte for byte."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
import transformers as t
from safetensors.torch import load_file, save_file

import calprune
from calprune.base.values import UserError
from calprune.models import editor
from calprune.models.checkpoint import open_checkpoint
from calprune.models.origin import Origin
from tests.families import CONFIGS, FUSED_EXPERTS, VOCABULARY, random_model, tiny_model
from tests.test_cli import run  # noqa: F401
from tests.test_evaluate import word_tokenizer
from tests.tiny import save

SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "vocab_size": VOCABULARY, "max_position_embeddings": 64}  # fmt: skip


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CALPRUNE_CACHE", str(tmp_path / "cache"))


def stored(folder: Path) -> dict[str, torch.Tensor]:
    return {k: v for file in sorted(folder.glob("*.safetensors")) for k, v in load_file(file).items()}


def rewrite(folder: Path, change) -> None:
    """The tensors of a folder of one file, changed by `change(tensors)`."""
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt", "who": "the test"})


def edit_config(folder: Path, **changes) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def pruned(folder: Path, **options) -> Path:
    """The folder's model pruned by magnitude, saved."""
    out = folder.parent / f"{folder.name}-pruned"
    calprune.prune(folder, method="magnitude", pattern="50%", **options).save(out)
    return out


def changed(before: Path, after: Path) -> set[str]:
    """The names of the tensors that differ; everything else of the tensors must be equal, to the bit."""
    old, new = open_checkpoint(before), open_checkpoint(after)
    assert list(old.tensors) == list(new.tensors)
    found = set()
    for name, one in old.tensors.items():
        other = new.tensors[name]
        assert (one.dtype, one.shape, one.begin, one.file.name) == (
            other.dtype, other.shape, other.begin, other.file.name
        )  # fmt: skip
        if one.bytes() != other.bytes():
            found.add(name)
    for file in old.files:  # the header, with its metadata
        size = int.from_bytes(file.read_bytes()[:8], "little") + 8
        assert file.read_bytes()[:size] == (after / file.name).read_bytes()[:size]
    return found


@pytest.mark.parametrize("family", [*CONFIGS, *FUSED_EXPERTS])
def test_exactly_the_matrices_of_blocks_differ_in_every_family(family, tmp_path):
    save(tiny_model(family), word_tokenizer(), tmp_path / "model")
    out = pruned(tmp_path / "model", min_coverage=0.0)
    differ = changed(tmp_path / "model", out)
    matrices = {name for name, tensor in stored(tmp_path / "model").items() if tensor.dim() >= 2 and "bias" not in name}
    inside = {name for name in matrices if ".0." in name or ".1." in name}
    assert differ and differ <= inside
    left = {name for name in inside - differ if "router" not in name and ".gate." not in name}
    assert not left  # every matrix of every block but the routers', under its stored name
    with torch.no_grad():
        tokens = torch.arange(3, 20)[None]
        model = calprune.load(tmp_path / "model")
        calprune.prune(model, method="magnitude", pattern="50%", min_coverage=0.0)
        assert torch.equal(t.AutoModelForCausalLM.from_pretrained(out)(tokens).logits, model.model(tokens).logits)


def test_what_lies_beside_the_weights_is_copied_verbatim(tmp_path):
    folder = tmp_path / "model"
    save(tiny_model("llama"), word_tokenizer(), folder)
    (folder / "LICENSE").write_text("all of it")
    (folder / "README.md").write_text("the card of the base")
    (folder / "modeling_mine.py").write_text("raise SystemExit('never run')")
    (folder / "vocab.tiktoken").write_bytes(b"\x00\xff")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text("{}")
    (folder / "config.json").write_text((folder / "config.json").read_text() + "  \n")
    (folder / "pytorch_model.bin").write_bytes(b"the dense weights again")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "lock").write_text("")
    report = calprune.prune(folder, method="magnitude", pattern="50%")
    assert "another form: pytorch_model.bin" in report.text()
    out = folder.parent / "model-pruned"
    report.save(out)
    files = {str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()}
    before = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert files == before - {"pytorch_model.bin", ".cache/lock"} | {"calprune.json", "README.base.md"}
    for name in files - {"model.safetensors", "README.md", "calprune.json", "README.base.md"}:
        assert (out / name).read_bytes() == (folder / name).read_bytes(), name
    assert (out / "README.base.md").read_text() == "the card of the base"
    again = pruned(out)  # what a second pruning replaces is kept as well
    assert (again / "README.base.md").read_text() == "the card of the base"
    assert (again / "README.base.base.md").read_bytes() == (out / "README.md").read_bytes()
    assert (again / "calprune.base.json").read_bytes() == (out / "calprune.json").read_bytes()


def test_shards_keep_their_names_sizes_and_order(tmp_path):
    tiny_model("llama").save_pretrained(tmp_path / "model", max_shard_size="30KB")
    word_tokenizer().save_pretrained(tmp_path / "model")
    assert len(list((tmp_path / "model").glob("*.safetensors"))) > 2
    out = pruned(tmp_path / "model")
    assert all("_proj" in name for name in changed(tmp_path / "model", out))
    sizes = [{p.name: p.stat().st_size for p in f.glob("model*")} for f in (tmp_path / "model", out)]
    assert sizes[0] == sizes[1]


def test_norms_in_float32_of_a_bfloat16_checkpoint_stay_so(tmp_path):
    save(tiny_model("llama").to(torch.bfloat16), word_tokenizer(), tmp_path / "model")

    def widen(tensors):
        for name in [name for name in tensors if "norm" in name]:
            tensors[name] = tensors[name].float() + 1e-6  # more digits than bfloat16 has

    rewrite(tmp_path / "model", widen)
    assert all("_proj" in name for name in changed(tmp_path / "model", pruned(tmp_path / "model")))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_model_pruned_in_another_dtype_is_written_in_the_stored_one(tmp_path, dtype):
    save(tiny_model("llama").to(torch.float16), word_tokenizer(), tmp_path / "model")
    out = pruned(tmp_path / "model", dtype=dtype)
    assert all("_proj" in name for name in changed(tmp_path / "model", out))
    assert {t.dtype for t in stored(out).values()} == {torch.float16}


def test_a_checkpoint_of_the_bare_decoder_is_edited_under_its_own_names(tmp_path):
    model = tiny_model("gpt2")
    save(model, word_tokenizer(), tmp_path / "model")
    rewrite(tmp_path / "model", lambda tensors: [
        tensors.update({name.removeprefix("transformer."): tensors.pop(name)}) for name in list(tensors)
    ])  # fmt: skip
    differ = changed(tmp_path / "model", pruned(tmp_path / "model"))
    assert differ == {f"h.{i}.{name}.weight" for i in range(2)
                      for name in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")}  # fmt: skip


def test_what_computed_buffers_older_checkpoints_hold_is_copied_without_a_note(tmp_path):
    save(tiny_model("gpt2"), word_tokenizer(), tmp_path / "model")
    rewrite(tmp_path / "model", lambda tensors: tensors.update(
        {"transformer.h.0.attn.bias": torch.ones(64, 64, dtype=torch.uint8)}))  # fmt: skip
    report = calprune.prune(tmp_path / "model", method="magnitude", pattern="50%")
    assert report.description["carried"] == []
    report.save(tmp_path / "out")
    assert not any("attn.bias" in name for name in changed(tmp_path / "model", tmp_path / "out"))


def reward_model(folder: Path) -> None:
    """A reward model whose decoder has no output embeddings."""
    config = t.LlamaConfig(**SMALL, num_labels=1, pad_token_id=0)
    torch.manual_seed(0)
    save(t.LlamaForSequenceClassification(config), word_tokenizer(), folder)


def test_the_head_of_a_reward_model_is_carried_and_it_still_judges(tmp_path):
    reward_model(tmp_path / "model")
    report = calprune.prune(tmp_path / "model", method="magnitude", pattern="50%")
    assert "score.weight" in report.text()
    report.save(tmp_path / "out")
    assert all("_proj" in name for name in changed(tmp_path / "model", tmp_path / "out"))
    judge = t.AutoModelForSequenceClassification.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not judge[1]["missing_keys"] and not judge[1]["unexpected_keys"]


def test_a_model_without_output_embeddings_is_pruned_by_data_and_not_evaluated(tmp_path):
    reward_model(tmp_path / "model")
    text = tmp_path / "text.txt"
    text.write_text(" ".join(f"w{i % 80}" for i in range(4000)))
    model = calprune.load(tmp_path / "model")
    with pytest.raises(UserError, match="no output embeddings"):
        calprune.evaluate(model, f"perplexity({text}, length=32, tokens=64)")
    calprune.prune(model, text, method="wanda", pattern="50%", num_samples=4, max_seq_length=32).save(tmp_path / "out")
    assert all("_proj" in name for name in changed(tmp_path / "model", tmp_path / "out"))


def test_layers_that_predict_further_tokens_are_carried(tmp_path):
    model = tiny_model("deepseek_v3")
    save(model, word_tokenizer(), tmp_path / "model")
    rewrite(tmp_path / "model", lambda tensors: tensors.update({"mtp.0.eh_proj.weight": torch.ones(4, 8)}))
    report = calprune.prune(tmp_path / "model", method="magnitude", pattern="50%")
    assert "mtp.0" in " ".join(report.description["carried"])
    report.save(tmp_path / "out")
    assert "mtp.0.eh_proj.weight" not in changed(tmp_path / "model", tmp_path / "out")


def refused(folder: Path) -> str:
    with pytest.raises(UserError) as error:
        calprune.prune(folder, method="magnitude", pattern="50%")
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture
def folder(tmp_path) -> Path:
    save(tiny_model("llama"), word_tokenizer(), tmp_path / "model")
    return tmp_path / "model"


def test_a_config_that_describes_fewer_blocks_than_are_stored_is_refused(folder):
    edit_config(folder, num_hidden_layers=1)
    assert "model.layers.1." in refused(folder) and "describes 1 blocks" in refused(folder)


def test_a_stored_part_of_a_block_that_the_model_ignores_is_refused(folder):
    rewrite(folder, lambda tensors: tensors.update({"model.layers.0.self_attn.q_proj.bias": torch.ones(32)}))
    assert "model.layers.0.self_attn.q_proj.bias, which LlamaForCausalLM ignores" in refused(folder)


def test_a_model_that_found_nothing_of_its_blocks_is_not_written_back(folder):
    model = tiny_model("llama")  # transformers' shieldgemma2 does not find what it wrote itself

    def renamed(tensors):
        for name in [name for name in tensors if ".layers." in name]:
            tensors[name.replace("model.layers.", "decoder.")] = tensors.pop(name)

    rewrite(folder, renamed)
    with pytest.raises(UserError, match=r"stores nothing of model\.layers\.0"):
        Origin(model, open_checkpoint(folder)).prove()


def test_an_adapter_beside_its_base_is_refused(folder):
    (folder / "adapter_config.json").write_text("{}")
    assert "merge it into its base first" in refused(folder)


def index(folder: Path, **places: str) -> None:
    """The folder's one file as a shard, with an index; places: of some tensors, by their last name."""
    shutil.move(folder / "model.safetensors", folder / "a.safetensors")
    names = {name: "a.safetensors" for name in load_file(folder / "a.safetensors")}
    names |= {name: file for name in names for last, file in places.items() if last in name}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))


def test_an_index_that_leads_out_of_the_folder_is_refused(folder):
    shutil.copy(folder / "model.safetensors", folder.parent / "b.safetensors")
    index(folder, q_proj="../b.safetensors")
    assert "names '../b.safetensors', which is not in the folder" in refused(folder)
    os.remove(folder / "model.safetensors.index.json")
    shutil.move(folder / "a.safetensors", folder / "model.safetensors")
    index(folder, q_proj=str(folder.parent / "b.safetensors"))
    assert "which is not in the folder" in refused(folder)


def test_a_shard_in_another_folder_is_refused_before_any_work(folder):
    (folder / "sub").mkdir()
    shutil.copy(folder / "model.safetensors", folder / "sub" / "b.safetensors")
    index(folder, q_proj="sub/b.safetensors")
    assert "names sub/b.safetensors, in another folder; expected all weights beside config.json" in refused(folder)


def test_a_link_out_of_the_folder_is_refused_and_the_hubs_own_links_are_followed(folder, tmp_path):
    shutil.move(folder / "model.safetensors", tmp_path / "elsewhere")
    (folder / "model.safetensors").symlink_to(tmp_path / "elsewhere")
    assert "is a link out of the folder" in refused(folder)
    hub = tmp_path / "models--owner--name"
    (hub / "blobs").mkdir(parents=True)
    shutil.move(tmp_path / "elsewhere", hub / "blobs" / "0123")
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to("../../blobs/0123")
    shutil.move(folder, hub / "snapshots" / "abc") if (hub / "snapshots").mkdir() is None else None
    out = pruned(hub / "snapshots" / "abc")
    assert not (out / "model.safetensors").is_symlink()


def test_a_secret_that_a_link_in_the_folder_leads_to_is_not_copied(folder, tmp_path):
    (tmp_path / "secret").write_text("key")
    (folder / "notes.txt").symlink_to(tmp_path / "secret")
    assert "notes.txt is a link out of the folder" in refused(folder)


def test_an_index_that_does_not_fit_its_files_is_refused(folder):
    shutil.copy(folder / "model.safetensors", folder / "b.safetensors")
    index(folder, q_proj="b.safetensors")
    assert "is in a.safetensors and in b.safetensors" in refused(folder)  # which one counts depends on the loader
    rewritten = load_file(folder / "b.safetensors")
    save_file({"other.weight": rewritten["model.norm.weight"]}, folder / "b.safetensors")
    assert "says that model.layers.0.self_attn.q_proj.weight is in b.safetensors, but" in refused(folder)


def test_the_identity_is_of_the_tensors_that_are_loaded(folder):
    from calprune.models.load import identity

    before = identity(str(folder))
    save_file({"decoy": torch.ones(3)}, folder / "consolidated.safetensors")
    assert identity(str(folder)) == before


def test_a_model_that_was_changed_since_it_was_loaded_is_not_taken_for_its_checkpoint(folder):
    model = calprune.load(folder)
    model.model.model.layers[1].mlp.up_proj.weight.data[0, 0] += 1
    with pytest.raises(UserError, match=r"layers\.1\.mlp\.up_proj\.weight: the model's weights are not those of"):
        calprune.prune(model, method="magnitude", pattern="50%")


def test_what_was_changed_after_pruning_is_not_lost_in_silence(folder, tmp_path):
    model = calprune.load(folder)
    report = calprune.prune(model, method="magnitude", pattern="50%")
    model.model.model.embed_tokens.weight.data[3] += 1
    with pytest.raises(UserError, match=r"embed_tokens\.weight was changed since the model was loaded"):
        report.save(tmp_path / "out")
    model.model.model.embed_tokens.weight.data[3] -= 1
    model.model.model.layers[0].mlp.up_proj.weight.data.fill_(1)
    with pytest.raises(UserError, match=r"layers\.0\.mlp\.up_proj has 0 zeros, and had 1024 when it was pruned"):
        report.save(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_model_that_was_not_loaded_from_a_checkpoint_says_what_to_do(tmp_path):
    model = calprune.Model(tiny_model("llama"), word_tokenizer(), "mine", "0" * 16)
    with pytest.raises(UserError, match="was not loaded from a checkpoint"):
        calprune.prune(model, method="magnitude", pattern="50%").save(tmp_path / "out")


def test_a_disk_that_does_not_keep_what_is_written_is_noticed(folder, tmp_path, monkeypatch):
    report = calprune.prune(folder, method="magnitude", pattern="50%")
    real = editor._wrong

    def flip(before, file, done):
        with file.open("r+b") as opened:
            opened.seek(before[-1].end - 1)
            last = opened.read(1)[0]
            opened.seek(before[-1].end - 1)
            opened.write(bytes([last ^ 1]))
        return real(before, file, done)

    monkeypatch.setattr(editor, "_wrong", flip)
    with pytest.raises(UserError, match="not what was written"):
        report.save(tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_a_save_that_is_interrupted_leaves_nothing(folder, tmp_path, monkeypatch, error):
    report = calprune.prune(folder, method="magnitude", pattern="50%")

    def fail(*arguments):
        raise error

    monkeypatch.setattr(editor, "_copy", fail)
    with pytest.raises((KeyboardInterrupt, UserError)) as raised:
        report.save(tmp_path / "new" / "out")
    assert not list((tmp_path / "new").iterdir())
    assert raised.type is KeyboardInterrupt or "disk is full" in str(raised.value)


def test_what_permutation_and_training_change_besides_is_written_too(tmp_path):
    model = random_model(t.LlamaConfig(**SMALL, attention_bias=True, mlp_bias=True))
    save(model, word_tokenizer(), tmp_path / "model")
    text = tmp_path / "text.txt"
    text.write_text(" ".join(f"w{(i * i) % 80}" for i in range(4000)))
    loaded = calprune.load(tmp_path / "model")
    report = calprune.prune(loaded, text, method="wanda", pattern="2:4", permute="heuristic", num_samples=4,
                            max_seq_length=32)  # fmt: skip
    report.save(tmp_path / "out")
    again = t.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    for (name, one), (_, other) in zip(loaded.model.named_parameters(), again.named_parameters(), strict=True):
        assert torch.equal(one, other), name


def test_diff_says_which_tensors_and_files_differ_and_nothing_else(folder, run):  # noqa: F811
    out = pruned(folder, ignore=["q_proj"])
    text = run("diff", folder, out)[1]
    assert "9 equal, 12 changed" in text and "q_proj" not in text and "config.json" not in text
    (line,) = [line for line in text.splitlines() if "up_proj" in line]
    assert line.split() == ["model.layers.*.mlp.up_proj.weight", "2", "50.0", "%", "0.0", "%", "50.0", "%"]
    found = json.loads(run("diff", folder, out, "--json")[1])
    old, new = stored(folder), stored(out)
    for name, one in found["tensors"].items():
        assert one["changed"] == int((old[name] != new[name]).sum())
        assert (one["state"] == "changed") == bool(one["changed"])
    assert {name for name, state in found["files"].items() if state != "equal"} == {"README.md", "calprune.json"}


def test_diff_names_what_is_only_in_one_and_what_has_another_shape_or_dtype(folder, tmp_path):
    from calprune.models.difference import compare

    shutil.copytree(folder, tmp_path / "other")

    def change(tensors):
        tensors["new"] = tensors.pop("model.norm.weight")
        tensors["lm_head.weight"] = tensors["lm_head.weight"].bfloat16()
        tensors["model.embed_tokens.weight"] = tensors["model.embed_tokens.weight"][:-1].contiguous()

    rewrite(tmp_path / "other", change)
    edit_config(tmp_path / "other", rms_norm_eps=0.5)
    found = compare(open_checkpoint(folder), open_checkpoint(tmp_path / "other"))
    states = {one.name: one.state for one in found.tensors if one.state != "equal"}
    assert states == {"new": "only in the second", "model.norm.weight": "only in the first",
                      "lm_head.weight": "another dtype", "model.embed_tokens.weight": "another shape"}  # fmt: skip
    assert {name for name, state in found.files.items() if state != "equal"} == {"config.json"}
