"""A recipe's filters, read from text or YAML."""

from typing import Any

from calprune.text.filters import FILTERS
from calprune.text.filters.contract import Filter


def read_filters(given: Any, where: str) -> tuple[Filter, ...]:
    """Filters of plain data: a text, or a list of texts or mappings such as {near_duplicates: {threshold: 0.8}}."""
    listed = list(given or []) if given is None or isinstance(given, (list, tuple)) else [given]
    return tuple(FILTERS.read(one, f"{where}: filters" if where else "filters") for one in listed)
