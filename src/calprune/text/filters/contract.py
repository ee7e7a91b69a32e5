"""What a filter is: options that open into a judge, which gives each document of a stream its reason to go, or ""."""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from calprune.text.document import Document, Given

Judge = Callable[[Sequence[Document]], list[str]]  # one reason a document, "" where it stays; called in stream order


@runtime_checkable
class Filter(Protocol):
    """A frozen dataclass of options. Two members may be left out: `uses_model`, a class variable that is true where
    it needs the model's weights, and `depends(given)`, plain data of what its answers depend on beside its options.

    `version` is in the identity of a set: it is raised when the same options drop other documents."""

    @property
    def version(self) -> int: ...

    def open(self, given: Given) -> Judge:
        """A judge for one stream. What a reader of the set should see goes to `given.report`."""


def reason_if(true: bool, reason: str) -> str:
    return reason if true else ""
