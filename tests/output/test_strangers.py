"""An export removes and replaces files of its own copies alone."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest
from support.exported import commit_clip, files_in

from cosmos_ray.errors import UsageError
from cosmos_ray.output.clip_copy import CAMERAS, Layout
from cosmos_ray.output.export import export
from cosmos_ray.store.storage import Storage


@pytest.fixture
def output(tmp_path: Path) -> Storage:
    storage = Storage(str(tmp_path / "out"))
    for clip_id in "abc":
        commit_clip(storage, clip_id)
    return storage


def tar_of(name: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.size = 3
        tar.addfile(entry, io.BytesIO(b"cat"))
    return buffer.getvalue()


INFO = {"codebase_version": "v3.0", "robot_type": None, "features": {"index": {}}}
STRANGERS: list[tuple[Layout, str, bytes]] = [
    ("webdataset", "shard-000000.tar", tar_of("n01440764_18.jpg")),
    ("webdataset", "shard-000777.tar", tar_of("00000000.jpg")),
    ("webdataset", "shard-000777.tar", tar_of("../00000000.json")),
    ("lerobot", "videos/holiday.mp4", b"sea"),
    ("lerobot", "videos/front_wide/chunk-000/file-000.mp4", b"another's camera"),
    ("lerobot", "data/train.csv", b"a,b"),
    ("lerobot", "data/chunk-000/file-000.parquet.bak", b""),
    ("lerobot", "meta/stats.json", b"{}"),
    ("lerobot", "meta/info.json", json.dumps({**INFO, "robot_type": "so100"}).encode()),
    ("lerobot", "meta/info.json", json.dumps({**INFO, "features": {"action": {}}}).encode()),
    ("lerobot", "meta/info.json", b"[1]"),
    ("rds-hq", f"videos/{CAMERAS['rear']}/b_0.mp4", b"another's b"),
    ("rds-hq", f"metas/{CAMERAS['front_wide']}/b_0.txt", b"another's words"),
    ("rds-hq", f"captions/{CAMERAS['front_wide']}/b_0.json", b"{}"),
]


@pytest.mark.parametrize(
    ("layout", "path", "data"), STRANGERS, ids=[f"{n}-{one[1]}" for n, one in enumerate(STRANGERS)]
)
def test_what_no_copy_has_written_is_named_and_nothing_is_touched(
    output: Storage, tmp_path: Path, layout: Layout, path: str, data: bytes
) -> None:
    to = tmp_path / "to"
    Storage(str(to)).write(path, data)
    with pytest.raises(UsageError, match="has 1 file that no such export has written") as told:
        export(output.uri, layout, str(to), print)
    assert path in str(told.value)
    assert files_in(to) == {path: data}


@pytest.mark.parametrize(
    "sign", [{"id": "a", "model": {}}, {"id": "b"}, ["b"]], ids=["of another", "no model", "a list"]
)
def test_a_clip_of_rds_hq_is_ours_by_what_lies_beside_it(output: Storage, tmp_path: Path, sign: object) -> None:
    """Clips of other names stay; one of ours is replaced, also where that is damaged."""
    to = Storage(str(tmp_path / "to"))
    stays = {f"videos/{CAMERAS['rear']}/{name}": b"x" for name in ("z_0.mp4", "b_1.mp4", "b.mp4", "b_0.mp4.bak")}
    for path, data in {**stays, f"videos/{CAMERAS['rear']}/b_0.mp4": b"x", "columns/b_0.json": b"rot"}.items():
        to.write(path, data)
    export(output.uri, "rds-hq", to.uri, print)
    assert files_in(tmp_path / "to").items() >= stays.items()
    assert to.stat(f"videos/{CAMERAS['rear']}/b_0.mp4") is None
    to.write("columns/b_0.json", json.dumps(sign).encode())
    with pytest.raises(UsageError, match=r"has 3 files that .* written \(captions/.*/b_0\.json, metas/.*/b_0\.txt"):
        export(output.uri, "rds-hq", to.uri, print)


def test_what_a_copy_has_left_and_what_lies_beside_its_folders_is_no_strangers(output: Storage, tmp_path: Path) -> None:
    """Shards beyond the last, a damaged one, an empty one; and a note."""
    to = tmp_path / "to"
    beside = {"README.md": b"mine", "shard.tar": b"mine", "data/mine.csv": b"a,b"}
    for path, data in {**beside, "shard-000003.tar": tar_of("00000006.front_wide.mp4")}.items():
        Storage(str(to)).write(path, data)
    for damaged in (b"rot", bytes(10240)):
        (to / "shard-000001.tar").write_bytes(damaged)
        export(output.uri, "webdataset", str(to), print, clips_a_shard=2)
        assert files_in(to).keys() == beside.keys() | {"shard-000000.tar", "shard-000001.tar"}
        assert files_in(to).items() >= beside.items()
        assert (to / "shard-000001.tar").read_bytes() not in (b"rot", bytes(10240))


def test_three_strangers_are_named_and_no_more_are_told_of(output: Storage, tmp_path: Path) -> None:
    to = Storage(str(tmp_path / "to"))
    for name in "abc":
        to.write(f"data/{name}.csv", b"")
    with pytest.raises(UsageError, match=r"has 3 files .*\(data/a.csv, data/b.csv, data/c.csv\)"):
        export(output.uri, "lerobot", to.uri, print)


def test_all_that_is_strange_is_named_what_says_whose_it_is_first(output: Storage, tmp_path: Path) -> None:
    to = Storage(str(tmp_path / "to"))
    for path, data in (("data/a.csv", b""), ("data/b.csv", b""), ("data/c.csv", b""), ("meta/info.json", b"[1]")):
        to.write(path, data)
    with pytest.raises(UsageError, match=r"has 4 files .*\(meta/info.json, data/a.csv, data/b.csv and 1 more\)"):
        export(output.uri, "lerobot", to.uri, print)
