"""A model is read from its file as it is used: what of it is not at work leaves the memory again."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from calprune.base.memory import leave_to_file
from tests.programs import Programs

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the memory is read from /proc")

BLOCKS = 6
PROGRAM = """
import hashlib, json, re, sys
from pathlib import Path
from types import SimpleNamespace
import torch
from calprune.methods.wanda import Wanda
from calprune.models.load import load
from calprune.pattern import parse_pattern
from calprune.pruning.job import Pruning

def held():
    read = Path("/proc/self/status").read_text()
    return [int(re.search(kind + r":\\s+(\\d+)", read)[1]) * 1024 for kind in ("RssAnon", "RssFile")]

torch.set_num_threads(1)
model = load(sys.argv[1]).model
data = SimpleNamespace(tokens=torch.arange(64).reshape(2, 32) % 40, lengths=torch.tensor([32, 32]), weights=None)
job = Pruning(Wanda(), parse_pattern("50%"))
seen = [held() for _ in job.blocks(model, data, resume=sys.argv[2] if len(sys.argv) > 2 else None)]
whole = hashlib.sha256()
for name, p in model.named_parameters():
    whole.update(p.detach().numpy().tobytes())
print(json.dumps({"seen": seen, "digest": whole.hexdigest(), "block": sum(
    p.numel() * p.element_size() for p in model.model.layers[0].parameters())}))
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """150 MB in 6 blocks, each matrix too large to be kept in a pool of freed memory."""
    import transformers

    from tests.tiny import save, toy_tokenizer

    torch.manual_seed(0)
    tokenizer = toy_tokenizer()
    heads = {"head_dim": 32, "num_attention_heads": 8, "num_key_value_heads": 8}
    config = transformers.LlamaConfig(hidden_size=256, intermediate_size=8192, num_hidden_layers=BLOCKS,
                                      vocab_size=len(tokenizer), **heads)  # fmt: skip
    folder = tmp_path_factory.mktemp("large") / "model"
    save(transformers.LlamaForCausalLM(config), tokenizer, folder)
    return folder


def resident() -> int:
    return int(re.search(r"RssFile:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024


@pytest.fixture(scope="module")
def frugal() -> Iterator[Programs]:
    """Programs in which what is freed leaves the memory at once, and lies in no pool."""
    with Programs(os.environ | {"MALLOC_MMAP_THRESHOLD_": "1000000"}) as programs:
        yield programs


def run(programs: Programs, *words) -> dict:
    """What each block's end sees in memory, in blocks, beyond the first one's: written to, and pages of files."""
    ended = programs.run("-c", PROGRAM, *words)
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    (written, read), *rest = told["seen"]
    told["written"], told["read"] = (
        [(now[kind] - first) / told["block"] for now in rest] for kind, first in enumerate((written, read))
    )
    return told


def test_pruned_blocks_that_are_kept_take_no_memory_and_the_weights_are_the_same(frugal, model, tmp_path):
    free, kept, again = (run(frugal, model, *more) for more in ([], [tmp_path / "kept"], [tmp_path / "kept"]))
    assert kept["digest"] == again["digest"] == free["digest"]
    assert free["written"][-1] > 0.8 * (BLOCKS - 1)
    for one in (kept, again):
        assert max(one["written"]) < 1 and max(one["read"]) < 2, one


def test_what_is_read_of_a_file_leaves_the_memory_and_what_was_written_stays(tmp_path):
    file, size = tmp_path / "numbers", 2_000_000
    file.write_bytes(torch.arange(size, dtype=torch.int32).numpy().tobytes())

    def mapped() -> torch.Tensor:
        return torch.from_file(str(file), shared=False, size=size, dtype=torch.int32)

    read, written, own = mapped(), mapped(), torch.arange(size, dtype=torch.int32)
    written[size // 2] = -1
    assert read.sum() == own.sum()
    before = resident()
    leave_to_file([read])
    assert before - resident() > 0.9 * read.nbytes
    leave_to_file([written, own, torch.arange(3), torch.ones(4, 4).T[1:], torch.ones(2, device="meta")])
    assert written[size // 2] == -1 and torch.equal(read, own)
    leave_to_file([torch.ones(3, 3).to_sparse(), torch.empty(0)])


@pytest.mark.parametrize("what", ["absent", "unreadable"])
def test_where_the_system_does_not_say_what_a_page_is_all_stays_as_it_is(tmp_path, monkeypatch, what):
    monkeypatch.setattr("calprune.base.memory.PAGES", tmp_path / "absent" if what == "absent" else tmp_path)
    own = torch.arange(1_000_000)
    leave_to_file([own])
    assert torch.equal(own, torch.arange(1_000_000))
