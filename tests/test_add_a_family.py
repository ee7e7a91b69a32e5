"""docs/add-a-family.md does what it says, in a folder of the reader's own; and what is odd about a block is seen."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from calprune.layers import linears as room
from calprune.layers.blocks import walk
from calprune.layers.linears import ModelError, Stored, linears, stored_as
from calprune.methods.sparsegpt import SparseGPT
from calprune.pattern import parse_pattern
from calprune.pruning.job import Pruning
from tests.tiny import toy_tokenizer

PAGE = (Path(__file__).parents[1] / "docs" / "add-a-family.md").read_text()
FAMILY, SCRIPT = re.findall(r"```python\n(.*?)```", PAGE, re.S)


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "mirror.py").write_text(FAMILY)
    (tmp_path / "prune_mirror.py").write_text(SCRIPT)
    words = ["river", "stone", "lantern", "quiet", "harbour", "seven", "marble"]
    lines = [" ".join(words[(i * 3 + j * j) % 7] for j in range(9)) for i in range(12)]
    (tmp_path / "lines.txt").write_text("\n".join(lines))
    toy_tokenizer().save_pretrained(tmp_path / "model")
    return tmp_path


def test_the_pages_script_prunes_the_pages_family(folder):
    assert str(folder) not in os.environ.get("PYTHONPATH", "")
    done = subprocess.run([sys.executable, "prune_mirror.py", "model"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    zeros = dict(line.split() for line in done.stdout.splitlines() if line.endswith("%"))
    assert {name: share for name, share in zeros.items() if name.endswith("kernel")} == {
        f"{block}.{side}.kernel": "50%" for block in (0, 1) for side in ("up", "down")
    }


@pytest.fixture
def mirror(folder, monkeypatch):
    """The page's module, and after the test none of it."""
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(room, "_STORED", dict(room._STORED))
    import mirror as module

    yield module
    from transformers import AutoModelForCausalLM
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    CONFIG_MAPPING._extra_content.pop("mirror")
    AutoModelForCausalLM._model_mapping._extra_content.pop(module.MirrorConfig)
    sys.modules.pop("mirror")


class Tokens:
    """Sequences of random tokens."""

    tokens = torch.randint(0, 90, (6, 16), generator=torch.Generator().manual_seed(0))
    lengths = torch.full((6,), 16)
    weights = None


def plain_twin(model, mirror):
    """The same model with `nn.Linear`s."""
    twin = mirror.Mirror(model.config).eval()
    twin.load_state_dict(model.state_dict())
    for block in twin.blocks:
        for name in ("up", "down"):
            odd = getattr(block, name)
            plain = nn.Linear(*odd.kernel.shape)
            plain.weight.data, plain.bias.data = odd.kernel.data.T.clone(), odd.shift.data.clone()
            setattr(block, name, plain)
    return twin


def test_an_odd_family_is_pruned_as_its_twin_of_plain_linears(mirror):
    torch.manual_seed(0)
    odd = mirror.Mirror(mirror.MirrorConfig()).eval()
    twin = plain_twin(odd, mirror)
    for model in (odd, twin):
        Pruning(SparseGPT(), parse_pattern("2:4")).run(model, Tokens())
    for a, b in zip(odd.blocks, twin.blocks, strict=True):
        for x, y in zip(linears(a), linears(b), strict=True):
            assert torch.equal(x.weight == 0, y.weight == 0) and torch.allclose(x.weight, y.weight, atol=1e-5)
            assert torch.equal(x.bias, y.bias) and x.parameter.endswith(".kernel")


def test_the_walk_gives_what_the_models_own_forward_gives(mirror):
    torch.manual_seed(0)
    model = mirror.Mirror(mirror.MirrorConfig()).eval()
    with torch.no_grad():
        states, scale = model.embed(Tokens.tokens), torch.tensor(0.5)
        for block, own in zip(walk(model, Tokens(), batch_size=6), model.blocks, strict=True):
            assert torch.allclose(block.batches[0].hidden, states, atol=1e-6)
            assert block.batches[0].arguments[1] == {"scale": scale}
            states, scale = own(states=states, scale=scale)


def test_an_entry_holds_for_subclasses_and_the_nearest_one_counts(monkeypatch):
    monkeypatch.setattr(room, "_STORED", dict(room._STORED))

    class Swapped(nn.Linear):  # (in, out) by its own forward
        pass

    class More(Swapped):
        pass

    block = nn.ModuleDict({"plain": nn.Linear(3, 2), "swapped": More(3, 2)})
    assert [site.weight.shape for site in linears(block)] == [(2, 3), (2, 3)]
    stored_as(transposed=True)(Swapped)
    assert [site.weight.shape for site in linears(block)] == [(2, 3), (3, 2)]
    assert linears(block)[1].stored == Stored(transposed=True)


def test_an_entry_that_does_not_fit_its_class_is_one_line(monkeypatch):
    monkeypatch.setattr(room, "_STORED", dict(room._STORED))

    @stored_as(weight="kernal", transposed=True)
    class Dense(nn.Module):
        def __init__(self):
            super().__init__()
            self.kernel = nn.Parameter(torch.zeros(2, 3))

    with pytest.raises(ModelError) as error:
        linears(nn.ModuleDict({"up": Dense()}))
    assert str(error.value) in PAGE


def test_a_linear_without_a_bias_has_none(monkeypatch):
    monkeypatch.setattr(room, "_STORED", dict(room._STORED))

    @stored_as(weight="kernel", transposed=True)
    class Dense(nn.Module):
        def __init__(self):
            super().__init__()
            self.kernel = nn.Parameter(torch.zeros(2, 3))

    (site,) = linears(nn.ModuleDict({"up": Dense()}))
    assert site.bias is None and site.weight.shape == (3, 2) and site.parameter == "up.kernel"
