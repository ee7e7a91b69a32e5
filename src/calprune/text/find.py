from pathlib import Path

from calprune.calibration.recipe import Part
from calprune.text.formats import parse_format, refuse
from calprune.text.read import READERS
from calprune.text.source import catalogue, find_source


def check_part(part: Part) -> None:
    """Raise ConfigError where a part names no source, or a format that its source has not, whatever files there are."""
    if part.source == "self":
        from calprune.writing.strategies import parse_strategy  # its strategies open parts themselves

        parse_strategy(part.strategy)
    elif not is_file(part.source):
        source = find_source(part.source)
        format = parse_format(part.format or source.default_format)
        if not format.suits(source.formats):
            raise refuse(format, source.name, source.formats)


def is_file(name: str) -> bool:
    """Whether a source's name is meant as a file of records: by its ending, or because there is one and no source of
    the catalogue is called so (./c4 is always the file)."""
    stem, _, ending = name.lower().removesuffix(".gz").removesuffix(".zst").rpartition(".")
    if bool(stem) and ending in READERS:
        return True
    return Path(name).is_file() and ending not in ("yaml", "yml") and name not in catalogue()
