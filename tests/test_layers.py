"""What may import what: the arrows point down."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "calprune"

LAYERS = [  # a room may import itself and the rooms above its line, never one below
    {"config"},
    {"base"},
    {"pattern", "products", "uncertainty"},
    {"experts"},
    {"attention", "linears", "stats"},
    {"arguments", "collect"},
    {"blocks"},
    {"gradients", "refine"},
    {"methods", "outcome", "statistics"},
    {"allocation", "permutation"},
    {"pruning"},
    {"demo_model", "openlm"},
    {"models"},
    {"calibration"},
    {"evaluate"},
    {"checkpoint"},
    {"demo"},
    {"study"},
    {"report"},
    {"choosing"},
    {"cli"},
]
CORE = set().union(*LAYERS[:11]) - {"base"}  # base/progress draws by rich, where it is shown
HEAVY = {"transformers", "typer", "rich", "pyarrow", "datasets", "tokenizers", "jinja2", "click", "altair", "lm_eval"}
MODULES = sorted(SOURCE.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """The full names that a module imports anywhere, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= (
                {f"{node.module}.{alias.name}" for alias in node.names} if node.module == "calprune" else {node.module}
            )
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_point_down(path):
    if room(path) == "__init__":
        return
    rank = {name: i for i, layer in enumerate(LAYERS) for name in layer}
    assert room(path) in rank, f"{room(path)} has no layer yet: give it one in LAYERS and in docs/design.md"
    for name in imports(path):
        if name.startswith("calprune."):
            other = name.split(".")[1]
            if other != "__version__":
                assert other == room(path) or rank[other] < rank[room(path)], f"{room(path)} may not import {other}"
        elif room(path) in CORE:
            assert name.split(".")[0] not in HEAVY, f"the core imports torch and jaxtyping, not {name}"


def test_help_imports_no_torch():
    program = "import sys, calprune, calprune.cli; print(sorted({'torch', 'transformers', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout.strip() == "[]"
