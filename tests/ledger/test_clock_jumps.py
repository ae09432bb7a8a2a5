"""A job whose clock jumps by a month keeps its output, and loses it when it is dead: no clock decides that."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.waiting import wait_for

from cosmos_ray.errors import LeaseHeld
from cosmos_ray.ledger.lease import LeaseTimes, acquire, read_owner
from cosmos_ray.store.storage import Storage

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
pytestmark = [pytest.mark.long, pytest.mark.skipif(LIBRARY is None, reason="Debian's package faketime is not there")]

#: Says its clock's day whenever it is asked.
_OWNER = """
import sys, time
from cosmos_ray.ledger.lease import LeaseTimes, acquire
from cosmos_ray.store.storage import Storage
lease = acquire(Storage(sys.argv[1]), LeaseTimes(0.2, 60))
for _ in sys.stdin:
    print(int(time.time() // 86400), flush=True)
"""


@pytest.fixture
def clock(tmp_path: Path) -> Path:
    """What the owner's clock is ahead of the real one, in libfaketime's words."""
    (tmp_path / "clock").write_text("+0")
    return tmp_path / "clock"


@pytest.fixture
def owner(tmp_path: Path, clock: Path) -> Iterator[subprocess.Popen[str]]:
    faked = {"FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    owner = subprocess.Popen(
        [sys.executable, "-c", _OWNER, str(tmp_path / "out")],
        env={**os.environ, **faked, "LD_PRELOAD": str(LIBRARY)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    yield owner
    owner.kill()
    owner.wait()


def day_of(owner: subprocess.Popen[str]) -> int:
    assert owner.stdin is not None
    assert owner.stdout is not None
    owner.stdin.write("\n")
    owner.stdin.flush()
    return int(owner.stdout.readline())


def test_an_owner_whose_clock_jumps_is_a_living_one(tmp_path: Path, clock: Path, owner: subprocess.Popen[str]) -> None:
    storage = Storage(str(tmp_path / "out"))
    today = day_of(owner)
    for days in (30, -30, 0):
        clock.write_text(f"{days * 86400:+d}")
        wait_for(lambda days=days: day_of(owner) - today in (days, days + 1), "the jump")  # type: ignore[misc]
        with pytest.raises(LeaseHeld, match="owned by a living job"):
            acquire(storage, LeaseTimes(0.2, 60))
    found = read_owner(storage)
    assert found is not None
    assert found.age_s < 60
    clock.write_text("+2592000")
    owner.kill()
    owner.wait()
    acquire(storage, LeaseTimes(0.2, 60)).release()
