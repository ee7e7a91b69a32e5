"""The filter by language, and which language a text is in by py3langid (the extra `calprune[language]`)."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from typing import Any, ClassVar

from calprune.base.values import ConfigError, UserError, did_you_mean
from calprune.text.document import Given
from calprune.text.filters.contract import Judge, reason_if


@dataclass(frozen=True)
class Language:
    """Drop documents that py3langid finds in another language than these ("en", "de", ...)."""

    tag: ClassVar[str] = "Language"
    version: ClassVar[int] = 1
    codes: tuple[str, ...]

    def open(self, given: Given) -> Judge:
        language_of, reason = identifier("the filter language", self.codes), f"not in {' or '.join(self.codes)}"
        return lambda documents: [reason_if(language_of(d.text) not in self.codes, reason) for d in documents]

    def depends(self, given: Given) -> Any:
        return identifier_version()


def identifier(wanted_by: str, codes: tuple[str, ...] = ()) -> Callable[[str], str]:
    """A function from a text to its language's code ("en"). `codes` are those that the caller will compare with.

    Raises UserError, naming what to install, where the identifier is not there; ConfigError for a code it never gives.
    """
    try:
        import py3langid
    except ImportError:
        raise UserError(
            f"{wanted_by} needs a language identifier: pip install py3langid (or calprune[language])"
        ) from None
    if codes:
        known = [str(code) for code, _ in py3langid.rank("a text")]
        for code in codes:
            if code not in known:
                raise ConfigError(f"{wanted_by}: unknown language {code!r}{did_you_mean(code, known)}")
    return lambda text: str(py3langid.classify(text)[0])


def identifier_version() -> str:
    """What its answers depend on."""
    try:
        return f"py3langid {metadata.version('py3langid')}"
    except metadata.PackageNotFoundError:
        return "none"
