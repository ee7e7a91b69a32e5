"""A byte that changed on the disk, or a NaN in the place of a number, is noticed when what we wrote is read."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from calprune.base.values import UserError
from calprune.calibration.build import build
from calprune.calibration.recipe import parse_spec
from calprune.calibration.set import CalibrationSet
from calprune.layers.saved import Statistics
from calprune.methods.wanda import Wanda
from calprune.pattern import Unstructured
from calprune.pruning.job import Pruning
from calprune.writing.source import SelfSource
from calprune.writing.strategies import parse_strategy
from tests.families import tiny_model
from tests.test_blocks import calibration
from tests.test_synthesise import PLAIN, Given, Said, toy
from tests.tiny import toy_tokenizer

PLACES = 24  # of each file, evenly over it; of a small one every byte
NOT_READ = {"README.md"}  # for people
JOB = Pruning(Wanda(), Unstructured(0.5))


class NoticedError(Exception):
    """What was damaged was named."""


def make_sums(folder: Path) -> None:
    Statistics.collect(tiny_model("llama"), calibration(), "gram").save(folder)


def read_sums(folder: Path) -> None:
    saved = Statistics.load(folder)
    for name in saved.names():
        saved.of_block(name)


def prune_resumed(folder: Path) -> list[torch.Tensor]:
    model = tiny_model("llama")
    with warnings.catch_warnings(record=True) as noticed:
        warnings.simplefilter("always")
        list(JOB.blocks(model, calibration(), resume=folder))
    weights = [p.detach() for p in model.parameters()]
    if any("is made again" in str(one.message) for one in noticed):
        assert all(w.isfinite().all() for w in weights)
        assert all(map(torch.equal, weights, UNDISTURBED))
        raise NoticedError
    return weights


UNDISTURBED: list[torch.Tensor] = []


def make_kept(folder: Path) -> None:
    UNDISTURBED[:] = prune_resumed(folder)


def write_texts(folder: Path) -> None:
    said = Said()
    source = SelfSource(parse_strategy("bos(documents=3, max_new_tokens=6)"), 4, 2, folder, said)
    documents = list(source.documents(PLAIN, given=Given(toy())))
    assert len(documents) == 3
    if any("is made again" in line for line in said):
        raise NoticedError


def make_set(folder: Path) -> None:
    path = folder.parent / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": f"{i} is a number. " * 9}) + "\n" for i in range(9)))
    recipe = parse_spec(str(path), num_samples=2, max_seq_length=16, skip_first=1)
    build(recipe, toy_tokenizer()).save(folder)


KINDS = {
    "sums": (make_sums, read_sums),
    "kept blocks": (make_kept, prune_resumed),
    "shards of texts": (write_texts, write_texts),
    "set": (make_set, CalibrationSet.load),
}


@pytest.fixture(params=KINDS)
def kind(request, tmp_path):
    """A folder of the kind, all its files, and what reads it."""
    make, read = KINDS[request.param]
    make(tmp_path / "made")
    files = {path: path.read_bytes() for path in sorted((tmp_path / "made").rglob("*")) if path.is_file()}
    return {path: held for path, held in files.items() if path.name not in NOT_READ}, lambda: read(tmp_path / "made")


def put_back(files: dict[Path, bytes]) -> None:
    for path, held in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(held)


def test_what_is_whole_is_read(kind):
    _, read = kind
    read()


def test_a_changed_byte_is_noticed_in_every_file(kind):
    files, read = kind
    assert files
    for path, held in files.items():
        for at in sorted({int(at) for at in np.linspace(0, len(held) - 1, PLACES)}):
            if held.find(b'"digest"') <= at < held.find(b'"digest"') + 8:
                continue  # a JSON without a digest is as calprune 0.1 wrote it, and its contents are whole
            put_back(files)
            path.write_bytes(held[:at] + bytes([held[at] ^ 1]) + held[at + 1 :])
            with pytest.raises((UserError, NoticedError)):
                read()
                pytest.fail(f"{path.name}: byte {at} of {len(held)}, {held[at - 9 : at + 9]!r}")


def test_a_nan_in_any_tensor_is_noticed(kind):
    files, read = kind
    for path in files:
        if path.suffix != ".safetensors":
            continue
        for name, tensor in load_file(path).items():
            if tensor.is_floating_point():
                put_back(files)
                with_nan = tensor.clone()
                with_nan.view(-1)[0] = float("nan")
                save_file(load_file(path) | {name: with_nan}, path)
                with pytest.raises((UserError, NoticedError)):
                    read()
                    pytest.fail(f"{path.name}: {name}")


def test_a_nan_in_a_kept_block_without_digests_is_noticed(tmp_path):
    """As calprune 0.1 wrote it. The block is dense when it is made again, not half of it read."""
    make_kept(tmp_path)
    path = tmp_path / "model.layers.1"
    about = json.loads((path / "block.json").read_text())
    (path / "block.json").write_text(json.dumps({k: v for k, v in about.items() if k not in ("files", "digest")}))
    weights = load_file(path / "weights.safetensors")
    weights[list(weights)[-1]].view(-1)[0] = float("nan")
    save_file(weights, path / "weights.safetensors")
    with pytest.raises(NoticedError):
        prune_resumed(tmp_path)


def test_kept_blocks_of_a_model_with_other_norms_or_embeddings_are_refused(tmp_path):
    prune_resumed(tmp_path / "kept")
    for name in ("model.embed_tokens.weight", "model.layers.1.input_layernorm.weight"):
        other = tiny_model("llama")
        other.get_parameter(name).data += 1
        with pytest.raises(UserError, match="holds the blocks of another job or model"):
            list(JOB.blocks(other, calibration(), resume=tmp_path / "kept"))
