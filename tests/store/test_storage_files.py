"""A folder's own files, and files too large for memory: on a local disk and on an S3 server."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cosmos_ray.store import traffic
from cosmos_ray.store.storage import Stat, Storage, fetch_to_file, read_bytes, stat_of
from cosmos_ray.store.traffic import Traffic


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


def test_what_is_neither_a_file_nor_a_folder_is_in_no_list_of_files(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    storage.write("top/a", b"x")
    os.mkfifo(tmp_path / "top" / "pipe")
    assert list(storage.list_files("top")) == ["top/a"]


def test_a_file_is_stored_whole_and_replaces_what_was_there(storage: Storage, tmp_path: Path) -> None:
    source = tmp_path / "source"
    data = bytes(range(256)) * 40_000  # more than one part of an upload
    source.write_bytes(data)
    storage.write("new/x", b"old")
    storage.write_file("new/x", source)
    assert storage.read("new/x") == data
    assert list(storage.list("new")) == ["new/x"]


def test_a_create_that_meets_what_is_removed_then_has_created_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = Storage(str(tmp_path))

    def link(source: str, target: str, **_: int) -> None:
        raise FileExistsError(target)

    monkeypatch.setattr(os, "link", link)
    assert not storage.write_if_absent("a", b"mine")
    assert list(storage.list_files()) == []


@pytest.mark.parametrize("ask", [stat_of, lambda uri: fetch_to_file(uri, Path(f"{uri}.copy"))], ids=["look", "fetch"])
def test_a_links_version_is_that_of_the_file_it_names(tmp_path: Path, ask: Callable[[str], Stat]) -> None:
    """What is written to the file changes nothing of the link."""
    file, link = tmp_path / "file", tmp_path / "link"
    link.symlink_to(file)
    file.write_bytes(b"x")
    versions = set()
    for moment in (1e9, 1.5e9):
        os.utime(file, (moment, moment))
        assert ask(str(link)) == stat_of(str(file))
        versions.add(ask(str(link)).version)
    assert len(versions) == 2


_OPERATIONS: dict[str, tuple[Callable[[Storage, Path], object], Traffic]] = {
    "read": (lambda storage, _: storage.read("there"), Traffic(read=5)),
    "read many": (lambda storage, _: storage.read_many(["there", "none", "more"]), Traffic(read=12)),
    "read bytes": (lambda storage, _: read_bytes(storage.uri_of("there"), 1, 3), Traffic(read=2)),
    "fetch": (lambda storage, home: fetch_to_file(storage.uri_of("more"), home / "copy"), Traffic(read=7)),
    "write": (lambda storage, _: storage.write("new", b"abc"), Traffic(written=3)),
    "write file": (lambda storage, home: storage.write_file("new", home / "source"), Traffic(written=11)),
    "create": (lambda storage, _: storage.write_if_absent("new", b"abcd"), Traffic(written=4)),
    # Its content is compared with what is there.
    "create again": (lambda storage, _: storage.write_if_absent("there", b"abcd"), Traffic(read=5)),
    "look": (lambda storage, _: storage.stat("there"), Traffic()),
    "list": (lambda storage, _: list(storage.list_files()), Traffic()),
    "delete": (lambda storage, _: storage.delete("there"), Traffic()),
}


@pytest.mark.parametrize("operation", _OPERATIONS)
def test_each_operation_is_told_by_the_bytes_that_went_each_way(tmp_path: Path, operation: str) -> None:
    (tmp_path / "source").write_bytes(bytes(11))
    storage = Storage(str(tmp_path / "store"))
    storage.write("there", b"there")
    storage.write("more", b"a store")
    does, expected = _OPERATIONS[operation]
    traffic.take()
    does(storage, tmp_path)
    assert traffic.take() == expected
