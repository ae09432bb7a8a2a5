"""An HTTP proxy between S3 clients and the test's S3 server that breaks what it is told to break.

Requests pass unchanged, Host header included, so that signatures stay right.
"""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

#: What a request meets instead of the server: (HTTP status, S3 error code, its message), "drop" (the connection is
#: cut), "hang" (no answer for ten seconds, then cut). What its answer meets: "lost" (the server has done it, the
#: connection is cut), "cut" (half of it comes), "short" (half of it is said to be all), "slow" (it takes a second),
#: "late" (it begins after a second). None: nothing.
Meets = tuple[int, str, str] | str | None
UNAVAILABLE: Meets = (503, "SlowDown", "Please reduce your request rate.")
EXPIRED: Meets = (403, "ExpiredToken", "The provided token has expired.")
NO_BUCKET: Meets = (404, "NoSuchBucket", "The specified bucket does not exist")


_PIECE = 1 << 16


class FaultProxy(ThreadingHTTPServer):
    """`fault(method, path)` is asked for every request; `met` counts the requests that met one, by path."""

    daemon_threads = True

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = urlsplit(upstream).netloc
        self.fault: Callable[[str, str], Meets] = lambda method, path: None
        self.met: list[tuple[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultProxy

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        meets = self.server.fault(self.command, self.path)
        if meets is not None:
            self.server.met.append((self.command, self.path))
        if meets in ("drop", "hang"):
            time.sleep(10 if meets == "hang" else 0)
            return self._cut_connection()
        if isinstance(meets, tuple):
            status, code, message = meets
            text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
            return self._answer(status, [("Content-Type", "application/xml")], text)
        if meets == "late":
            time.sleep(1)
            meets = None
        upstream = http.client.HTTPConnection(self.server.upstream, timeout=60)
        upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() != "expect":
                upstream.putheader(name, value)
        upstream.endheaders(body)
        answer = upstream.getresponse()
        body = answer.read()
        upstream.close()
        if meets == "lost":
            return self._cut_connection()
        return self._answer(answer.status, answer.getheaders(), body, meets)

    def _cut_connection(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes, meets: Meets = None) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                self.send_header(name, value)
        if meets == "short":
            body, meets = body[: len(body) // 2], None
        length = {name.lower(): value for name, value in headers}.get("content-length", len(body))
        self.send_header("Content-Length", str(length if self.command == "HEAD" else len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        pieces = [body] if meets is None else [body[at : at + _PIECE] for at in range(0, len(body), _PIECE)]
        for piece in pieces if meets != "cut" else [body[: len(body) // 2]]:
            self.wfile.write(piece)
            time.sleep(len(piece) / len(body) if meets == "slow" else 0)
        if meets == "cut":
            self.wfile.flush()
            self._cut_connection()

    def handle(self) -> None:
        try:
            super().handle()
        except (ConnectionError, ValueError, OSError):
            self.close_connection = True  # the client is gone, or we cut it off

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: thousands of requests pass."""


@contextmanager
def fault_proxy(upstream: str) -> Iterator[FaultProxy]:
    proxy = FaultProxy(upstream)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        proxy.server_close()
