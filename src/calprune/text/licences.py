"""Licences that the user excludes."""

from collections.abc import Sequence
from pathlib import Path

from calprune.base.values import ConfigError, UserError, did_you_mean
from calprune.calibration.recipe import Part, Recipe
from calprune.text.find import is_file
from calprune.text.source import TAGS, file_source, find_source


def refuse_licences(recipe: Recipe, excluded: Sequence[str]) -> None:
    """Raise UserError for the first source whose licence has one of these tags ("nc": no commercial use)."""
    for tag in excluded:
        if tag not in TAGS:
            raise ConfigError(f"--exclude-license: unknown tag {tag!r}{did_you_mean(tag, TAGS)}")
    for name in (name for part in recipe.parts for name in _texts_of(part)):
        source = file_source(Path(name)) if is_file(name) else find_source(name)
        if tags := [tag for tag in source.licence_tags if tag in excluded]:
            raise UserError(f"source {name} has the licence {source.licence!r} ({tags[0]}), which you excluded; "
                            "leave the source out")  # fmt: skip


def _texts_of(part: Part) -> list[str]:
    """The sources whose text a part holds: what a model writes begins with another's, or with nobody's."""
    if part.source != "self":
        return [part.source]
    from calprune.writing.strategies import parse_strategy  # transformers is imported

    of = getattr(parse_strategy(part.strategy).strategy, "of", None)
    return [of] if of else []
