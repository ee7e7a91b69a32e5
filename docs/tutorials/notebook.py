"""The notebook of the tutorials: execute it and keep what its cells gave (needs the extra `notebook`)."""

import json
import tempfile
from pathlib import Path
from typing import Any

NOTEBOOK = Path(__file__).parent / "in-python.ipynb"


def execute() -> None:
    """Run every cell in an empty folder and write its outputs, without times and names of machines."""
    import nbformat
    from nbclient import NotebookClient

    book = nbformat.read(NOTEBOOK, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(book, timeout=None, resources={"metadata": {"path": folder}}).execute()
    for i, cell in enumerate(book.cells):
        cell.id, cell.metadata = f"cell-{i}", {}
        if cell.cell_type == "code":
            cell.outputs = [one for one in cell.outputs if one.get("name") != "stderr"]  # progress
    book.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    NOTEBOOK.write_text(nbformat.writes(book, indent=1) + "\n", encoding="utf-8")


def as_markdown(text: str) -> str:
    """A notebook's JSON as MyST Markdown: cells in their order, what they gave below each."""
    parts = []
    for cell in json.loads(text)["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
        else:
            printed = "".join("".join(one.get("text", ())) for one in cell["outputs"])
            shown = [_output(one) for one in cell["outputs"] if "data" in one]
            parts += [f"```python\n{source}\n```", *([f"```text\n{printed.rstrip()}\n```"] if printed else []), *shown]
    return "\n\n".join(parts) + "\n"


def _output(output: dict[str, Any]) -> str:
    data = output["data"]
    if "text/html" in data:
        return "```{raw} html\n" + "".join(data["text/html"]) + "\n```"
    return "```text\n" + "".join(data["text/plain"]).rstrip() + "\n```"
