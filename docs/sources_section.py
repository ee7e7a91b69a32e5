"""The section of docs/choosing-calibration-data.md that is made from the catalogue: run this file to write it anew.

python docs/sources_section.py
"""

import gzip
import json
import tempfile
from fnmatch import fnmatch
from itertools import groupby
from pathlib import Path
from typing import Any

import yaml

from calprune.text.document import Given
from calprune.text.find import catalogue
from calprune.text.formats import parse_format
from calprune.text.source import RecordSource

HERE = Path(__file__).parent
PAGE = HERE / "choosing-calibration-data.md"
BEGIN, END = "<!-- sources: made by docs/sources_section.py -->\n", "<!-- sources: end -->\n"
KINDS = {
    "text": "### Text",
    "question": "### Questions with answers",
    "chat": "### Instructions",
    "control": "### Controls, which are made and not read",
}
LANGUAGES = ("mgsm", "ud_pud", "xquad")  # one source a language: told once


def section() -> str:
    """Every source of the catalogue: what it is, how its prompts look, what its licence allows."""
    invented = yaml.safe_load((HERE / "examples.yaml").read_text(encoding="utf-8"))
    sources = sorted(catalogue().values(), key=lambda source: (list(KINDS).index(source.kind), source.name))
    lines = []
    for kind, own in groupby(sources, key=lambda source: source.kind):
        lines += [KINDS[kind], ""]
        for _, family in groupby(own, key=_family):
            lines += _described(list(family), invented)
    return "\n".join(lines)


def current(page: str) -> str:
    """The page with the section as the catalogue has it now."""
    before, _, rest = page.partition(BEGIN)
    return before + BEGIN + "\n" + section() + "\n" + END + rest.partition(END)[2]


def _family(source: RecordSource) -> str:
    return next((name for name in LANGUAGES if source.name.startswith(f"{name}_")), source.name)


def _described(family: list[RecordSource], invented: dict[str, Any]) -> list[str]:
    source = family[0]
    title = source.title if len(family) == 1 else source.title.rpartition(", ")[0] or source.title
    lines = [f"**{', '.join(f'`{s.name}`' for s in family)}** {title}. {source.about}", ""]
    if source.stand_in:
        is_not = "the copy under the data root is not the data set of this name, but"
        lines += [f"- **Stand-in**: {is_not} {source.stand_in}"]
    if not _splits(source, "calibration"):
        lines += ["- Only evaluates: it calibrates where `--allow-evaluation-split` says so."]
    elif source.local is None and not source.made:
        lines += ["- Only on the hub."]
    lines += [f"- Licence: {source.licence} [{', '.join(source.licence_tags)}]"]
    lines += [f"- Formats: {', '.join(source.formats)}"]
    if source.citation:
        lines += [f"- {source.citation}"]
    lines.append("")
    if source.prompt and source.local:
        lines += _examples(source, invented)
    return lines


def _splits(source: RecordSource, split: str) -> bool:
    return bool(source.made) or any(place and place.files(split) for place in (source.local, source.hub))


def _examples(source: RecordSource, invented: dict[str, Any]) -> list[str]:
    """How it words an invented record, with and without a rationale."""
    record = next(value for pattern, value in invented.items() if fnmatch(source.name, pattern))
    lines = []
    for format in [name for name in ("single", "cot") if name in source.formats]:
        text = _worded(source, format, record, invented["joined"].get(source.name))
        lines += [f"As `{format}`:" if format == "cot" else "As `single` (and, many of them, `icl`):", "", "```text"]
        lines += [text.rstrip("\n"), "```", ""]
    return lines


def _worded(source: RecordSource, format: str, record: dict[str, Any], joined: dict[str, Any] | None) -> str:
    """The source's own reading and writing of a file that holds the record alone."""
    split = "calibration" if source.local.files("calibration") else "evaluation"
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        if source.distinct:  # it looks into the evaluation split for the same prompt
            for name in source.local.files("evaluation"):
                _write(root / name, [])
        for name in source.local.files(split):
            _write(root / name, [record])
        if source.local.join:
            for name in source.local.join.files(split):
                _write(root / name, [joined])
        return next(source.documents(parse_format(format), split, Given(data_root=root))).text


def _write(path: Path, records: list[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress("".join(json.dumps(record) + "\n" for record in records).encode()))


if __name__ == "__main__":
    PAGE.write_text(current(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
