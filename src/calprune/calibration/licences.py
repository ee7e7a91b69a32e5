"""Licences that the user excludes."""

from collections.abc import Sequence
from pathlib import Path

from calprune.calibration.opened import is_file
from calprune.calibration.sources import TAGS, file_source, find_source
from calprune.calibration.spec import Recipe
from calprune.config import ConfigError, UserError, did_you_mean


def refuse_licences(recipe: Recipe, excluded: Sequence[str]) -> None:
    """Raise UserError for the first source whose licence has one of these tags ("nc": no commercial use)."""
    for tag in excluded:
        if tag not in TAGS:
            raise ConfigError(f"--exclude-license: unknown tag {tag!r}{did_you_mean(tag, TAGS)}")
    for part in recipe.parts:
        source = file_source(Path(part.source)) if is_file(part.source) else find_source(part.source)
        if tags := [tag for tag in source.licence_tags if tag in excluded]:
            raise UserError(f"source {part.source} has the licence {source.licence!r} ({tags[0]}), which you excluded; "
                            "leave the source out")  # fmt: skip
