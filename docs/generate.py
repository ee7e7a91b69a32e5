"""Write the pages that are made from the code, or with --check say which are not current."""

import sys
from collections.abc import Iterator
from pathlib import Path

import claims_section
import sources_section
import studies_section
import typer.main

from calprune.cli import app
from calprune.methods.listing import described_methods

HERE = Path(__file__).parent
MADE = "<!-- made by docs/generate.py: run `make docs` -->\n"


def methods_page() -> str:
    lines = [MADE, "# Methods", ""]
    lines += [
        "A method decides which weights of a matrix stay, by the matrix and the statistics of its inputs. Write it as",
        'text with its options, `sparsegpt(damping=0.1)`, or bring your own: `"package.module:MyMethod(option=1)"`.',
        "",
        "`nothing`: reads no data. `moments`: Σx and Σx² at each input. `gram`: also Σxxᵀ. Sums are collected once and",
        "serve every method at or below their level (`calprune stats`).",
        "",
    ]
    for entry in described_methods():
        lines += [
            f"## {entry['name']}",
            "",
            f"{entry['idea']}",
            "",
            f"- paper: {entry['paper']}",
            f"- needs: {entry['needs']}",
        ]
        options = ", ".join(f"`{name}={value!r}`" for name, value in entry["options"].items())
        lines += [f"- options: {options or 'none'}"]
        lines += ["", *(["Prunes nothing, so its pattern is `0%`.", ""] if not entry["prunes"] else [])]
    return "\n".join(lines)


def commands() -> Iterator[tuple[str, typer.main.TyperCommand]]:
    """Every command with its full name, in alphabetical order."""
    root = typer.main.get_command(app)
    stack = [("calprune", root)]
    while stack:
        name, command = stack.pop(0)
        if hasattr(command, "commands"):
            stack += [(f"{name} {child}", inner) for child, inner in sorted(command.commands.items())]
        else:
            yield name, command


def cli_page() -> str:
    lines = [MADE, "# Commands", "", "Each takes `--help`; most take `--json`, which prints one JSON value."]
    for name, command in commands():
        lines += ["", f"## {name}", "", " ".join((command.help or "").split()), ""]
        for option in command.params:
            said = " ".join((getattr(option, "help", "") or "").split())
            names = ", ".join(
                f"`{n}`" for n in (option.opts if option.param_type_name == "option" else [option.name.upper()])
            )
            lines.append(f"- {names}: {said}" if said else f"- {names}")
    return "\n".join([*lines, ""])


def choosing_page() -> str:
    """Written by hand but for two sections."""
    page = (HERE / "choosing-calibration-data.md").read_text(encoding="utf-8")
    return sources_section.current(claims_section.current(page))


PAGES = {
    "choosing-calibration-data.md": choosing_page,
    "cli.md": cli_page,
    "methods.md": methods_page,
    "studies.md": studies_section.current,
}


def stale() -> list[str]:
    """The pages whose text is not what the code says."""
    return [name for name, make in PAGES.items() if not (HERE / name).exists() or (HERE / name).read_text() != make()]


if __name__ == "__main__":
    if "--check" in sys.argv:
        if found := stale():
            sys.exit(f"not current: {', '.join(found)}; run `make docs`")
    else:
        for name, make in PAGES.items():
            (HERE / name).write_text(make())
