"""What `cosmos-ray export` writes, file by file, on a local disk: names, order, and the same bytes each time."""

from __future__ import annotations

import hashlib
import json
import tarfile
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from cosmos_ray.clip.request import VIEWS
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.record import FileEntry, Record
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.output.export import export
from cosmos_ray.store.storage import Storage

CLIP = Clip("a", "a", ("A street.",), negative_prompt="blurry", guidance=3.5, seed=4, num_steps=9, n_views=2, fps=24)


def commit(storage: Storage, clip: Clip, views: tuple[str, ...] | None = None) -> None:
    """As a gang does; its files in another order than the views. views: those of the model, of the rig or not."""

    def store(view: str, path: str, data: bytes) -> FileEntry:
        storage.write(path, data)
        return FileEntry(view, path, len(data), hashlib.sha256(data).hexdigest())

    folder = f"clips/{clip.id}/1"
    made = reversed(VIEWS[: clip.n_views] if views is None else views)
    files = tuple(store(view, f"{folder}/{view}.mp4", f"{clip.id} {view}".encode()) for view in made)
    facts = {"clip": asdict(clip), "model": {"name": "fake", "numerics": "float32"}}
    sidecar = store("", f"{folder}/clip.json", json.dumps(facts).encode())
    Ledger(storage).commit(Record(clip.id, 0, "ok", None, 1, None, "h", 1, files=files, sidecar=sidecar))


@pytest.fixture
def output(tmp_path: Path) -> Storage:
    storage = Storage(str(tmp_path / "out"))
    for number in (3, 0, 4, 1, 2):
        commit(storage, replace(CLIP, id=f"c{number}"))
    return storage


def members(path: Path) -> list[tarfile.TarInfo]:
    with tarfile.open(path) as tar:
        return tar.getmembers()


def test_shards_are_numbered_and_their_members_in_order(output: Storage, tmp_path: Path) -> None:
    """Clips by id, views in view order, the JSON last; no owners and no times, so that the same clips give the same
    file."""
    said: list[str] = []
    assert export(output.uri, "webdataset", str(tmp_path / "to"), said.append, clips_a_shard=2).clips == 5
    assert said[-1] == "5 of 5 clips"
    shards = sorted((tmp_path / "to").iterdir())
    assert [shard.name for shard in shards] == ["shard-000000.tar", "shard-000001.tar", "shard-000002.tar"]
    assert [[one.name for one in members(shard)] for shard in shards] == [
        [f"{number:08d}.{name}" for number in numbers for name in ("front_wide.mp4", "cross_right.mp4", "json")]
        for numbers in ((0, 1), (2, 3), (4,))
    ]
    for one in members(shards[0]):
        assert (one.mtime, one.uid, one.gid, one.uname, one.gname) == (0, 0, 0, "", "")
    with tarfile.open(shards[1]) as tar:
        read = {one.name: tar.extractfile(one).read() for one in tar}  # type: ignore[union-attr]
    assert read["00000002.front_wide.mp4"] == b"c2 front_wide"
    assert read["00000003.json"] == (
        b'{"fps": 24, "guidance": 3.5, "id": "c3", "inputs": [], "model": {"name": "fake", "numerics": "float32"}, '
        b'"n_views": 2, "negative_prompt": "blurry", "num_conditional_frames": 0, "num_steps": 9, '
        b'"prompt_embedding": null, "prompts": ["A street."], "seed": 4, "views": ["front_wide", "cross_right"]}'
    )


def test_a_clip_that_is_left_out_leaves_a_gap_and_moves_no_other(output: Storage, tmp_path: Path) -> None:
    """So that shards of two exports can be compared."""
    output.write("clips/c1/1/front_wide.mp4", b"c1 front_wid?")
    output.delete("clips/c4/1/clip.json")
    said: list[str] = []
    done = export(output.uri, "webdataset", str(tmp_path / "to"), said.append, clips_a_shard=2)
    assert (done.clips, done.uncaptioned) == (3, 0)
    assert done.left_out == (
        "c1: clips/c1/1/front_wide.mp4: found 13 bytes of another sha256, expected 13 bytes as recorded",
        "c4: clips/c4/1/clip.json is missing",
    )
    assert said[1:] == ["3 of 5 clips", *(f"left out: {fault}" for fault in done.left_out)]
    found = [one.name[:8] for shard in sorted((tmp_path / "to").iterdir()) for one in members(shard)]
    assert found == ["00000000"] * 3 + ["00000002"] * 3 + ["00000003"] * 3


def test_what_is_left_out_is_told_in_order_of_ids_whenever_it_was_found(output: Storage, tmp_path: Path) -> None:
    """Of a shard that is there already, and of one that is written again."""
    for clip_id in ("c3", "c0"):
        output.delete(f"clips/{clip_id}/1/clip.json")
        done = export(output.uri, "webdataset", str(tmp_path / "to"), lambda _: None, clips_a_shard=2)
    assert [fault.partition(":")[0] for fault in done.left_out] == ["c0", "c3"]


def test_many_groups_are_exported_window_by_window(output: Storage, tmp_path: Path) -> None:
    for number in range(5, 10):
        commit(output, replace(CLIP, id=f"c{number}"))
    said: list[str] = []
    assert export(output.uri, "webdataset", str(tmp_path / "to"), said.append, clips_a_shard=1).clips == 10
    assert said[1:] == ["8 of 10 clips", "10 of 10 clips"]
    shards = sorted((tmp_path / "to").iterdir())
    assert [members(shard)[0].name for shard in shards] == [f"{number:08d}.front_wide.mp4" for number in range(10)]


def test_how_far_a_copy_into_folders_is_is_said_every_eight_groups(output: Storage, tmp_path: Path) -> None:
    for number in range(5, 19):
        commit(output, replace(CLIP, id=f"c{number}"))
    said: list[str] = []
    export(output.uri, "rds-hq", str(tmp_path / "to"), said.append, clips_a_shard=2)
    assert said[1:] == ["16 of 19 clips", "19 of 19 clips"]


def test_folders_have_captions_of_the_views_that_have_one(output: Storage, tmp_path: Path) -> None:
    commit(output, replace(CLIP, id="each", prompts=("Front.", "Rückwärts.")))
    commit(output, replace(CLIP, id="none", prompts=()))
    done = export(output.uri, "rds-hq", str(tmp_path / "to"), print)
    assert (done.clips, done.uncaptioned) == (7, 1)
    right = "ftheta_camera_cross_right_120fov"
    read = {str(path.relative_to(tmp_path / "to")): path.read_bytes() for path in (tmp_path / "to").rglob("*.*")}
    assert read[f"videos/{right}/c0_0.mp4"] == b"c0 cross_right"
    assert read[f"metas/{right}/each_0.txt"] == "Rückwärts.".encode()
    assert json.loads(read[f"captions/{right}/each_0.json"]) == {"caption": "Rückwärts."}
    assert [name for name in read if "none" in name and "videos" not in name] == ["columns/none_0.json"]
    assert sum(name.startswith("metas") for name in read) == 5 + 2


def test_clips_of_other_copies_are_told_whatever_cameras_they_have(output: Storage, tmp_path: Path) -> None:
    other, said = Storage(str(tmp_path / "other")), list[str]()
    commit(other, replace(CLIP, id="x", views=("rear",)), ("rear",))
    export(other.uri, "rds-hq", str(tmp_path / "to"), said.append)
    assert not [words for words in said if "other copies" in words]
    commit(other, replace(CLIP, id="y", views=("rear",)), ("rear",))
    for path in list(other.list("_cosmos_ray/ledger")):
        if "/x." in path:
            other.delete(path)
    export(other.uri, "rds-hq", str(tmp_path / "to"), said.append)
    assert said[-1] == f"{tmp_path}/to has 1 clip of other copies, which stay"


def test_faults_of_a_copy_are_said_and_beyond_some_their_number(
    output: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cosmos_ray.output.export._SAID", 3)
    said: list[str] = []
    done = export(output.uri, "webdataset", str(tmp_path / "to"), said.append, clips_a_shard=1, verify=True)
    assert len(done.faults) == 5
    assert said[-4:] == [*done.faults[:3], "and 2 more"]
    monkeypatch.setattr("cosmos_ray.output.export._SAID", 5)
    export(output.uri, "webdataset", str(tmp_path / "to"), said.append, clips_a_shard=1, verify=True)
    assert said[-5:] == [*done.faults]


def test_a_picture_has_no_place_in_lerobot_beside_a_video_or_alone(tmp_path: Path) -> None:
    pictures = Storage(str(tmp_path / "pictures"))
    for name, views in (("c5", ("video", "picture")), ("c6", ("picture",))):
        commit(pictures, replace(CLIP, id=name, n_views=1), views)
    done = export(pictures.uri, "lerobot", str(tmp_path / "to"), print)
    assert done.left_out == ("c5: the layout has no pictures", "c6: the layout has no pictures")


def test_the_bytes_of_a_shard_do_not_change(output: Storage, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        export(output.uri, "webdataset", str(tmp_path / folder), print)
    first, second = ((tmp_path / folder / "shard-000000.tar").read_bytes() for folder in ("one", "two"))
    assert first == second
    assert len(members(tmp_path / "one" / "shard-000000.tar")) == 15
