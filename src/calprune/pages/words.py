"""The glossary, `words.yaml`: its terms, and how they are found and explained in a page's text."""

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from calprune.base.yamls import parse_yaml


@dataclass(frozen=True)
class Word:
    """A term of the glossary."""

    term: str
    means: str  # sentences of Markdown: `code`, *emphasis*
    also: str = ""  # what papers and other tools call it
    forms: tuple[str, ...] = ()  # how it stands in text that explains it

    @property
    def id(self) -> str:
        """Of its place in a page."""
        return "word-" + re.sub(r"\W+", "-", self.term.lower()).strip("-")

    @property
    def plain(self) -> str:
        """What it means, without marks."""
        return re.sub(r"[`*]", "", self.means)


@cache
def glossary() -> tuple[Word, ...]:
    """All terms, in alphabetical order."""
    text = resources.files("calprune.pages").joinpath("words.yaml").read_text(encoding="utf-8")
    found = []
    for one in parse_yaml(text, "words.yaml"):
        forms = one.get("forms", (one["term"], f"{one['term']}s"))
        found.append(Word(one["term"], " ".join(one["means"].split()), one.get("also", ""), tuple(forms)))
    return tuple(found)


@cache
def _by_form() -> dict[str, Word]:
    return {form.lower(): word for word in glossary() for form in word.forms}


@cache
def _pattern() -> re.Pattern[str]:
    forms = sorted(_by_form(), key=len, reverse=True)
    return re.compile(rf"(?<![\w:&-])(?:{'|'.join(map(re.escape, forms))})(?![\w:(-])", re.IGNORECASE)


UNBROKEN = re.compile(r"(?<=[\d\]]) (?=%)|(?<=\[)([−\d.,]+,) (?=[−\d.,]+\])")


def _together(text: str) -> str:
    """A number and its "%", and the two ends of an interval, are not broken over lines."""
    return UNBROKEN.sub(lambda found: f"{found[1] or ''}\xa0", text)


class Explained:
    """The terms of a page: each is explained where it first stands in a section."""

    def __init__(self) -> None:
        self.used: set[Word] = set()
        self._here: set[Word] = set()

    @property
    def words(self) -> list[Word]:
        """Those that were explained, in alphabetical order."""
        return [word for word in glossary() if word in self.used]

    def begin(self) -> str:
        """Another section begins: its terms are explained anew."""
        self._here = set()
        return ""

    def mark(self, text: str) -> Any:
        """The text escaped, with a link to the glossary at each term that was not explained in this section yet."""
        from markupsafe import Markup, escape

        def link(found: re.Match[str]) -> str:
            word = _by_form()[found[0].lower()]
            if word in self._here:
                return found[0]
            self._here.add(word)
            self.used.add(word)
            return f'<a class="term" href="#{word.id}" title="{escape(word.plain)}">{found[0]}</a>'

        return Markup(_together(_pattern().sub(link, str(escape(text)))))

    def meaning(self, head: str) -> str:
        """What a column's head means, where the glossary has it as it stands; else nothing."""
        word = _by_form().get(head.lower())
        return word.plain if word else ""
