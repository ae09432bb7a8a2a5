"""Files that take their place whole, on disks that have files without a name and on those that do not."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cosmos_ray.store.whole_file import whole_file


@pytest.fixture
def how(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "named from the start":
        monkeypatch.delattr(os, "O_TMPFILE")
    elif request.param == "copied in the end":
        link = os.link

        def none_of_proc(source: str, target: str, **options: int) -> None:
            if source.startswith("/proc/"):
                raise OSError(errno.ENOENT, "there is no /proc")
            link(source, target, **options)

        monkeypatch.setattr(os, "link", none_of_proc)
    return str(request.param)


BY_ALL = pytest.mark.parametrize("how", ["without a name", "named from the start", "copied in the end"], indirect=True)


@BY_ALL
def test_it_takes_its_place_when_it_is_whole(how: str, tmp_path: Path) -> None:
    path = tmp_path / "a" / "x"
    with whole_file(str(path), os.replace) as file:
        file.write(b"half, ")
        file.flush()
        assert not path.exists()
        named = [one.name for one in path.parent.iterdir()]
        assert [name[:5] for name in named] == ([".tmp-"] if how == "named from the start" else [])
        file.write(b"whole")
    assert [(one.name, one.read_bytes()) for one in path.parent.iterdir()] == [("x", b"half, whole")]
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


@BY_ALL
def test_what_is_there_is_replaced_or_in_the_way(how: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old")
    with pytest.raises(FileExistsError), whole_file(str(path), os.link) as file:
        file.write(b"second")
    assert path.read_bytes() == b"old"
    with whole_file(str(path), os.replace) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@BY_ALL
def test_of_a_writer_that_fails_nothing_is_left(how: str, tmp_path: Path) -> None:
    with pytest.raises(OSError, match=f"no room: '{tmp_path}/x'"):
        _write_half(str(tmp_path / "x"))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_takes_no_files_is_told_by_the_files_own_name() -> None:
    with pytest.raises(OSError, match=r": '/proc/x'$"), whole_file("/proc/x", os.replace):
        pass


def _write_half(path: str) -> None:
    with whole_file(path, os.replace) as file:
        file.write(b"half")
        raise OSError(errno.ENOSPC, "no room")


def _umask() -> int:
    was = os.umask(0)
    os.umask(was)
    return was


@BY_ALL
@pytest.mark.parametrize("put_in_place", [os.replace, os.link])
def test_it_is_on_the_disk_before_it_has_its_place(
    how: str, put_in_place: Callable[[str, str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that loses its power after a commit would have an empty record otherwise, or a part of one."""
    path, on_disk = tmp_path / "x", list[int]()
    sync = os.fsync

    def fsync(descriptor: int) -> None:
        assert not path.exists()
        on_disk.append(os.fstat(descriptor).st_size)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with whole_file(str(path), put_in_place) as file:
        file.write(b"content")
    assert on_disk[-1:] == [len(b"content")]
    assert path.read_bytes() == b"content"
