"""Faults of a store: the ones that pass are survived, the final ones are raised at once."""

from __future__ import annotations

import errno
import re
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from cosmos_ray.store import faults as store_faults
from cosmos_ray.store import storage as storage_module
from cosmos_ray.store import traffic
from cosmos_ray.store.faults import retrying
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


class _ClientError(Exception):
    """As the libraries of the stores have them: no OSError. Azure's have `status_code`, gcsfs' `code`."""

    def __init__(self, message: str, status_code: int | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status_code, self.code = status_code, code


_ClientError.__module__ = "botocore.exceptions"


@pytest.mark.parametrize(
    "fault",
    [
        OSError(errno.EIO, "503 slow down"),
        ConnectionResetError("reset"),
        TimeoutError("late"),
        _ClientError("cut off"),
        _ClientError("busy", status_code=503),
        _ClientError("too many", code="429"),
    ],
    ids=str,
)
def test_a_fault_that_passes_is_survived(flaky: tuple[Storage, _Flaky], fault: Exception) -> None:
    storage, fs = flaky
    fs.faults = [fault] * 3
    traffic.take()
    assert storage.read("x") == b"content"
    assert fs.calls == 4
    assert traffic.take() == traffic.Traffic(read=len(b"content"), retries=3)


def test_a_fault_that_stays_is_raised_after_the_last_try(flaky: tuple[Storage, _Flaky]) -> None:
    storage, fs = flaky
    fs.faults = [_ClientError("cut off")] * 9
    with pytest.raises(OSError, match="_ClientError: cut off"):
        storage.read("x")
    assert fs.calls == 4


@pytest.mark.parametrize(
    "fault",
    [
        FileNotFoundError("x"),
        PermissionError("403"),
        OSError(errno.ENOSPC, "no space left"),
        OSError(errno.EINVAL, "malformed"),
        OSError("Forbidden: https://store/x\nno access"),
        _ClientError("forbidden", status_code=403),
        _ClientError("unauthorized", code="401"),
        _ClientError("no such container", status_code=404),
        _ClientError("malformed", status_code=400),
        ValueError("a bug of ours"),
    ],
    ids=str,
)
def test_a_final_fault_is_raised_at_once(flaky: tuple[Storage, _Flaky], fault: Exception) -> None:
    storage, fs = flaky
    fs.faults = [fault] * 9
    with pytest.raises(
        ValueError if isinstance(fault, ValueError) else OSError, match=re.escape(str(fault).partition("\n")[0])
    ):
        storage.read("x")
    assert fs.calls == 1


def test_retrying_waits_longer_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Backoff with jitter: between half and one and a half times the nominal delay."""
    waited: list[float] = []
    monkeypatch.setattr(store_faults.time, "sleep", waited.append)

    def fail() -> None:
        raise OSError("still down")

    with pytest.raises(OSError, match="still down"):
        retrying(fail, "a test")
    nominal = store_faults._RETRY_DELAYS_S
    assert len(waited) == len(nominal)
    for found, delay in zip(waited, nominal, strict=True):
        assert 0.5 * delay <= found <= 1.5 * delay
