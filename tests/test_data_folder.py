"""docs/data-folder.md says which fields a record needs: with them a source reads it, without one it does not."""

import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

from calprune.base.values import UserError
from calprune.text.find import catalogue

DOCS = Path(__file__).parents[1] / "docs"
sys.path.insert(0, str(DOCS))
import data_folder_page  # noqa: E402
import sources_section  # noqa: E402

INVENTED = yaml.safe_load((DOCS / "examples.yaml").read_text(encoding="utf-8"))
ASKED = [source for source in catalogue().values() if source.prompt and source.local]


def worded(source, record: dict) -> list[str]:
    formats = [name for name in ("single", "cot") if name in source.formats]
    return [sources_section._worded(source, one, record, INVENTED["joined"].get(source.name)) for one in formats]


@pytest.mark.parametrize("source", ASKED, ids=lambda source: source.name)
def test_the_listed_fields_are_what_a_record_needs(source):
    whole = next(record for pattern, record in INVENTED.items() if fnmatch(source.name, pattern))
    listed = data_folder_page.fields(source, "calibration" if source.local.files("calibration") else "evaluation")
    assert listed <= set(whole)
    record = {name: whole[name] for name in listed}
    assert worded(source, record) == worded(source, whole)
    for name in sorted(listed):
        with pytest.raises((UserError, StopIteration)):
            worded(source, {other: value for other, value in record.items() if other != name})


def test_every_local_file_of_the_catalogue_is_in_the_table():
    table = data_folder_page.page()
    for source in catalogue().values():
        for split in source.local.splits if source.local else ():
            for file in source.local.files(split):
                assert f"| `{file}` | `{source.name}` | {split} | " in table
