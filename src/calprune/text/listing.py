"""The sources of the catalogue as data: where each is, its formats and wording, its licence."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from calprune.pages.page import HasPage, Page, Section
from calprune.pages.table import Column, Table
from calprune.text.places import available
from calprune.text.records import Place
from calprune.text.source import RecordSource

WORDINGS = ("prompt", "answer", "rationale", "cot", "user")  # of a question; else "text"
HERE = (
    "here: the splits that can be read without a network, from --data-root (CALPRUNE_DATA) or made.\n"
    "calprune sources NAME shows one: where it is, how it is worded, its licence and citation."
)


@dataclass(frozen=True, repr=False)
class SourceSummary(HasPage):
    """One source."""

    name: str
    title: str
    kind: str
    domain: str
    language: str
    about: str
    formats: tuple[str, ...]
    default_format: str
    licence: str
    licence_tags: tuple[str, ...]
    citation: str
    stand_in: str | None
    here: tuple[str, ...]  # splits that can be read without a network
    made: str | None
    local: dict[str, Any] | None  # path, config, revision and the files of each split
    hub: dict[str, Any] | None
    wording: dict[str, str]  # the templates of a row's text

    def record(self) -> dict[str, Any]:
        found = asdict(self)
        return found | {name: list(found[name]) for name in ("formats", "licence_tags", "here")}

    def page(self) -> Page:
        stand_in = [("stand-in", f"the local copy is {self.stand_in}")] if self.stand_in else []
        facts = [
            *stand_in,
            ("domain", self.domain),
            ("language", self.language or "none"),
            ("formats", f"{', '.join(self.formats)} (a bare name means {self.default_format})"),
            ("licence", f"{self.licence} [{', '.join(self.licence_tags)}]"),
            ("citation", self.citation or "not stated"),
            ("here", ", ".join(self.here) or "nothing"),
            *_place_facts("local", self.local),
            *_place_facts("hub", self.hub),
            *((key, repr(value)) for key, value in self.wording.items()),
        ]
        title = f"{self.name}: {self.title}"
        return Page(title, (Section("source", facts=tuple(facts)),), "calprune sources", summary=self.about)


@dataclass(frozen=True, repr=False)
class SourceList(HasPage):
    """Several sources beside each other."""

    sources: tuple[SourceSummary, ...]

    def page(self) -> Page:
        heads = tuple(map(Column, ("name", "domain", "language", "formats", "licence", "here", "what")))
        rows = tuple(
            (one.name, one.domain, one.language, " ".join(one.formats), " ".join(one.licence_tags),
             " ".join(one.here) or ("on the hub" if one.hub else "no"),
             one.title + (" (a stand-in)" if one.stand_in and one.here else ""))
            for one in self.sources
        )  # fmt: skip
        table = Table("sources", "", heads, rows)
        return Page(f"{len(rows)} sources", (Section("sources", tables=(table,), notes=(HERE,)),), "calprune sources")


def described_source(source: RecordSource, data_root: Path | None = None) -> SourceSummary:
    """A source as data; nothing of it is read."""
    wordings = WORDINGS if source.prompt else ("text",)
    wording = {name: getattr(source, name) for name in wordings if getattr(source, name)}
    return SourceSummary(
        source.name, source.title, source.kind, source.domain, source.language, source.about, tuple(source.formats),
        source.default_format, source.licence, tuple(source.licence_tags), source.citation, source.stand_in or None,
        tuple(available(source, data_root)), source.made or None, _place(source.local), _place(source.hub),
        wording if source.kind != "control" else {},
    )  # fmt: skip


def _place(place: Place | None) -> dict[str, Any] | None:
    if place is None:
        return None
    splits = {split: list(place.files(split)) for split in place.splits}
    there = {"path": place.path, "config": place.config, "revision": place.revision, "tried": place.tried}
    return (there if place.path else {}) | splits


def _place_facts(name: str, place: dict[str, Any] | None) -> list[tuple[str, str]]:
    words = {None: "not pinned", True: "yes", False: "no"}
    return [
        (name, f"{key}: {', '.join(value) if isinstance(value, list) else words.get(value, value)}")
        for key, value in (place or {}).items()
        if not (key == "config" and value is None)
    ]
