"""The docs site: `make docs-site`. The repository is the source folder, so a link works on GitHub and in the site.

Pages of Markdown are pages of the site; a link to another file of the repository becomes a copy of it, and an HTML file
among them is opened and not downloaded. No page asks for anything outside the site.
"""

import inspect
import re
import shutil
import sys
from pathlib import Path

from docutils import nodes
from myst_parser.parsers.sphinx_ import MystParser
from sphinx import addnodes

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs"))

from tutorials import notebook  # noqa: E402

project = "calprune"
author = "the authors of calprune"
html_title = "calprune"
root_doc = "docs/index"
extensions = ["myst_parser", "sphinx.ext.autodoc"]
include_patterns = [
    "docs/**/*.md",
    "docs/*.md",
    "docs/tutorials/*.ipynb",
    "benchmarks/*.md",
    "recipes/**/*.md",
    "CHANGELOG.md",
    "LOG.md",
]
exclude_patterns = [".venv*", ".git", "build", "runs", "sets", "src", "tests"]
suppress_warnings = ["myst.header"]  # the log's headings skip a level in places
nitpicky = True  # a reference in a docstring that leads nowhere is an error, as a dead link is

myst_heading_anchors = 4  # the anchors that GitHub gives headings
myst_links_external_new_tab = False
autodoc_typehints = "none"  # the signature is in the page; types of arguments are said in words
autodoc_member_order = "bysource"
default_role = "code"

html_theme = "pydata_sphinx_theme"
html_theme_options = {
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": True,
    "footer_start": [],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_context = {"default_mode": "auto"}  # light or dark as the reader's system has it
highlight_language = "none"  # a block without a language is a command, not Python
html_sidebars = {"docs/literature": [], "docs/paper-numbers": [], "docs/index": []}  # nothing to navigate in
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False


def as_markup(app, what, name, obj, options, lines: list[str]) -> None:
    """reStructuredText of a docstring of the house: `NAME, NAME: what it is` is a line of a list where the function has
    such parameters, and what is indented after an empty line is code."""
    takes = set(inspect.signature(obj).parameters) if what in ("function", "method", "class") else set()
    paragraphs = re.split(r"\n{2,}", "\n".join(lines).strip())
    shown: list[str] = []
    for paragraph in paragraphs:
        if paragraph.startswith("    "):
            shown += ["::", "", *paragraph.split("\n"), ""]
        else:
            shown += [*map(escaped, listed(paragraph, takes)), ""]
    lines[:] = shown


def listed(paragraph: str, takes: set[str]) -> list[str]:
    if takes:  # a parameter may begin after the sentence of another
        name = f"(?:{'|'.join(takes)})"
        paragraph = re.sub(rf"(?<=[.)])\s+(?={name}(?:, {name})*: )", "\n", paragraph)
    lines: list[str] = []
    for line in paragraph.split("\n"):
        names, colon, rest = line.partition(": ")
        if colon and set(names.split(", ")) <= takes:
            before = [""] if lines and not lines[-1].startswith(("- ", "  ")) else []
            lines += [*before, f"- `{'`, `'.join(names.split(', '))}`: {rest}"]
        elif lines and lines[-1].startswith(("- ", "  ")) and takes:
            lines.append("  " + line.strip())
        else:
            lines.append(line.strip())
    return lines


def escaped(line: str) -> str:
    """Characters that mean something in reStructuredText and nothing in a docstring, outside `code`."""
    parts = re.split(r"(`[^`]*`)", line)
    start = line.startswith("- ")
    plain = [part if i % 2 else re.sub(r"([*|@])|(?<=\w)_(?!\w)", r"\\\g<0>", part) for i, part in enumerate(parts)]
    return ("- " + "".join(plain)[2:]) if start else "".join(plain)


def open_pages(app, doctree: nodes.document) -> None:
    """A link to an HTML file of the repository opens it, and it is copied beside the pages."""
    for link in list(doctree.findall(addnodes.download_reference)):
        target = link.get("reftarget", "")
        if target.partition("#")[0].endswith(".html"):
            plain = nodes.reference("", "", *link.children, refuri=target, internal=True)
            link.replace_self(plain)


def copy_pages(app, exception) -> None:
    if exception is None and app.builder.format == "html":
        to = Path(app.outdir) / "docs" / "results"
        to.mkdir(parents=True, exist_ok=True)
        (Path(app.outdir) / "index.html").write_text('<meta http-equiv="refresh" content="0; url=docs/index.html">\n')
        for page in (ROOT / "docs" / "results").glob("*.html"):
            shutil.copyfile(page, to / page.name)


class NotebookParser(MystParser):
    """An executed notebook is a page, with what its cells gave; it is not run again."""

    supported = ("notebook",)

    def parse(self, inputstring: str, document: nodes.document) -> None:
        super().parse(notebook.as_markdown(inputstring), document)


def add_map(app, pagename, templatename, context, doctree) -> None:
    if pagename == "docs/literature":
        app.add_js_file("papers.js", loading_method="defer")
        app.add_js_file("map.js", loading_method="defer")


def setup(app) -> None:
    app.add_source_suffix(".ipynb", "notebook")
    app.add_source_parser(NotebookParser)
    app.connect("html-page-context", add_map)
    app.connect("autodoc-process-docstring", as_markup)
    app.connect("doctree-read", open_pages, priority=100)  # before files to be downloaded are collected
    app.connect("build-finished", copy_pages)
