"""Folders of processes at work: nobody else's are touched, those of the dead go with the next process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cosmos_ray.scratch import scratch

_HOLDS = """
import sys, time
from cosmos_ray.scratch import scratch
with scratch() as folder:
    (folder / "shard.tar").write_bytes(b"half")
    print(folder, flush=True)
    time.sleep(float(sys.argv[1]))
"""


@pytest.fixture(autouse=True)
def _in_a_place_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def _start(seconds: float) -> tuple[subprocess.Popen[str], Path]:
    process = subprocess.Popen([sys.executable, "-c", _HOLDS, str(seconds)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def _has_lain(folder: Path, seconds: float = 3600.0) -> None:
    then = time.time() - seconds
    os.utime(folder, (then, then))


def test_it_is_gone_when_its_work_is_done(tmp_path: Path) -> None:
    process, folder = _start(0)
    assert folder.parent == tmp_path
    assert process.wait() == 0
    assert list(tmp_path.iterdir()) == []


def test_those_of_killed_processes_go_with_the_next_one_and_no_others(tmp_path: Path) -> None:
    dead, of_the_dead = _start(600)
    alive, of_the_living = _start(600)
    try:
        dead.send_signal(signal.SIGKILL)
        dead.wait()
        strangers = tmp_path / "cosmos-ray-0"
        another_boots = tmp_path / "cosmos-ray-at-00000000-abc"
        for folder in (strangers, another_boots):
            folder.mkdir()
        for folder in (of_the_dead, of_the_living, strangers, another_boots):
            _has_lain(folder)
        _start(0)[0].wait()
        assert set(tmp_path.iterdir()) == {of_the_living, strangers, another_boots}
        assert (of_the_living / "shard.tar").read_bytes() == b"half"
    finally:
        alive.kill()
        alive.wait()


def test_a_young_one_may_be_about_to_be_locked(tmp_path: Path) -> None:
    dead, folder = _start(600)
    dead.kill()
    dead.wait()
    _start(0)[0].wait()
    assert list(tmp_path.iterdir()) == [folder]


def test_what_is_in_the_way_costs_nothing(tmp_path: Path) -> None:
    """A link to somewhere else, a file of such a name, and a folder that is in another's hands."""
    process, folder = _start(0)
    process.wait()
    start = folder.name[: folder.name.rindex("-") + 1]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / f"{start}link").symlink_to(elsewhere)
    (tmp_path / f"{start}file").write_bytes(b"")
    _has_lain(elsewhere)
    _start(0)[0].wait()
    assert {one.name for one in tmp_path.iterdir()} == {"elsewhere", f"{start}link", f"{start}file"}


def test_an_error_within_is_the_callers(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="mine"), scratch():
        raise OSError("mine")
