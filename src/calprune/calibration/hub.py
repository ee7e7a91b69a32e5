"""Records of a data set on the hub, streamed with `datasets` (extra calprune[hub])."""

import os
import socket
from collections.abc import Iterator
from urllib.parse import urlparse

from calprune.calibration.records import Place
from calprune.config import UserError


def hub_records(place: Place, split: str, otherwise: str) -> Iterator[tuple[str, Iterator[tuple[int, dict]]]]:
    """(name, numbered records) of each part of a split. `otherwise` says how to have the source without the hub."""
    try:
        import datasets  # noqa: F401
    except ImportError:
        raise UserError(f"reading {place.path} from the hub needs: pip install 'calprune[hub]'; {otherwise}") from None
    _reachable(place.path, otherwise)
    return ((f"{place.path}/{part}", _records(place, part, otherwise)) for part in place.files(split))


def _records(place: Place, part: str, otherwise: str) -> Iterator[tuple[int, dict]]:
    import datasets

    try:
        if place.reader:
            file = f"hf://datasets/{place.path}@{place.revision or 'main'}/{part}"
            data = datasets.load_dataset(place.reader, data_files=file, split="train", streaming=True)
        else:
            data = datasets.load_dataset(place.path, place.config, split=part, revision=place.revision, streaming=True)
        yield from enumerate(data, start=1)
    except Exception as e:  # of a dozen kinds: no such repository, gated, the network broke, no such split
        raise UserError(f"the hub does not give {part} of {place.path}: {e}; {otherwise}") from None


def _reachable(path: str, otherwise: str) -> None:
    """Ask for the hub's address before `datasets` does, which tries for half a minute and prints each try."""
    from huggingface_hub import constants

    proxies = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
    if constants.HF_HUB_OFFLINE or any(os.environ.get(name) for name in proxies):
        return  # from the cache, or the proxy knows
    try:
        socket.getaddrinfo(urlparse(constants.ENDPOINT).hostname, 443)
    except OSError:
        raise UserError(f"{path} is on the hub, which cannot be reached from here; {otherwise}") from None
