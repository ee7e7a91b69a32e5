"""The methods as data: what each is, reads and takes, from the classes themselves."""

import dataclasses
import inspect
import re
from typing import Any

from calprune.methods import METHODS

ID, PLACE = r"(?P<id>arXiv:\d+\.\d+|OpenReview \w+)", r"(?P<place>(eq\.|Algorithms?) [\d-]+( and \d+)?)"
CITATION = rf".*?\b(19|20)\d\d\b(, {ID})?(, {PLACE})?"  # authors, title, where, year, id, place


def described_methods() -> list[dict[str, Any]]:
    """One object a method: name, idea (the first line of its file), needs, options with defaults, paper."""
    return [_describe(name, cls) for name, cls in METHODS.items()]


def _describe(name: str, cls: Any) -> dict[str, Any]:
    own = inspect.getdoc(cls) if cls.__doc__ and not cls.__doc__.startswith(f"{cls.__name__}(") else None
    module = inspect.getdoc(inspect.getmodule(cls)) or ""
    idea, _, rest = module.partition("\n\n")
    paper = re.match(CITATION, " ".join(rest.split()))
    return {
        "name": name,
        "idea": " ".join((own or idea).split("\n\n")[0].split()),
        "paper": paper[0] if paper else "",
        "needs": cls.needs,
        "options": {f.name: _written(f.default) for f in dataclasses.fields(cls)},
        "version": cls.version,
        "prunes": getattr(cls, "prunes", True),
    }


def _written(default: Any) -> Any:
    return METHODS.write(default) if dataclasses.is_dataclass(default) else default
