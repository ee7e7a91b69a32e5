"""What holds of every command, read off the program itself: options, defaults, help, examples, exit codes."""

import re
import shlex
import subprocess
import sys

import pytest
import typer.main

from calprune import __version__
from calprune.cli.app import PANELS, app, folded, main
from calprune.cli.known import NAMES
from calprune.cli.names import check_text
from tests.test_cli import run  # noqa: F401  a fixture
from tests.test_docs import GENERATE

COMMANDS = dict(GENERATE.commands())
PARAMETERS = [pytest.param(name, param, id=f"{name} {param.name}")
              for name, command in COMMANDS.items() for param in command.params]  # fmt: skip
OLD = {"more", "perplexity", "task", "kl_to", "window", "tokens"}  # hidden: as it was written until 0.1


def context(command):
    return typer.Context(command, info_name="calprune")


def shown(command) -> str:
    return " ".join(command.get_help(context(command)).split())


def test_there_are_commands():
    assert len(COMMANDS) >= 17 and {"calprune prune", "calprune calib build", "calprune study run"} < set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_json_as_a_flag(command):
    (json,) = [param for param in COMMANDS[command].params if "--json" in param.opts]
    assert json.is_flag and json.opts == ["--json"]


@pytest.mark.parametrize(("command", "param"), PARAMETERS)
def test_no_option_takes_several_words(command, param):
    if param.param_type_name == "option":
        assert param.nargs == 1, "several values are given by repeating the option"
        assert not param.multiple or param.hidden or "repeatable" in param.help


@pytest.mark.parametrize(("command", "param"), PARAMETERS)
def test_every_parameter_has_a_help_and_a_panel(command, param):
    if param.hidden:
        assert param.name in OLD
        return
    assert param.help and not re.search(r"\bdefault\b", param.help), "a default is shown by itself"
    assert param.param_type_name == "argument" or param.rich_help_panel in PANELS[1:-1]


@pytest.mark.parametrize(("command", "param"), PARAMETERS)
def test_every_default_is_shown(command, param):
    if param.hidden:
        return
    _, text = param.get_help_record(context(COMMANDS[command]))
    text = " ".join(text.split())
    assert "<class" not in text and "[]" not in text
    if isinstance(param.show_default, str):
        assert f"default: ({param.show_default})" in text
    elif param.default not in (None, False):
        named = param.opts[0].lstrip("-") if getattr(param, "secondary_opts", None) else param.default
        assert f"default: {named}" in text
    assert param.required == ("required" in text.rpartition("[")[2])


@pytest.mark.parametrize("command", COMMANDS)
def test_every_example_is_read_as_it_is_shown(command):
    """Each line is a command of the program, its words are read without a mistake, and the help shows it."""
    assert COMMANDS[command].examples
    for example in COMMANDS[command].examples:
        name = max((name for name in COMMANDS if f"{example} ".startswith(f"{name} ")), key=len)
        words = shlex.split(example.removeprefix(name))
        found = COMMANDS[name].make_context(name, words).params
        assert found and not any(
            value for key, value in found.items() if key == "more" or (key in OLD and "eval" in name)
        )
        assert shlex.split(" ".join(line.removesuffix("\\") for line in folded(example, 60))) == shlex.split(example)
        assert all(line in COMMANDS[command].get_help(context(COMMANDS[command])) for line in folded(example, 74))


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_has_its_options_under_panels_in_one_order(command):
    text = COMMANDS[command].get_help(context(COMMANDS[command]))
    headings = [line.removesuffix(":") for line in text.splitlines() if line[:1].strip() and line.endswith(":")]
    assert [one for one in headings if one in PANELS] == sorted(set(headings) & {*PANELS}, key=PANELS.index)
    assert "Output" in headings and "Options" in headings and headings[-1] in ("Example", "Examples")


@pytest.mark.parametrize("command", ["calprune", "calprune calib", "calprune study", *COMMANDS])
def test_words_that_are_no_command_end_with_two(command, run):  # noqa: F811
    status, out, err = run(*command.split()[1:], "--no-such-option")
    assert (status, out) == (2, "")
    assert err.startswith("calprune: ") and err.count("\n") == 1 and f"(see {command} --help)" in err


@pytest.mark.parametrize("group", ["", "calib", "study"])
def test_a_group_alone_shows_its_help_and_ends_with_two(group, run):  # noqa: F811
    status, out, err = run(*group.split())
    assert status == 2 and out == "" and err.startswith("Usage: calprune") and "Commands:" in err


def test_the_version_is_that_of_the_package(run):  # noqa: F811
    assert run("--version") == (0, f"calprune {__version__}\n", "")


def test_the_module_is_the_program():
    ended = subprocess.run([sys.executable, "-m", "calprune", "prune", "--help"], capture_output=True, text=True)
    assert ended.returncode == 0 and ended.stdout.startswith("Usage: calprune prune [OPTIONS] {model}")
    assert subprocess.run([sys.executable, "-m", "calprune", "pron"], capture_output=True).returncode == 2


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_for_the_shell_and_knows_commands_options_and_names(shell, run, monkeypatch):  # noqa: F811
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    here = {"PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(sys.path), "_CALPRUNE_COMPLETE": f"complete_{shell}"}

    def completed(line: str) -> str:
        words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1), "_TYPER_COMPLETE_ARGS": line,
                 "_TYPER_COMPLETE_FISH_ACTION": "get-args"}  # fmt: skip
        return subprocess.run(
            [sys.executable, "-m", "calprune"], env=here | words, capture_output=True, text=True
        ).stdout

    assert {"study", "stats", "sources", "synth"} <= set(re.findall(r"\w+", completed("calprune s")))
    assert "--pattern" in completed("calprune prune --patt")
    found = completed("calprune prune demo --method spar")
    assert "sparsegpt" in found and "sparseswaps" in found and "wanda" not in found


QUICK = [
    (("prune", "demo", "--out", "x", "--pattern", "50"), "did you mean '50%'?"),
    (("prune", "demo", "--out", "x", "--pattern", "0.6"), "did you mean '60%'?"),
    (("prune", "demo", "--out", "x", "--pattern", "2/4"), "did you mean '2:4'?"),
    (("prune", "demo", "--out", "x", "--sparsity", "50"), "below 1"),
    (("prune", "demo", "--out", "x", "--method", "sparse-gpt", "--pattern", "50%"), "did you mean 'sparsegpt'?"),
    (("prune", "demo", "--out", "x", "--method", "ria(powr=1)", "--pattern", "50%"), "did you mean 'power'?"),
    (("prune", "demo", "--out", "x", "--method", "dsnot(start=wnada)", "--pattern", "50%"), "did you mean 'wanda'?"),
    (("prune", "demo", "--out", "x", "--method", "ria(power=much)", "--pattern", "50%"), "valid number; got 'much'"),
    (("prune", "demo", "--out", "x", "--allocation", "owll", "--pattern", "50%"), "did you mean 'owl'?"),
    (("prune", "demo", "--out", "x", "--propagate", "dens", "--pattern", "50%"), "did you mean 'dense'?"),
    (("prune", "demo", "--out", "x", "--permute", "heuristics", "--pattern", "2:4"), "did you mean 'heuristic'?"),
    (("stats", "demo", "--out", "x", "--calibration", "c4", "--token-weights", "atention"), "mean 'attention'?"),
    (("calib", "build", "c4", "--out", "x", "--selection", "zip"), "did you mean 'zipf'?"),
    (("calib", "build", "c4", "--out", "x", "--layout", "padd"), "did you mean 'pad'?"),
    (("calib", "build", "c4", "--out", "x", "--filter", "min_word(50)"), "did you mean 'min_words'?"),
    (("synth", "demo", "--out", "x", "--strategy", "prefix(of=c4)"), "did you mean 'prefixes'?"),
    (("eval", "demo", "--on", "perplexiti(c4)"), "did you mean 'perplexity'?"),
    (("eval", "demo", "--on", "boolq(exampls=9)"), "did you mean 'examples'?"),
    (("eval", "demo", "--on", "kl(c4)"), "--dense demo"),
    (("choose", "demo", "--out", "x", "--method", "wandaa"), "did you mean 'wanda'?"),
    (("calib", "compare", "a", "b", "--pattern", "60"), "did you mean '60%'?"),
]  # fmt: skip

PROGRAM = """
import sys
class Heavy:
    def find_spec(self, name, path=None, target=None):
        assert name not in ("torch", "transformers", "numpy"), f"{name} is imported"
sys.meta_path.insert(0, Heavy())
from calprune.cli import main
for words in WORDS:
    sys.argv = ["calprune", *words]
    try:
        main()
    except SystemExit as e:
        print(e.code, file=sys.stderr)
"""


def test_a_mistake_in_what_an_option_names_is_named_without_torch():
    program = PROGRAM.replace("WORDS", repr([words for words, _ in QUICK]))
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    lines = ended.stderr.splitlines()
    assert len(lines) == 2 * len(QUICK), ended.stderr
    for line, status, (words, said) in zip(lines[::2], lines[1::2], QUICK, strict=True):
        assert status == "1" and line.startswith("calprune: ") and said in line, (words, line)


@pytest.mark.parametrize("kind", NAMES)
def test_what_the_registries_make_passes_the_quick_look(kind):
    for name, options in NAMES[kind].items():
        needed = "c4" if kind in ("evaluation", "strategy") and "of" in options else ""
        check_text(kind, f"{name}({needed})")


def test_a_class_of_the_users_own_is_not_looked_at():
    check_text("method", "my_methods.swing:Swing(power=0.5)")
    check_text("token weights", "even")


def test_no_command_reads_the_program_name_from_its_file(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["/somewhere/__main__.py", "prune", "--help"])
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().out.startswith("Usage: calprune prune ")


def test_app_is_the_program():
    assert typer.main.get_command(app).no_args_is_help
