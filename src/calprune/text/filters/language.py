"""Which language a text is in, by py3langid (the extra `calprune[language]`)."""

from collections.abc import Callable
from importlib import metadata

from calprune.base.values import ConfigError, UserError, did_you_mean


def identifier(asked_by: str, codes: tuple[str, ...] = ()) -> Callable[[str], str]:
    """A function from a text to its language's code ("en"). `codes` are those that the caller will compare with.

    Raises UserError, naming what to install, where the identifier is not there; ConfigError for a code it never gives.
    """
    try:
        import py3langid
    except ImportError:
        raise UserError(
            f"{asked_by} needs a language identifier: pip install py3langid (or calprune[language])"
        ) from None
    if codes:
        known = [str(code) for code, _ in py3langid.rank("a text")]
        for code in codes:
            if code not in known:
                raise ConfigError(f"{asked_by}: unknown language {code!r}{did_you_mean(code, known)}")
    return lambda text: str(py3langid.classify(text)[0])


def identifier_version() -> str:
    """What its answers depend on."""
    try:
        return f"py3langid {metadata.version('py3langid')}"
    except metadata.PackageNotFoundError:
        return "none"
