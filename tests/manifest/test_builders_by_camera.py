"""The builder of folders a camera: our own export read back, the published layouts."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from support.manifests import CAPTIONS, clips, put, read

from cosmos_ray.errors import ManifestError
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.record import FileEntry, Record
from cosmos_ray.manifest.builders.by_camera import from_rds_hq
from cosmos_ray.manifest.builders.caption_files import captions_of
from cosmos_ray.manifest.builders.rig import rig_of
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.output.clip_copy import CAMERAS
from cosmos_ray.output.export import export
from cosmos_ray.store.storage import Storage

ONE = Clip(id="one", row_id="one", prompts=("A street.",), n_views=7, row_hash="h")
CLIPS = [
    ONE,
    replace(ONE, id="each", prompts=tuple(CAPTIONS)),
    replace(ONE, id="embedded", prompts=(), prompt_embedding="s3://b/e.pt"),
    replace(ONE, id="two.s001", prompts=("Front.", "Right."), n_views=2),
    replace(ONE, id="two.s000", n_views=2),
]


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """What `export --format rds-hq` makes of an output of CLIPS, each file with its clip and view as its bytes."""
    output = Storage(str(tmp_path / "out"))
    for clip in CLIPS:
        files = []
        facts = json.dumps({"clip": asdict(clip), "model": {"name": "fake"}}).encode()
        videos = {view: f"{clip.id} {view}".encode() for view in clip.cameras}
        for view, data in (*videos.items(), ("", facts)):
            output.write(path := f"clips/{clip.id}/1/{view or 'clip'}", data)
            files.append(FileEntry(view, path, len(data), hashlib.sha256(data).hexdigest()))
        record = Record(clip.id, 0, "ok", None, 1, None, "h", 1, files=tuple(files[:-1]), sidecar=files[-1])
        Ledger(output).commit(record)
    export(output.uri, "rds-hq", str(tmp_path / "to"), print)
    return tmp_path / "to"


def test_our_own_export_is_read_back(tmp_path: Path, exported: Path) -> None:
    """Captions and cameras of every clip: one caption, one a view, an embedding in the place of it, fewer views."""
    out = tmp_path / "m.parquet"
    with pytest.raises(ManifestError, match=r"clip embedded_0 of .*/to has no caption: `--prompt`"):
        from_rds_hq(str(exported), str(out))
    built = from_rds_hq(str(exported), str(out), captions=captions_of("a road"))
    assert built.rows == len(CLIPS)
    assert [words.partition(", rear,")[0] for words in built.warnings] == [
        "clips without some cameras that others have, made without them: 2: two.s000_0: rear_right"
    ]
    found = {clip.id: clip for clip in clips(out)}
    for clip in CLIPS:
        again = found[f"{clip.id}_0"]
        assert again.cameras == clip.cameras
        assert again.prompts == (clip.prompts or ("a road",))
        assert [Path(uri).read_text() for uri in again.inputs] == [f"{clip.id} {view}" for view in clip.cameras]


def test_some_cameras_of_an_export(tmp_path: Path, exported: Path) -> None:
    """A caption of a camera that is not made is no caption of another."""
    out, rig = str(tmp_path / "m.parquet"), rig_of("rds-hq", views="cross_right,front_wide")
    built = from_rds_hq(str(exported), out, rig=rig, captions=captions_of("a road"))
    found = {row["id"]: row for row in read(tmp_path / "m.parquet")}
    assert found["two.s001_0"]["prompt"] == ["Right.", "Front."]
    assert found["one_0"]["prompt"] == ["", "A street."]
    assert [words.partition(": ")[0] for words in built.warnings] == [
        "captions of cameras that are not made",
        "clips with cameras that are not asked for, whose inputs are not used",
        "clips with a caption for other views than the first only",
    ]


@pytest.mark.parametrize("home", ["videos/", ""])
def test_the_published_layouts_of_waymo(tmp_path: Path, home: str) -> None:
    """Five pinhole cameras, in `videos` or beside everything else; chunks; what has no use is counted."""
    names = ["pinhole_front", "pinhole_front_right", "pinhole_side_right", "pinhole_side_left", "pinhole_front_left"]
    for name in names:
        for chunk in (0, 1):
            put(tmp_path / "rds" / f"{home}{name}" / f"seg-1_{chunk}.mp4")
    for other in ("hdmap", "lidar", "t5_xxl", "pose"):
        put(tmp_path / "rds" / other / "pinhole_front" / "seg-1_0.mp4")
    put(tmp_path / "texts.json", {"seg-1_0": {"pinhole_front": "f", "pinhole_side_left": "l"}, "seg-1_1": "one"})
    captions = captions_of(prompts=str(tmp_path / "texts.json"))
    built = from_rds_hq(str(tmp_path / "rds"), str(tmp_path / "m.parquet"), captions=captions)
    first, second = clips(tmp_path / "m.parquet")
    assert first.views == ("front_wide", "cross_right", "rear_right", "rear_left", "cross_left")
    assert first.inputs == tuple(f"{tmp_path}/rds/{home}{name}/seg-1_0.mp4" for name in names)
    assert (first.prompts, second.prompts, second.id) == (("f", "", "", "l", ""), ("one",), "seg-1_1")
    assert built.warnings == ("files and folders that no clip uses: 4: hdmap; lidar; pose; ...",)


def test_captions_are_told_apart(tmp_path: Path) -> None:
    """`captions` count where `metas` differ; those without a clip are counted, as is one of another view alone."""
    front, rear = CAMERAS["front_wide"], CAMERAS["rear"]
    for clip in ("a_0", "b_0"):
        for camera in (front, rear):
            put(tmp_path / "rds" / "videos" / camera / f"{clip}.mp4")
    put(tmp_path / "rds" / "captions" / front / "a_0.json", {"caption": "in captions"})
    put(tmp_path / "rds" / "metas" / front / "a_0.txt", "in metas\n")
    put(tmp_path / "rds" / "metas" / rear / "b_0.txt", "behind\n")
    put(tmp_path / "rds" / "metas" / rear / "c_0.txt", "gone")
    put(tmp_path / "rds" / "metas" / rear / "b_0.pickle")
    built = from_rds_hq(str(tmp_path / "rds"), str(tmp_path / "m.parquet"))
    assert [row["prompt"] for row in read(tmp_path / "m.parquet")] == [["in captions"], ["", "behind"]]
    assert [words.partition(":")[0] for words in built.warnings] == [
        "captions in metas that differ from those in captions, which count",
        "files and folders that no clip uses",
        "clips with a caption for other views than the first only",
        "captions without a clip",
    ]


def test_what_is_no_such_folder_is_refused_by_name(tmp_path: Path) -> None:
    out = str(tmp_path / "m.parquet")
    put(tmp_path / "rds" / "pose" / "a.txt")
    with pytest.raises(ManifestError, match=r"/rds holds no clips: expected CAMERA/CLIP\.mp4 in it"):
        from_rds_hq(str(tmp_path / "rds"), out)
    put(tmp_path / "rds" / "videos" / "camera_1" / "a_0.mp4")
    with pytest.raises(ManifestError, match=r"rds/videos/camera_1: camera name 'camera_1': found no view in it"):
        from_rds_hq(str(tmp_path / "rds"), out)
    one = tmp_path / "one" / "videos"
    put(one / "ftheta_camera_rear_tele_30fov" / "a_0.mp4")
    put(one / "rear" / "a_0.mp4")
    with pytest.raises(ManifestError, match="two folders for the view rear, ftheta_camera_rear_tele_30fov and rear"):
        from_rds_hq(str(tmp_path / "one"), out)
    (one / "rear" / "a_0.mp4").rename(one / "rear" / "a_0.mkv")
    (one / "ftheta_camera_rear_tele_30fov" / "a_0.mp4").unlink()
    (one / "ftheta_camera_rear_tele_30fov").rmdir()
    with pytest.raises(ManifestError, match=r"a_0\.mkv is no mp4 or mov"):
        from_rds_hq(str(tmp_path / "one"), out)
    put(one / "front_wide" / "a_0.mp4")
    (one / "rear" / "a_0.mkv").rename(one / "rear" / "a_0.mp4")
    put(tmp_path / "one" / "captions" / "rear" / "a_0.json", json.dumps({"text": "x"}))
    with pytest.raises(ManifestError, match=r"""a_0\.json: found \{'text': 'x'\}, expected \{"caption": "..."\}"""):
        from_rds_hq(str(tmp_path / "one"), out)
