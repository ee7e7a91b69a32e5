"""Write the pages that are made from the code, or with --check say which are not current."""

import sys
from collections.abc import Iterator
from pathlib import Path

import claims_section
import methods_section
import sources_section
import studies_section
import typer.main

from calprune.cli import app
from calprune.methods.listing import described_methods

HERE = Path(__file__).parent
READING = """\
Each row is a comparison of its own, paired by draw and item; of some thirty, one or two would be found where there is
nothing. `relative_error` in the trials' `prune.json`, ‖(W − Ŵ)X‖² ÷ ‖WX‖² averaged over linears, gives reasons:

- **SparseGPT is worse than Wanda at 60 % on dense inputs, and ahead on those of the blocks pruned so far** (254 against
  281), as its code has it. Its layers' error on dense inputs is 0.029, half of what scores without an update leave
  (Wanda++'s 0.061): it repairs each layer for inputs that the pruned model will not give it. With pruned ones: 0.025.
  And half of that repair is of this set alone: on another draw of c4 its error is 0.058 against 0.035 on its own, where
  Wanda has 0.064 against 0.060 (`python benchmarks/layer_errors.py`; 4,096 tokens, 576 and 1,536 inputs).
- **A smaller layer error is not a better model.** At 70 % with SparseGPT, DLP (0.057), AlphaPruning (0.058) and OWL
  (0.056) all leave larger errors than the uniform share (0.053), and the first two have a third less perplexity. ALPS
  has the smallest error at 2:4 (0.0216) and a higher perplexity than ADMM (0.0225) in the draw that both have.
- Of RIA, Wanda++'s score, DSnoT and Pruner-Zero, where they come out worse than Wanda, no fault was found: their masks
  agree with public code (LOG.md), DSnoT's but for where it differs by design. The papers have models fifty times this
  size, and 128 sequences of 2,048 tokens."""
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
        *evidence(),
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


def evidence() -> Iterator[str]:
    """What a study of ours measured, and whether the papers' orders hold in it."""
    page, study = "[page](results/methods.html)", "[studies/methods.yaml](../studies/methods.yaml)"
    yield from ["## Side by side", ""]
    yield f"SmolLM2-135M, 16 x 256 tokens of c4, three draws ({page}; {study} says what was cut):"
    command = "calprune study run studies/methods.yaml --runs runs/methods --data-root DATA --workers 2"
    yield from ["", "```", command, "```", ""]
    yield from [methods_section.section(), "", "### Do the papers' orders hold?", ""]
    yield from [READING, "", claims_section.section(of=("methods",)), ""]


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
