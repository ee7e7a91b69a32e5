"""Calibration data: recipes, drawing, layouts, and the calibration set. The folder of a built set is a source."""

import os
from typing import Any

from calprune.text import SourceKind, register


def _is_folder(name: str) -> bool:
    if not os.path.isdir(name):
        return False
    from calprune.text.find import catalogue

    return name not in catalogue()


def _find_set(name: str) -> Any:
    from calprune.calibration.set_source import find_set  # imports torch

    return find_set(name)


register(SourceKind("set", _is_folder, _find_set))
