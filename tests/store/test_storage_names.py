"""Which names a manifest may use for its inputs, and the one form that URIs have."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosmos_ray.errors import UsageError
from cosmos_ray.store.storage import normalise_uri, parent_uri, resolve_reference


@pytest.mark.parametrize(
    ("reference", "base", "expected"),
    [
        ("clip.mp4", "/data/set", "/data/set/clip.mp4"),
        ("./a/b.mp4", "/data/set", "/data/set/a/b.mp4"),
        ("a/b.mp4", "s3://bucket/set", "s3://bucket/set/a/b.mp4"),
        ("a/b.mp4", "s3://bucket/set/", "s3://bucket/set/a/b.mp4"),
        ("name with blanks..mp4", "/data", "/data/name with blanks..mp4"),
        ("/elsewhere/clip.mp4", "/data/set", "/elsewhere/clip.mp4"),
        ("file:///elsewhere/clip.mp4", "/data/set", "/elsewhere/clip.mp4"),
        ("FILE:///elsewhere/clip.mp4", "/data/set", "/elsewhere/clip.mp4"),
        ("s3://other/clip.mp4", "/data/set", "s3://other/clip.mp4"),
        ("s3://other/clip.mp4", "s3://bucket/set", "s3://other/clip.mp4"),
        ("gs://other/clip.mp4", "s3://bucket/set", "gs://other/clip.mp4"),
        ("abfs://other/clip.mp4", "s3://bucket/set", "abfs://other/clip.mp4"),
    ],
)
def test_references_that_a_manifest_may_hold(reference: str, base: str, expected: str) -> None:
    assert resolve_reference(reference, base) == expected


@pytest.mark.parametrize(
    ("reference", "base", "reason"),
    [
        ("", "/data", "empty"),
        ("a\x00b.mp4", "/data", "malformed"),
        ("http://host/clip.mp4", "/data", "scheme 'http'"),
        ("https://host/clip.mp4", "s3://bucket", "scheme 'https'"),
        ("HTTP://host/clip.mp4", "/data", "scheme 'http'"),
        ("memory://clip.mp4", "/data", "scheme 'memory'"),
        ("github://org:repo@main/clip.mp4", "/data", "scheme 'github'"),
        ("simplecache::s3://bucket/clip.mp4", "/data", "chained"),
        ("zip://clip.mp4::s3://bucket/a.zip", "s3://bucket", "chained"),
        ("../clip.mp4", "/data", "leave the manifest's folder"),
        ("a/../../clip.mp4", "s3://bucket/set", "leave the manifest's folder"),
        ("a\\..\\clip.mp4", "/data", "leave the manifest's folder"),
        ("/etc/passwd", "s3://bucket/set", "a local path in a manifest that is not on a local disk"),
        ("file:///etc/passwd", "s3://bucket/set", "a local path in a manifest that is not on a local disk"),
        ("File:///etc/passwd", "gs://bucket/set", "a local path in a manifest that is not on a local disk"),
    ],
)
def test_references_that_are_refused(reference: str, base: str, reason: str) -> None:
    """The reason is a text for the person who wrote the manifest."""
    with pytest.raises(ValueError, match=reason):
        resolve_reference(reference, base)


def test_uris_have_one_form() -> None:
    assert normalise_uri("s3://bucket/a/") == "s3://bucket/a"
    assert normalise_uri("/a/b/../c/") == "/a/c"
    assert normalise_uri("file:///a/b") == "/a/b"
    assert normalise_uri("a") == f"{Path.cwd()}/a"
    assert parent_uri("s3://bucket/m.parquet") == "s3://bucket"
    assert parent_uri("/m.parquet") == "/"
    with pytest.raises(UsageError, match="chained"):
        normalise_uri("simplecache::s3://bucket/a")
