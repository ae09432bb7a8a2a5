"""A Hugging Face hub on this machine: what it answers about repositories and files, and what goes wrong there."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

REVISION = "1" * 40


@dataclass
class Repository:
    """files: content by path; fault: (status, X-Error-Code, X-Error-Message) of every access to a file."""

    files: dict[str, bytes]
    fault: tuple[int, str, str] | None = None


@dataclass
class Hub:
    repositories: dict[str, Repository]
    url: str = ""
    downloads: list[str] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    #: Paths whose next download comes with other bytes.
    corrupt_once: set[str] = field(default_factory=set)
    corrupt_always: set[str] = field(default_factory=set)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if match := re.fullmatch(r"/api/models/([\w-]+/[\w.-]+)/revision/(\w+)", path):
            return self._answer_about(match[1], match[2])
        if match := re.fullmatch(r"/api/models/([\w-]+/[\w.-]+)/tree/(\w+)", path):
            return self._list(match[1])
        match = re.fullmatch(r"/([\w-]+/[\w.-]+)/resolve/(\w+)/(.+)", path)
        assert match is not None, path
        return self._serve(*match.groups())

    def _answer_about(self, repo: str, revision: str) -> None:
        if repo not in self.hub.repositories:
            return self._refuse(404, "RepoNotFound", "Repository not found")
        if revision != REVISION:
            return self._refuse(404, "RevisionNotFound", "Invalid rev id")
        siblings = [{"rfilename": name} for name in self.hub.repositories[repo].files]
        return self._reply(json.dumps({"id": repo, "sha": revision, "siblings": siblings}).encode(), {})

    def _list(self, repo: str) -> None:
        files = self.hub.repositories[repo].files
        entries = [
            {
                "type": "file",
                "path": name,
                "size": len(data),
                "oid": hashlib.sha1(data, usedforsecurity=False).hexdigest(),
            }
            for name, data in files.items()
        ]
        self._reply(json.dumps(entries).encode(), {})

    def _serve(self, repo: str, revision: str, name: str) -> None:
        repository = self.hub.repositories.get(repo)
        if repository is None:
            return self._refuse(404, "RepoNotFound", "Repository not found")
        if repository.fault:
            return self._refuse(*repository.fault)
        if revision != REVISION:
            return self._refuse(404, "RevisionNotFound", "Invalid rev id")
        if name not in repository.files:
            return self._refuse(404, "EntryNotFound", "Entry not found")
        data = repository.files[name]
        etag = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": revision}
        if self.command == "GET":
            self.hub.downloads.append(name)
            self.hub.starts.append(int((self.headers.get("Range") or "bytes=0-")[6:-1]))
            if name in self.hub.corrupt_once | self.hub.corrupt_always:
                self.hub.corrupt_once.discard(name)
                data = bytes(len(data))
            if start := self.hub.starts[-1]:
                etag["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
                return self._reply(data[start:], etag, 206)
        return self._reply(data, etag)

    def _reply(self, data: bytes, headers: dict[str, str], status: int = 200) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def _refuse(self, status: int, code: str, message: str) -> None:
        headers = {"X-Error-Code": code} if code else {}
        self._reply(b"{}", {**headers, "X-Error-Message": message}, status)

    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """With its `url`, until the end."""
    handler = type("BoundHandler", (Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
