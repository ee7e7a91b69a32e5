"""docs/data-folder.md: where under a data root each source of the catalogue looks, and for which fields."""

from collections.abc import Iterator

from jinja2 import Environment, meta

from calprune.text.find import catalogue
from calprune.text.source import RecordSource

LEAD = """\
# A data folder of your own

Calprune reads the sources of its catalogue from one folder, the *data root*: `--data-root DATA`, or
`CALPRUNE_DATA=DATA` for all commands. `calprune sources --data-root DATA` says which sources are there (column *here*).
You need only the files of the sources that you use. What is not there is read from the hub, which needs a network and
`pip install 'calprune[hub]'`.

For text of your own none of this is needed: give the file itself (`calprune prune MODEL --calibration notes.txt ...`),
or write a YAML beside it ([add a source](add-a-source.md)).

## Lay it out

A file holds the records of one split, one JSON object a line, compressed by gzip:

```
DATA/
  c4/train.jsonl.gz         {"text": "A page of the web ..."}
  c4/heldout.jsonl.gz       other pages: what evaluates is never calibrated on
  gsm8k/train.jsonl.gz      {"question": "...", "answer": "... #### 42"}
  gsm8k/test.jsonl.gz
```

From a data set on the hub, with the package `datasets`:

```python
import gzip
import json
from pathlib import Path

import datasets

rows = datasets.load_dataset("openai/gsm8k", "main", split="train")
Path("DATA/gsm8k").mkdir(parents=True, exist_ok=True)
with gzip.open("DATA/gsm8k/train.jsonl.gz", "wt", encoding="utf-8") as file:
    for row in rows:
        file.write(json.dumps(row, ensure_ascii=False) + "\\n")
```

- The two splits of a source have no record in common. Where one file serves both, the catalogue says which rows are
  whose (column *rows*; `row` is the record's number, from 1).
- Records may have more fields; they are not looked at. A field that is missing is an error that names the record.
- A set is named by the bytes of these files, so the same files give the same sets on every machine.
- A source that the catalogue marks as a stand-in reads a file that is not the data set of that name; it is said
  wherever the source is. If you have the data set itself, write a YAML of your own for it.

## Which file, which fields

"""


def page() -> str:
    """The whole page."""
    lines = ["| file | source | split | fields | rows |", "|---|---|---|---|---|", *sorted(set(_rows()))]
    return LEAD + "\n".join(lines) + "\n"


def fields(source: RecordSource, split: str) -> set[str]:
    """The fields of a record that the source's wordings and conditions read."""
    assert source.local is not None
    place = source.local
    wordings = [source.prompt, source.answer, source.rationale, source.user, *source.carry.values()]
    if source.kind == "text" or not source.prompt:
        wordings.append(source.text)
    expressions = [*place.fields.values(), _where(source, split)]
    texts = [*wordings, *(f"{{{{ {text} }}}}" for text in expressions if text)]
    env = Environment()
    env.filters |= {"letter": str, "boxed": str}
    found = {name for text in texts for name in meta.find_undeclared_variables(env.parse(text))}
    made = set(place.fields) | set(place.each)
    joins = [one.join for one in (place, source.hub) if one and one.join]
    joined = {name for join in joins for name in join.take}
    by = {place.join.by} if place.join else set()
    return (found - made - joined - {"row"}) | set(place.each.values()) | by


def _where(source: RecordSource, split: str) -> str:
    assert source.local is not None
    where = source.local.where
    return where.get(split, "") if isinstance(where, dict) else where


def _rows() -> Iterator[str]:
    for source in catalogue().values():
        if source.local is None:
            continue
        for split in source.local.splits:
            named = ", ".join(f"`{name}`" for name in sorted(fields(source, split)))
            where = f"`{_where(source, split)}`".replace("|", "\\|") if _where(source, split) else ""
            for file in source.local.files(split):
                yield f"| `{file}` | `{source.name}` | {split} | {named} | {where} |"
        if source.local.join:
            join = source.local.join
            named = ", ".join(f"`{name}`" for name in sorted({join.by, *join.take}))
            for split in ("calibration", "evaluation"):
                for file in join.files(split):
                    yield f"| `{file}` | `{source.name}` | {split}, rationales | {named} | |"


if __name__ == "__main__":
    print(page())
