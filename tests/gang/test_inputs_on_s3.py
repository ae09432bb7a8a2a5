"""What a real store answers of an object that cannot be read, and whose fault that is."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import s3 as s3_server
from support.fault_proxy import fault_proxy

from cosmos_ray.errors import RowError
from cosmos_ray.gang import inputs
from cosmos_ray.gang.inputs import Source, fetch_inputs, fetch_videos, input_size
from cosmos_ray.store import faults
from cosmos_ray.store.faults import BucketMissingError
from cosmos_ray.store.storage import Storage

pytestmark = pytest.mark.slow
Ask = Callable[[str], Any]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No process has read anything, and nobody waits before the next try."""
    monkeypatch.setattr(inputs, "_read_before", {})
    monkeypatch.setattr(faults, "_RETRY_DELAYS_S", (0.0,))


@pytest.fixture
def ways(tmp_path: Path) -> tuple[Ask, ...]:
    """In which an input is asked for: pictures, videos, and by `plan --inputs`."""
    return (
        lambda uri: fetch_inputs("input_frames", [uri], tmp_path),
        lambda uri: fetch_videos("input_video", [uri], tmp_path),
        lambda uri: input_size("input_video", uri),
    )


def forbid(bucket: str, *keys: str) -> None:
    """Nobody may read them or look at them from now on."""
    import s3fs

    name = bucket.removeprefix("s3://")
    resources = [f"arn:aws:s3:::{name}/{key}" for key in keys]
    denied = {"Effect": "Deny", "Principal": "*", "Action": ["s3:GetObject"], "Resource": resources}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [denied]})
    s3fs.S3FileSystem().call_s3("put_bucket_policy", Bucket=name, Policy=policy)


@pytest.fixture
def bucket(s3: str) -> str:
    """Of a test alone: it has a policy."""
    return s3_server.server().make_bucket()


def test_forbidden_alone_in_a_store_is_nobodys_fault_and_beside_what_can_be_read_the_rows(
    bucket: str, tmp_path: Path
) -> None:
    store = Storage(bucket)
    store.write("drives/a.mp4", b"a")
    forbid(bucket, "drives/a.mp4")
    uri = f"{bucket}/drives/a.mp4"
    with pytest.raises(PermissionError):
        fetch_videos("input_video", [uri], tmp_path)
    store.write("rows.parquet", b"p")
    with pytest.raises(RowError, match="its store gives others, but of this one says PermissionError: Forbidden"):
        fetch_videos("input_video", [uri], tmp_path, Source(f"{bucket}/rows.parquet"))


def test_another_object_of_the_folder_shows_that_the_store_is_well(bucket: str, ways: tuple[Ask, ...]) -> None:
    """The manifest lies elsewhere, and these rows are all that is left: nothing else was read."""
    forbid(bucket, "drives/a.mp4", "drives/b.mp4")
    for name in ("a", "b"):
        Storage(bucket).write(f"drives/{name}.mp4", b"x")
    for ask in ways[:2]:
        with pytest.raises(PermissionError):
            ask(f"{bucket}/drives/b.mp4")
    Storage(bucket).write("drives/c.mp4", b"x")
    for ask in ways[:2]:
        with pytest.raises(RowError, match="its store gives others"):
            ask(f"{bucket}/drives/b.mp4")


def test_an_object_that_may_be_looked_at_but_not_read_is_the_rows_fault_where_others_are_read(
    s3_bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HEAD is answered and GET forbidden: an object under a key that the job may not use. Large ones come in parts."""
    import s3fs

    folder = f"{s3_bucket}/{uuid.uuid4().hex[:12]}"
    for name, size in (("small.mp4", 10), ("large.mp4", inputs.LARGE)):
        Storage(folder).write(name, bytes(size))
    with fault_proxy(os.environ["AWS_ENDPOINT_URL"]) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        s3fs.S3FileSystem.clear_instance_cache()
        denied = (403, "AccessDenied", "Access Denied")
        proxy.fault = lambda method, path: denied if method == "GET" and path.endswith(".mp4") else None
        for name in ("small.mp4", "large.mp4"):
            assert input_size("input_video", f"{folder}/{name}") > 0
            with pytest.raises(PermissionError):
                fetch_videos("input_video", [f"{folder}/{name}"], tmp_path)
        Storage(folder).write("rows.parquet", b"p")
        for name in ("small.mp4", "large.mp4"):
            with pytest.raises(RowError, match=f"{name}.*its store gives others, but of this one says Perm"):
                fetch_videos("input_video", [f"{folder}/{name}"], tmp_path, Source(f"{folder}/rows.parquet"))
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("k" * 1025, "it is too long"),
        ("é" * 513, "it is too long"),
        ("none.mp4", "a file that exists"),
        ("folder", "a file, not a folder"),
        ("folder/", "a file, not a folder"),
        ("", "a file, not a folder"),
    ],
)
def test_names_that_can_never_be_read(key: str, expected: str, bucket: str, ways: tuple[Ask, ...]) -> None:
    Storage(bucket).write("folder/a.mp4", b"a")
    for ask in ways:
        with pytest.raises(RowError) as caught:
            ask(f"{bucket}/{key}")
        assert expected in str(caught.value)


def test_a_bucket_that_is_not_there_is_no_rows_fault_whoever_asks(s3: str, ways: tuple[Ask, ...]) -> None:
    for ask in ways:
        with pytest.raises(BucketMissingError, match="the bucket 'no-such-bucket' of"):
            ask("s3://no-such-bucket/a.mp4")


def test_an_archived_object_is_the_rows_fault_whoever_asks(
    ways: tuple[Ask, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs

    for name, value in s3_server.imitation().environment.items():
        monkeypatch.delenv(name, raising=False) if value is None else monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    try:
        bucket = s3_server.imitation().make_bucket()
        key = {"Bucket": bucket.removeprefix("s3://"), "Key": "cold.mp4"}
        s3fs.S3FileSystem().call_s3("put_object", **key, Body=b"c", StorageClass="GLACIER")
        for ask in ways:
            with pytest.raises(RowError, match="it lies in an archive"):
                ask(f"{bucket}/cold.mp4")
    finally:
        s3fs.S3FileSystem.clear_instance_cache()
