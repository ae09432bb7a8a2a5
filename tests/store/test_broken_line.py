"""A store behind a bad line: 503s, connections that are cut or slow, answers that are lost, uploads that end half way.

Against a real S3 server, through a proxy that breaks what it is told to. Our own retries are what is tested: the
client's are off.
"""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import s3fs
from support.fault_proxy import EXPIRED, UNAVAILABLE, FaultProxy, Meets, fault_proxy
from support.waiting import wait_for

from cosmos_ray.ledger.tidy import clean
from cosmos_ray.store import faults as store_faults
from cosmos_ray.store.storage import Storage, fetch_to_file

pytestmark = pytest.mark.slow

MIB = 1 << 20
#: From here on s3fs uploads in parts.
BIG = 101 * MIB
PART_2 = "partNumber=2"


@pytest.fixture
def proxy(s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """All requests of this process pass it."""
    monkeypatch.setattr(store_faults, "_RETRY_DELAYS_S", (0.01, 0.02, 0.05))
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    with fault_proxy(os.environ["AWS_ENDPOINT_URL"]) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        s3fs.S3FileSystem.clear_instance_cache()
        yield proxy
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def far(proxy: FaultProxy, s3_bucket: str) -> Storage:
    """An empty folder, behind the proxy."""
    return Storage(f"{s3_bucket}/{uuid.uuid4().hex[:12]}")


def first(times: int, meets: Meets) -> Callable[[str, str], Meets]:
    """The first requests to each path meet this, the later ones nothing."""
    seen: Counter[tuple[str, str]] = Counter()

    def fault(method: str, path: str) -> Meets:
        path = path.partition("?")[0]
        seen[method, path] += 1
        return meets if seen[method, path] <= times else None

    return fault


def uploads(storage: Storage) -> dict[str, int]:
    """Keys of the unfinished uploads in its bucket, and how many bytes of each are stored."""
    bucket, client = storage.uri.removeprefix("s3://").partition("/")[0], s3fs.S3FileSystem()
    found: dict[str, int] = {}
    for upload in client.call_s3("list_multipart_uploads", Bucket=bucket).get("Uploads", ()):
        parts = client.call_s3("list_parts", Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
        found[upload["Key"]] = sum(part["Size"] for part in parts.get("Parts", ()))
    return found


OPERATIONS: dict[str, Callable[[Storage], object]] = {
    "read": lambda far: far.read("x") == b"content",
    "read many": lambda far: far.read_many(["x", "missing"]) == {"x": b"content"},
    "write": lambda far: (far.write("y", b"new"), far.read("y") == b"new")[1],
    "create": lambda far: far.write_if_absent("y", b"new"),
    "lose a create": lambda far: not far.write_if_absent("x", b"another's"),
    "stat": lambda far: far.stat("x").size == 7,  # type: ignore[union-attr]
    "list": lambda far: list(far.list("sub")) == ["sub/z"],
    "delete": lambda far: (far.delete("x"), not far.exists("x"))[1],
}


@pytest.mark.parametrize("meets", [UNAVAILABLE, "drop", "lost"], ids=["503", "dropped", "answer lost"])
def test_a_fault_that_passes_is_not_seen(proxy: FaultProxy, far: Storage, meets: Meets) -> None:
    """Also where the request was carried out and only its answer was lost: a creator meets its own object then."""
    for name, operation in OPERATIONS.items():
        folder = Storage(far.uri_of(name.replace(" ", "-")))
        proxy.fault, proxy.met = lambda method, path: None, []
        folder.write("x", b"content")
        folder.write("sub/z", b"another")
        proxy.fault = first(1, meets)
        assert operation(folder), name
        assert proxy.met, name


def test_a_fault_that_stays_is_an_os_error_that_says_so(proxy: FaultProxy, far: Storage) -> None:
    proxy.fault = lambda method, path: UNAVAILABLE
    with pytest.raises(OSError, match="reduce your request rate"):
        far.write("x", b"content")
    assert len(proxy.met) >= 4


@pytest.mark.parametrize("meets", ["cut", "short", "slow"])
@pytest.mark.parametrize("size", [3 * MIB, 51 * MIB], ids=["one request", "ranges"])
def test_a_download_over_a_bad_line_is_whole(
    proxy: FaultProxy, far: Storage, tmp_path: Path, size: int, meets: Meets
) -> None:
    """Broken off half way, given out as whole by then, or slow: every byte is there in the end."""
    data = os.urandom(MIB) * (size // MIB)
    far.write("in.mp4", data)
    once = first(1, meets)
    proxy.fault = lambda method, path: once(method, path) if method == "GET" else None
    assert fetch_to_file(far.uri_of("in.mp4"), tmp_path / "in.mp4").size == size
    assert (tmp_path / "in.mp4").read_bytes() == data
    assert proxy.met


def test_an_upload_in_parts_goes_on_after_a_fault(proxy: FaultProxy, far: Storage) -> None:
    data = os.urandom(MIB) * (BIG // MIB)
    twice = first(2, "drop")
    proxy.fault = lambda method, path: twice(method, path) if PART_2 in path else None
    far.write("big", data)
    assert far.read("big") == data
    assert uploads(far) == {}
    far.delete("big")


def test_an_upload_that_fails_half_way_leaves_nothing(proxy: FaultProxy, far: Storage) -> None:
    """Credentials expire between two parts: nothing is to be seen, and no parts are left that somebody pays for."""
    proxy.fault = lambda method, path: EXPIRED if PART_2 in path else None
    with pytest.raises(PermissionError, match="token has expired"):
        far.write("big", bytes(BIG))
    assert far.stat("big") is None
    assert uploads(far) == {}


_UPLOAD = """
import sys
from cosmos_ray.store.storage import Storage
Storage(sys.argv[1]).write("clips/a/1/rear.mp4", bytes(int(sys.argv[2])))
"""


def test_a_writer_killed_half_way_leaves_parts_that_clean_removes(proxy: FaultProxy, far: Storage) -> None:
    """SIGKILL in the last part of an upload. Another output's upload in the same bucket is not touched."""
    bucket, _, prefix = far.uri.removeprefix("s3://").partition("/")
    ours, other = f"{prefix}/clips/a/1/rear.mp4", f"{prefix}-other/clips/b/1/rear.mp4"
    started = s3fs.S3FileSystem().call_s3("create_multipart_upload", Bucket=bucket, Key=other)
    proxy.fault = lambda method, path: "hang" if method == "PUT" and "partNumber=3" in path else None
    writer = subprocess.Popen([sys.executable, "-c", _UPLOAD, far.uri, str(BIG)])
    try:
        wait_for(lambda: uploads(far).get(ours) == 100 * MIB, "all parts but the last")
    finally:
        writer.kill()
        writer.wait()
    proxy.fault = lambda method, path: None
    assert far.stat("clips/a/1/rear.mp4") is None
    assert list(far.list("clips")) == []
    removed = clean(far)
    assert (removed.objects, removed.size) == (1, 100 * MIB)
    assert uploads(far) == {other: 0}
    s3fs.S3FileSystem().call_s3("abort_multipart_upload", Bucket=bucket, Key=other, UploadId=started["UploadId"])
