"""Write the pages that are made from the code, or with --check say which are not current."""

import inspect
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import MISSING, fields
from functools import partial
from pathlib import Path
from typing import Any

import checked_section
import checkpoints_page
import choose_section
import claims_section
import data_folder_page
import deploy_section
import families_section
import findings_page
import half_billion_page
import house
import known_names
import literature_page
import measured_section
import methods_section
import own_text_section
import paper_numbers_page
import recover_section
import scale_section
import sets_section
import sources_section
import structured_section
import studies_section
import typer.main
from pictures import draw, frontier

from calprune.allocation import ALLOCATIONS
from calprune.cli import app
from calprune.cli.app import by_panel, folded
from calprune.methods.listing import described_methods
from calprune.pages.words import glossary

HERE = Path(__file__).parent
DEFAULT = """\
`calprune prune` takes the method of the pattern: `admm` at n:m, `wanda` of a share, `flap` for neurons and heads,
`block_influence` for blocks, `reap` for experts. `choose`, `start` and `calib compare` prune often and take `sparsegpt`
at n:m: it solves a block of the demo model in {sparsegpt} s of a core, `admm` in {admm}
([benchmarks/methods.md](../benchmarks/methods.md)). Below is what the first two follow from: KL to the dense model,
nats a token, three draws of 16 x 256 tokens of c4, 8,192 tokens of WikiText-2 ([page](results/default_method.html),
[studies/default_method.yaml](../studies/default_method.yaml)). The second model's weights are what a 4-bit file of
Qwen2.5-Coder-0.5B-Instruct holds. Its widest matrix has 4,864 inputs, more than there are tokens: methods that
need Gram matrices are short of data there, and more of it was not tried."""
READING = """\
An interval is of its own, paired by draw and item; a verdict is what Holm's correction over all claims leaves of it.
Reasons, where something comes out otherwise than in its paper, are in
`relative_error` of the trials' `prune.json`, ‖(W − Ŵ)X‖² ÷ ‖WX‖² averaged over linears, and in the same on tokens
that were not pruned by ([benchmarks/layer_errors.md](../benchmarks/layer_errors.md), `python
benchmarks/layer_errors.py`: one draw, 21 linears):

- **Most of what a weight update gains here it gains on its own 4,096 tokens**, 2.7 a width of down_proj and 7 of the
  others. At 60 % SparseGPT leaves 41 % less error than Wanda on them (0.0352 against 0.0595), 10 % less on another
  draw of c4 (0.0578, 0.0640) and 3 % less on WikiText-2 (0.0624, 0.0645); at 2:4 41, 7 and 2 %. There is little left
  to win by, and at 60 % on dense inputs it is behind Wanda. Inputs of the blocks pruned so far help it by 0.24 nats;
  whether it is then ahead of Wanda (254 against 281) cannot be told. That dense inputs are not those that the pruned
  model gives is not the reason: on the latter its layers' error is no larger (0.0560; Wanda's 0.0632).
- **At 2:4 the error on the judged text ranks the six methods as perplexity does**, in the draw that was looked at:
  ADMM 0.0612 (203), ALPS 0.0661 (257), ROSE 0.0668 (258), SparseGPT 0.0670 (273), Wanda 0.0685 (311), DSnoT 0.0708
  (399). The error on their own tokens does not: ALPS has the least (0.0256; ADMM 0.0290), and DSnoT has no more than
  Wanda (0.0649, 0.0651). ADMM has the damping 0.1, the other solvers 0.01; SparseGPT with 0.1 has 0.0621 in place of
  0.0670, and by three draws perplexity 254 [246, 263] in place of 290 [219, 385] (308 and 324 at 60 %): draws then
  differ less; whether their mean is better cannot be told at 2:4.
- **Yet a smaller layer error is not a better model.** At 60 % RIA's is below Wanda's on the judged text too (0.0618),
  and its perplexity above. At 70 % with SparseGPT, DLP (0.057), AlphaPruning (0.058) and OWL (0.056) all leave larger
  errors than the uniform share (0.053), and the first two have a third less perplexity. These four are means over the
  three draws, of all 210 linears on the tokens pruned by: what `calprune prune demo --method sparsegpt --pattern 70%
  --allocation dlp --propagate dense --calibration c4 --num-samples 16 --max-seq-length 256 --seed 0 --out DIR
  --data-root DATA` prints as reconstruction error with `--seed` 0, 1 and 2 (0.0598, 0.0538 and 0.0573), and with
  `alpha(epsilon=0.2)` (0.0619, 0.0538, 0.0579), `owl` (0.0603, 0.0516, 0.0562) and `uniform` (0.0565, 0.0487, 0.0526)
  in place of `dlp`: in every draw above the uniform share (the study's trials, commit a41eb10; seed 0 of `dlp` and
  `uniform` again by this command at e2472e6).
- **Regional optimisation changes almost nothing** at the paper's learning rate of 3e-7 in one round of its five (351.6
  for 351.7, one draw).
- **DSnoT by our rule harms the feed-forward**: on attention's linears alone, which is where its code works by default,
  it has 347 at 2:4, on all linears 408; its start, Wanda, has 340. The released rule
  (`rule=released`) is judged in [its own study](../studies/dsnot.yaml): not shown to be better than the mask it starts
  from ([page](results/dsnot.html)).
- **Wanda++ is better with a quarter of `alpha`**, which the public code has in effect (LOG.md): 309 in place of 357 at
  60 %, 331 in place of 345 at 2:4. Wanda itself has 273 and 340: at 60 % it stays behind, at 2:4 that cannot be told.
- No fault was found in RIA, GBLM, Wanda++'s score, DSnoT and Pruner-Zero: their masks agree with code that is public,
  DSnoT's under `rule=released` to 97.96 % and more, and to 99.956 % and more once that code has our variance (LOG.md).
  The papers have models fifty times this size, and 128 sequences of 2,048 tokens."""
HOW_COMMANDS = """\
`calprune COMMAND --help` shows the same, `calprune --version` the version; `python -m calprune` is the same program.
`calprune --install-completion` completes commands, options and names (of methods, filters, ...) in your shell.

- Each command that prints a result takes `--json`: it prints one JSON value on stdout.
- An option that takes several values is repeated: `--sources a --sources b`.
- What is written as text (methods, filters, evaluations, ...) has one grammar: `name(first, option=value, flag)`.
- Notes and progress go to stderr. Exit codes: 0 done; 1 an error that you can fix, in one line; 2 an unknown command or
  option; 3 some trials of a study failed; 130 interrupted; 141 nobody
  reads what is printed."""
MADE = "<!-- made by docs/generate.py: run `make docs` -->\n"


def methods_page() -> str:
    lines = [MADE, "# Methods", ""]
    lines += [
        "A method decides which weights of a matrix stay, by the matrix and the statistics of its inputs. Write it as",
        'text with its options, `sparsegpt(damping=0.1)`, or bring your own: `"package.module:MyMethod(option=1)"`.',
        "",
        "`nothing`: reads no data. `moments`: Σx and Σx² at each input. `gram`: also Σxxᵀ. `regional`, `gradients`:",
        "also how a block's output, or the loss, changes with each weight. Sums are collected once and serve every",
        "method at or below their level (`calprune stats`). SparseGPT is compiled where numba is, `pip install",
        "'calprune[fast]'`, and on a GPU by Triton, which comes with torch. What each method takes: on a CPU",
        "[benchmarks/methods.md](../benchmarks/methods.md), for a block of Llama-7B's size on a GPU",
        "[benchmarks/gpu.md](../benchmarks/gpu.md). Which linear gets how much of the sparsity:",
        "[allocations](#allocations).",
        "",
        *evidence(),
    ]
    for entry in described_methods():
        lines += [
            f"## {entry.name}",
            "",
            f"{entry.idea}",
            "",
            f"- paper: {entry.paper}",
            f"- needs: {entry.needs}",
        ]
        options = ", ".join(f"`{name}={value}`" for name, value in entry.options.items())
        lines += [f"- options: {options or 'none'}"]
        lines += ["", *(["Prunes nothing, so its pattern is `0%`.", ""] if not entry.prunes else [])]
    checked = ["## Sources, and what each was checked against", "", checked_section.section(), ""]
    return "\n".join([*lines, *allocations(), *checked])


def allocations() -> Iterator[str]:
    """Each allocation as its file's first lines have it."""
    yield from ["## Allocations", ""]
    yield 'How the sparsity is shared out over linears, `--allocation "owl(lambda_=0.08, m=5)"`; together they zero as'
    yield from ["many weights as the pattern asks for, of n:m as patterns of the same m.", ""]
    for name, cls in ALLOCATIONS.items():
        options = ", ".join(
            f"`{one.name}`" if one.default is MISSING else f"`{one.name}={one.default!r}`" for one in fields(cls)
        )
        about = inspect.getdoc(inspect.getmodule(cls)) or ""
        yield from [f"### {name}", "", f"Options: {options or 'none'}.", "", "```text", about.strip(), "```", ""]


def evidence() -> Iterator[str]:
    """What a study of ours measured, and whether the papers' orders hold in it."""
    page, study = "[page](results/methods.html)", "[studies/methods.yaml](../studies/methods.yaml)"
    yield from ["## Side by side", ""]
    yield f"SmolLM2-135M, 16 x 256 tokens of c4, three draws, some methods one ({page}; {study} says what was cut):"
    command = "calprune study run studies/methods.yaml --runs runs/methods --data-root DATA --workers 2"
    yield from ["", "```", command, "```", ""]
    yield from [methods_section.section(), "", "### Where no method is named", ""]
    yield from [DEFAULT.format(**methods_section.seconds_a_block()), ""]
    yield from [*methods_section.where_none_is_named(), "### Do the papers' orders hold?", ""]
    yield from [READING, "", claims_section.section(of=claims_section.OF_METHODS), ""]


def commands() -> Iterator[tuple[str, Any]]:
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
    lines = [MADE, "# Commands", "", *HOW_COMMANDS.splitlines()]
    for name, command in commands():
        lines += ["", f"## {name}", "", " ".join((command.help or "").split()), "", "```"]
        lines += [line for example in command.examples for line in folded(example, 100)]
        lines += ["```"]
        for panel, params in by_panel(command.params).items():
            lines += ["", f"{panel}:", "", *map(parameter, params)]
    return "\n".join([*lines, ""])


def parameter(param: Any) -> str:
    """An argument or option, what it is and its default, as a line of a list."""
    named = [param.name.upper()] if param.param_type_name == "argument" else [*param.opts, *param.secondary_opts]
    default = param.default if not param.secondary_opts else param.opts[0]
    usual = param.show_default if isinstance(param.show_default, str) else default
    more = ["required"] if param.required else [f"default: {usual}"] if usual is not None and usual is not False else []
    more += [f"also from the environment: {param.envvar}"] if param.envvar else []
    said = " ".join(param.help.split()) + (f" [{'; '.join(more)}]" if more else "")
    return f"- {', '.join(f'`{name}`' for name in named)}: {said}"


def choosing_page() -> str:
    """Written by hand but for three sections."""
    page = (HERE / "choosing-calibration-data.md").read_text(encoding="utf-8")
    return measured_section.current(sources_section.current(claims_section.current(page)))


def design_page() -> str:
    """Written by hand but for the table of rooms."""
    begin, end = "<!-- rooms: made by docs/generate.py -->\n", "<!-- end of rooms -->\n"
    before, rest = (HERE / "design.md").read_text(encoding="utf-8").split(begin)
    return f"{before}{begin}{house.table()}\n{end}{rest.split(end)[1]}"


def deploy_page() -> str:
    """Written by hand but for its tables."""
    return deploy_section.current((HERE / "deploy.md").read_text(encoding="utf-8"))


def words_page() -> str:
    """The glossary that pages explain their terms by."""
    lines = [
        MADE,
        "# Glossary",
        "",
        "What the words on these pages mean. *Also*: what papers and other tools call the same thing. A page",
    ]
    lines += ["of results explains these terms where they stand."]
    for word in glossary():
        also = f" *Also*: {word.also}." if word.also else ""
        lines += ["", *textwrap.wrap(f"**{word.term}**. {word.means}{also}", 118, break_on_hyphens=False)]
    return "\n".join(lines) + "\n"


PAGES = {
    "checkpoints.md": lambda: MADE + checkpoints_page.page(),
    "design.md": design_page,
    "house.svg": house.picture,
    "choosing-calibration-data.md": choosing_page,
    "cli.md": cli_page,
    "deploy.md": deploy_page,
    "data-folder.md": lambda: MADE + data_folder_page.page(),
    "explanation/findings.md": lambda: MADE + findings_page.page(),
    **findings_page.pictures(),
    "explanation/half-billion.md": lambda: MADE + half_billion_page.page(),
    f"pictures/{own_text_section.PICTURE}": own_text_section.picture,
    f"pictures/{sets_section.SHARES_PICTURE}": sets_section.shares_picture,
    f"pictures/{sets_section.AMOUNTS_PICTURE}": sets_section.amounts_picture,
    "explanation/scale.md": scale_section.current,
    "literature.md": lambda: MADE + literature_page.page(),
    "paper-numbers.md": lambda: MADE + paper_numbers_page.page(),
    "site/static/papers.js": literature_page.script,
    **{f"pictures/{name}.svg": drawn for name, drawn in draw.PICTURES.items()},
    **{f"pictures/frontier{of}.svg": partial(frontier.frontier, of) for of in frontier.MODELS},
    "methods.md": methods_page,
    "models.md": families_section.page,
    "recover.md": recover_section.current,
    "choose.md": lambda: choose_section.current((HERE / "choose.md").read_text(encoding="utf-8")),
    "structured.md": structured_section.current,
    "studies.md": studies_section.current,
    "words.md": words_page,
    "../src/calprune/cli/known.py": known_names.page,
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
