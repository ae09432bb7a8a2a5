"""Beats that are not as an owner writes them: they prove nothing, and end nobody's job."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.waiting import wait_for

from cosmos_ray.errors import LeaseHeld
from cosmos_ray.ledger.layout import LEASE
from cosmos_ray.ledger.lease import LeaseTimes, acquire, read_owner
from cosmos_ray.store.storage import Storage

BEAT = f"{LEASE}/00000001.beat"
QUICK = LeaseTimes(0.01, 0.05)


@pytest.mark.parametrize(
    "change", [{"time": "now"}, {"time": 10**400}, {"time": None}, {"owner": 3}, {"released": "no"}, None], ids=str
)
def test_a_beat_that_is_not_ours_is_none(tmp_path: Path, change: dict[str, Any] | None) -> None:
    """A living owner would replace it; who finds it after a lifetime takes over."""
    storage = Storage(str(tmp_path))
    acquire(storage, LeaseTimes(60.0, 180.0)).release()
    beat = json.loads(storage.read(BEAT)) | {"released": False}
    storage.write(BEAT, b"[" * 100_000 if change is None else json.dumps(beat | change).encode())
    (tmp_path / LEASE / "hello.json").write_text("nobody's")
    assert read_owner(storage) is None
    second = acquire(storage, QUICK)
    second.release()
    assert second.epoch == 2


def test_a_job_that_cannot_say_what_it_does_goes_on_beating(tmp_path: Path) -> None:
    """Its thread would end, and another job take the output over while this one works."""
    storage = Storage(str(tmp_path))
    lease = acquire(storage, LeaseTimes(0.01, 60.0))

    def describe() -> dict[str, Any]:
        raise RuntimeError("dictionary changed size during iteration")

    def count() -> int:
        return int(json.loads(storage.read(BEAT))["count"])

    lease.describe = describe
    before = count()
    wait_for(lambda: count() > before + 3, "beats")
    lease.describe = lambda: {"gangs": 1}
    wait_for(lambda: (owner := read_owner(storage)) is not None and owner.job == {"gangs": 1}, "what it does")
    lease.release()


@pytest.mark.parametrize("life_s", [0.5, 1.0, 7.25, 9.99, 15.0, 15.5, 180.0])
def test_a_silent_owner_is_watched_for_a_whole_lifetime(
    life_s: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten looks at least, and no second less: an owner that beats late is alive."""
    storage, pauses = Storage(str(tmp_path)), list[float]()
    storage.write_if_absent(f"{LEASE}/00000001.json", b"{}")
    monkeypatch.setattr("cosmos_ray.ledger.lease.time", SimpleNamespace(**{**vars(time), "sleep": pauses.append}))
    acquire(storage, LeaseTimes(life_s / 4, life_s)).release()
    assert life_s <= sum(pauses) + 1e-9 < life_s + 1
    assert len(pauses) >= 10


@pytest.mark.parametrize("then", [None, b"[", {"owner": "another", "count": 2}], ids=["gone", "no beat", "another's"])
def test_a_beat_that_changes_in_any_way_is_a_living_owners(then: Any, tmp_path: Path) -> None:
    """Also where it goes, or cannot be read: a silent owner's stays as it is."""
    storage = Storage(str(tmp_path))
    acquire(storage, LeaseTimes(60.0, 180.0)).release()
    beat = json.loads(storage.read(BEAT)) | {"released": False, "owner": "the first"}
    storage.write(BEAT, json.dumps(beat).encode())

    def meanwhile(_: str) -> None:
        if then is None:
            storage.delete(BEAT)
        else:
            storage.write(BEAT, json.dumps(beat | then).encode() if isinstance(then, dict) else then)

    named = "another" if isinstance(then, dict) else "the first"
    with pytest.raises(LeaseHeld, match=rf"is owned by a living job \({named}\)"):
        acquire(storage, QUICK, say=meanwhile)
    assert not storage.exists(f"{LEASE}/00000002.json")


def test_a_store_that_is_out_is_told_by_the_seconds_since_the_last_beat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Not since the first one: the longer a job has run, the more harmless it would look, or the worse."""
    clock, storage = [0.0], Storage(str(tmp_path))
    monkeypatch.setattr("cosmos_ray.ledger.lease.time.monotonic", lambda: clock[0])
    lease = acquire(storage, LeaseTimes(0.01, 60.0))
    written, is_out = storage.write, threading.Event()

    def write(path: str, data: bytes) -> None:
        if is_out.is_set():
            raise OSError("no route")
        written(path, data)

    monkeypatch.setattr(lease.storage, "write", write)
    clock[0] = 1000.0
    count = lease._count
    wait_for(lambda: lease._count > count + 1, "a beat since")
    is_out.set()
    clock[0] = 1007.0
    wait_for(lambda: "no route" in caplog.text, "a beat that failed")
    lease.release()
    assert f"lease of {tmp_path}: no beat for 7 s: no route" in caplog.text
