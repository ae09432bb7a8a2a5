"""What a remote store may answer, and what becomes of it: lost answers, half a batch, unfinished uploads by the page.

A store in memory says what real ones say once in a while; what they do every day is in test_storage_contract.py.
"""

from __future__ import annotations

import datetime
import errno
import os
from collections.abc import Callable
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from cosmos_ray.errors import UsageError
from cosmos_ray.store import faults as store_faults
from cosmos_ray.store import storage as storage_module
from cosmos_ray.store import traffic
from cosmos_ray.store.faults import BucketMissingError
from cosmos_ray.store.storage import Storage, filesystem_of, read_bytes
from cosmos_ray.store.traffic import Traffic
from cosmos_ray.store.uploads import Removed
from cosmos_ray.store.uris import scheme_of


class Told(MemoryFileSystem):
    """Memory; an operation named in `instead` does that."""

    cachable = False
    instead: dict[str, Callable[..., Any]]

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        if mode == "create" and "create" in self.instead:
            return self.instead["create"](path, value)
        if mode == "create" and self.exists(path):
            raise FileExistsError(path)
        return super().pipe_file(path, value)

    def cat(self, path: Any, recursive: bool = False, on_error: str = "raise", **kwargs: Any) -> Any:
        found = super().cat(path, recursive, on_error, **kwargs)
        return self.instead["cat"](found) if "cat" in self.instead else found

    def call_s3(self, method: str, **arguments: Any) -> Any:
        return self.instead["call_s3"](method, **arguments)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    monkeypatch.setattr(store_faults, "_RETRY_DELAYS_S", (0.001,))
    fs = Told()
    fs.store.clear()
    fs.instead = {}
    monkeypatch.setattr(storage_module, "filesystem_of", lambda uri: (fs, "/bucket/out"))
    return fs


@pytest.fixture
def far(told: Told) -> Storage:
    return Storage("s3://bucket/out")


# --- create if absent ------------------------------------------------------------------------------------------------


def test_a_creator_that_meets_its_own_object_has_created_it(told: Told, far: Storage) -> None:
    """The answer to its first request was lost, and its client has sent it again."""

    def create(path: str, data: bytes) -> None:
        MemoryFileSystem.pipe_file(told, path, data)
        raise FileExistsError(path)

    told.instead["create"] = create
    assert far.write_if_absent("x", b"mine")
    del told.instead["create"]
    assert far.read("x") == b"mine"
    assert not far.write_if_absent("x", b"another's")


def test_einval_of_an_object_that_is_there_is_a_failed_condition_and_else_a_fault(told: Told, far: Storage) -> None:
    """Ceph's gateway has no other name for it."""

    def create(path: str, data: bytes) -> None:
        raise OSError(errno.EINVAL, "InvalidArgument")

    told.instead["create"] = create
    with pytest.raises(OSError, match="InvalidArgument"):
        far.write_if_absent("x", b"mine")
    far.write("x", b"another's")
    traffic.take()
    assert not far.write_if_absent("x", b"mine")
    assert traffic.take().written == 0


def test_any_other_fault_of_a_creation_is_one_whether_or_not_there_is_an_object(told: Told, far: Storage) -> None:
    def create(path: str, data: bytes) -> None:
        raise OSError(errno.EIO, "cut off")

    far.write("x", b"another's")
    told.instead["create"] = create
    with pytest.raises(OSError, match="cut off"):
        far.write_if_absent("x", b"mine")


def test_an_object_of_exactly_the_largest_size_is_created(far: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_module, "MAX_CREATE_BYTES", 4)
    assert far.write_if_absent("x", b"1234")
    with pytest.raises(ValueError, match="y: found 5 bytes to create, expected at most 4"):
        far.write_if_absent("y", b"12345")


# --- many at once ----------------------------------------------------------------------------------------------------


def test_what_a_batch_did_not_bring_is_read_again(told: Told, far: Storage) -> None:
    """Unless it is not there: neither now nor when it is asked for again."""
    for name in ("a", "b", "gone"):
        far.write(f"in/{name}", name.encode())

    def cat(found: dict[str, Any]) -> dict[str, Any]:
        told.rm_file("/bucket/out/in/gone")
        broken = {"/bucket/out/in/b": OSError("cut off"), "/bucket/out/in/gone": OSError("cut off")}
        return {**found, **broken, "/bucket/out/in/never": FileNotFoundError("never")}

    told.instead["cat"] = cat
    traffic.take()
    assert far.read_many(f"in/{name}" for name in ("a", "b", "gone", "never")) == {"in/a": b"a", "in/b": b"b"}
    assert traffic.take() == Traffic(read=2)


# --- unfinished uploads ----------------------------------------------------------------------------------------------


def test_unfinished_uploads_are_aborted_page_by_page(told: Told, far: Storage) -> None:
    """Only those below the folder are asked for; the sizes of their parts are summed."""
    calls: list[tuple[str, dict[str, Any]]] = []
    pages = {
        None: {
            "Uploads": [{"Key": "out/a", "UploadId": "1"}],
            "IsTruncated": True,
            "NextKeyMarker": "out/a",
            "NextUploadIdMarker": "1",
        },
        "out/a": {"Uploads": [{"Key": "out/b", "UploadId": "2"}], "IsTruncated": False},
    }

    def call_s3(method: str, **arguments: Any) -> Any:
        calls.append((method, arguments))
        if method == "list_multipart_uploads":
            assert (arguments["Bucket"], arguments["Prefix"]) == ("bucket", "out/")
            return pages[arguments.get("KeyMarker")]
        return {"Parts": [{"Size": 3}, {"Size": 4}]} if arguments["UploadId"] == "1" else {}

    told.instead["call_s3"] = call_s3
    far._fs, far._root = told, "bucket/out"  # as s3fs has it, without a slash
    assert far.remove_unfinished() == Removed(2, 7)
    aborted = [arguments for method, arguments in calls if method == "abort_multipart_upload"]
    assert aborted == [{"Bucket": "bucket", "Key": f"out/{key}", "UploadId": i} for key, i in (("a", "1"), ("b", "2"))]
    assert calls[-1][0] != "list_multipart_uploads"
    assert [arguments.get("UploadIdMarker") for method, arguments in calls if method.endswith("uploads")] == [None, "1"]


def test_uploads_that_may_still_be_at_work_are_left(told: Told, far: Storage) -> None:
    now = datetime.datetime.now(datetime.UTC)
    began = {"old": now - datetime.timedelta(hours=2), "young": now - datetime.timedelta(minutes=2), "unknown": None}
    uploads = [
        {"Key": f"out/{name}", "UploadId": name} | ({"Initiated": at} if at else {}) for name, at in began.items()
    ]
    aborted = []

    def call_s3(method: str, **arguments: Any) -> Any:
        if method == "abort_multipart_upload":
            aborted.append(arguments["UploadId"])
        return {"Uploads": uploads} if method == "list_multipart_uploads" else {"Parts": [{"Size": 3}]}

    told.instead["call_s3"] = call_s3
    far._fs, far._root = told, "bucket/out"
    assert far.remove_unfinished(older_than_s=3600) == Removed(1, 3)
    assert aborted == ["old"]


def test_stores_that_drop_unfinished_uploads_themselves_are_not_asked(told: Told) -> None:
    for uri in ("gs://bucket/out", "az://bucket/out", "abfs://bucket/out"):
        assert Storage(uri).remove_unfinished() == Removed(0, 0)


def test_temporary_files_are_counted_with_their_bytes(tmp_path: Any) -> None:
    storage = Storage(str(tmp_path))
    storage.write("a/b/x", b"kept")
    (tmp_path / "a" / "b" / ".tmp-1").write_bytes(b"123")
    (tmp_path / "a" / ".tmp-2").write_bytes(b"4567")
    (tmp_path / "a" / "not.tmp-3").write_bytes(b"kept")
    assert storage.remove_unfinished() == Removed(2, 7)
    assert sorted(storage.list("a")) == ["a/b/x", "a/not.tmp-3"]


# --- what is in the way of any answer ---------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [PermissionError("no access"), ImportError("no s3fs"), OSError("no answer")])
def test_whatever_keeps_an_output_from_being_written_is_said(far: Storage, error: Exception) -> None:
    def write(path: str, data: bytes) -> None:
        raise error

    far.write = write  # type: ignore[method-assign]
    with pytest.raises(UsageError, match=rf"^the output s3://bucket/out is not writable: {type(error).__name__}: no "):
        far.check_writable()


def test_a_missing_bucket_is_not_a_missing_object(told: Told) -> None:
    def head_bucket(method: str, Bucket: str) -> None:
        assert (method, Bucket) == ("head_bucket", "bucket")
        if not told.exists("bucket"):
            raise FileNotFoundError("no such bucket")

    told.instead["call_s3"] = head_bucket
    with pytest.raises(BucketMissingError, match="the bucket 'bucket' of s3://bucket/out/x is not there"):
        read_bytes("s3://bucket/out/x")
    told.pipe_file("bucket/other", b"")
    with pytest.raises(FileNotFoundError):
        read_bytes("s3://bucket/out/x")
    with pytest.raises(FileNotFoundError):
        read_bytes("/nowhere/out/x")


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (None, FileNotFoundError),
        (FileNotFoundError("no such bucket"), BucketMissingError),
        (PermissionError("forbidden"), FileNotFoundError),
        (OSError(errno.EINVAL, "bad request"), FileNotFoundError),
        (OSError("slow down"), OSError),
    ],
)
def test_a_store_that_goes_out_is_not_taken_for_a_missing_bucket(
    told: Told, answer: Exception | None, kind: type[Exception]
) -> None:
    """The object is missing, and its bucket is asked for."""

    def head_bucket(method: str, **arguments: Any) -> None:
        if answer is not None:
            raise answer

    told.instead["call_s3"] = head_bucket
    with pytest.raises(OSError) as caught:
        read_bytes("s3://bucket/out/x")
    assert type(caught.value) is kind


@pytest.mark.parametrize("there", [True, False])
def test_other_stores_are_asked_for_the_bucket_itself(told: Told, there: bool) -> None:
    told.exists = lambda path: there  # type: ignore[method-assign]
    with pytest.raises(FileNotFoundError if there else BucketMissingError):
        read_bytes("az://bucket/out/x")


def test_schemes_are_those_of_the_uri_whatever_their_case() -> None:
    assert [scheme_of(uri) for uri in ("/a", "a", "S3://b", "file:///a", "a/s3://b", "abfs+x://b", "1s://b")] == [
        *("file", "file", "s3", "file", "file", "abfs+x", "file")
    ]


def test_listings_are_never_cached_and_google_is_not_asked_for_layouts(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(fsspec.core, "url_to_fs", lambda uri, **options: asked.append((uri, options)))
    monkeypatch.delenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", raising=False)
    for uri in ("s3://b/a/", "gs://b", "/a/b/"):
        filesystem_of(uri)
    no_cache = {"use_listings_cache": False}
    assert asked == [("s3://b/a", no_cache), ("gs://b", no_cache), ("/a/b", {})]
    assert os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] == "false"


@pytest.mark.parametrize(
    ("error", "said"),
    [(ImportError("install x"), "needs another package: install x"), (ValueError("no account"), "cannot be reached: ")],
)
def test_a_store_that_cannot_be_opened_is_the_jobs_fault(
    monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    def url_to_fs(uri: str, **options: Any) -> None:
        raise error

    monkeypatch.setattr(fsspec.core, "url_to_fs", url_to_fs)
    with pytest.raises(UsageError, match=f"^'gs://b/a' {said}"):
        filesystem_of("gs://b/a")


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ({"size": 3, "ETag": '"a"', "etag": "b", "mtime": 1.5, "LastModified": "t"}, (3, "a")),
        ({"size": 3, "etag": "b", "mtime": 1.5, "LastModified": "t"}, (3, "b")),
        ({"size": 3, "mtime": 1.5, "LastModified": "t"}, (3, "1.5")),
        ({"size": "3", "LastModified": "t"}, (3, "t")),
        ({"size": None}, (0, "")),
    ],
)
def test_an_objects_version_is_its_etag_or_else_its_time(
    told: Told, far: Storage, info: dict[str, Any], expected: tuple[int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(told, "info", lambda path: {"type": "file", **info})
    found = far.stat("x")
    assert found is not None
    assert (found.size, found.version) == expected


@pytest.mark.parametrize(
    ("tier", "is_archived"), [(None, False), ("STANDARD", False), ("GLACIER_IR", False), ("GLACIER", True),
                              ("DEEP_ARCHIVE", True)],
)  # fmt: skip
def test_an_object_in_an_archive_says_so(
    told: Told, far: Storage, tier: str | None, is_archived: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(told, "info", lambda path: {"type": "file", "size": 3, "StorageClass": tier})
    found = far.stat("x")
    assert found is not None
    assert found.is_archived == is_archived


def test_what_lies_beside_an_object_is_in_its_folder_and_not_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, dict[str, Any]]] = []

    class Listing:
        def call_s3(self, name: str, **arguments: Any) -> dict[str, Any]:
            asked.append((name, arguments))
            return {"Contents": [{"Key": "sub/a.mp4"}, {"Key": "sub/b.mp4"}]}

    monkeypatch.setattr(storage_module, "filesystem_of", lambda uri: (Listing(), uri.partition("://")[2]))
    assert storage_module.beside("s3://b/sub/a.mp4", 5) == ["s3://b/sub/b.mp4"]
    storage_module.beside("s3://b/a.mp4", 5)
    assert [arguments for _, arguments in asked] == [
        {"Bucket": "b", "Prefix": "sub/", "MaxKeys": 5},
        {"Bucket": "b", "Prefix": "", "MaxKeys": 5},
    ]
    assert storage_module.beside("/a/file", 5) == storage_module.beside("gs://b/x", 5) == []


def test_traffic_is_summed_and_taken_once() -> None:
    traffic.take()
    traffic.count(read=1, written=2)
    traffic.count(retries=3, read=4)
    assert traffic.take() == Traffic(read=5, written=2, retries=3)
    assert traffic.take() == Traffic(0, 0, 0)
    assert Traffic(1, 2, 3) + Traffic(10, 20, 30) == Traffic(11, 22, 33)
