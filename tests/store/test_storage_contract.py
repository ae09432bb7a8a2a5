"""What every store must do, run on a local folder, on an S3 server and on emulators of Azure's and Google's stores.

The ledger and the lease rest on it.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cosmos_ray.store import traffic
from cosmos_ray.store.storage import MAX_CREATE_BYTES, Storage, fetch_to_file, read_bytes, stat_of


def test_what_was_written_is_read_back(storage: Storage) -> None:
    """Any bytes, in folders that did not exist."""
    data = bytes(range(256)) * 10
    storage.write("a/b/c.bin", data)
    assert storage.read("a/b/c.bin") == data
    assert read_bytes(storage.uri_of("a/b/c.bin")) == data


def test_bytes_that_arrive_are_counted(storage: Storage, tmp_path: Path) -> None:
    """By every way that an object is written or read; what somebody else had created was not written."""
    traffic.take()
    storage.write("a/one", b"1")
    assert storage.write_if_absent("a/two", b"22")
    (tmp_path / "four").write_bytes(b"4444")
    storage.write_file("a/four", tmp_path / "four")
    assert traffic.take() == traffic.Traffic(written=7)
    assert not storage.write_if_absent("a/two", b"somebody else's")
    traffic.take()
    storage.read("a/one")
    storage.read_many(["a/one", "a/two", "a/none"])
    read_bytes(storage.uri_of("a/four"))
    fetch_to_file(storage.uri_of("a/four"), tmp_path / "copy")
    assert traffic.take() == traffic.Traffic(read=1 + 3 + 4 + 4)
    assert traffic.take() == traffic.Traffic()


def test_a_browser_is_told_what_a_file_is(storage: Storage, tmp_path: Path) -> None:
    """By every way that it is written. A page without a type is saved to the disk, not shown."""
    if storage.local:
        return
    (tmp_path / "whole").write_bytes(b"m")
    storage.write_file("a/front_wide.mp4", tmp_path / "whole")
    storage.write("report.html", b"p")
    storage.write("rows.js", b"r")
    storage.write("index.parquet", b"t")
    found = {path: _type_of(storage, path) for path in ("report.html", "rows.js", "a/front_wide.mp4")}
    assert found == {
        "report.html": "text/html; charset=utf-8",
        "rows.js": "text/javascript; charset=utf-8",
        "a/front_wide.mp4": "video/mp4",
    }


def _type_of(storage: Storage, path: str) -> str:
    fs, full = storage._at(path)
    info = fs.info(full)
    found = info.get("ContentType") or info.get("contentType") or info["content_settings"]["content_type"]
    return str(found)


def test_an_empty_object_is_an_object(storage: Storage) -> None:
    storage.write("empty", b"")
    assert storage.read("empty") == b""
    assert storage.exists("empty")


def test_a_second_write_replaces_the_first(storage: Storage) -> None:
    storage.write("x", b"a long first content")
    storage.write("x", b"second")
    assert storage.read("x") == b"second"


def test_a_missing_object_is_told_from_a_fault(storage: Storage) -> None:
    with pytest.raises(FileNotFoundError):
        storage.read("nobody/wrote/this")
    assert storage.stat("nobody/wrote/this") is None
    assert not storage.exists("nobody/wrote/this")


def test_a_folder_is_not_an_object(storage: Storage) -> None:
    storage.write("folder/x", b"x")
    assert storage.stat("folder") is None


def test_stat_tells_the_size_and_a_version_that_changes_with_the_content(storage: Storage) -> None:
    storage.write("x", b"one")
    first = storage.stat("x")
    assert first is not None
    assert first.size == 3
    assert storage.stat("x") == first
    time.sleep(0.02)  # a local file's version is its mtime
    storage.write("x", b"two")
    second = storage.stat("x")
    assert second is not None
    assert second.size == 3
    assert second.version != first.version


def test_delete_is_final_and_may_be_repeated(storage: Storage) -> None:
    storage.write("x", b"x")
    storage.delete("x")
    assert not storage.exists("x")
    storage.delete("x")
    storage.delete("never/was")


def test_a_folder_is_deleted_with_all_below_it_and_nothing_beside(storage: Storage) -> None:
    for path in ("a/x", "a/b/y", "a/b/c/z", "ab/x", "b"):
        storage.write(path, b"x")
    storage.delete_folder("a")
    assert list(storage.list("a")) == []
    assert storage.exists("ab/x")
    assert storage.exists("b")
    storage.delete_folder("a")
    storage.delete_folder("never/was")
    for leaving in ("..", "a/../..", "", "/"):
        with pytest.raises(ValueError, match="not a relative path inside"):
            storage.delete_folder(leaving)


@pytest.mark.slow
def test_a_big_object_is_stored_whole(storage: Storage) -> None:
    """Beyond what goes in one request (100 MiB with s3fs), so it is uploaded in parts."""
    data = os.urandom(1 << 20) * 101
    storage.write("big", data)
    found = storage.stat("big")
    assert found is not None
    assert found.size == len(data)
    assert storage.read("big") == data
    storage.delete("big")


def test_a_part_of_an_object_can_be_read_and_what_it_is_be_asked(storage: Storage) -> None:
    storage.write("in/x.mp4", bytes(range(100)))
    uri = storage.uri_of("in/x.mp4")
    assert read_bytes(uri) == bytes(range(100))
    assert read_bytes(uri, 10, 20) == bytes(range(10, 20))
    assert read_bytes(uri, 0, 1) == b"\0"
    assert read_bytes(uri, 90, 100) == bytes(range(90, 100))
    assert stat_of(uri) == stat_of(uri) == storage.stat("in/x.mp4")
    with pytest.raises(FileNotFoundError):
        stat_of(storage.uri_of("in/nothing.mp4"))
    with pytest.raises(FileNotFoundError):
        read_bytes(storage.uri_of("in/nothing.mp4"), 0, 10)
    with pytest.raises(IsADirectoryError):
        stat_of(storage.uri_of("in"))


def test_fetch_to_file_brings_the_bytes_and_their_version(storage: Storage, tmp_path: Path) -> None:
    storage.write("in/x.mp4", b"video")
    target = tmp_path / "fetched"
    assert fetch_to_file(storage.uri_of("in/x.mp4"), target) == storage.stat("in/x.mp4")
    assert target.read_bytes() == b"video"
    with pytest.raises(FileNotFoundError):
        fetch_to_file(storage.uri_of("in/nothing.mp4"), tmp_path / "other")


# --- many objects --------------------------------------------------------------------------------------------------


def test_list_finds_every_object_below_a_folder(storage: Storage) -> None:
    """At any depth, and nothing beside it whose name only begins the same."""
    for path in ("a/1", "a/b/2", "a/b/c/3", "ab/4", "5"):
        storage.write(path, b"x")
    assert sorted(storage.list("a")) == ["a/1", "a/b/2", "a/b/c/3"]
    assert sorted(storage.list("a/b")) == ["a/b/2", "a/b/c/3"]


def test_list_of_a_folder_that_is_not_there_is_empty(storage: Storage) -> None:
    assert list(storage.list("nothing/here")) == []
    storage.write("a/1", b"x")
    assert list(storage.list("nothing/here")) == []


def test_list_sees_at_once_what_others_wrote(storage: Storage) -> None:
    """No listing is cached."""
    other = Storage(storage.uri)
    assert list(storage.list("a")) == []
    other.write("a/1", b"x")
    assert list(storage.list("a")) == ["a/1"]
    other.delete("a/1")
    assert list(storage.list("a")) == []


def test_list_ignores_what_an_interrupted_writer_left(storage: Storage) -> None:
    storage.write("a/.tmp-0123", b"part of someth")
    storage.write("a/1", b"x")
    assert list(storage.list("a")) == ["a/1"]


def test_read_many_leaves_out_what_is_gone(storage: Storage) -> None:
    storage.write("a", b"1")
    storage.write("b/c", b"2")
    assert storage.read_many(["a", "gone", "b/c"]) == {"a": b"1", "b/c": b"2"}
    assert storage.read_many(["gone"]) == {}
    assert storage.read_many([]) == {}
    assert storage.read_many(path for path in ["a"]) == {"a": b"1"}


# --- create if absent ----------------------------------------------------------------------------------------------


def test_only_the_first_creator_wins(storage: Storage) -> None:
    """The loser's data is not written."""
    assert storage.write_if_absent("x", b"first")
    assert not storage.write_if_absent("x", b"second")
    assert not Storage(storage.uri).write_if_absent("x", b"third")
    assert storage.read("x") == b"first"


def test_the_same_content_again_counts_as_ours(storage: Storage) -> None:
    """A client that lost the answer sends its request again, and meets what it wrote itself."""
    assert storage.write_if_absent("x", b"mine, with something unique")
    assert storage.write_if_absent("x", b"mine, with something unique")


def test_what_was_deleted_can_be_created_again(storage: Storage) -> None:
    assert storage.write_if_absent("x", b"1")
    storage.delete("x")
    assert storage.write_if_absent("x", b"2")
    assert storage.read("x") == b"2"


def test_one_of_sixteen_threads_wins(storage: Storage) -> None:
    for turn in range(3):
        path = f"race/{turn}"
        with ThreadPoolExecutor(16) as pool:
            won = list(pool.map(lambda n, path=path: storage.write_if_absent(path, f"thread {n}".encode()), range(16)))
        assert sum(won) == 1
        assert storage.read(path) == f"thread {won.index(True)}".encode()


_RACER = """
import sys
from cosmos_ray.store.storage import Storage
storage = Storage(sys.argv[1])
storage.exists("warm-up")
print("ready", flush=True)
sys.stdin.readline()
print(*[turn for turn in range(10) if storage.write_if_absent(f"race/{turn}", f"{sys.argv[2]} {turn}".encode())])
"""


@pytest.mark.slow
def test_one_of_several_processes_wins(storage: Storage) -> None:
    """Four processes, begun together, each trying to create the same ten objects."""
    racers = [_python(_RACER, storage.uri, str(number)) for number in range(4)]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    won = [[int(turn) for turn in racer.communicate(timeout=600)[0].split()] for racer in racers]
    assert sorted(turn for turns in won for turn in turns) == list(range(10))
    for number, turns in enumerate(won):
        for turn in turns:
            assert storage.read(f"race/{turn}") == f"{number} {turn}".encode()


def test_data_too_big_for_one_request_is_not_created(storage: Storage) -> None:
    """A store checks the condition of one request; not all of them check it when an upload in parts ends."""
    with pytest.raises(ValueError, match=f"expected at most {MAX_CREATE_BYTES}"):
        storage.write_if_absent("x", bytes(MAX_CREATE_BYTES + 1))
    assert not storage.exists("x")


# --- the edges of the folder -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["", "/etc/passwd", "..", "../x", "a/../../x", "a/./x", "a//b", "a/", "."])
def test_a_path_cannot_leave_the_folder(storage: Storage, path: str) -> None:
    """Refused before the store hears of it."""
    operations: list[Callable[[], object]] = [
        lambda: storage.read(path),
        lambda: storage.write(path, b"x"),
        lambda: storage.write_if_absent(path, b"x"),
        lambda: storage.stat(path),
        lambda: storage.delete(path),
        lambda: list(storage.list(path)),
        lambda: storage.read_many([path, "b"]),
    ]
    for operation in operations:
        with pytest.raises(ValueError, match="not a relative path inside"):
            operation()


def test_a_storage_can_be_sent_to_another_process(storage: Storage) -> None:
    storage.write("x", b"x")
    copy = pickle.loads(pickle.dumps(storage))
    assert copy.uri == storage.uri
    assert copy.read("x") == b"x"


# --- is the output writable? -----------------------------------------------------------------------------------------


def test_a_writable_folder_passes_and_stays_empty(storage: Storage) -> None:
    storage.check_writable()
    assert list(storage.list("_cosmos_ray")) == []


# --- only on a local disk --------------------------------------------------------------------------------------------

_SLOW_WRITER = """
import os, sys, time
from cosmos_ray.store.storage import Storage
real_fsync = os.fsync
def fsync(file):
    real_fsync(file)
    print("written, not yet in place", flush=True)
    time.sleep(3600)
os.fsync = fsync
for name in sys.argv[3:]:
    delattr(os, name)
getattr(Storage(sys.argv[1]), sys.argv[2])("a/x", b"new" * 1000)
"""


@pytest.mark.parametrize("lacks", ["", "O_TMPFILE"], ids=["files without a name", "a disk that has none"])
@pytest.mark.parametrize("operation", ["write", "write_if_absent"])
def test_a_writer_killed_on_the_way_leaves_nothing_to_see(tmp_path: Path, operation: str, lacks: str) -> None:
    """SIGKILL between the last byte and the rename: what was there stays, and the next writer is not hindered."""
    storage = Storage(str(tmp_path))
    if operation == "write":
        storage.write("a/x", b"old")
    writer = _python(_SLOW_WRITER, str(tmp_path), operation, *lacks.split())
    assert writer.stdout is not None
    assert writer.stdout.readline() == "written, not yet in place\n"
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    if operation == "write":
        assert storage.read("a/x") == b"old"
    else:
        assert not storage.exists("a/x")
        assert list(storage.list("a")) == []
    assert len(list((tmp_path / "a").iterdir())) == (operation == "write") + bool(lacks)  # which lists leave out
    getattr(storage, operation)("a/x", b"newer")
    assert storage.read("a/x") == b"newer"


def test_readers_of_a_file_being_replaced_see_the_old_content_or_the_new(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    contents = [bytes([n]) * 200_000 for n in range(2)]
    storage.write("x", contents[0])

    def replace_it() -> None:
        for n in range(40):
            storage.write("x", contents[n % 2])

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(replace_it)
        seen = set()
        while not writing.done():
            seen.add(storage.read("x"))
    assert seen <= set(contents)


def test_no_temporary_file_stays(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    storage.write("x", b"1")
    storage.write("x", b"2")
    storage.write_if_absent("x", b"3")
    storage.write_if_absent("y", b"4")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["x", "y"]


def _python(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
