"""Which names a manifest may use for its inputs, and the one form that URIs have."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosmos_ray.errors import UsageError
from cosmos_ray.store.storage import Storage
from cosmos_ray.store.uris import SCHEMES, normalise_uri, parent_uri, resolve_reference, scheme_of


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
        ("file:///else%20where/%C3%A9%25.mp4", "/data/set", "/else where/é%.mp4"),
        ("file://localhost/a%20b.mp4", "/data/set", "/a b.mp4"),
        ("file:/a%20b.mp4", "/data/set", "/a b.mp4"),
        ("./~/a.mp4", "/data/set", "/data/set/~/a.mp4"),
        ("a~/b:/c.mp4", "/data/set", "/data/set/a~/b:/c.mp4"),
        ("~a.mp4", "/data/set", "/data/set/~a.mp4"),
        ("/else%20where/clip.mp4", "/data/set", "/else%20where/clip.mp4"),
        ("else%20where/clip.mp4", "/data/set", "/data/set/else%20where/clip.mp4"),
        ("s3://other/a%20b.mp4", "/data/set", "s3://other/a%20b.mp4"),
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
        ("file:/etc/passwd", "s3://bucket/set", "a local path in a manifest that is not on a local disk"),
        ("s3:/bucket/a.mp4", "/data", "without two slashes"),
        ("GS:bucket/a.mp4", "s3://bucket", "without two slashes"),
        ("https:/host/a.mp4", "/data", "without two slashes"),
        ("C:\\clips\\a.mp4", "/data", "a path of Windows"),
        ("c:/clips/a.mp4", "s3://bucket", "a path of Windows"),
        ("\\\\nas\\a.mp4", "/data", "a path of Windows"),
        ("~/a.mp4", "/data", "only a shell resolves"),
        ("~ada/a.mp4", "s3://bucket", "only a shell resolves"),
        ("file:///a%00.mp4", "/data", "malformed"),
        ("file:///a%3A%3As3://b", "/data", "chained"),
        ("file:///a%FF.mp4", "/data", "percent-encoding is no UTF-8"),
        ("file://nas/share/a.mp4", "/data", r"with 'nas' where a host stands: file:///PATH"),
        ("file://a.mp4", "/data", "with 'a.mp4' where a host stands"),
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
    assert normalise_uri("file:///a%20b/%25") == "/a b/%"
    assert normalise_uri("file://localhost/a") == "/a"
    assert normalise_uri("/a%20b") == "/a%20b"
    assert normalise_uri("a") == f"{Path.cwd()}/a"
    assert parent_uri("s3://bucket/m.parquet") == "s3://bucket"
    assert parent_uri("/m.parquet") == "/"
    with pytest.raises(UsageError, match="chained"):
        normalise_uri("simplecache::s3://bucket/a")


@pytest.mark.parametrize("uri", ["", "file://", "a\0b", "file:///%00", "file:///%ff", "file://out", "file://./out"])
def test_what_is_no_uri_is_refused(uri: str) -> None:
    """An empty one least of all means the folder that the command happens to run in."""
    with pytest.raises(UsageError, match="expected a URI that may be read, not "):
        normalise_uri(uri)
    with pytest.raises(UsageError):
        Storage(uri)


@pytest.mark.parametrize("uri", ["s3://", "s3:///", "gs://", "ABFS://"])
def test_a_store_without_a_bucket_is_no_folder(uri: str) -> None:
    """Least of all one of the local disk, which `s3:` would be."""
    with pytest.raises(UsageError, match=f"expected {scheme_of(uri)}://BUCKET"):
        normalise_uri(uri)
    with pytest.raises(ValueError, match="an empty or malformed URI"):
        resolve_reference(uri, "/data")


# --- for any text ----------------------------------------------------------------------------------------------------

_parts = st.sampled_from(["a", "b.mp4", "..", ".", "", "...", "..mp4", "ä ö", "a\\..", "~", "%2e%2e", "s3:", ":", "*"])
_paths = st.lists(_parts, max_size=5).map("/".join)
_schemes = st.sampled_from(["", "", "/", "//", "file://", "file:///", "FILE:///", "s3://", "gs://", "az://", "S3://"])
_uris = st.builds("{}{}{}".format, _schemes, _paths, st.sampled_from(["", "/", "//", "::", "\x00"]))
_bases = st.sampled_from(["/data/set", "/", "/data/a.b/", "s3://bucket", "s3://bucket/set/", "gs://bucket/a"])


@settings(max_examples=200)
@given(_uris)
def test_every_uri_has_one_form_and_that_is_its_own(uri: str) -> None:
    try:
        found = normalise_uri(uri)
    except UsageError:
        has_host = scheme_of(uri) == "file" and re.match(r"file://[^/]", uri)
        password = re.match(r"\w+://[^/]*:", uri)
        of_no_place = re.match(r"~|s3:/?(?!/)", uri)  # a shell's, and a URI that `pathlib` went over
        nothing = "::" in uri or "\x00" in uri or not uri.partition("://")[2].strip("/")
        assert has_host or nothing or password or of_no_place
        return
    assert normalise_uri(found) == found
    assert scheme_of(found) == scheme_of(uri)
    assert found.startswith("/") or scheme_of(uri) != "file"
    assert not found.endswith("/") or set(found) == {"/"}
    if scheme_of(found) == "file":
        assert not {".", ".."} & set(found.split("/"))


@settings(max_examples=200)
@given(_uris, _bases)
def test_a_reference_stays_below_its_manifest_or_names_an_allowed_store_itself(reference: str, base: str) -> None:
    try:
        found = resolve_reference(reference, base)
    except ValueError:
        return
    names_itself = reference.startswith("/") or "://" in reference
    assert "::" not in found
    assert "\x00" not in found
    assert scheme_of(found) in SCHEMES
    if names_itself:
        assert scheme_of(found) != "file" or scheme_of(base) == "file"
    else:
        assert found.startswith(f"{base.rstrip('/')}/")
        assert scheme_of(found) == scheme_of(base)
        assert ".." not in found.removeprefix(base).split("/")


@settings(max_examples=200)
@given(_paths)
def test_a_storage_takes_a_path_as_it_is_or_not_at_all(path: str) -> None:
    """So that two paths never name one object, and none names one elsewhere."""
    storage = Storage("/out/here")
    try:
        _, full = storage._at(path)
    except ValueError:
        assert not path or path != posixpath.normpath(path) or path.split("/")[0] in ("", ".", "..")
        return
    assert full == posixpath.normpath(full) == f"/out/here/{path}"
    assert storage.uri_of(path) == full
    assert parent_uri(storage.uri_of(f"{path}/x")) == full


@pytest.mark.parametrize("uri", ["~/out", "~", "s3:/bucket/out", "C:\\out"])
def test_a_place_that_only_looks_like_a_relative_path_is_refused(uri: str) -> None:
    """A whole output was written into a folder named `~`, or `s3:`, of wherever the command ran."""
    with pytest.raises(UsageError, match=r"found '.*', expected a URI that may be read, not a "):
        Storage(uri)
