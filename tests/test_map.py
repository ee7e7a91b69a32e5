"""The map at the door of the room of calibration data names every file in it."""

import re
from pathlib import Path

import calprune.calibration


def test_the_map_names_every_file_and_no_other():
    room = Path(calprune.calibration.__file__).parent
    files = {path.stem for path in room.glob("*.py")} - {"__init__"}
    table = calprune.calibration.__doc__.split("\n\n", 1)[1]
    named = set(re.findall(r"[a-z_]+", re.sub(r"\([^)]*\)|^[A-Z][\w-]*( \w+)?  +|catalogue/", " ", table, flags=re.M)))
    assert named == files
