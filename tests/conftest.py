"""What tests share: the demo model and the data root, where they are; otherwise a test says why it is skipped."""

import atexit
import os
import re
import shutil
import signal
import tempfile
from pathlib import Path

import pytest
import torch
from beartype import BeartypeConf, BeartypeDecorPlace
from beartype.claw import beartype_package
from jaxtyping import install_import_hook

CALPRUNE = Path(__file__).parents[1] / "src" / "calprune"


def check_types() -> None:
    """Every call of the package's functions is checked by its annotations. Shapes, and names that are there for type
    checkers alone, are jaxtyping's, which takes several times as long for a call: only the modules that have some."""
    modules = {file: ".".join(("calprune", *file.relative_to(CALPRUNE).with_suffix("").parts))
               for file in CALPRUNE.rglob("*.py")}  # fmt: skip
    shaped = [name.removesuffix(".__init__") for file, name in modules.items()
              if re.search(r"^from jaxtyping|^if TYPE_CHECKING", file.read_text(encoding="utf-8"), re.M)]  # fmt: skip
    # beartype's compiled modules do not know these options: after a change of them delete src/**/*beartype*.pyc
    beartype_package(
        "calprune", conf=BeartypeConf(claw_is_pep526=False, claw_decor_place_func=BeartypeDecorPlace.FIRST)
    )
    install_import_hook([name for name in shaped if name != "calprune"], "beartype.beartype")


check_types()  # before anything of the package is imported
torch.set_num_threads(1)  # xdist's workers share two cores,
os.environ["OMP_NUM_THREADS"] = "1"  # and so do the commands that tests start
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # before Triton is imported: a GPU's kernel is tested on a CPU
# a shell's background job ignores Ctrl-C, one of nohup hangups too; commands that tests start would inherit that
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, lambda number, frame: None)


def use_own_cache() -> None:
    """Tests keep what they cache apart from the user's; only the demo model is looked for where it is."""
    users = Path(os.environ.get("CALPRUNE_CACHE") or "~/.cache/calprune").expanduser()
    own = Path(tempfile.mkdtemp(prefix="calprune-tests-"))
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    if (demo := users / "smollm2-135m-instruct").is_dir():
        (own / demo.name).symlink_to(demo)
    os.environ["CALPRUNE_CACHE"] = str(own)


if "PYTEST_XDIST_WORKER" not in os.environ:  # workers have it from the process that starts them
    use_own_cache()


@pytest.fixture(scope="session")
def programs():
    """Starts programs in processes of their own (tests/programs.py)."""
    from tests.programs import Programs

    with Programs() as started:
        yield started


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
