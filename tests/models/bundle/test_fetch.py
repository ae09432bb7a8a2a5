"""Fetching from an object store: what a listing, a size or an answer may be, and what is not fetched twice."""

from __future__ import annotations

import hashlib
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from cosmos_ray.errors import UsageError
from cosmos_ray.models.bundle import fetch as fetch_module
from cosmos_ray.models.bundle.cache import folder_sha256
from cosmos_ray.models.bundle.fetch import fetch, fetch_parts, listed, open_store, size_of

DATA = bytes(range(256)) * 4
SHA256 = hashlib.sha256(DATA).hexdigest()


class Store(MemoryFileSystem):
    """A store in memory that can be made to say other things than the truth, and remembers what it read."""

    protocol = "teststore"
    cachable = False
    store: dict[str, Any]
    pseudo_dirs: list[str]

    def __init__(self) -> None:
        super().__init__()
        self.store, self.pseudo_dirs = {}, [""]
        #: What `find` adds to a listing: {path: size}.
        self.listed: dict[str, int] = {}
        self.sizes: dict[str, int | None] = {}
        self.cut_off = 0
        self.read: list[str] = []

    def find(self, path: str, **options: Any) -> Any:
        found = super().find(path, **options)
        return found | {name: {"name": name, "size": size, "type": "file"} for name, size in self.listed.items()}

    def size(self, path: str) -> int | None:
        return self.sizes[path] if path in self.sizes else super().size(path)

    def cat_ranges(self, paths: list[str], starts: list[int], ends: list[int], **options: Any) -> list[bytes]:
        self.read += paths
        return [
            self.cat_file(path, start, end - self.cut_off) for path, start, end in zip(paths, starts, ends, strict=True)
        ]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the folder that is fetched into: locks lie there."""
    monkeypatch.setenv("COSMOS_RAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("cosmos_ray.store.faults._RETRY_DELAYS_S", ())


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    store = Store()
    monkeypatch.setattr(fetch_module, "open_store", lambda uri: (store, uri.removeprefix("teststore:/")))
    return store


def below(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["../outside", "x/../../outside", "x/../../../outside", "x/../y", "x/.."])
def test_a_name_that_leaves_the_folder_is_refused_and_nothing_is_written(
    store: Store, tmp_path: Path, name: str
) -> None:
    """Wherever in the name it turns back: an object store has no folders, so that any key can be there."""
    store.pipe("/m/folder/a", DATA)
    store.listed[f"/m/folder/{name}"] = len(DATA)
    store.pipe("/m/outside", DATA)
    target = tmp_path / "into" / "folder"
    with pytest.raises(UsageError, match="a file's name leaves the folder"):
        fetch("teststore://m/folder", target, "0" * 64)
    assert not target.exists()
    assert below(tmp_path / "into").keys() <= {"folder.partial/a"}
    assert not [path for path in tmp_path.rglob("*") if path.name in ("outside", "y")]


def test_a_file_that_does_not_fit_on_the_disk_is_not_begun(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the byte, what is there already counted in."""
    usage = namedtuple("usage", "total used free")
    free = len(DATA) - 101
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**6, 0, free))
    store.pipe("/m/file", DATA)
    part = tmp_path / "into" / "file.part"
    part.parent.mkdir()
    part.write_bytes(DATA[:100])
    with pytest.raises(UsageError, match=rf"{len(DATA) - 100} bytes to fetch and {free} free \(COSMOS_RAY_CACHE"):
        fetch("teststore://m/file", tmp_path / "into" / "file", SHA256)
    assert store.read == []
    part.write_bytes(DATA[:101])
    fetch("teststore://m/file", tmp_path / "into" / "file", SHA256)
    assert below(tmp_path / "into") == {"file": DATA}


def test_an_answer_that_is_too_short_is_an_error_and_not_the_file(store: Store, tmp_path: Path) -> None:
    store.pipe("/m/file", DATA)
    store.cut_off = 1
    with pytest.raises(UsageError, match=rf"asked for bytes 0 to {len(DATA)}, found {len(DATA) - 1} bytes"):
        fetch("teststore://m/file", tmp_path / "file", SHA256)
    assert not (tmp_path / "file").exists()


def test_a_store_that_does_not_say_a_size_is_told_so(store: Store, tmp_path: Path) -> None:
    store.pipe("/m/file", DATA)
    store.sizes["/m/file"] = None
    with pytest.raises(UsageError, match="does not say how large it is"):
        fetch("teststore://m/file", tmp_path / "file", SHA256)


def test_an_empty_file_is_a_file(store: Store, tmp_path: Path) -> None:
    store.pipe("/m/file", b"")
    fetch("teststore://m/file", tmp_path / "file", hashlib.sha256(b"").hexdigest())
    assert (tmp_path / "file").read_bytes() == b""


def test_what_is_longer_than_the_file_was_no_beginning_of_it(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of an earlier file of that name: it is begun again, at once."""
    store.pipe("/m/file", DATA)
    (tmp_path / "file.part").write_bytes(DATA + b"more")
    fetch("teststore://m/file", tmp_path / "file", SHA256)
    assert (tmp_path / "file").read_bytes() == DATA
    assert store.read == ["/m/file"]
    assert "once more" not in caplog.text, "no try is lost, and nobody is told of spoilt bytes"


def test_of_a_folder_that_was_cut_off_only_the_rest_is_fetched(store: Store, tmp_path: Path) -> None:
    """Files that are there in full are not read again; one of another size is."""
    files = {"a": DATA, "b/half": DATA[::-1], "c": b"c" * 10}
    for name, data in files.items():
        store.pipe(f"/m/folder/{name}", data)
        (tmp_path / "same" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "same" / name).write_bytes(data)
    partial = tmp_path / "into" / "folder.partial"
    (partial / "b").mkdir(parents=True)
    (partial / "a").write_bytes(DATA)
    (partial / "b" / "half").write_bytes(b"too short")
    target = tmp_path / "into" / "folder"
    fetch("teststore://m/folder", target, folder_sha256(tmp_path / "same"))
    assert below(tmp_path / "into") == {f"folder/{name}": data for name, data in files.items()}
    assert sorted(store.read) == ["/m/folder/b/half", "/m/folder/c"]


def test_a_folder_of_other_bytes_is_thrown_away_and_fetched_once_more(store: Store, tmp_path: Path) -> None:
    store.pipe("/m/folder/a", DATA)
    with pytest.raises(UsageError, match=r"expected 0{64} \(fetched twice\)"):
        fetch("teststore://m/folder", tmp_path / "into" / "folder", "0" * 64)
    assert store.read == ["/m/folder/a"] * 2
    assert below(tmp_path / "into") == {}


def test_what_is_not_there_is_said_so(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="teststore://m/none not found"):
        fetch("teststore://m/none", tmp_path / "file", SHA256)


def test_the_size_of_a_folder_is_that_of_all_its_files(store: Store) -> None:
    store.pipe("/m/folder/a", DATA)
    store.pipe("/m/folder/b/c", b"12345")
    assert size_of("teststore://m/folder") == len(DATA) + 5
    assert size_of("teststore://m/folder/b/c") == 5
    with pytest.raises(FileNotFoundError):
        size_of("teststore://m/none")


def test_parts_of_a_folder_are_files_and_folders_of_it_and_none_that_begins_alike(store: Store, tmp_path: Path) -> None:
    for name in ("a", "ab", "b/c", "bc/d", "e"):
        store.pipe(f"/m/folder/{name}", name.encode())
    assert sorted(listed("teststore://m/folder", ("a", "b"))) == ["/m/folder/a", "/m/folder/b/c"]
    assert len(listed("teststore://m/folder", ())) == 5
    fetch_parts("teststore://m/folder", ("a", "b"), tmp_path / "into")
    assert below(tmp_path / "into") == {"a": b"a", "b/c": b"b/c"}


def test_a_scheme_that_nobody_knows_is_refused() -> None:
    with pytest.raises(UsageError, match="nosuch://x: no way to read it"):
        open_store("nosuch://x")
