"""What stores answer when something is wrong: each answer has one class, and only what may pass is tried again."""

from __future__ import annotations

import errno
import logging
import os
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from cosmos_ray.store import faults as store_faults
from cosmos_ray.store import storage as storage_module
from cosmos_ray.store import traffic
from cosmos_ray.store.faults import STORE_VARIABLES, BucketMissingError, explain, explain_store, retrying
from cosmos_ray.store.regular import TooLargeError
from cosmos_ray.store.storage import Storage


class _Flaky(MemoryFileSystem):
    """Memory, with faults in front of its first answers."""

    protocol = "flaky"
    cachable = False
    faults: list[Exception]
    calls: int

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        self.calls += 1
        if self.faults:
            raise self.faults.pop(0)
        return super().cat_file(path, start, end, **kwargs)


@pytest.fixture
def flaky(monkeypatch: pytest.MonkeyPatch) -> tuple[Storage, _Flaky]:
    """A storage whose reads fail as often as told, and that loses no time between tries."""
    monkeypatch.setattr(store_faults, "_RETRY_DELAYS_S", (0.001, 0.001, 0.001))
    fs = _Flaky()
    fs.faults, fs.calls = [], 0
    fs.pipe_file("/out/x", b"content")
    monkeypatch.setattr(storage_module, "filesystem_of", lambda uri: (fs, "/out"))
    return Storage("s3://out"), fs


#: Whose errors are no OSErrors: of S3, Google and Azure, and of what they are made of.
LIBRARIES = (
    "botocore",
    "aiobotocore",
    "aiohttp",
    "gcsfs",
    "google",
    "requests",
    "adlfs",
    "azure",
    "httpx",
    "httpx2",
    "httpcore",
    "urllib3",
    "huggingface_hub",
)


def client_error(message: str = "told to", name: str = "ClientError", library: str = "botocore", **facts: Any) -> Any:
    """As a store's library has them. Azure's say `status_code`, gcsfs' `code` (as text too), aiohttp's `status`."""
    found = type(name, (Exception,), {"__module__": f"{library}.exceptions"})(message)
    for key, value in facts.items():
        setattr(found, key, value)
    return found


_NUMPYS = client_error(library="numpy")
#: An answer; what it is to the caller; its errno.
Answer = tuple[Exception, type[BaseException], int | None]
PASSING: dict[str, Answer] = {
    "input/output": (OSError(errno.EIO, "slow down"), OSError, errno.EIO),
    "reset": (ConnectionResetError("reset"), ConnectionResetError, None),
    "late": (TimeoutError("late"), TimeoutError, None),
    "cut off": (client_error(), OSError, None),
    **{library: (client_error(library=library), OSError, None) for library in LIBRARIES},
    **{str(status): (client_error(status_code=status), OSError, None) for status in (408, 409, 429, 500, 503)},
    "code": (client_error(code="429"), OSError, None),
    "a name for a code": (client_error(code="SlowDown"), OSError, None),
    "a name, and a status": (client_error(code="SlowDown", status=503), OSError, None),
    "302": (client_error(status=302), OSError, None),
}
FINAL: dict[str, Answer] = {
    "not there": (FileNotFoundError("x"), FileNotFoundError, None),
    "there": (FileExistsError("x"), FileExistsError, None),
    "no access": (PermissionError("x"), PermissionError, None),
    "a folder": (IsADirectoryError("x"), IsADirectoryError, None),
    "no folder": (NotADirectoryError("x"), NotADirectoryError, None),
    "no bucket": (BucketMissingError("x"), BucketMissingError, None),
    "full": (OSError(errno.ENOSPC, "no space left"), OSError, errno.ENOSPC),
    "read only": (OSError(errno.EROFS, "read only"), OSError, errno.EROFS),
    "long": (OSError(errno.ENAMETOOLONG, "too long"), OSError, errno.ENAMETOOLONG),
    "too large": (TooLargeError(3, 2), TooLargeError, errno.EFBIG),
    "malformed": (OSError(errno.EINVAL, "malformed"), OSError, errno.EINVAL),
    "Google's 403": (OSError("Forbidden: https://store/x\nno access"), PermissionError, None),
    "401": (client_error(status_code=401), PermissionError, None),
    "401 as text": (client_error(code="401"), PermissionError, None),
    "403": (client_error(status=403), PermissionError, None),
    "404": (client_error(status_code=404), FileNotFoundError, None),
    "400": (client_error(status_code=400), OSError, errno.EINVAL),
    "412": (client_error(status_code=412), OSError, errno.EINVAL),
    "499": (client_error(status_code=499), OSError, errno.EINVAL),
    "a bug of ours": (ValueError("a bug"), ValueError, None),
    "another library's bug": (_NUMPYS, type(_NUMPYS), None),
    **{
        name: (client_error(name=name), PermissionError, None)
        for name in ("NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError")
    },
}


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_a_fault_that_passes_is_survived(flaky: tuple[Storage, _Flaky], fault: Answer) -> None:
    storage, fs = flaky
    fs.faults = [fault[0]] * 3
    traffic.take()
    assert storage.read("x") == b"content"
    assert fs.calls == 4
    assert traffic.take() == traffic.Traffic(read=len(b"content"), retries=3)


_NO_CONNECTION = type("ClientConnectorDNSError", (OSError,), {})("no such host")


@pytest.mark.parametrize(
    ("fault", "try_s", "calls"),
    [
        (_NO_CONNECTION, 24.9, 4),
        (_NO_CONNECTION, 25.0, 2),
        (TimeoutError("late"), 60.0, 2),
        (ConnectionRefusedError("nobody there"), 60.0, 2),
        (ConnectionResetError("in the last part of a large file"), 600.0, 4),
    ],
    ids=["soon", "no host", "late", "refused", "cut off"],
)
def test_where_nobody_answers_for_long_it_is_tried_once_more(
    flaky: tuple[Storage, _Flaky], monkeypatch: pytest.MonkeyPatch, fault: OSError, try_s: float, calls: int
) -> None:
    """Without a network Google's client takes half a minute a try, Azure's a minute."""
    storage, fs = flaky
    monkeypatch.setattr(store_faults, "monotonic", lambda: fs.calls * try_s)
    fs.faults = [fault] * 9
    with pytest.raises(type(fault)):
        storage.read("x")
    assert fs.calls == calls


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_a_fault_that_stays_is_raised_after_the_last_try(flaky: tuple[Storage, _Flaky], fault: Answer) -> None:
    storage, fs = flaky
    fs.faults = [fault[0]] * 9
    assert raised_by(storage) == fault[1:]
    assert fs.calls == 4


@pytest.mark.parametrize("fault", FINAL.values(), ids=FINAL)
def test_a_final_fault_is_raised_at_once_and_says_what_it_is(flaky: tuple[Storage, _Flaky], fault: Answer) -> None:
    """By its class: a refusal is no malformed request, and neither is a missing object."""
    storage, fs = flaky
    fs.faults = [fault[0]] * 9
    traffic.take()
    assert raised_by(storage) == fault[1:]
    assert fs.calls == 1
    assert traffic.take() == traffic.Traffic()


def raised_by(storage: Storage) -> tuple[type[BaseException], int | None]:
    with pytest.raises(Exception) as caught:  # which one is the question
        storage.read("x")
    whole = caught.value.__cause__ or caught.value  # as the store's library has it
    assert str(whole).partition("\n")[0] in str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.type, getattr(caught.value, "errno", None)


def test_a_translated_fault_keeps_the_librarys_name_its_first_line_and_its_cause(
    flaky: tuple[Storage, _Flaky], caplog: pytest.LogCaptureFixture
) -> None:
    storage, fs = flaky
    theirs = client_error("the first line\nand an XML", name="HttpResponseError", status_code=503)
    fs.faults = [theirs] * 9
    with pytest.raises(OSError) as caught:
        storage.read("x")
    assert str(caught.value) == "HttpResponseError: the first line"
    assert caught.value.__cause__ is theirs
    assert "reading x: HttpResponseError: the first line; again in about 0.0 s" in caplog.messages


def test_what_only_begins_like_googles_403_is_none(flaky: tuple[Storage, _Flaky]) -> None:
    storage, fs = flaky
    for other in (OSError(errno.EINVAL, "Forbidden: x"), BucketMissingError("Forbidden: x")):
        fs.faults = [other]
        assert raised_by(storage) == (type(other), other.errno)


@pytest.mark.parametrize(
    ("error", "has_way_out"),
    [
        (OSError("no answer"), True), (PermissionError("403"), True), (ValueError("no account"), True),
        (OSError(errno.EACCES, "denied", "/a/file"), False), (FileNotFoundError("x"), False),
        (FileExistsError("x"), False), (RuntimeError("a bug"), False),
    ],
    ids=repr,
)  # fmt: skip
def test_variables_are_named_where_a_store_refused_and_not_where_a_disk_did(
    error: Exception, has_way_out: bool
) -> None:
    assert ("variables that stores read" in explain_store(error)) == has_way_out


def test_an_error_in_one_line() -> None:
    beneath = client_error("status 403\nmore")
    said, repeated, alone = OSError("no answer"), OSError("no answer: status 403"), OSError("no answer\nmore")
    said.__cause__ = repeated.__cause__ = beneath
    assert explain(said) == "OSError: no answer (status 403)"
    assert explain(repeated) == "OSError: no answer: status 403"
    assert explain(alone) == "OSError: no answer"


def test_retrying_waits_longer_each_time_with_jitter(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Between half and one and a half times as long, so that many do not come back together, and none after 2 s."""
    waited: list[float] = []
    asked: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        asked.append((low, high))
        return high

    monkeypatch.setattr(store_faults.time, "sleep", waited.append)
    monkeypatch.setattr(store_faults.random, "uniform", uniform)
    caplog.set_level(logging.WARNING)

    def fail() -> None:
        raise OSError("still down")

    with pytest.raises(OSError, match="still down"):
        retrying(fail, "a test")
    assert asked == [(0.5, 1.5)] * 4
    assert waited == pytest.approx([0.3, 0.9, 1.8, 1.8])
    assert caplog.messages == [f"a test: still down; again in about {delay} s" for delay in (0.2, 0.6, 1.2, 1.2)]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_wants_room_and_no_variables(number: int) -> None:
    """Such an error names no file: it comes from writing, not from opening."""
    said = explain_store(OSError(number, os.strerror(number)))
    assert said.endswith(f"{os.strerror(number)}; make room there, or name another place")


def test_a_place_that_cannot_be_written_or_is_no_folder_wants_another() -> None:
    assert explain_store(OSError(errno.EROFS, "read only")).endswith("read only; name another place")
    said = explain_store(NotADirectoryError(errno.ENOTDIR, "Not a directory", "/file/_cosmos_ray/run.json"))
    assert said.endswith("run.json'; a part of this path is a file, expected a folder")


@pytest.mark.parametrize("number", [errno.EROFS, errno.EIO])
def test_a_disk_that_fails_wants_no_variables(number: int) -> None:
    assert STORE_VARIABLES not in explain_store(OSError(number, os.strerror(number)))


def test_a_store_that_refuses_wants_its_variables() -> None:
    assert explain_store(PermissionError("AccessDenied")).endswith(f"; {STORE_VARIABLES}")
    assert explain_store(OSError(errno.EINVAL, "ClientError: bad request")).endswith(f"; {STORE_VARIABLES}")
