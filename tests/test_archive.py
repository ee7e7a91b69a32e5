"""What is packed comes back with the same bytes, or not at all; and zeros cost a bit."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

import calprune
from calprune.base.store import DamagedError
from calprune.base.values import UserError
from calprune.deployment.bitmask import pack_numbers, unpack_numbers
from tests.families import tiny_model
from tests.test_cli import run  # noqa: F401  a fixture
from tests.tiny import save, toy_tokenizer


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def there_and_back(folder: Path, where: Path) -> calprune.PackReport:
    report = calprune.pack(folder, where / "packed")
    calprune.unpack(where / "packed", where / "back")
    assert contents(where / "back") == contents(folder)
    return report


@pytest.fixture(scope="module")
def pruned(tmp_path_factory) -> Path:
    """A tiny model, pruned."""
    home = tmp_path_factory.mktemp("archive")
    save(tiny_model("llama"), toy_tokenizer(), home / "dense")
    calprune.prune(home / "dense", method="magnitude", pattern="2:4").save(home / "pruned")
    return home / "pruned"


# --- numbers


@settings(deadline=None, max_examples=100)
@given(st.data(), st.sampled_from([1, 2, 4, 8]))
def test_any_bytes_come_back(data, size):
    numbers = data.draw(st.lists(st.one_of(st.just(bytes(size)), st.binary(min_size=size, max_size=size)), max_size=70))
    pieces = [b"".join(numbers[i : i + 16]) for i in range(0, len(numbers), 16)]
    packed = pack_numbers(pieces, size)
    assert b"".join(unpack_numbers(packed, size, len(numbers), 16)) == b"".join(numbers)


def test_a_negative_zero_is_no_zero():
    numbers = np.array([0.0, -0.0, 1.0, np.nan], np.float32).tobytes()
    assert b"".join(unpack_numbers(pack_numbers([numbers], 4), 4, 4, 8)) == numbers


# --- folders


def test_a_pruned_model_comes_back_whole_and_loads(pruned, tmp_path):
    report = there_and_back(pruned, tmp_path)
    stored = [t for t in calprune.load(str(pruned)).origin.checkpoint.tensors.values()]
    zero = sum(int((t.read() == 0).sum()) for t in stored) / sum(t.numel for t in stored)
    assert report.zeros == pytest.approx(zero) and report.sizes.dense == (pruned / "model.safetensors").stat().st_size
    assert calprune.load(str(tmp_path / "back")).id == calprune.load(str(pruned)).id


def test_every_dtype_empty_tensors_metadata_hidden_files_and_folders_come_back(tmp_path):
    folder = tmp_path / "odd"
    (folder / "inside").mkdir(parents=True)
    kinds = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool,
             torch.float8_e4m3fn]  # fmt: skip
    tensors = {f"{kind}": (torch.arange(37) % 3).to(kind) for kind in kinds}
    tensors |= {"mask:byte 0": torch.zeros(0, 4), "header": torch.tensor(3.0), "packed": torch.zeros(5, 7)}
    save_file(tensors, folder / "model.safetensors", {"format": "pt", "note": "ü"})
    save_file({"x": torch.randn(3)}, folder / "inside" / "other.safetensors")
    (folder / ".hidden").write_bytes(b"\0\1")
    (folder / "inside" / "pytorch_model.bin").write_bytes(b"as it is")
    there_and_back(folder, tmp_path)


def test_the_order_of_a_header_and_its_spaces_come_back(tmp_path):
    folder = tmp_path / "hand"
    folder.mkdir()
    header = {"b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]},
              "a": {"shape": [1], "dtype": "F32", "data_offsets": [0, 4]}}  # fmt: skip
    text = json.dumps(header, indent=3).encode() + b" " * 11
    (folder / "x.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + np.float32([0, 1, 0]).tobytes())
    there_and_back(folder, tmp_path)


@pytest.mark.parametrize(("pattern", "most"), [("50%", 0.5625), ("60%", 0.4625), ("70%", 0.3625), ("2:4", 0.5404)])
def test_a_bit_for_each_number_and_two_bytes_for_each_that_is_left_are_enough(pattern, most, tmp_path):
    """Of 2:4 log2(6) bits for four numbers. Survivors whose bits are random: no code of theirs can help."""
    stream = torch.Generator().manual_seed(0)
    bits = torch.randint(1, 2**15, (1024, 1024), generator=stream, dtype=torch.int16)  # of no number that is zero
    order = torch.rand(1024, 256, 4, generator=stream).argsort(-1).flatten(1)
    kept = order < 2 if pattern == "2:4" else torch.rand(1024, 1024, generator=stream) >= float(pattern[:-1]) / 100
    (tmp_path / "m").mkdir()
    save_file({"w": torch.where(kept, bits, 0).view(torch.bfloat16)}, tmp_path / "m" / "model.safetensors")
    sizes = there_and_back(tmp_path / "m", tmp_path).sizes
    assert sizes.packed / sizes.dense < most + 0.003


def test_weights_take_less_than_that_for_their_exponents_are_few(tmp_path):
    (tmp_path / "m").mkdir()
    weights = torch.randn(1024, 1024, generator=torch.Generator().manual_seed(0)) * 0.02
    weights[torch.rand(1024, 1024, generator=torch.Generator().manual_seed(1)) < 0.5] = 0
    save_file({"w": weights.bfloat16()}, tmp_path / "m" / "model.safetensors")
    sizes = there_and_back(tmp_path / "m", tmp_path).sizes
    sign_and_mantissa, exponent = 8, 2.7  # bits; the exponents of a normal distribution have 2.6
    assert sizes.packed / sizes.dense < (1 + 0.5 * (sign_and_mantissa + exponent)) / 16 + 0.01 < 0.45


# --- what is wrong


def test_a_damaged_archive_gives_no_folder(pruned, tmp_path):
    calprune.pack(pruned, tmp_path / "packed")
    file = tmp_path / "packed" / "model.packed.safetensors"
    whole = file.read_bytes()
    places = range(9, len(whole), max(1, len(whole) // 40))
    for place in places:
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            calprune.unpack(tmp_path / "packed", tmp_path / f"back{place}")
        except DamagedError:
            assert not (tmp_path / f"back{place}").exists()
        else:  # a byte that says nothing
            assert contents(tmp_path / f"back{place}") == contents(pruned)
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DamagedError, match="is damaged"):
        calprune.unpack(tmp_path / "packed", tmp_path / "half")
    file.unlink()
    with pytest.raises(DamagedError, match="is missing"):
        calprune.unpack(tmp_path / "packed", tmp_path / "none")


def test_what_is_no_model_or_no_archive_is_one_line(pruned, tmp_path):
    calprune.pack(pruned, tmp_path / "packed")
    (tmp_path / "empty").mkdir()
    for wrong, call in {
        "is packed already; calprune unpack": lambda: calprune.pack(tmp_path / "packed", tmp_path / "x"),
        "no \\*.safetensors": lambda: calprune.pack(tmp_path / "empty", tmp_path / "x"),
        "does not hold what calprune pack wrote": lambda: calprune.unpack(pruned, tmp_path / "x"),
        "it is packed; calprune unpack": lambda: calprune.load(str(tmp_path / "packed")),
        "holds something else": lambda: calprune.unpack(tmp_path / "packed", pruned),
    }.items():
        with pytest.raises(UserError, match=wrong):
            call()
    assert not (tmp_path / "x").exists()


def test_a_file_that_is_a_link_to_nothing_is_named(pruned, tmp_path):
    (tmp_path / "m").mkdir()
    save_file({"x": torch.zeros(3)}, tmp_path / "m" / "model.safetensors")
    (tmp_path / "m" / "gone").symlink_to("nowhere")
    with pytest.raises(UserError, match="gone is neither a file nor a folder"):
        calprune.pack(tmp_path / "m", tmp_path / "x")


def test_the_commands_say_the_sizes_and_give_the_folder_back(run, pruned, tmp_path):  # noqa: F811
    status, out, _ = run("pack", pruned, "--out", "p")
    assert status == 0 and "zstd -3" in out and "calprune unpack p --out FOLDER" in out
    status, out, _ = run("unpack", "p", "--out", "b", "--json")
    assert status == 0 and set(json.loads(out)["files"]) == set(contents(pruned)) == set(contents(tmp_path / "b"))
    status, out, _ = run("pack", pruned, "--out", "q", "--json")
    assert json.loads(out)["sizes"]["dense"] == (pruned / "model.safetensors").stat().st_size
    assert run("unpack", "p", "--out", "b")[0] == 1
