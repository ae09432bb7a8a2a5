"""Whose fault it is that an input cannot be fetched: the row's where it never can be, else that of its store."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cosmos_ray.errors import RowError
from cosmos_ray.gang import inputs
from cosmos_ray.gang.inputs import Source, check_size, fetch_inputs, inputs_answer, own_fault
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.store.faults import BucketMissingError
from cosmos_ray.store.reach import Reach
from cosmos_ray.store.storage import Stat


@pytest.fixture(autouse=True)
def nothing_read_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "_read_before", {})
    # A client of a store that is not there would be kept, and found by tests of one that is.
    monkeypatch.setattr(inputs, "beside", lambda *_: iter(()))


def fetch(tmp_path: Path, *uris: object, witness: str = "") -> list[bytes]:
    (tmp_path / "fetched").mkdir(exist_ok=True)
    found = fetch_inputs("input_videos", [str(uri) for uri in uris], tmp_path / "fetched", Source(witness))
    return [path.read_bytes() for path, _ in found]


def test_inputs_are_fetched_at_the_same_time_and_come_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each waits until all have begun."""
    import threading

    meeting = threading.Barrier(7, timeout=600)

    def met(uri: str, path: Path, max_bytes: int) -> Stat:
        meeting.wait()
        path.write_bytes(uri.encode())
        return Stat(len(uri), "v")

    monkeypatch.setattr(inputs, "fetch_to_file", met)
    names = [f"s3://b/{number}" for number in range(7)]
    assert fetch(tmp_path, *names) == [name.encode() for name in names]


def local_faults(folder: Path) -> dict[str, tuple[Path, str]]:
    (folder / "file").write_text("x")
    os.symlink(folder / "round", folder / "around")
    os.symlink(folder / "around", folder / "round")
    return {
        "missing": (folder / "none.mp4", "a file that exists"),
        "a folder": (folder, "a file, not a folder"),
        "below a file": (folder / "file" / "a.mp4", "a part of its path is a file, not a folder"),
        "a long name": (folder / ("x" * 300), "it is too long"),
        "links in a circle": (folder / "round", "its symbolic links lead in a circle"),
    }


@pytest.mark.parametrize("kind", ["missing", "a folder", "below a file", "a long name", "links in a circle"])
def test_what_a_local_path_can_be_is_the_rows_fault(tmp_path: Path, kind: str) -> None:
    path, expected = local_faults(tmp_path)[kind]
    for ask in (lambda: fetch(tmp_path, tmp_path / "file", path), lambda: check_size("input_videos", str(path), 100)):
        with pytest.raises(RowError) as caught:
            ask()
        assert caught.value.failure_class == "input"
        assert str(caught.value).startswith("column `input_videos`: found ")
        assert expected in str(caught.value)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RowError, match="is not a regular file"):
        fetch(tmp_path, tmp_path / "pipe")
    with pytest.raises(RowError, match="is not a regular file"):
        check_size("prompt_embedding", str(tmp_path / "pipe"), 100)


def test_a_file_that_is_too_large_is_refused_unread(tmp_path: Path) -> None:
    (tmp_path / "big.pt").write_bytes(bytes(101))
    check_size("prompt_embedding", str(tmp_path / "big.pt"), 101)
    with pytest.raises(RowError, match="found a file of 101 bytes, expected at most 100"):
        check_size("prompt_embedding", str(tmp_path / "big.pt"), 100)


def test_one_that_turns_out_too_large_while_it_is_fetched_is_refused_too(tmp_path: Path) -> None:
    (tmp_path / "big.pt").write_bytes(bytes(101))
    with pytest.raises(RowError, match=r"column `c`: .*big.pt: found a file of 101 bytes, expected at most 100"):
        fetch_inputs("c", [str(tmp_path / "big.pt")], tmp_path, max_bytes=100)
    ((path, found),) = fetch_inputs("c", [str(tmp_path / "big.pt")], tmp_path, max_bytes=101)
    assert (path.read_bytes(), found.size) == (bytes(101), 101)


def archived() -> PermissionError:
    error = PermissionError("The operation is not valid for the object's storage class")
    error.__cause__ = RuntimeError("An error occurred (InvalidObjectState) when calling the GetObject operation")
    return error


@pytest.mark.parametrize(
    "error",
    [PermissionError("Forbidden"), OSError(errno.EINVAL, "Bad Request"), PermissionError(errno.EACCES, "denied")],
)
def test_forbidden_and_bad_request_are_the_rows_fault_only_if_the_store_gives_others(
    monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    answers: dict[str, bool] = {}
    monkeypatch.setattr(inputs, "_answers", lambda uri: answers[uri])
    assert own_fault(error, "s3://b/a.mp4") is None, "nobody has read anything there"
    assert own_fault(error, "s3://b/a.mp4", witness="s3://other/m.parquet") is None, "another bucket tells nothing"
    answers["s3://b/m.parquet"] = False
    assert own_fault(error, "s3://b/a.mp4", witness="s3://b/m.parquet") is None, "the store is ill"
    answers["s3://b/m.parquet"] = True
    said = own_fault(error, "s3://b/a.mp4", witness="s3://b/m.parquet")
    assert said is not None
    assert said.startswith("an object that can be read: its store gives others")


def test_a_missing_bucket_is_the_rows_fault_only_if_its_service_gives_objects_of_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = {"s3://other/m.parquet": True, "s3://ill/m.parquet": False}
    monkeypatch.setattr(inputs, "_answers", lambda uri: answers.get(uri, True))
    error = BucketMissingError("no bucket")
    assert own_fault(error, "s3://b/a.mp4") is None, "nobody has read anything"
    assert own_fault(error, "s3://b/a.mp4", witness="/data/m.parquet") is None, "a disk tells nothing of a service"
    assert own_fault(error, "s3://b/a.mp4", witness="s3://ill/m.parquet") is None
    assert own_fault(error, "s3://b/a.mp4", witness="s3://other/m.parquet") == "an object of a bucket that exists"
    inputs._read_before["s3://third"] = "s3://third/x.mp4"
    assert own_fault(error, "s3://b/a.mp4", witness="/data/m.parquet") == "an object of a bucket that exists"
    inputs._read_before["s3://b"] = "s3://b/x.mp4"
    assert own_fault(error, "s3://b/a.mp4", witness="s3://other/m.parquet") is None, "it was there a moment ago"


def test_of_other_buckets_those_tell_that_were_read_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was read hours ago may be gone too."""
    for number in range(inputs._BUCKETS + 3):
        inputs._read_before[f"s3://b{number}"] = f"s3://b{number}/x.mp4"
    newest = list(inputs._read_before.values())[-inputs._BUCKETS :]
    asked: list[str] = []
    monkeypatch.setattr(inputs, "_answers", lambda uri: asked.append(uri))
    assert own_fault(BucketMissingError("no bucket"), "s3://b/a.mp4", witness="/data/m.parquet") is None
    assert asked == newest


def test_a_missing_bucket_is_the_rows_fault_where_the_job_needs_little_else_of_its_service(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing of the service was read: nobody knows whether the bucket is wrong or the service; the rest is made."""
    monkeypatch.setattr(inputs, "_answers", lambda uri: False)
    error, local = BucketMissingError("no bucket"), "/data/m.parquet"
    for uri in ("s3://b/a.mp4", "s3a://b/a.mp4"):
        assert own_fault(error, uri, local, ("s3",)) == "an object of a bucket that exists"
        assert own_fault(error, uri, local, ("gs", "az")) is None
    assert own_fault(error, "s3://b/a.mp4", "s3://ill/m.parquet", ("s3",)) is None, "the service is out"
    inputs._read_before["s3://b"] = "s3://b/x.mp4"
    assert own_fault(error, "s3a://b/a.mp4", local, ("s3",)) is None, "it was there a moment ago"
    inputs._read_before.clear()
    assert own_fault(OSError("no answer"), "s3://b/a.mp4", local, ("s3",)) is None, "it may come back"
    assert own_fault(PermissionError("Forbidden"), "s3://b/a.mp4", local, ("s3",)) is None


def test_one_container_is_one_store_however_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fsspec.config.conf", {})
    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING", raising=False)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "mine")
    monkeypatch.setattr(inputs, "_answers", lambda uri: True)
    same, other = "abfs://c@mine.dfs.core.windows.net/m.parquet", "abfs://d@mine.dfs.core.windows.net/m.parquet"
    forbidden, missing = PermissionError("Forbidden"), BucketMissingError("no container")
    assert "its store gives others" in str(own_fault(forbidden, "az://c/a.mp4", same))
    assert own_fault(forbidden, "az://c/a.mp4", other) is None
    assert own_fault(missing, "az://c/a.mp4", other) == "an object of a bucket that exists"
    assert own_fault(missing, "az://c/a.mp4", same) is None


def test_what_was_read_before_shows_that_the_store_is_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what is read beside it, of the same clip."""
    (tmp_path / "good.mp4").write_bytes(b"good")
    real = inputs.fetch_to_file

    def fetch_or_fail(uri: str, path: Path, max_bytes: int) -> Stat:
        if "bad" in uri:
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(uri, path, max_bytes)

    monkeypatch.setattr(inputs, "fetch_to_file", fetch_or_fail)
    (tmp_path / "bad.mp4").write_bytes(b"bad")
    with pytest.raises(PermissionError):
        fetch(tmp_path, tmp_path / "bad.mp4")
    with pytest.raises(RowError, match="its store gives others"):
        fetch(tmp_path, tmp_path / "bad.mp4", tmp_path / "good.mp4")
    with pytest.raises(RowError, match="its store gives others"):
        fetch(tmp_path, tmp_path / "bad.mp4")
    (tmp_path / "good.mp4").unlink()
    with pytest.raises(PermissionError):
        fetch(tmp_path, tmp_path / "bad.mp4")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (archived(), "it lies in an archive (restore it first)"),
        (OSError(errno.ENAMETOOLONG, "KeyTooLongError: your key is too long"), "it is too long"),
        (FileNotFoundError("s3://b/a.mp4"), "a file that exists"),
        (BucketMissingError("no bucket"), None),
        (BucketMissingError(errno.ENOENT, "no bucket"), None),
        (OSError("no answer"), None),
        (ConnectionError("reset"), None),
        (TimeoutError("late"), None),
        (OSError(errno.EIO, "Input/output error"), None),
        (OSError(errno.ESTALE, "Stale file handle"), None),
    ],
)
def test_other_answers_speak_for_themselves(error: OSError, expected: str | None) -> None:
    found = own_fault(error, "s3://b/a.mp4")
    assert found is None if expected is None else expected in (found or "")


def test_a_fault_of_the_row_goes_before_one_of_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clip with an input that is not there fails for good, also while the store of another is away."""

    def fail(uri: str, path: Path, max_bytes: int) -> Stat:
        raise (FileNotFoundError(uri) if "none" in uri else ConnectionError("reset"))

    monkeypatch.setattr(inputs, "fetch_to_file", fail)
    with pytest.raises(RowError, match=r"found 's3://b/none.mp4', expected a file that exists"):
        fetch(tmp_path, "s3://a/away.mp4", "s3://b/none.mp4")
    with pytest.raises(ConnectionError):
        fetch(tmp_path, "s3://a/away.mp4")


@pytest.mark.parametrize("uri", ["http://host/a.mp4", "ftp://host/a.mp4"])
def test_schemes_that_may_not_be_read_are_the_rows_fault(tmp_path: Path, uri: str) -> None:
    ask: tuple[Callable[[], Any], ...] = (lambda: fetch(tmp_path, uri), lambda: check_size("c", uri, 1))
    for one in ask:
        with pytest.raises(RowError, match=r"expected a scheme of abfs, "):
            one()


def test_the_stores_of_all_inputs_are_asked_whether_they_are_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a byte of each; not a disk, which may be another machine's, nor what a row may not name."""
    asked: list[tuple[str, float, bool]] = []
    out: set[str] = set()

    def answers(fs: Any, path: str, timeout_s: float, reads: bool = False) -> bool:
        asked.append((path, timeout_s, reads))
        return path not in out

    monkeypatch.setattr(inputs.probe, "answers", answers)
    monkeypatch.setattr(inputs.storage, "filesystem_of", lambda uri: (None, uri.partition("://")[2]))
    clip = Clip(
        "a", "a", inputs=("s3://b/1.mp4", "/data/2.mp4", "s3://b/1.mp4"), frames=(("s3://b/3.png",), ("/data/4.png",)),
        controls=("s3://c/5.mp4", "s3://elsewhere/6.mp4"), prompt_embedding="s3://b/7.npy",
    )  # fmt: skip
    source = Source(reach=Reach("", ("s3://b", "s3://c", "/data")))
    assert inputs_answer(clip, source, 1.5)
    assert sorted(asked) == [(path, 1.5, True) for path in ("b/1.mp4", "b/3.png", "b/7.npy", "c/5.mp4")]
    for path in ("b/1.mp4", "b/7.npy", "c/5.mp4"):
        out = {path}
        assert not inputs_answer(clip, source, 1.5)
    assert inputs_answer(Clip("t", "t"), source, 1.5), "it has none"
    many = tuple(f"/data/{number}.mp4" for number in range(50))
    out = {"b/1.mp4"}
    assert not inputs_answer(Clip("m", "m", inputs=(*many, "s3://b/1.mp4")), source, 1.5), "disks come first, and many"


# --- before anything is asked of a store -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("s3://bucket", "a file, not a folder"),
        ("s3://bucket/", "a file, not a folder"),
        ("s3://bucket//", "a file, not a folder"),
        ("s3://bucket/" + "x" * 1025, "it is too long"),
        ("s3://bucket/" + "é" * 513, "it is too long"),
    ],
    ids=["bucket", "its root", "a slash more", "1025 bytes", "1026 bytes of UTF-8"],
)
def test_names_that_no_object_has_are_the_rows_fault_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str, expected: str
) -> None:
    monkeypatch.setattr(inputs, "fetch_to_file", refuse)
    monkeypatch.setattr(inputs, "stat_of", refuse)
    for ask in (lambda: fetch(tmp_path, uri), lambda: check_size("c", uri, 1)):
        with pytest.raises(RowError, match=expected):
            ask()


def refuse(*_: object) -> Stat:
    raise AssertionError("a store was asked")


def test_the_longest_name_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """1024 bytes of the name, whatever stands before them."""

    def found(_: str, path: Path, __: int) -> Stat:
        path.write_bytes(b"there")
        return Stat(5, "v")

    monkeypatch.setattr(inputs, "fetch_to_file", found)
    assert fetch(tmp_path, "s3://bucket/" + "x" * 1024) == [b"there"]


def test_an_object_that_says_it_is_archived_is_read_to_see_whether_it_was_restored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[str, int, int]] = []
    monkeypatch.setattr(inputs, "read_bytes", lambda *at: asked.append(at) or b"x")  # type: ignore[func-returns-value]
    for is_archived, reads in ((False, []), (True, [("s3://b/a.mp4", 0, 1)])):
        monkeypatch.setattr(inputs, "stat_of", lambda _, said=is_archived: Stat(7, "v", said))
        assert inputs.input_size("c", "s3://b/a.mp4") == 7
        assert asked == reads

    def refused(*_: object) -> bytes:
        raise archived()

    monkeypatch.setattr(inputs, "read_bytes", refused)
    with pytest.raises(RowError, match="it lies in an archive"):
        inputs.input_size("c", "s3://b/a.mp4")


@pytest.mark.parametrize(("size", "in_parts"), [(99, False), (100, True), (200, True), (201, False)])
def test_videos_of_some_size_are_read_in_parts_and_larger_ones_than_any_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, in_parts: bool
) -> None:
    """Beyond the largest it is the whole fetch that says how large."""
    monkeypatch.setattr(inputs, "LARGE", 100)
    monkeypatch.setattr(inputs, "MAX_BYTES", 200)
    monkeypatch.setattr(inputs, "stat_of", lambda _: Stat(size, "v"))
    monkeypatch.setattr(inputs.PartFile, "lay", lambda self: True)
    monkeypatch.setattr(inputs, "_fetch", lambda place, path: (path, Stat(size, "whole")))
    ((found, stat),) = inputs.fetch_videos("input_video", ["s3://b/a.mp4"], tmp_path)
    assert isinstance(found, inputs.PartFile) == in_parts
    assert stat.version == ("v" if in_parts else "whole")
    assert inputs._read_before == ({"s3://b": "s3://b/a.mp4"} if in_parts else {})


def test_one_that_cannot_be_read_in_parts_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "LARGE", 100)
    monkeypatch.setattr(inputs, "stat_of", lambda _: Stat(100, "v"))
    monkeypatch.setattr(inputs.PartFile, "lay", lambda self: False)
    monkeypatch.setattr(inputs, "_fetch", lambda place, path: (path, Stat(100, "whole")))
    ((found, stat),) = inputs.fetch_videos("input_video", ["s3://b/a.mp4"], tmp_path)
    assert (found, stat.version) == (tmp_path / "0.input", "whole")


def test_an_objects_own_word_is_no_witness_and_neither_is_another_stores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one that was read a moment ago and is forbidden now, nothing says whose fault it is."""
    monkeypatch.setattr(inputs, "_answers", lambda _: True)
    error = PermissionError("Forbidden")
    for known in ({"s3://b": "s3://b/a.mp4"}, {"s3://other": "s3://other/x.mp4"}, {"gs://b": "gs://b/x.mp4"}):
        monkeypatch.setattr(inputs, "_read_before", known)
        assert own_fault(error, "s3://b/a.mp4", witness="s3://b/a.mp4") is None
    monkeypatch.setattr(inputs, "_read_before", {"s3://b": "s3://b/x.mp4"})
    assert own_fault(error, "s3://b/a.mp4") is not None


def test_files_beside_it_tell_too_and_a_folder_that_cannot_be_listed_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    error = PermissionError("Forbidden")
    monkeypatch.setattr(inputs, "_answers", lambda uri: uri.endswith("good.mp4"))
    monkeypatch.setattr(inputs, "beside", lambda *_: iter(("s3://b/ill.mp4", "s3://b/good.mp4")))
    assert own_fault(error, "s3://b/a.mp4") is not None

    def forbidden(*_: object) -> Iterator[str]:
        raise PermissionError("no listing")

    monkeypatch.setattr(inputs, "beside", forbidden)
    assert own_fault(error, "s3://b/a.mp4") is None
