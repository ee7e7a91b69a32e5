"""docs/choosing-calibration-data.md says what the catalogue says."""

import re
import sys
from pathlib import Path

from calprune.calibration.selections import SELECTIONS
from calprune.text.find import catalogue

DOCS = Path(__file__).parents[1] / "docs"
sys.path.insert(0, str(DOCS))
import sources_section  # noqa: E402


def test_the_section_of_sources_is_current(monkeypatch):
    monkeypatch.delenv("CALPRUNE_CATALOGUE", raising=False)
    page = sources_section.PAGE.read_text()
    assert page == sources_section.current(page), "run: python docs/sources_section.py"


def test_every_source_and_every_selection_is_told_and_stand_ins_are_called_so(monkeypatch):
    monkeypatch.delenv("CALPRUNE_CATALOGUE", raising=False)
    page = sources_section.PAGE.read_text()
    named = set(re.findall(r"`([\w]+)`", page))
    assert set(catalogue()) <= named and set(SELECTIONS) <= named
    assert page.count("**Stand-in**") == sum(bool(source.stand_in) for source in catalogue().values())
