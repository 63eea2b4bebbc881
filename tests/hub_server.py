"""A stand-in of the Hugging Face hub on the loopback: folders served as repositories.

It answers what huggingface_hub 2.4 asks as the hub does: a model's description with its files, ``resolve``
with the headers that describe a file, Git LFS files by a redirect to another host (the "CDN", another port
here, which must never see a token), ranges, gates, and the hub's own words for what it refuses.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

_LFS = (".safetensors", ".bin", ".ckpt", ".pt", ".pth", ".msgpack", ".onnx")
_INFO = re.compile(r"/api/models/(?P<repository>[^/]+/[^/]+)(?:/revision/(?P<revision>[^/]+))?")
_TREE = re.compile(r"/api/models/(?P<repository>[^/]+/[^/]+)/tree/(?P<revision>[^/]+)")
_RESOLVE = re.compile(r"/(?P<repository>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
_CDN = re.compile(r"/cdn/(?P<repository>[^/]+/[^/]+)/(?P<path>.+)")


@dataclass(frozen=True)
class Request:
    """A request as it came in: ``start`` is the first byte that its Range asks for, if it has one."""

    method: str
    path: str
    start: int | None
    token: str | None


@dataclass
class Hub:
    """What is served, how it misbehaves, and what was asked.

    ``dropped`` are the bytes after which the next answers for a file break off, one for each such answer;
    ``corrupted`` files are sent with their last byte changed; ``stalled`` ones stop after so many bytes
    until ``released`` is set.
    """

    repositories: dict[str, Path] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    tokens: dict[str, bool] = field(default_factory=dict)
    """Known tokens, and whether their account has access to what is gated."""
    dropped: dict[str, list[int]] = field(default_factory=dict)
    corrupted: set[str] = field(default_factory=set)
    stalled: dict[str, int] = field(default_factory=dict)
    ignores_ranges: bool = False
    busy: int = 0
    """How many requests for bodies are still answered with 503."""
    requests: list[Request] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    reached: threading.Event = field(default_factory=threading.Event)
    """Set when a stalled file has been sent as far as it is."""
    url: str = ""
    cdn: str = ""

    def behave(self) -> None:
        """Forget every fault and every request; what is served stays."""
        fresh = Hub()
        for name in ("gated", "tokens", "dropped", "corrupted", "stalled", "ignores_ranges", "busy"):
            setattr(self, name, getattr(fresh, name))
        self.requests.clear()
        self.reached.clear()

    def bodies(self, path: str | None = None) -> list[Request]:
        """The requests for the content of files, of one or of all."""
        found = [each for each in self.requests if each.method == "GET" and not each.path.startswith("/api/")]
        bodies = [each for each in found if not self._is_redirected(each)]
        return [each for each in bodies if path is None or each.path.endswith(f"/{path}")]

    def fetched(self) -> set[str]:
        """The paths of the files whose content was asked for."""
        matches = [_RESOLVE.fullmatch(each.path) or _CDN.fullmatch(each.path) for each in self.bodies()]
        return {match["path"] for match in matches if match}

    def commit(self, repository: str) -> str:
        digests = [f"{path}:{digest(content)}" for path, content in self._contents(repository)]
        return hashlib.sha1("\n".join(digests).encode()).hexdigest()

    def files(self, repository: str) -> list[dict[str, Any]]:
        """The files as the hub describes them among a model's ``siblings``."""
        described = []
        for path, content in self._contents(repository):
            entry: dict[str, Any] = {"rfilename": path, "size": len(content), "blobId": git_digest(content)}
            if path.endswith(_LFS):
                entry["lfs"] = {"sha256": digest(content), "size": len(content), "pointerSize": 134}
            described.append(entry)
        return described

    def _contents(self, repository: str) -> Iterator[tuple[str, bytes]]:
        root = self.repositories[repository]
        for path in sorted(path for path in root.rglob("*") if path.is_file()):
            yield path.relative_to(root).as_posix(), path.read_bytes()

    @staticmethod
    def _is_redirected(request: Request) -> bool:
        return "/resolve/" in request.path and request.path.endswith(_LFS)


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def git_digest(content: bytes) -> str:
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: ClassVar[Hub]

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = urlsplit(self.path).path
        for pattern, answer in (
            (_INFO, self._info),
            (_TREE, self._tree),
            (_RESOLVE, self._resolve),
            (_CDN, self._content),
        ):
            match = pattern.fullmatch(path)
            if match:
                self.hub.requests.append(Request(self.command, unquote(path), self._start(), self._token()))
                answer({name: unquote(value) for name, value in match.groupdict().items() if value})
                return
        self._send(404, {}, b"")  # such as what huggingface_hub asks about its caller (/api/agent-harnesses)

    def _info(self, named: dict[str, str]) -> None:
        if self._refused(named):
            return
        repository = named["repository"]
        described = {
            "_id": "0",
            "id": repository,
            "sha": self.hub.commit(repository),
            "gated": "manual" if repository in self.hub.gated else False,
            "siblings": self.hub.files(repository),
        }
        self._send_json(described)

    def _tree(self, named: dict[str, str]) -> None:
        if self._refused(named):
            return
        self._send_json(
            [
                {"type": "file", "path": file["rfilename"], "size": file["size"], "oid": file["blobId"]}
                | ({"lfs": file["lfs"] | {"oid": file["lfs"]["sha256"]}} if "lfs" in file else {})
                for file in self.hub.files(named["repository"])
            ]
        )

    def _resolve(self, named: dict[str, str]) -> None:
        repository, path = named["repository"], named["path"]
        if self._refused(named) or self._gate(repository):
            return
        commit = {"X-Repo-Commit": self.hub.commit(repository)}
        file = self.hub.repositories[repository] / path
        if not file.is_file():
            self._refuse(404, "EntryNotFound", "Entry not found", commit)
            return
        content = file.read_bytes()
        if path.endswith(_LFS):
            etag = digest(content)
            linked = {"X-Linked-ETag": f'"{etag}"', "X-Linked-Size": str(len(content)), "ETag": f'"{etag}"'}
            location = {"Location": f"{self.hub.cdn}/cdn/{repository}/{path}?signature=secret"}
            self._send(302, commit | linked | location, b"Found. Redirecting")
        else:
            self._content(named, commit)

    def _content(self, named: dict[str, str], headers: dict[str, str] | None = None) -> None:
        path = named["path"]
        content = (self.hub.repositories[named["repository"]] / path).read_bytes()
        etag = digest(content) if path.endswith(_LFS) else git_digest(content)
        headers = (headers or {}) | {"ETag": f'"{etag}"', "Accept-Ranges": "bytes"}
        if self.command == "GET" and self.hub.busy:
            self.hub.busy -= 1
            self._send(503, {}, b"")
            return
        whole = len(content)
        if path in self.hub.corrupted:
            content = content[:-1] + bytes([content[-1] ^ 1])
        start = None if self.hub.ignores_ranges else self._start()
        if start is not None and start >= whole:
            self._send(416, {"Content-Range": f"bytes */{whole}"}, b"")
        elif start is not None:
            headers["Content-Range"] = f"bytes {start}-{whole - 1}/{whole}"
            self._send(206, headers, content[start:], path)
        else:
            self._send(200, headers, content, path)

    def _refused(self, named: dict[str, str]) -> bool:
        """The hub's answers to a wrong token, an unknown repository and an unknown revision."""
        repository, token = named["repository"], self._token()
        if token is not None and token not in self.hub.tokens:
            message = "Invalid credentials in Authorization header"
            self._send(401, {"X-Error-Message": message}, json.dumps({"error": message}).encode())
        elif repository not in self.hub.repositories and token is None:
            self._refuse(401, "RepoNotFound", "Invalid username or password.")
        elif repository not in self.hub.repositories:
            self._refuse(404, "RepoNotFound", "Repository not found")
        elif named.get("revision", "main") not in ("main", self.hub.commit(repository)):
            self._refuse(404, "RevisionNotFound", f"Invalid rev id: {named['revision']}")
        else:
            return False
        return True

    def _gate(self, repository: str) -> bool:
        token = self._token()
        if repository not in self.hub.gated or (token is not None and self.hub.tokens[token]):
            return False
        message = f"Access to model {repository} is restricted."
        self._refuse(401 if token is None else 403, "GatedRepo", message)
        return True

    def _refuse(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        described = {"X-Error-Code": code, "X-Error-Message": message}
        self._send(status, (headers or {}) | described, json.dumps({"error": message}).encode())

    def _send_json(self, value: Any) -> None:
        self._send(200, {"Content-Type": "application/json"}, json.dumps(value).encode())

    def _send(self, status: int, headers: dict[str, str], body: bytes, path: str = "") -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        drops = self.hub.dropped.get(path)
        if drops:
            self.wfile.write(body[: drops.pop(0)])
            self.close_connection = True
        elif path in self.hub.stalled:
            self.wfile.write(body[: self.hub.stalled[path]])
            self.hub.reached.set()
            self.hub.released.wait(30)
            self.close_connection = True
        else:
            self.wfile.write(body)

    def _start(self) -> int | None:
        match = re.fullmatch(r"bytes=(\d+)-\d*", self.headers.get("Range", ""))
        return int(match[1]) if match else None

    def _token(self) -> str | None:
        words = self.headers.get("Authorization")
        return words.removeprefix("Bearer ") if words else None


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """A client that went away is no fault here."""


@contextmanager
def hub_server() -> Iterator[Hub]:
    """Serve an empty hub until the end of the block, and its CDN on another port."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    servers = [_Server(("127.0.0.1", 0), handler) for _ in range(2)]
    threads = [threading.Thread(target=server.serve_forever, args=(0.02,)) for server in servers]
    hub.url, hub.cdn = (f"http://127.0.0.1:{server.server_port}" for server in servers)
    for thread in threads:
        thread.start()
    try:
        yield hub
    finally:
        hub.released.set()
        for server, thread in zip(servers, threads, strict=True):
            server.shutdown()
            server.server_close()
            thread.join()
