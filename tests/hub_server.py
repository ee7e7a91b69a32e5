"""A server on loopback that speaks as much of the hub's protocol as huggingface_hub and datasets need to read."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass
class Repository:
    """Commits by their hash, each of files by their paths; the last is main."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def commit(self, files: dict[str, bytes]) -> str:
        name = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        self.commits[name] = files
        return name

    def resolve(self, revision: str) -> str | None:
        if revision == "main":
            return list(self.commits)[-1]
        return next((name for name in self.commits if name == revision), None)


@dataclass
class Hub:
    """Repositories by kind ("models", "datasets") and name."""

    repositories: dict[tuple[str, str], Repository] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)  # paths, in order
    address: str = ""

    def repository(self, kind: str, name: str) -> Repository:
        return self.repositories.setdefault((kind, name), Repository())


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """The hub at `hub.address` while the block runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer(b"")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    def _answer(self, body: bytes) -> None:
        path = unquote(urlsplit(self.path).path).strip("/")
        self.hub.asked.append(path)
        if path.startswith("api/"):
            kind, owner, name, what, revision, *rest = [*path.split("/")[1:], "", "", ""]
            found = self._repository(kind, f"{owner}/{name}")
            if found is None:
                return
            commit = found.resolve(revision or "main")
            if commit is None:
                return self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            files = found.commits[commit]
            inside = "/".join(part for part in rest if part)
            answers = {
                "tree": [_entry(path, files[path]) for path in sorted(files) if path.startswith(inside)],
                "paths-info": [_entry(p, files[p]) for p in _wanted(body) if p in files],
            }
            info = {"id": f"{owner}/{name}", "sha": commit, "private": False, "gated": False, "disabled": False,
                    "tags": [], "siblings": [{"rfilename": p} for p in sorted(files)]}  # fmt: skip
            return self._send(200, json.dumps(answers.get(what, info)).encode(), {"Content-Type": "application/json"})
        kind = "datasets" if path.startswith("datasets/") else "models"
        owner, name, verb, revision, *rest = path.removeprefix("datasets/").split("/")
        found = self._repository(kind, f"{owner}/{name}")
        if found is None:
            return
        commit, file = found.resolve(revision), "/".join(rest)
        if verb != "resolve" or commit is None or file not in found.commits[commit]:
            return self._send(404, b"", {"X-Error-Code": "EntryNotFound" if commit else "RevisionNotFound"})
        data = found.commits[commit][file]
        self._send(200, data, {"ETag": f'"{_etag(data)}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"})

    def _repository(self, kind: str, name: str) -> Repository | None:
        if (found := self.hub.repositories.get((kind, name))) is None:
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        return found

    def _send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        first = 0
        if status == 200 and (wanted := self.headers.get("Range", "")).startswith("bytes="):
            low, _, high = wanted.removeprefix("bytes=").partition("-")
            first, last = int(low), min(int(high or len(data) - 1), len(data) - 1)
            headers |= {"Content-Range": f"bytes {first}-{last}/{len(data)}"}
            status, data = 206, data[first : last + 1]
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(data))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def _entry(path: str, data: bytes) -> dict[str, object]:
    return {"type": "file", "path": path, "size": len(data), "oid": _etag(data)}


def _wanted(body: bytes) -> list[str]:
    text = body.decode() if body else ""
    given = json.loads(text) if text.startswith("{") else parse_qs(text)
    found = given.get("paths", [])
    return [found] if isinstance(found, str) else found


def _etag(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()
