"""Stores that take connections and never answer, or a byte now and then: given up in time, and waited for if slow."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fsspec.exceptions import FSTimeoutError
from support.clients import fresh_clients

from cosmos_ray.manifest.files import open_manifest
from cosmos_ray.models.bundle.fetch import fetch, size_of
from cosmos_ray.store import faults, patience
from cosmos_ray.store.storage import Storage, fetch_to_file, read_bytes, stat_of

pytest.importorskip("s3fs")

#: Two tries, of a fifth of a second twice; and what the threads of a busy machine add.
_BOUND_S = 2 * 2 * 0.2 + 10


def _serve(listening: socket.socket, sent: bytes) -> None:
    held = []
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:
            return
        held.append(connection)
        if sent:
            threading.Thread(target=_dribble, args=(connection, sent), daemon=True).start()


def _dribble(connection: socket.socket, sent: bytes) -> None:
    try:
        for byte in sent:
            connection.sendall(bytes([byte]))
            time.sleep(0.1)
    except OSError:
        return


_HEAD = b'HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\nETag: "x"\r\n\r\n' + bytes(1000)


@pytest.fixture(params=[b"", _HEAD], ids=["never answers", "ten bytes a second"])
def silent(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """URI of a folder of a store that takes connections."""
    listening = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=_serve, args=(listening, request.param), daemon=True).start()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{listening.getsockname()[1]}",
        "AWS_ACCESS_KEY_ID": "who",
        "AWS_SECRET_ACCESS_KEY": "what",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(patience, "ANSWER_S", 0.2)
    monkeypatch.setattr(patience, "_LONG_S", 0.2)
    monkeypatch.setattr(faults, "_RETRY_DELAYS_S", (0.01,))
    with fresh_clients("s3"):
        yield f"s3://bucket{listening.getsockname()[1]}/folder"
    listening.close()


def _write_file(uri: str, folder: Path) -> None:
    (folder / "x").write_bytes(b"x")
    Storage(uri).write_file("x", folder / "x")


ASKS: dict[str, Callable[[str, Path], Any]] = {
    "stat": lambda uri, _: Storage(uri).stat("x"),
    "read": lambda uri, _: Storage(uri).read("x"),
    "read many": lambda uri, _: Storage(uri).read_many(["x", "y"]),
    "write": lambda uri, _: Storage(uri).write("x", b"x"),
    "write a file": _write_file,
    "create": lambda uri, _: Storage(uri).write_if_absent("x", b"x"),
    "list": lambda uri, _: list(Storage(uri).list("x")),
    "list files": lambda uri, _: Storage(uri).list_files("x"),
    "delete": lambda uri, _: Storage(uri).delete("x"),
    "an input's size": lambda uri, _: stat_of(f"{uri}/x"),
    "an input's bytes": lambda uri, _: read_bytes(f"{uri}/x", max_bytes=10),
    "an input": lambda uri, folder: fetch_to_file(f"{uri}/x", folder / "y"),
    "a manifest": lambda uri, _: open_manifest(f"{uri}/m.parquet"),
    "a model's size": lambda uri, _: size_of(f"{uri}/x"),
    "a model": lambda uri, folder: fetch(f"{uri}/x", folder / "y", "0" * 64),
}


@pytest.mark.slow
@pytest.mark.parametrize("ask", sorted(ASKS))
def test_it_is_given_up(silent: str, ask: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COSMOS_RAY_CACHE", str(tmp_path / "cache"))
    began = time.monotonic()
    with pytest.raises(Exception, match="answer"):
        ASKS[ask](silent, tmp_path)
    assert time.monotonic() - began < _BOUND_S


def test_what_is_long_is_waited_for_where_the_store_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large object takes longer than an answer may; its size is known then."""
    limits: list[float] = []

    class Slow:
        async_impl = True

        def info(self, path: str, timeout: float) -> dict[str, int]:
            limits.append(timeout)
            return {"size": 10**9}

    def ask(timeout: float) -> str:
        limits.append(timeout)
        if timeout < 5000:
            raise FSTimeoutError
        return "all of it"

    assert patience.patiently(Slow(), "x", ask) == "all of it"
    assert limits == [60.0, 60.0, 10600.0]
    assert patience.within(Slow(), 10**7) == {"timeout": 160.0}
    assert patience.within(object()) == {}
