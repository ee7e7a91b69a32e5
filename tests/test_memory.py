"""A model is read from its file as it is used: where done blocks are kept, they leave the memory again."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the memory is read from /proc")

BLOCKS = 12
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
    return int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

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
    """300 MB in 12 blocks, each matrix too large to be kept in a pool of freed memory."""
    import torch
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


def run(*words) -> dict:
    ended = subprocess.run([sys.executable, "-c", PROGRAM, *map(str, words)], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def test_pruned_blocks_that_are_kept_take_no_memory_and_the_weights_are_the_same(model, tmp_path):
    free, kept = run(model), run(model, tmp_path / "kept")
    grown = {name: (one["seen"][-1] - one["seen"][2]) / one["block"] for name, one in (("free", free), ("kept", kept))}
    assert kept["digest"] == free["digest"]
    assert grown["free"] > 6 and grown["kept"] < grown["free"] / 2, (
        grown
    )  # what a pool of freed memory holds is in both
    again = run(model, tmp_path / "kept")
    assert again["digest"] == free["digest"] and (again["seen"][-1] - again["seen"][2]) / again["block"] < 4.4
