"""The rules of the house: imports point down, nothing goes in circles, and things are small and named once."""

import ast
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "docs"))
import house

FILES = house.modules()
GRAPH = house.imports()
FLOOR = house.floor_of()
FUNCTION, PARAMETERS, FOLDER = 50, 6, 14
PLUG_INS = {"methods", "filters", "sections"}  # folders with one file for each thing that can be added
HEAVY = {"transformers", "typer", "rich", "pyarrow", "datasets", "tokenizers", "jinja2", "click", "altair", "lm_eval"}
PLAIN_DATA = {  # what gives a dict because it is of no type of ours, and of what
    "calprune.api.pruned.pairs.description_of": "calprune.json as it was read",
    "calprune.base.calls.option_types": "types by the names of options",
    "calprune.base.store.read_json": "JSON as it stands in a file",
    "calprune.calibration.recipe.write_recipe": "YAML as it is written",
    "calprune.pruning.checkpoint.describe": "calprune.json; PruneReport is what is shown of it",
    "calprune.removal.report.describe_removed": "calprune.json; RemovalReport is what is shown of it",
    "calprune.writing.vllm.sampling_options": "arguments of vllm.SamplingParams",
}
ALLOWED = {  # names with a word of the "never" column, and why
    "num_samples": "llm-compressor's name of the option",
    "layers": "the room of a model's blocks and linears; transformers' name of the list",
    "n_layers": "open_lm's name in its checkpoints' configuration",
    "SlotLayer": "transformers' CacheLayer, of which it is one",
    "through_template": "the tokenizer's chat template",
    "template": "Jinja's name of what it renders",
    "PrunerZero": "the name of a paper's method",
    "pruner_zero": "the name of a paper's method",
}
each_file = pytest.mark.parametrize("name", FILES)


def tree(name: str) -> ast.Module:
    return ast.parse(FILES[name].read_text())


@each_file
def test_imports_point_down(name):
    own = house.room(name)
    if own == "calprune":
        return
    assert own in FLOOR, f"{own} has no floor yet: give it one in docs/house.py"
    for other in sorted(house.room(module) for module in GRAPH[name]):
        assert other in (own, "calprune") or FLOOR[other] < FLOOR[own], f"{own} may not import {other}"


def test_no_files_import_each_other_in_a_circle():
    assert house.circles(GRAPH) == []


def test_a_circle_of_three_is_found_and_what_only_leads_to_it_is_not():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}, "e": set()}
    assert house.circles(graph) == [["a", "b", "c"]]


def test_imports_in_functions_and_for_type_checkers_count(tmp_path):
    (tmp_path / "m.py").write_text("if TYPE_CHECKING:\n    import calprune.a\ndef f():\n    from calprune import b\n")
    assert house.imported(tmp_path / "m.py", ["calprune.a", "calprune.b"]) == {"calprune.a", "calprune.b"}


@each_file
def test_the_core_imports_torch_and_nothing_heavier(name):
    if house.room(name) in house.CORE:
        assert not house.imported(FILES[name], FILES) & (
            HEAVY - ({"rich"} if name == "calprune.base.progress" else set())
        )


def test_help_imports_no_torch():
    program = "import sys, calprune, calprune.cli; print(sorted({'torch', 'transformers', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout.strip() == "[]"


@each_file
def test_functions_are_short_and_take_few_parameters(name):
    """A docstring is not counted. Commands and public functions take options one by one."""
    many = house.room(name) in ("cli", "api") or ".kernels." in name  # and a kernel's pointers
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.FunctionDef):
            given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            count = sum(argument.arg not in ("self", "cls") for argument in given)
            docstring = node.body[0] if ast.get_docstring(node) else None
            lines = node.end_lineno - node.lineno + 1
            lines -= docstring.end_lineno - docstring.lineno + 1 if docstring else 0
            assert lines <= FUNCTION or house.room(name) == "cli", f"{name}: {node.name} has {lines} lines"
            assert many or count <= PARAMETERS, f"{name}: {node.name} has {count} parameters"


def test_a_folder_holds_few_files_but_for_plug_ins():
    for folder in {path.parent for path in FILES.values()}:
        files = [path.name for path in folder.glob("*.py") if path.stem != "__init__"]
        assert folder.name in PLUG_INS or len(files) <= FOLDER, folder


def test_a_type_has_a_name_of_its_own():
    homes = defaultdict(list)
    for name in FILES:
        for node in tree(name).body:
            if isinstance(node, ast.ClassDef):
                homes[node.name].append(name)
    assert {name: where for name, where in homes.items() if len(where) > 1} == {}


@each_file
def test_only_commands_and_progress_print(name):
    if house.room(name) != "cli" and name != "calprune.base.progress":
        calls = [n for n in ast.walk(tree(name)) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
        assert not [n.lineno for n in calls if n.func.id == "print"]


@each_file
def test_no_public_function_gives_a_bare_dict(name):
    for node in tree(name).body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and node.returns:
            bare = re.match(r"dict\[str, (Any|object)\]", ast.unparse(node.returns))
            assert not bare or f"{name}.{node.name}" in PLAIN_DATA, f"{name}: {node.name}"


def named(source: ast.Module) -> set[str]:
    """The names of classes, their fields, functions and parameters: of what is named once and read from elsewhere."""
    found = set()
    for node in ast.walk(source):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.FunctionDef):
            found |= {one.arg for one in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)}
        if isinstance(node, ast.ClassDef):
            found |= {one.target.id for one in node.body if isinstance(one, ast.AnnAssign)}
    return found


def words_of(name: str) -> set[str]:
    return set(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().split("_"))


def never() -> set[str]:
    """The right column of the table under House rules."""
    page = (Path(house.__file__).parent / "design.md").read_text()
    table = page.partition("| say | never |\n|---|---|\n")[2].partition("\n\n")[0]
    return {word for line in table.splitlines() for word in line.strip("| ").split(" | ")[1].split(", ")}


@each_file
def test_names_say_one_word_for_one_thing(name):
    for one in named(tree(name)) | set(name.split(".")):
        assert one.strip("_") in ALLOWED or not words_of(one) & never(), f"{name}: {one}"


def test_the_words_never_said_are_read_from_the_table_and_found_in_names_of_every_kind():
    assert {"sample", "layer", "told", "asked"} <= never() and len(never()) >= 18
    source = "class ToldOff:\n    said: int\ndef tell_all(asked, *, sampled): pass\n"
    assert {word for one in named(ast.parse(source)) for word in words_of(one)} & never() == {
        "told", "said", "tell", "asked"}  # fmt: skip


def test_a_name_is_allowed_only_where_there_is_one():
    names = {one for name in FILES for one in named(tree(name)) | set(name.split("."))}
    assert set(ALLOWED) <= {one.strip("_") for one in names}


def test_a_call_with_another_type_or_shape_than_is_written_fails_in_the_tests():
    import torch

    from calprune.layers.arguments import by_token
    from calprune.report.findings import comparisons_of

    with pytest.raises(Exception, match=r"comparisons_of.*cells"):  # beartype
        comparisons_of(3)
    with pytest.raises(Exception, match=r"(?s)by_token.*given"):  # jaxtyping
        by_token(torch.zeros(4, dtype=torch.int64), (2, 2))
