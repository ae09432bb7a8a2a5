"""A folder's own files, and files too large for memory: on a local disk and on an S3 server."""

from __future__ import annotations

from pathlib import Path

from cosmos_ray.store.storage import Storage


def test_the_files_of_a_folder_are_those_directly_in_it(storage: Storage) -> None:
    for path in ("top/a", "top/b", "top/below/c", "topmost/d"):
        storage.write(path, b"x")
    assert sorted(storage.list_files("top")) == ["top/a", "top/b"]
    assert list(storage.list_files("nothing")) == []


def test_files_that_are_not_in_place_yet_are_in_no_listing(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    storage.write("top/a", b"x")
    (tmp_path / "top" / ".tmp-0123").write_bytes(b"half")
    assert list(storage.list_files("top")) == ["top/a"]


def test_a_file_is_stored_whole_and_replaces_what_was_there(storage: Storage, tmp_path: Path) -> None:
    source = tmp_path / "source"
    data = bytes(range(256)) * 40_000  # more than one part of an upload
    source.write_bytes(data)
    storage.write("new/x", b"old")
    storage.write_file("new/x", source)
    assert storage.read("new/x") == data
    assert list(storage.list("new")) == ["new/x"]
