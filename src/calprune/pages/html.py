"""The templates of pages, filled in by jinja2, which escapes everything; and the script that draws charts."""

import base64
import gzip
import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from calprune.pages.words import Explained


def document(view: Mapping[str, Any], specs: Mapping[str, Any]) -> str:
    """A whole page: one file that needs no network. `specs`: charts' specifications by the id of their place."""
    from markupsafe import Markup

    from calprune.base import __version__

    data = json.dumps(specs, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return _environment().get_template("page.html").render(
        top=view, version=__version__, style=Markup(_part("page.css")), script=Markup(_part("page.js")),
        library=_library() if specs else "", specs=Markup(data) if specs else "", explained=Explained(),
    )  # fmt: skip


def fragment(kind: str, view: Any) -> str:
    """A part of a page: the macro `kind` of parts.html."""
    return str(getattr(_environment().get_template("parts.html").module, kind)(view, None)).strip()


@cache
def _environment() -> Any:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    return Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, loader=FunctionLoader(_part))


def _part(name: str) -> str:
    return resources.files("calprune.pages").joinpath(name).read_text(encoding="utf-8")


@cache
def _library() -> str:
    """Vega, Vega-Lite and vega-embed in one script that sets window.vegaEmbed, as base64 of its gzip, which is less
    than half of it; it comes with vl-convert-python. The same input gives the same bytes."""
    import vl_convert
    from altair import VEGALITE_VERSION

    version = ".".join(VEGALITE_VERSION.split(".")[:2])
    script = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=version)
    return base64.b64encode(gzip.compress(script.encode(), 9, mtime=0)).decode()
