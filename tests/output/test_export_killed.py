"""An export that is killed: what lies in its folder then, and what the same command makes of it.

* each file is that of the copy before or that of this one, whole
* no clip is there twice, and none half from one copy and half from the other; a LeRobot data set that is neither the
  old one nor the new one is none
* the same command ends with what a copy into an empty folder has; `--verify` tells the one from the other
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
from support.exported import clips_in_shards, commit_clip, files_in

from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.output import export as exporting
from cosmos_ray.output import folders
from cosmos_ray.output.clip_copy import Layout
from cosmos_ray.output.copy_target import CopyTarget
from cosmos_ray.output.export import export
from cosmos_ray.store.storage import Storage

LAYOUTS: tuple[Layout, ...] = get_args(Layout)
#: Clips of the output when it was copied before, then when it is copied again.
BEFORE, NOW = "bcdefg", "cdegh"


class KilledError(Exception):
    """The process is gone."""


class Dying(Storage):
    """Before its operation number `step` that changes something its process is killed."""

    def __init__(self, uri: str, step: int) -> None:
        super().__init__(uri)
        self._left = step

    def _live(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise KilledError

    def write(self, path: str, data: bytes) -> None:
        self._live()
        super().write(path, data)

    def write_file(self, path: str, source: Path) -> None:
        self._live()
        super().write_file(path, source)

    def delete(self, path: str) -> None:
        self._live()
        super().delete(path)


def make_output(folder: Path) -> tuple[Storage, Storage]:
    """The output as it was, and as it is now: one clip was made since, one made again, two are to be made again. What
    comes after these moves to another shard."""
    before, now = Storage(str(folder / "before")), Storage(str(folder / "now"))
    for clip_id in BEFORE:
        commit_clip(before, clip_id)
        commit_clip(now, clip_id)
    commit_clip(now, "h")
    commit_clip(now, "d", generation=1)
    Ledger(now).redo(["b", "f"])
    return before, now


def copy(output: Storage, layout: Layout, to: Path, **more: Any) -> Any:
    return export(output.uri, layout, str(to), lambda _: None, clips_a_shard=2, **more)


Files = dict[str, bytes]


def check_nothing_doubled(layout: Layout, there: Files, old: Files, new: Files) -> None:
    for path, data in there.items():
        assert data in (old.get(path), new.get(path)), path
    if layout == "lerobot" and "meta/info.json" in there:
        assert there in (old, new)
    for clip_id in BEFORE + NOW if layout == "rds-hq" else "":
        of_clip = {path: data for path, data in there.items() if f"/{clip_id}_0." in path}
        assert of_clip.items() <= old.items() or of_clip.items() <= new.items(), clip_id


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """One thing at a time; videos are not looked into."""
    monkeypatch.setattr(exporting, "_WORKERS", 1)
    looked = SimpleNamespace(frames=5, height=16, width=16)
    monkeypatch.setattr(folders, "inspect_video", lambda _: looked)


#: Of the changes: some of them in `make test`, all of them in `make chaos`.
STRIDES = pytest.mark.parametrize("stride", [2, pytest.param(1, marks=pytest.mark.long)])


def steps(
    output: Storage, layout: Layout, to: Path, monkeypatch: pytest.MonkeyPatch, before: Path, stride: int
) -> Iterator[int]:
    """A copy over the one `before`, killed before its first change, one of the next, …, until it comes to its end."""
    for step in count(0, stride):
        shutil.rmtree(to, ignore_errors=True)
        shutil.copytree(before, to)
        with monkeypatch.context() as patch:
            dying = Dying(str(to), step)
            patch.setattr(exporting, "Storage", lambda uri, dying=dying: dying if uri == dying.uri else Storage(uri))
            try:
                copy(output, layout, to)
            except KilledError:
                pass
            else:
                return
        yield step


@STRIDES
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("is_first", [True, False], ids=["into nothing", "over an older copy"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_killed_at_any_change_it_leaves_whole_files_and_nothing_twice(
    layout: Layout, is_first: bool, stride: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older, output = make_output(tmp_path)
    before, to = tmp_path / "copied", tmp_path / "to"
    before.mkdir()
    if not is_first:
        copy(older, layout, before)
    copy(output, layout, tmp_path / "fresh")
    old, new = files_in(before), files_in(tmp_path / "fresh")
    stay = {path: data for path, data in old.items() if layout == "rds-hq" and ("/b_0." in path or "/f_0." in path)}
    killed = 0
    for step in steps(output, layout, to, monkeypatch, before, stride):
        killed = step + 1
        there = files_in(to)
        check_nothing_doubled(layout, there, old, new)
        assert set(clips_in_shards(to).values()) <= {1}
        assert copy(output, layout, to, verify=True).faults
        assert files_in(to) == there, "to look changes nothing"
        done = copy(output, layout, to)
        assert (done.clips, done.left_out) == (len(NOW), ())
        assert files_in(to) == new | stay
        assert copy(output, layout, to, verify=True).faults == ()
    assert killed > len(new) - stride
    assert copy(output, layout, to).there == len(NOW)


def test_half_written_files_of_the_dead_go_but_not_those_of_others_at_work(tmp_path: Path) -> None:
    """Two copies may go into one folder."""
    for name, age_s in (("of-the-dead", 7200), ("of-another", 60)):
        path = tmp_path / "videos" / f".tmp-{name}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
        os.utime(path, times=(time.time() - age_s,) * 2)
    CopyTarget(Storage(str(tmp_path)), checks=True).tidy()
    assert len(list(tmp_path.rglob(".tmp-*"))) == 2
    CopyTarget(Storage(str(tmp_path))).tidy()
    assert [path.name for path in tmp_path.rglob(".tmp-*")] == [".tmp-of-another"]


#: Kills its own process while it puts its file number so many in place.
KILL = """
import os, signal, sys
from cosmos_ray.output.export import export

left, put = int(sys.argv[4]), os.replace


def replace(*paths):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    put(*paths)


os.replace = replace
export(*sys.argv[1:4], print, 2)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layout", "moment"),
    [
        *(("webdataset", 2), ("rds-hq", 4), ("lerobot", 5)),
        *(pytest.param(*one, marks=pytest.mark.long) for one in (("webdataset", 1), ("rds-hq", 1), ("rds-hq", 6))),
        *(pytest.param("lerobot", moment, marks=pytest.mark.long) for moment in (1, 6, 8)),
    ],
)
def test_a_process_that_is_killed_is_gone_on_with(layout: Layout, moment: int, tmp_path: Path) -> None:
    older, output = make_output(tmp_path)
    to = tmp_path / "to"
    copy(older, layout, to)
    old = files_in(to)
    copy(output, layout, tmp_path / "fresh")
    new = files_in(tmp_path / "fresh")
    done = subprocess.run([sys.executable, "-c", KILL, output.uri, layout, str(to), str(moment)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert list(to.rglob(".tmp-*")), "what it was writing"
    check_nothing_doubled(layout, files_in(to), old, new)
    assert set(clips_in_shards(to).values()) <= {1}
    assert copy(output, layout, to, verify=True).faults
    copy(output, layout, to)
    again = files_in(to)
    assert {path: again[path] for path in new} == new
    assert {path for path in again if path not in new} <= ({*old} if layout == "rds-hq" else set())
    assert copy(output, layout, to, verify=True).faults == ()
