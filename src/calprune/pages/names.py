"""Names as they are read: local paths as file names, and options that all evaluations share said once."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from functools import lru_cache

from calprune.base.calls import split

# the folders of a local path, at the beginning or after a sign: not of a URL, of "50%/matrix" or "owner/model"; a path
# that begins with a name is known by the file's ending
FOLDER = r"[^\s/,;:()\"'+*<>]+/"
FILE = r"[^\s/,;:()\"'+*<>]*\.[a-z]{2,7}(?![\w./-])"
FOLDERS = re.compile(rf"(?<![^\s(\"',+=])(?:(?:~|\.{{1,2}})?/(?:{FOLDER})*(?=[\w.-])|(?:{FOLDER})+(?={FILE}))")
CALL = re.compile(r"([\w.:]+)\((.*)\)", re.DOTALL)


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Those names that are read in another way than they are written: a local path as its file's name, where that is
    nobody else's."""
    cut = {name: FOLDERS.sub("", name) for name in names}
    count = Counter(cut.values())
    return {name: short for name, short in cut.items() if short != name and short and count[short] == 1}


def shared_options(evaluations: Iterable[str]) -> tuple[dict[str, str], str]:
    """Evaluations without the options that all of their kind share, by their text; and those options, to be said once.

    "kl(a, tokens=64)" and "kl(b, tokens=64)": {"kl(a, tokens=64)": "kl(a)", ...}, "tokens=64". What stands once anyway
    stays, and what would make two the same.
    """
    texts = list(dict.fromkeys(evaluations))
    calls = {text: found for text in texts if (found := CALL.fullmatch(text))}
    kinds: dict[str, list[list[str]]] = defaultdict(list)
    for found in calls.values():
        kinds[found[1]].append(_parts(found[2]))
    shared = {kind: [part for part in given[0] if "=" in part and all(part in one for one in given)]
              for kind, given in kinds.items()}  # fmt: skip
    once = Counter(part for text in calls for part in shared[calls[text][1]])
    short = {}
    for text, found in calls.items():
        left = [part for part in _parts(found[2]) if part not in shared[found[1]] or once[part] == 1 < len(texts)]
        short[text] = f"{found[1]}({', '.join(left)})" if left else found[1]
    if len({short.get(text, text) for text in texts}) < len(texts):
        return {}, ""
    return {text: name for text, name in short.items() if name != text}, _once(shared, once, len(texts))


def _once(shared: Mapping[str, list[str]], once: Counter[str], texts: int) -> str:
    kinds: dict[str, list[str]] = defaultdict(list)
    for kind, parts in shared.items():
        if words := ", ".join(part for part in parts if once[part] > 1 or texts == 1):
            kinds[words].append(kind)
    if len(kinds) == 1 and len(shared) == len(next(iter(kinds.values()))):
        return next(iter(kinds))
    return "; ".join(f"{' and '.join(names)}: {words}" for words, names in kinds.items())


def _parts(options: str) -> list[str]:
    try:
        return split(options, ",")
    except ValueError:
        return [options]


def shorten(text: str, names: Mapping[str, str]) -> str:
    """A sentence in which the names stand as they are read: whole ones, not as a part of another."""
    if not names:
        return text
    return _any_of(tuple(sorted(names, key=len, reverse=True))).sub(lambda name: names[name[0]], text)


@lru_cache(maxsize=64)
def _any_of(names: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(_whole, names)))


def _whole(name: str) -> str:
    """The pattern of a name that is no part of a longer one, nor called with options."""
    before = r"(?<!\w)" if name[0].isalnum() else ""
    after = r"(?![\w(])" if name[-1].isalnum() else ""
    return before + re.escape(name) + after
