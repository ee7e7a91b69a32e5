"""Quantising: zeros stay zeros in the codes, and plain transformers gives what the fake-quantised model gives, to the
bit."""

import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file

import calprune
from calprune.base.progress import Progress
from calprune.base.values import UserError
from calprune.layers.inputs import InputStats, relative_error
from calprune.methods.gptq import GPTQ
from calprune.methods.round_to_nearest import RoundToNearest
from tests.families import CONFIGS, FUSED_EXPERTS, HYBRIDS, ODD_EXPERTS, WRAPPERS, random_model
from tests.test_cli import run  # noqa: F401
from tests.test_recover import SIZES, TEXT, place  # noqa: F401
from tests.tiny import save, toy_tokenizer

pytest.importorskip("compressed_tensors")
TOKENS = torch.arange(3, 43).reshape(2, 20)


def quantised(place, out, **options):  # noqa: F811
    data = None if options.get("method") == "rtn" else str(place / "text.txt")
    sizes = {} if data is None else SIZES
    return calprune.quantize(place / "pruned", data, **{"group": 16, **sizes, **options}).save(out)


@pytest.fixture(scope="module")
def narrow(place, tmp_path_factory):  # noqa: F811
    """The pruned model in bfloat16, with the texts."""
    folder = tmp_path_factory.mktemp("narrow")
    save(calprune.load(place / "pruned").model.bfloat16(), toy_tokenizer(), folder / "pruned")
    (folder / "text.txt").write_text(TEXT)
    return folder


@pytest.mark.parametrize("method", ["gptq", "rtn"])
@pytest.mark.parametrize("of, bits, group", [("place", 4, 16), ("narrow", 4, 0), ("place", 3, 8), ("narrow", 8, 16)])
def test_plain_transformers_gives_the_fake_quantised_model_to_the_bit(method, of, bits, group, request, tmp_path):
    from transformers import AutoModelForCausalLM

    folder = request.getfixturevalue(of)
    report = quantised(folder, tmp_path / "out", method=method, bits=bits, group=group)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto").eval()
    with torch.no_grad():
        found, expected = loaded(TOKENS).logits, report.model.model(TOKENS).logits
    assert found.dtype == expected.dtype and torch.equal(found, expected)
    before = calprune.load(folder / "pruned").model
    for name in report.done.matrices:
        weight, was = loaded.get_submodule(name).weight, before.get_submodule(name).weight
        assert torch.equal(weight, report.model.model.get_submodule(name).weight)
        assert bool((weight[was == 0] == 0).all()), f"{name}: 2:4 is held"
        assert len(weight[0].unique()) <= 2**bits * max(1, weight.shape[1] // (group or weight.shape[1]))


def test_one_shard_with_an_index_is_written_with_one_and_loads(place, tmp_path):  # noqa: F811
    from transformers import AutoModelForCausalLM

    folder, name = tmp_path / "sharded", "model-00001-of-00001.safetensors"
    shutil.copytree(place / "pruned", folder)
    (folder / "model.safetensors").rename(folder / name)
    places = dict.fromkeys(load_file(folder / name), name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    report = calprune.quantize(folder, method="rtn", group=16).save(tmp_path / "out")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto").eval()
    with torch.no_grad():
        assert torch.equal(loaded(TOKENS).logits, report.model.model(TOKENS).logits)


def test_zeros_are_zeros_in_the_unpacked_codes(place, tmp_path):  # noqa: F811
    from compressed_tensors.compressors.pack_quantized.helpers import unpack_from_int32

    quantised(place, tmp_path / "out", bits=4)
    stored, before = load_file(tmp_path / "out" / "model.safetensors"), load_file(place / "pruned/model.safetensors")
    packed = [name for name in stored if name.endswith("weight_packed")]
    assert len(packed) == 14
    for name in packed:
        was = before[name.replace("weight_packed", "weight")]
        codes = unpack_from_int32(stored[name], 4, was.shape)
        assert bool((codes[was == 0] == 0).all()) and int((codes != 0).sum()) > 0.3 * was.numel()
        assert stored[name].numel() * 8 == was.numel(), "eight codes in 32 bits"
    others = [name for name in before if name in stored]
    assert others and all(torch.equal(before[name], stored[name]) for name in others)


@pytest.fixture
def problem():
    torch.manual_seed(0)
    x = torch.randn(300, 64).cumsum(1)  # neighbours are alike, so an error goes to the next column
    stats = InputStats(64, "gram")
    stats.observe(x)
    keep = torch.zeros(24, 64, dtype=torch.bool)
    keep.view(24, 16, 4)[:, :, 1:3] = True
    return torch.randn(24, 64) * keep, stats, keep


def test_the_mask_is_held_and_its_error_goes_on_to_what_is_kept(problem):
    weight, stats, keep = problem
    held = GPTQ(3, 16).quantised(weight, stats, keep).weight
    assert bool((held[~keep] == 0).all())
    free = GPTQ(3, 16)(weight, stats, calprune.Unstructured(0.0))
    assert bool((free[~keep] != 0).any()), "without the mask zeros absorb errors, so it is needed"
    rounded = RoundToNearest(3, 16).quantised(weight, None, keep).weight
    masked_after = GPTQ(3, 16)(weight, stats, calprune.Unstructured(0.0)) * keep
    error = lambda after: relative_error(weight, after, stats)  # noqa: E731
    assert error(held) < 0.7 * error(rounded) and error(held) < 0.9 * error(masked_after)
    ordered = GPTQ(3, 16, activation_order="static").quantised(weight, stats, keep).weight
    assert bool((ordered[~keep] == 0).all()) and error(ordered) < 0.7 * error(rounded)


@pytest.mark.parametrize("method", [GPTQ(4, 16), GPTQ(4, None, True), GPTQ(4, 16, True, activation_order="static"),
                                    RoundToNearest(4, 16), RoundToNearest(4, None)])  # fmt: skip
def test_a_mask_that_keeps_all_changes_nothing_and_the_scales_make_the_weights(method, problem):
    weight, stats, _ = problem
    found = method.quantised(weight, stats, torch.ones_like(weight, dtype=torch.bool))
    assert torch.equal(found.weight, method(weight, stats, calprune.Unstructured(0.0)))
    scale, zero = (each.repeat_interleave(64 // each.shape[1], 1) for each in (found.scale, found.zero))
    codes = (found.weight / scale).round() + zero
    assert torch.equal((codes - zero) * scale, found.weight)
    assert int(codes.min()) >= 0 and int(codes.max()) <= 15


def test_a_scale_is_a_number_of_the_type_that_is_asked_for(problem):
    weight, stats, keep = problem
    found = GPTQ(4, 16).quantised(weight, stats, keep, torch.bfloat16)
    assert torch.equal(found.scale, found.scale.bfloat16().float())


def test_what_cannot_be_packed_is_one_line(place, tmp_path, run):  # noqa: F811
    with pytest.raises(UserError, match=r"--group 24: .* has 32 inputs, .*--group 32 divides all"):
        quantised(place, tmp_path / "out", group=24)
    with pytest.raises(UserError, match="bits must be 2 to 8"):
        quantised(place, tmp_path / "out", bits=9)
    with pytest.raises(UserError, match="gptq reads calibration data"):
        calprune.quantize(place / "pruned", group=16)
    with pytest.raises(UserError, match="activation_order"):
        GPTQ(activation_order=True).quantised(torch.ones(2, 2), InputStats(2, "gram"))
    config = CONFIGS["gpt2"]()
    config.vocab_size = len(toy_tokenizer())
    save(random_model(config), toy_tokenizer(), tmp_path / "gpt2")
    with pytest.raises(UserError, match=r"stored as \(out, in\)"):
        calprune.quantize(tmp_path / "gpt2", method="rtn", group=16)
    status, _, err = run("quantize", str(place / "pruned"), "--method", "awq", "--out", str(tmp_path / "out"))
    assert status == 1 and "--method: unknown value 'awq'" in err and not (tmp_path / "out").exists()


def test_a_model_in_another_dtype_than_it_is_stored_in_is_one_line_before_any_text_is_read(narrow, tmp_path):
    """It was written with scales of one dtype beside weights of the other: not the model that was measured."""
    wide = calprune.load(narrow / "pruned", dtype="float32")
    with pytest.raises(UserError, match=r"stored in bfloat16 and computes in float32, .*; load it without dtype, or"):
        calprune.quantize(wide, "no_such_text.txt", group=16)
    wide.model.save_pretrained(tmp_path / "wide")
    wide.tokenizer.save_pretrained(tmp_path / "wide")
    calprune.quantize(tmp_path / "wide", method="rtn", group=16).save(tmp_path / "out")


@pytest.mark.parametrize(
    ("family", "method", "names"), [("mamba", "rtn", ["dt_proj", "out_proj"]), ("mamba", "gptq", ["out_proj"])]
)
def test_what_transformers_could_not_load_is_one_line_that_names_what_to_leave_out(family, method, names, tmp_path):
    from transformers import AutoModelForCausalLM

    saved(HYBRIDS[family](), tmp_path / "model")
    with pytest.raises(UserError, match="reads its weights without calling it") as refused:
        calprune.quantize(tmp_path / "model", "no_such_text.txt" if method == "gptq" else None, method=method, group=0)
    assert all(f"--ignore '*.{name}'" in str(refused.value) for name in names)
    ignored = re.findall(r"--ignore '(\S+)'", str(refused.value))
    report = calprune.quantize(tmp_path / "model", method="rtn", group=0, ignore=ignored)
    report.save(tmp_path / "out")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto").eval()
    assert len(report.done.matrices) == 4
    with torch.no_grad():
        assert torch.equal(loaded(TOKENS).logits, report.model.model(TOKENS).logits)


def saved(config, folder):
    config.get_text_config().vocab_size = len(toy_tokenizer())
    save(random_model(config), toy_tokenizer(), folder)
    return folder


@pytest.mark.parametrize("ignore", [[], ["*experts*"]])
@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe", "deepseek_v3", "olmoe", "jamba"])
def test_experts_that_transformers_merges_as_it_loads_are_one_line_before_any_text_is_read(family, ignore, tmp_path):
    model = saved((FUSED_EXPERTS | HYBRIDS)[family](), tmp_path / "model")
    with pytest.raises(UserError, match=r"makes .*experts.* of other stored weights") as refused:
        calprune.quantize(model, "no_such_text.txt", group=0, ignore=ignore)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("family", ["gpt_oss", "dbrx"])
def test_experts_that_are_stored_as_one_tensor_stay_as_they_are_where_they_are_ignored(family, tmp_path):
    from transformers import AutoModelForCausalLM

    model = saved((FUSED_EXPERTS | ODD_EXPERTS)[family](), tmp_path / "model")
    report = calprune.quantize(model, method="rtn", group=0, ignore=["*experts*"])
    report.save(tmp_path / "out")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto").eval()
    with torch.no_grad():
        assert torch.equal(loaded(TOKENS).logits, report.model.model(TOKENS).logits)


@pytest.mark.parametrize("family", WRAPPERS)
def test_a_model_of_images_and_text_is_quantised_under_the_names_that_its_checkpoint_has(family, tmp_path):
    from transformers import AutoModelForImageTextToText

    model = saved(WRAPPERS[family](), tmp_path / "model")
    report = calprune.quantize(model, method="rtn", group=0)
    report.save(tmp_path / "out")
    before, after = (load_file(folder / "model.safetensors") for folder in (model, tmp_path / "out"))
    coded = {name.removesuffix("_packed") for name in after if name.endswith(".weight_packed")}
    assert len(coded) == len(report.done.matrices) and coded < set(before)
    assert all("vision" not in name and "visual" not in name for name in coded)
    kept = {name for name in after if not name.startswith(tuple(coded))}
    assert kept == set(before) - coded and all(torch.equal(after[name], before[name]) for name in kept)
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path / "out", dtype="auto").eval()
    with torch.no_grad():
        assert torch.equal(loaded(input_ids=TOKENS).logits, report.model.model(input_ids=TOKENS).logits)


def test_the_command_says_what_it_did(place, tmp_path, run):  # noqa: F811
    status, out, err = run("quantize", str(place / "pruned"), "--bits", "4", "--group", "16", "--calibration",
                           str(place / "text.txt"), "--num-samples", "16", "--max-seq-length", "24",
                           "--out", str(tmp_path / "out"))  # fmt: skip
    assert status == 0 and "held:" in out, err
    about = json.loads((tmp_path / "out" / "calprune.json").read_text())
    assert "6 bits a weight" in (tmp_path / "out" / "README.md").read_text()
    assert about["pattern"] == "2:4" and about["quantisation"]["bits_a_weight"] == 4 + 32 / 16
    status, _, err = run("prune", str(tmp_path / "out"), "--method", "magnitude", "--pattern", "50%", "--out", "again")
    assert status == 1 and "compressed-tensors" in err


def test_what_is_given_of_data_to_rounding_is_named(place, tmp_path):  # noqa: F811
    class Said(Progress):
        def say(self, line):
            lines.append(line)

    lines = []
    calprune.quantize(place / "pruned", "c4", method="rtn", group=16, num_samples=2, progress=Said())
    calprune.quantize(place / "pruned", method="rtn", group=16, progress=Said())
    calprune.prune(place / "pruned", "c4", method="magnitude", pattern="2:4", progress=Said())
    assert [line for line in lines if "reads no data" in line] == [
        "note: rtn reads no data: data (--calibration) and num_samples (--num-samples) are not read",
        "note: magnitude reads no data: data (--calibration) is not read",
    ]
