"""What tests share: the demo model and the data root, where they are; otherwise a test says why it is skipped."""

import os
import signal
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)  # xdist's workers share two cores
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # before Triton is imported: a GPU's kernel is tested on a CPU
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it, and so would commands


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of data sets on disk."""
    root = os.environ.get("CALPRUNE_DATA")
    if not root:
        pytest.skip("needs the data sets on disk: set CALPRUNE_DATA")
    return Path(root)


@pytest.fixture(scope="session")
def demo_folder() -> Path:
    """The checkpoint of the demo model."""
    from calprune.base.values import UserError
    from calprune.models.load import find_folder

    try:
        return find_folder("demo")
    except UserError as e:
        pytest.skip(str(e))


@pytest.fixture(scope="session")
def choice_folder(tmp_path_factory) -> Path:
    """A tiny model and texts to choose among (tests/small_choice.py)."""
    from tests.small_choice import make_material

    return make_material(tmp_path_factory.mktemp("choice"))


@pytest.fixture(scope="session")
def chosen(choice_folder):
    """What `choose` answers of them, undisturbed."""
    from tests.small_choice import answer_of

    return answer_of(choice_folder, choice_folder / "chosen")


@pytest.fixture(scope="session")
def alike(choice_folder):
    """What `choose` answers of two sources of one kind: that it does not matter."""
    from tests.small_choice import answer_of

    sources = tuple(str(choice_folder / name) for name in ("sums.jsonl", "more sums.jsonl"))
    return answer_of(choice_folder, choice_folder / "alike", sources=sources)
