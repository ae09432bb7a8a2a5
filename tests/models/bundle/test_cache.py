"""The node's cache: who may fill it, when a name stands for a whole file, and which hashes are remembered."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from cosmos_ray.errors import UsageError
from cosmos_ray.models.bundle import cache
from cosmos_ray.models.bundle.cache import cache_folder, cache_root, node_lock, put_in_place, remembered_sha256

pytestmark = pytest.mark.usefixtures("own_cache")


def test_the_cache_is_in_the_home_unless_it_is_told_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_root() == tmp_path / "cache"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("COSMOS_RAY_CACHE", "")
    assert cache_root() == tmp_path / ".cache" / "cosmos_ray"


def test_a_cache_that_cannot_be_written_is_a_clear_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "a file").touch()
    monkeypatch.setenv("COSMOS_RAY_CACHE", str(tmp_path / "a file" / "below"))
    with pytest.raises(UsageError, match=r"cannot be written.*set COSMOS_RAY_CACHE"):
        cache_folder("locks")


def test_one_holds_a_lock_at_a_time_and_lets_go_whatever_happens(own_cache: Path) -> None:
    def is_free() -> bool:
        (file,) = (own_cache / "locks").iterdir()
        try:
            with FileLock(str(file), timeout=0):
                return True
        except Timeout:
            return False

    def fails() -> None:
        with node_lock("x", "working"):
            assert not is_free()
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle") as error:
        fails()
    assert is_free(), error
    with node_lock("x", "working"), node_lock("y", "working"):
        pass  # another name is another lock


def test_bytes_are_on_the_disk_before_the_final_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a power cut could leave a file of the right name and size, full of zeros."""
    made, target, done = tmp_path / "made", tmp_path / "target", list[str]()
    made.write_bytes(b"whole")
    inode, fsync, replace = made.stat().st_ino, os.fsync, os.replace

    def synced(file: int) -> None:
        fsync(file)
        done.append("synced" if os.fstat(file).st_ino == inode else "another")

    def replaced(source: Path, destination: Path) -> None:
        replace(source, destination)
        done.append("named")

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    put_in_place(made, target)
    assert done == ["synced", "named"]
    assert target.read_bytes() == b"whole"
    assert not made.exists()


def test_a_file_that_is_written_to_while_it_is_hashed_is_not_remembered(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hash would be remembered under a state that it is not the hash of."""
    file, real = tmp_path / "weights", cache.file_sha256
    file.write_bytes(b"a" * 2**20)

    def written_meanwhile(path: Path) -> str:
        found = real(path)
        path.write_bytes(b"b" * (2**20 + 1))
        return found

    monkeypatch.setattr(cache, "file_sha256", written_meanwhile)
    assert remembered_sha256(file) == hashlib.sha256(b"a" * 2**20).hexdigest()
    monkeypatch.setattr(cache, "file_sha256", real)
    assert list((own_cache / "verified").glob("*.json")) == []
    assert remembered_sha256(file) == hashlib.sha256(b"b" * (2**20 + 1)).hexdigest()


def test_a_file_of_the_same_size_and_time_is_still_another(tmp_path: Path) -> None:
    """Whoever copies a file with its times can set those, but not the moment at which that was done."""
    file = tmp_path / "weights"
    file.write_bytes(b"a" * 2**20)
    before = file.stat()
    assert remembered_sha256(file) == hashlib.sha256(b"a" * 2**20).hexdigest()
    while file.stat().st_ctime_ns == before.st_ctime_ns:  # the disk's clock ticks every few milliseconds
        with file.open("r+b") as opened:
            opened.write(b"b" * 2**20)
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert remembered_sha256(file) == hashlib.sha256(b"b" * 2**20).hexdigest()


def test_a_link_is_remembered_as_the_file_that_it_names(tmp_path: Path, own_cache: Path) -> None:
    """The hub's client lays files down as links into a store of blobs: a link that names another is another file."""
    for letter in "ab":
        (tmp_path / letter).write_bytes(letter.encode() * 2**20)
    link = tmp_path / "link"
    found = []
    for letter in "ab":
        link.unlink(missing_ok=True)
        link.symlink_to(tmp_path / letter)
        found.append(remembered_sha256(link))
    assert found == [hashlib.sha256(letter * 2**20).hexdigest() for letter in (b"a", b"b")]
    assert len(list((own_cache / "verified").iterdir())) == 2
