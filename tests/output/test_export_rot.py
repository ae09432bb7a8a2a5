"""A copy of which a bit has changed on its disk: `--verify` names that file and no other, the same command mends it."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import pytest
from support.exported import commit_clip, files_in
from support.job_runs import write_manifest
from support.outcomes import DEFAULTS

from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.manifest.files import open_manifest
from cosmos_ray.output import folders
from cosmos_ray.output.clip_copy import Layout
from cosmos_ray.output.export import Exported, export
from cosmos_ray.output.index import write_index
from cosmos_ray.store.storage import Storage


@pytest.fixture
def output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Storage:
    """Two clips, with columns. Videos are not looked into."""
    monkeypatch.setattr(folders, "inspect_video", lambda _: SimpleNamespace(frames=5, height=16, width=16))
    storage = Storage(str(tmp_path / "out"))
    rows = [{"id": name, "prompt": "p", "weather": "rain"} for name in "ab"]
    for row in rows:
        commit_clip(storage, row["id"])
    manifest = write_manifest(tmp_path / "m.parquet", rows)
    write_index(storage, open_manifest(manifest), DEFAULTS, Ledger(storage).state())
    return storage


def copy(output: Storage, layout: Layout, to: Path, verify: bool = False) -> Exported:
    return export(output.uri, layout, str(to), lambda _: None, clips_a_shard=1, verify=verify)


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :]


def places_in(name: str, data: bytes) -> set[int]:
    """Of a bit. Of a tar file: in names, sizes and sums of its headers, in what fills up a member's last block, and in
    the zeros at the end."""
    if not name.endswith(".tar"):
        return {len(data) // 2}
    first = int(data[124:135], 8)
    end = 512 + first + -first % 512
    return {0, 130, 150, 511, 512, end - 1, end, len(data.rstrip(b"\0")) - 1, len(data) - 9_000, len(data) - 1}


@pytest.mark.parametrize("layout", get_args(Layout))
def test_a_bit_that_changed_in_any_file_is_found_and_mended(output: Storage, tmp_path: Path, layout: Layout) -> None:
    to = tmp_path / "to"
    copy(output, layout, to)
    fresh = files_in(to)
    kinds = {Path(name).suffix for name in fresh}
    assert (
        kinds
        == {
            "webdataset": {".tar"},
            "rds-hq": {".mp4", ".json", ".txt"},
            "lerobot": {".mp4", ".json", ".parquet"},
        }[layout]
    )
    for name, data in fresh.items():
        for place in sorted(places_in(name, data)):
            (to / name).write_bytes(flipped(data, place))
            assert copy(output, layout, to, verify=True).faults == (f"{name}: other than it should be",), place
        copy(output, layout, to)
        assert files_in(to) == fresh
    assert copy(output, layout, to, verify=True).faults == ()


def test_a_shard_that_has_a_member_twice_is_mended(output: Storage, tmp_path: Path) -> None:
    """Both are right, and readers would take a sample twice."""
    to = tmp_path / "to"
    copy(output, "webdataset", to)
    fresh, shard = files_in(to), to / "shard-000000.tar"
    with tarfile.open(shard) as tar:
        members = [(member, fresh[shard.name][member.offset_data :][: member.size]) for member in tar.getmembers()]
    with tarfile.open(shard, "w") as tar:
        for member, data in [*members, members[-1]]:
            tar.addfile(member, io.BytesIO(data))
    assert copy(output, "webdataset", to, verify=True).faults == ("shard-000000.tar: other than it should be",)
    copy(output, "webdataset", to)
    assert files_in(to) == fresh
