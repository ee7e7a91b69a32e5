"""Calibration data: recipes, drawing, layouts, and the calibration set. The folder of a built set is a source."""

import os
from typing import Any

from calprune.text import SourceKind, register


def names_folder(name: str) -> bool:
    """Whether a name is a folder's; one written as a path need not be there, so results are read without their sets."""
    from calprune.text.find import catalogue, is_file, meant_file

    if os.path.exists(name):
        return os.path.isdir(name) and name not in catalogue()
    is_path = os.sep in name and not any(one in name for one in "():+*") and not name.endswith((".yaml", ".yml"))
    return is_path and name not in catalogue() and not is_file(name) and not meant_file(name)


def _find_set(name: str) -> Any:
    from calprune.calibration.set_source import find_set  # imports torch

    return find_set(name)


register(SourceKind("set", names_folder, _find_set))
