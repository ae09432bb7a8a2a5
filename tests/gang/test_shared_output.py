"""A gang writes to no folder but the one that the driver reads, and reads none but its manifest's."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from cosmos_ray.gang import shared_output
from cosmos_ray.gang.shared_output import await_output, check_home
from cosmos_ray.gang.verdict import GangBrokenError
from cosmos_ray.ledger.lease import LeaseTimes, acquire
from cosmos_ray.store.storage import Storage


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Sleeps, none of which takes time but by this clock."""
    slept: list[float] = []
    monkeypatch.setattr(shared_output.time, "sleep", slept.append)
    monkeypatch.setattr(shared_output.time, "monotonic", lambda: sum(slept))
    return slept


def held(folder: Path) -> Storage:
    """The output as the driver has it, in its first run."""
    storage = Storage(str(folder))
    acquire(storage, LeaseTimes(), say=lambda _: None).release()
    return storage


def test_the_drivers_folder_is_seen_at_once(tmp_path: Path, clock: list[float]) -> None:
    await_output(held(tmp_path), 1)
    assert clock == []


@pytest.mark.parametrize("there", ["nothing", "an empty folder", "what an earlier run has left"])
def test_another_folder_at_the_same_path_is_refused(tmp_path: Path, clock: list[float], there: str) -> None:
    """A node without the mount has nothing there, or what was made there when nobody looked."""
    folder, epoch = tmp_path / "out", 1
    if there == "an empty folder":
        folder.mkdir()
    if there == "what an earlier run has left":
        held(folder)
        epoch = 2
    said = (
        rf"the output {folder} is another folder on this node \(.+\): found no lease of run {epoch}, .*or use a store"
    )
    with pytest.raises(GangBrokenError, match=said):
        await_output(Storage(str(folder)), epoch)
    assert sum(clock) == shared_output._PATIENCE_S
    assert folder.exists() == (there != "nothing"), "a look makes nothing"


def test_a_file_system_that_is_late_is_waited_for(tmp_path: Path, clock: list[float], monkeypatch: Any) -> None:
    held(tmp_path / "elsewhere")

    def sleep(seconds: float) -> None:
        clock.append(seconds)
        if len(clock) == 3:
            shutil.copytree(tmp_path / "elsewhere", tmp_path / "out")

    monkeypatch.setattr(shared_output.time, "sleep", sleep)
    await_output(Storage(str(tmp_path / "out")), 1)
    assert len(clock) == 3


def test_a_store_is_one_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_output, "is_seen", lambda *_: pytest.fail("a request for nothing"))
    await_output(Storage("s3://bucket/out"), 1)


@pytest.mark.parametrize("there", ["nothing", "an empty folder"])
def test_a_node_without_the_folder_of_the_inputs_is_refused(tmp_path: Path, there: str) -> None:
    folder = tmp_path / "data"
    if there == "an empty folder":
        folder.mkdir()
    with pytest.raises(
        GangBrokenError, match=rf"this node \(.+\) lacks the folder of the manifest, {folder}: "
    ) as raised:
        check_home(str(folder))
    assert raised.value.failure_class == "storage"


def test_a_folder_that_is_here_or_that_nobody_reads_is_not_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    check_home(str(tmp_path))
    check_home("")
