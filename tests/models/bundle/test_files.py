"""A model's files on this machine: fetched once a node, resumed after a kill, verified, converted."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import pytest
from support.tiny_spec import TINY, random_tiny_spec

from cosmos_ray.errors import UsageError
from cosmos_ray.models.bundle import cache
from cosmos_ray.models.bundle.bundle import load_bundle, parse_bundle
from cosmos_ray.models.bundle.cache import content_sha256, folder_sha256, node_lock, remembered_sha256
from cosmos_ray.models.bundle.check import check_bundle
from cosmos_ray.models.bundle.fetch import CHUNK_BYTES, CHUNKS_AT_ONCE, fetch
from cosmos_ray.models.bundle.files import local_path

pytestmark = pytest.mark.usefixtures("own_cache")

WINDOW = CHUNK_BYTES * CHUNKS_AT_ONCE
TOKENIZER = (TINY / "tokenizer.json").read_bytes()


def spec_with(files: dict[str, Any]) -> bytes:
    spec = random_tiny_spec()
    spec["files"] |= files
    return json.dumps(spec).encode()


def eventually(condition: Callable[[], bool], seconds: float = 600) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)


# --- object storage --------------------------------------------------------------------------------------------------


class Store:
    """An HTTP server with byte ranges. Ranges from `closed_from` on are not answered until `gate` opens."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.ranges: list[tuple[str, int]] = []
        self.closed_from = sys.maxsize
        self.gate = threading.Event()
        store = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                self.do_GET()

            def do_GET(self) -> None:
                data = store.files.get(self.path)
                if data is None:
                    self.send_response(404)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range") or "")
                part = data
                if match:
                    start, end = int(match[1]), int(match[2])
                    store.ranges.append((self.path, start))
                    if start >= store.closed_from:
                        store.gate.wait(600)
                    part = data[start : end + 1]
                self.send_response(206 if match else 200)
                self.send_header("Content-Length", str(len(part)))
                self.send_header("Accept-Ranges", "bytes")
                if match:
                    self.send_header("Content-Range", f"bytes {start}-{start + len(part) - 1}/{len(data)}")
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(part)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.handle_error = lambda *_: None  # clients are killed here on purpose
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv("COSMOS_RAY_ALLOW_HTTP", "1")
    store = Store()
    yield store
    store.gate.set()
    store.server.shutdown()
    store.server.server_close()


def start_fetch(uri: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "cosmos_ray", "model", "fetch", uri]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_a_killed_download_leaves_nothing_half_made_and_the_next_goes_on_where_it_was(store, own_cache):
    """SIGKILL after the first bytes; then two processes at once: one of them fetches the rest, and nothing twice."""
    data = os.urandom(2**20) * (2 * CHUNKS_AT_ONCE * CHUNK_BYTES // 2**20) + b"end"
    sha256 = hashlib.sha256(data).hexdigest()
    store.files = {
        "/m/bundle.json": spec_with({"dit": {"uri": "dit.safetensors", "sha256": sha256}}),
        "/m/dit.safetensors": data,
        "/m/tokenizer.json": TOKENIZER,
    }
    target = own_cache / "bundles" / sha256 / "dit.safetensors"
    part = target.with_name("dit.safetensors.part")
    store.closed_from = WINDOW
    killed = start_fetch(f"{store.url}/m")
    eventually(lambda: part.exists() and part.stat().st_size >= WINDOW)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not target.exists()
    assert part.stat().st_size == WINDOW

    store.gate.set()
    store.ranges.clear()
    both = [start_fetch(f"{store.url}/m") for _ in range(2)]
    for process in both:
        _, err = process.communicate(timeout=600)
        assert process.returncode == 0, err
    assert hashlib.sha256(target.read_bytes()).hexdigest() == sha256
    starts = sorted(start for path, start in store.ranges if path == "/m/dit.safetensors")
    assert starts == list(range(WINDOW, len(data), CHUNK_BYTES))
    assert not part.exists()


def test_wrong_bytes_are_thrown_away_and_fetched_again_once(store, tmp_path):
    right, target = b"the right bytes" * 1000, tmp_path / "file"
    sha256 = hashlib.sha256(right).hexdigest()
    store.files["/file"] = right
    # A half that another, wrong download left.
    Path(f"{target}.part").write_bytes(b"x" * 100)
    fetch(f"{store.url}/file", target, sha256)
    assert target.read_bytes() == right
    assert [start for _, start in store.ranges] == [100, 0]

    store.files["/file"] = right[::-1]
    with pytest.raises(UsageError, match=rf"found sha256 \w+, expected {sha256} \(fetched twice\)"):
        fetch(f"{store.url}/file", tmp_path / "other", sha256)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("other")] == []


def test_a_folder_of_a_store_is_fetched_whole_and_put_in_place_at_once(tmp_path):
    memory = fsspec.filesystem("memory")
    files = {"config.json": b"{}", "part/weights.bin": b"0123456789" * 100}
    for name, data in files.items():
        memory.pipe(f"/models/folder/{name}", data)
    (tmp_path / "same" / "part").mkdir(parents=True)
    for name, data in files.items():
        (tmp_path / "same" / name).write_bytes(data)
    target = tmp_path / "got" / "folder"
    fetch("memory://models/folder", target, folder_sha256(tmp_path / "same"))
    assert content_sha256(target) == content_sha256(tmp_path / "same")
    assert [path.name for path in target.parent.iterdir()] == ["folder"]


def test_models_on_s3_are_checked_without_being_downloaded_and_then_fetched(s3, own_cache):
    """A real S3 server."""
    filesystem, root = fsspec.core.url_to_fs(f"{s3}/model")
    filesystem.pipe(f"{root}/bundle.json", spec_with({}))
    bundle = load_bundle(f"{s3}/model")
    assert "not found" in next(f.message for f in check_bundle(bundle) if f.level == "problem")
    filesystem.pipe(f"{root}/tokenizer.json", TOKENIZER)
    filesystem.invalidate_cache()
    finding = next(f for f in check_bundle(bundle) if f.subject == "tokenizer")
    assert (finding.level, "to be fetched" in finding.message) == ("ok", True)
    assert not (own_cache / "bundles").exists()
    assert local_path(bundle, "tokenizer").read_bytes() == TOKENIZER


def test_plain_http_and_chained_uris_are_refused(monkeypatch):
    monkeypatch.delenv("COSMOS_RAY_ALLOW_HTTP", raising=False)
    for uri in ("http://127.0.0.1:9/model", "https://example.org/model"):
        with pytest.raises(UsageError, match="COSMOS_RAY_ALLOW_HTTP=1"):
            load_bundle(uri)
    with pytest.raises(UsageError, match="chained"):
        load_bundle("simplecache::s3://bucket/model")


def test_a_store_that_does_not_answer_is_unavailable_and_no_fault_of_the_model(monkeypatch):
    monkeypatch.setenv("COSMOS_RAY_ALLOW_HTTP", "1")
    monkeypatch.setattr("cosmos_ray.store.faults._RETRY_DELAYS_S", ())
    bundle = parse_bundle(spec_with({}), "http://127.0.0.1:9/m")
    (finding,) = (finding for finding in check_bundle(bundle) if finding.subject == "tokenizer")
    assert finding.level == "unavailable", finding
    assert "no answer about http://127.0.0.1:9/m/tokenizer.json" in finding.message


# --- hashes ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were really read."""
    read: list[Path] = []

    def spy(path: Path, real: Callable[[Path], str] = cache.file_sha256) -> str:
        read.append(path)
        return real(path)

    monkeypatch.setattr(cache, "file_sha256", spy)
    return read


def test_a_large_file_is_hashed_once_until_it_is_written_to(tmp_path, hashed):
    file = tmp_path / "weights"
    file.write_bytes(b"a" * 2**20)
    first = remembered_sha256(file)
    assert [remembered_sha256(file) for _ in range(3)] == [first] * 3
    assert hashed == [file]

    stat = file.stat()
    with file.open("r+b") as opened:
        opened.write(b"b")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert remembered_sha256(file) == hashlib.sha256(file.read_bytes()).hexdigest() != first, "same size and mtime"
    assert len(hashed) == 2


def test_a_spoilt_note_or_a_cache_that_cannot_be_written_costs_time_only(tmp_path, own_cache, monkeypatch, hashed):
    file = tmp_path / "weights"
    file.write_bytes(b"a" * 2**20)
    first = remembered_sha256(file)
    (note,) = (own_cache / "verified").iterdir()
    note.write_text('{"state"')
    assert remembered_sha256(file) == first
    (tmp_path / "a file").touch()
    monkeypatch.setenv("COSMOS_RAY_CACHE", str(tmp_path / "a file" / "below"))
    assert remembered_sha256(file) == first
    assert len(hashed) == 3


def test_a_lock_is_free_again_when_its_holder_is_killed(own_cache):
    code = (
        "import time; from cosmos_ray.models.bundle.cache import node_lock\n"
        "with node_lock('x', 'working'): print('held', flush=True); time.sleep(3600)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    holder.kill()
    holder.wait()
    with node_lock("x", "working"):  # it would wait for a holder that lives
        pass
