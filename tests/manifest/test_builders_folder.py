"""The builder of folders: every file is used, an error that names it, or a warning."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.manifests import CAPTIONS, clips, put, read

from cosmos_ray.clip.encode import encode_mp4
from cosmos_ray.clip.pictures import read_pictures
from cosmos_ray.clip.request import VIEWS
from cosmos_ray.errors import ManifestError
from cosmos_ray.manifest.builders.caption_files import captions_of
from cosmos_ray.manifest.builders.folder import from_folder
from cosmos_ray.manifest.builders.notes import Built
from cosmos_ray.manifest.builders.pictures import at_instants
from cosmos_ray.manifest.builders.rig import rig_of
from cosmos_ray.manifest.builders.windows import Windows, windows
from cosmos_ray.store.storage import Storage, filesystem_of

WAYMO = ("front_wide", "cross_right", "rear_right", "rear_left", "cross_left")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.parquet"


def test_sub_folders_become_rows(tmp_path: Path, out: Path) -> None:
    """Time-concatenated, a file a camera, and text alone."""
    put(tmp_path / "one" / "video.mp4")
    put(tmp_path / "one" / "caption.txt", "a street")
    put(tmp_path / "one" / "params.json", {"seed": 5, "num_conditional_frames": 5})
    for view in VIEWS:
        put(tmp_path / "two" / f"{view}.mp4")
        put(tmp_path / "one" / f"{view}.mp4")
    put(tmp_path / "two" / "caption.txt", "\n".join(CAPTIONS))
    put(tmp_path / "words" / "caption.txt", "a road")
    put(tmp_path / ".cache" / "anything")
    built = from_folder(str(tmp_path), str(out))
    assert built == Built(3, ("clips with a video of all views, whose cameras' own files are not used: 1: one",))
    one, two, words = clips(out)
    assert (one.id, one.inputs, one.seed, one.num_conditional_frames) == ("one", (f"{tmp_path}/one/video.mp4",), 5, 5)
    assert two.inputs == tuple(f"{tmp_path}/two/{view}.mp4" for view in VIEWS)
    assert two.prompts == tuple(CAPTIONS)
    assert (words.inputs, words.num_conditional_frames, words.prompts) == ((), 0, ("a road",))
    expected = ["id", "prompt", "input_video", "input_videos", "num_conditional_frames", "seed"]
    assert pq.read_schema(out).names == expected
    assert read(out)[1]["input_videos"]["rear"] == "two/rear.mp4"


def test_flat_files_become_rows(tmp_path: Path) -> None:
    """A video of all views, or one a camera, as PhysicalAI-AV names them."""
    for name in ("a", "b"):
        put(tmp_path / f"{name}.MP4")
        put(tmp_path / f"{name}.txt", f"street {name}")
    for camera in ("camera_front_wide_120fov", "camera_rear_left_70fov"):
        put(tmp_path / f"c.1.{camera}.mp4")
    put(tmp_path / "c.1.txt", "street c")
    out = tmp_path / "elsewhere" / "out.parquet"
    assert from_folder(str(tmp_path), str(out)).rows == 3
    _, b, c = clips(out)
    assert (b.id, b.prompts, b.inputs) == ("b", ("street b",), (f"{tmp_path}/b.MP4",))
    assert (c.id, c.views, c.prompts) == ("c.1", ("front_wide", "rear_left"), ("street c",))
    assert c.inputs[1] == f"{tmp_path}/c.1.camera_rear_left_70fov.mp4"


@pytest.mark.parametrize("suffix", [".MP4", ".mov", ".MOV", ".m4v"])
def test_other_spellings_of_mp4_are_taken(tmp_path: Path, out: Path, suffix: str) -> None:
    for view in VIEWS:
        put(tmp_path / "one" / f"{view}{suffix}")
    put(tmp_path / "one" / "caption.txt", "x")
    put(tmp_path / "two" / f"video{suffix}")
    put(tmp_path / "two" / "caption.txt", "x")
    assert from_folder(str(tmp_path), str(out)) == Built(2)
    one, two = clips(out)
    assert one.inputs == tuple(f"{tmp_path}/one/{view}{suffix}" for view in VIEWS)
    assert two.inputs == (f"{tmp_path}/two/video{suffix}",)


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("front_wide.mkv", "x", r"is no mp4 or mov: `ffmpeg -i front_wide\.mkv -c copy front_wide\.mp4` makes one"),
        ("video.AVI", "x", "is no mp4 or mov: .*, without `-c copy` where"),
        ("front_wide.mxf", "x", "is no mp4 or mov"),
        ("front_wide.webp", "x", "is no JPEG or PNG: convert it first"),
        ("rear/1.avif", "x", "is no JPEG or PNG: convert it first"),
        ("camera/rear.mkv", "x", "is no mp4 or mov"),
        (
            "video.mp4",
            "version https://git-lfs.github.com/spec/v1\noid sha256:1",
            "is a pointer of Git LFS, .*`git lfs p",
        ),
        ("rear/1.jpg", "version https://git-lfs.github.com/spec/v1\noid sha256:1", "is a pointer of Git LFS"),
        ("rear.mp4", "/annex/objects/SHA256E-s77--0a.mp4\n", "is a pointer of git-annex, .*`git annex get` fetches it"),
        ("rear.mp4.dvc", "outs:\n", r"stands for rear\.mp4, which `dvc pull` fetches"),
    ],
)
def test_files_that_cannot_be_inputs_are_refused_by_name(
    tmp_path: Path, out: Path, name: str, content: str, complaint: str
) -> None:
    """Never a row that starts from text alone, in silence."""
    put(tmp_path / "one" / "caption.txt", "x")
    put(tmp_path / "one" / name, content)
    with pytest.raises(ManifestError, match=f"one/{name} {complaint}"):
        from_folder(str(tmp_path), str(out))


def test_a_link_to_a_file_that_was_not_fetched_is_no_video(tmp_path: Path, out: Path) -> None:
    put(tmp_path / "one" / "caption.txt", "x")
    (tmp_path / "one" / "rear.mp4").symlink_to("../.git/annex/objects/0a/rear.mp4")
    with pytest.raises(ManifestError, match=r"rear\.mp4 is a link to a file that is not there .*`git annex get`"):
        from_folder(str(tmp_path), str(out))


def test_what_no_clip_uses_is_said_once_a_kind(tmp_path: Path, out: Path) -> None:
    for clip in ("a", "b", "c", "d"):
        put(tmp_path / clip / "caption.txt", "x")
        put(tmp_path / clip / "meta.json", {})
    put(tmp_path / "d" / "lidar" / "1.bin")
    put(tmp_path / "README.md")
    put(tmp_path / "a" / ".DS_Store")
    assert from_folder(str(tmp_path), str(out)).warnings == (
        "files and folders that no clip uses: 6: a/meta.json; b/meta.json; c/meta.json; ...",
    )


@pytest.mark.slow
def test_a_folder_of_an_object_store(s3: str) -> None:
    """A store has no folders: a marker object in the place of one is none of its files, and a missing one is missed."""
    storage = Storage(s3)
    for name in ("clips/one/rear.MP4", "clips/one/front_wide/1.jpg", "clips/two/caption.txt"):
        storage.write(name, b"x")
    fs, path = filesystem_of(s3)
    bucket, _, top = path.partition("/")
    for marker in ("clips/", "clips/one/"):
        fs.call_s3("put_object", Bucket=bucket, Key=f"{top}/{marker}", Body=b"")
    storage.write("clips/one/caption.txt", b"A street.")
    with pytest.raises(ManifestError, match="clips/one has videos and pictures of its cameras"):
        from_folder(f"{s3}/clips", f"{s3}/m.parquet")
    storage.delete("clips/one/front_wide/1.jpg")
    assert from_folder(f"{s3}/clips/", f"{s3}/lists/m.parquet") == Built(2)
    first, second = pq.read_table(BytesIO(storage.read("lists/m.parquet"))).to_pylist()
    assert (first["input_videos"], first["views"]) == ({"rear": f"{s3}/clips/one/rear.MP4"}, ["rear"])
    assert (second["id"], second["prompt"], second["input_videos"]) == ("two", "x", None)
    with pytest.raises(ManifestError, match="there is no folder s3://"):
        from_folder(f"{s3}/none", f"{s3}/m.parquet")


# --- pictures ---


def test_pictures_of_each_camera_are_taken_in_order_of_time(tmp_path: Path, out: Path) -> None:
    """The last five of a folder; or pictures that name their camera, for one a camera."""
    for number in (9, 10, 11, 2, 1, 100):
        put(tmp_path / "many" / "rear" / f"frame_{number}.JPG")
        put(tmp_path / "many" / "front_wide" / f"frame_{number}.png")
    put(tmp_path / "many" / "caption.txt", "x")
    for camera in ("front_wide", "rear"):
        put(tmp_path / "one" / f"{camera}_0007.jpeg")
    put(tmp_path / "one" / "caption.txt", "x")
    assert from_folder(str(tmp_path), str(out)) == Built(2)
    many, one = clips(out)
    assert many.views == one.views == ("front_wide", "rear")
    assert many.frames[1] == tuple(f"{tmp_path}/many/rear/frame_{number}.JPG" for number in (2, 9, 10, 11, 100))
    assert one.frames == tuple((f"{tmp_path}/one/{view}_0007.jpeg",) for view in ("front_wide", "rear"))


def test_cameras_with_other_numbers_of_pictures_are_doubtful(tmp_path: Path, out: Path) -> None:
    for view, count in (("front_wide", 8), ("rear", 7)):
        for number in range(count):
            put(tmp_path / "one" / view / f"{number}.jpg")
    put(tmp_path / "one" / "caption.txt", "x")
    (warning,) = from_folder(str(tmp_path), str(out)).warnings
    assert warning.startswith("clips whose cameras have different numbers of pictures, ")


def test_pictures_that_are_named_by_time_are_taken_at_the_clips_rate(tmp_path: Path, out: Path) -> None:
    """An Argoverse 2 log: 20 a second, nanoseconds, the cameras' last instants differ; side and stereo are not used."""
    log, start = tmp_path / "0b86f508", 315_966_265_000_000_000
    cameras = ["ring_front_center", "ring_front_right", "ring_rear_right", "ring_rear_left", "ring_front_left"]
    for number, camera in enumerate([*cameras, "ring_side_left", "ring_side_right", "stereo_front_left"]):
        for picture in range(20 if camera == "ring_rear_left" else 22):  # which has no picture in the last 0.1 s
            stamp = start + picture * 50_000_000 + number * 1_000_000
            put(log / "sensors" / "cameras" / camera / f"{stamp}.jpg")
    put(log / "sensors" / "lidar" / f"{start}.feather")
    put(log / "map" / "log_map.json", {})
    rig, captions = rig_of("argoverse2"), captions_of("a street")
    built = from_folder(str(tmp_path), str(out), rig=rig, captions=captions)
    (clip,) = clips(out)
    assert (clip.id, clip.views, clip.prompts) == ("0b86f508", WAYMO, ("a street",))
    for number, frames in enumerate(clip.frames):
        expected = [start + picture * 50_000_000 + number * 1_000_000 for picture in (11, 13, 15, 17, 19)]
        assert [int(Path(uri).stem) for uri in frames] == expected
    assert built.warnings == (
        "cameras that are not used: 3: 0b86f508/ring_side_left; 0b86f508/ring_side_right; 0b86f508/stereo_front_left",
        "files and folders that no clip uses: 2: 0b86f508/map; 0b86f508/sensors/lidar",
    )


def test_the_picture_nearest_to_each_instant_is_taken_once() -> None:
    times = np.array([0.0, 0.08, 0.17, 0.25, 0.33])
    assert at_instants(times, np.array([0.01, 0.13, 0.34])).tolist() == [0, 2, 4]
    for instants in ([0.3, 0.5], [0.0, 0.01], [-0.2, 0.0]):
        assert at_instants(times, np.array(instants)) is None


# --- cameras ---


def test_a_fleets_own_names(tmp_path: Path, out: Path) -> None:
    for clip in ("drive-1", "drive-2"):
        for camera in ("front_center", "left", "roof_lidar"):
            put(tmp_path / clip / f"{clip}_{camera}.mp4")
        put(tmp_path / clip / "caption.txt", "front\nleft")
    rig = rig_of("front_center=front_wide,left=cross_left,roof_lidar=")
    built = from_folder(str(tmp_path), str(out), rig=rig)
    first, _ = clips(out)
    assert (first.views, first.prompts) == (("front_wide", "cross_left"), ("front", "left"))
    assert first.inputs == tuple(f"{tmp_path}/drive-1/drive-1_{name}.mp4" for name in ("front_center", "left"))
    assert built.warnings[0].startswith("cameras that are not used: 2: drive-1/drive-1_roof_lidar.mp4; ")
    listed = r"drive-1: camera names 'front_center', 'left', 'roof_lidar': found no view in each.*"
    with pytest.raises(ManifestError, match=listed + "`--cameras front_center=VIEW,left=VIEW,roof_lidar=VIEW` says"):
        from_folder(str(tmp_path), str(out))


def test_waymos_five_cameras(tmp_path: Path, out: Path) -> None:
    for camera in ("FRONT", "FRONT_LEFT", "FRONT_RIGHT", "SIDE_LEFT", "SIDE_RIGHT"):
        put(tmp_path / "segment-1" / f"{camera}.mp4")
    put(tmp_path / "segment-1" / "caption.txt", "x")
    assert from_folder(str(tmp_path), str(out), rig=rig_of("waymo")) == Built(1)
    (clip,) = clips(out)
    names = ("FRONT", "FRONT_RIGHT", "SIDE_RIGHT", "SIDE_LEFT", "FRONT_LEFT")
    assert (clip.views, clip.inputs) == (WAYMO, tuple(f"{tmp_path}/segment-1/{name}.mp4" for name in names))
    (tmp_path / "segment-1" / "SIDE_LEFT.mp4").unlink()
    with pytest.raises(ManifestError, match=r"found videos of front_wide, .*; missing rear_left \(1 of 5 cameras\) "):
        from_folder(str(tmp_path), str(out), rig=rig_of("waymo"))


def test_a_camera_that_other_clips_have_is_missed(tmp_path: Path, out: Path) -> None:
    for clip, views in (("a", VIEWS[:3]), ("b", VIEWS[:2])):
        for view in views:
            put(tmp_path / clip / f"{view}.mp4")
        put(tmp_path / clip / "caption.txt", "x")
    with pytest.raises(ManifestError, match="/b: found inputs of front_wide, cross_right; missing rear_right, which"):
        from_folder(str(tmp_path), str(out))
    built = from_folder(str(tmp_path), str(out), rig=rig_of(views="cross_right,front_wide"))
    assert [clip.views for clip in clips(out)] == [("cross_right", "front_wide")] * 2
    assert built.warnings[0].startswith("clips with cameras that are not asked for, whose inputs are not used: 1: ")
    put(tmp_path / "b" / "params.json", {"n_views": 2})
    from_folder(str(tmp_path), str(out))
    assert [clip.cameras for clip in clips(out)] == [VIEWS[:3], VIEWS[:2]]


def test_a_folder_a_camera_is_understood(tmp_path: Path, out: Path) -> None:
    """PhysicalAI-AV, unpacked by chunk."""
    for camera in ("camera_front_wide_120fov", "camera_cross_left_120fov"):
        chunk = tmp_path / "camera" / camera / f"{camera}.chunk_0000"
        for clip in ("u-1", "u-2"):
            put(chunk / f"{clip}.{camera}.mp4")
            put(chunk / f"{clip}.{camera}.timestamps.parquet")
    put(tmp_path / "captions.json", {"u-1": "one", "u-2": {"camera_cross_left_120fov": "left"}, "u-3": "three"})
    captions = captions_of(prompts=str(tmp_path / "captions.json"))
    built = from_folder(str(tmp_path), str(out), rig=rig_of("physicalai-av"), captions=captions)
    one, two = clips(out)
    assert (one.id, one.views, one.prompts) == ("u-1", ("front_wide", "cross_left"), ("one",))
    assert one.inputs[1].endswith("camera_cross_left_120fov.chunk_0000/u-1.camera_cross_left_120fov.mp4")
    assert two.prompts == ("", "left")
    assert [words.partition(": ")[0] for words in built.warnings] == [
        "files and folders that no clip uses",
        f"captions of {tmp_path}/captions.json without a clip",
    ]


def test_rate_and_number_of_frames_are_said_once_for_all_clips(tmp_path: Path, out: Path) -> None:
    """A clip's own word counts more; one without an input starts from no frame."""
    drives = tmp_path / "drives"
    for name in ("a", "b"):
        put(drives / name / "front_wide.mp4")
        put(drives / name / "caption.txt", "A street.")
    put(drives / "b" / "params.json", {"num_conditional_frames": 1, "fps": 15})
    put(drives / "c" / "caption.txt", "Text alone.")
    from_folder(str(drives), str(out), fps=30, frames=5, rig=rig_of(n_views=1))
    assert [(clip.num_conditional_frames, clip.fps) for clip in clips(out)] == [(5, 30), (1, 15), (0, 30)]
    put(tmp_path / "rds" / "camera_front_wide_120fov" / "a.mp4")
    from_folder(str(tmp_path / "rds"), str(out), fps=30, frames=5, captions=captions_of("Any."))
    assert [(clip.num_conditional_frames, clip.fps) for clip in clips(out)] == [(5, 30)]
    for folder in ("drives", "rds"):
        with pytest.raises(ManifestError, match="--frames: found 3, expected 1 or 5"):
            from_folder(str(tmp_path / folder), str(out), frames=3)


def test_windows_that_are_not_cut_are_said(tmp_path: Path, out: Path) -> None:
    """Of cameras' own files none are, however they lie."""
    put(tmp_path / "drives" / "a" / "front_wide.mp4")
    cut, captions = Windows(str(tmp_path)), captions_of("Any.")
    built = from_folder(str(tmp_path / "drives"), str(out), windows=cut, captions=captions)
    assert built.warnings == ("clips with files of several cameras, of which no windows are cut: 1: a",)
    for name in ("dashcam", "phone"):
        put(tmp_path / "two" / "a" / f"{name}.mp4")
    with pytest.raises(ManifestError, match="camera names 'dashcam', 'phone'"):
        from_folder(str(tmp_path / "two"), str(out), windows=cut, captions=captions)
    put(tmp_path / "rds" / "camera_front_wide_120fov" / "a.mp4")
    with pytest.raises(ManifestError, match=r"--windows: found a folder a camera in .*rds, expected clips"):
        from_folder(str(tmp_path / "rds"), str(out), windows=cut, captions=captions)


# --- seven cameras out of one video ---


@pytest.mark.slow
def test_windows_of_one_video_become_pictures_of_seven_cameras(tmp_path: Path, out: Path) -> None:
    """A picture that is brighter to the right, and later, says where and when a window was cut: of 30 frames a second
    every third, back from the end."""
    columns = np.linspace(20, 180, 160)[None, None, :, None] + 2 * np.arange(30)[:, None, None, None]
    source = np.broadcast_to(columns, (30, 90, 160, 3)).round().astype(np.uint8)
    put(tmp_path / "drives" / "a.mp4", encode_mp4(source, 30))
    put(tmp_path / "drives" / "a.txt", "A street.")
    put(tmp_path / "drives" / "b" / "caption.txt", "Text alone.")
    cut = Windows(str(tmp_path / "cut"))
    from_folder(str(tmp_path / "drives"), str(out), windows=cut)
    text_alone, clip = clips(out)
    assert (text_alone.frames, clip.cameras, clip.num_conditional_frames) == ((), VIEWS, 5)
    cuts = windows(90, 160, (704, 1280), zoom=0.5)
    size_hw = source[0, cuts["rear"][0], cuts["rear"][1], 0].shape
    pictures = [[Path(uri) for uri in uris] for uris in clip.frames]
    found = read_pictures(pictures, VIEWS, size_hw)
    assert found.warnings == ()
    for view, frames in zip(VIEWS, found.frames, strict=True):
        expected = source[[17, 20, 23, 26, 29], cuts[view][0], cuts[view][1]]
        np.testing.assert_allclose(frames.mean(axis=(1, 2, 3)), expected.mean(axis=(1, 2, 3)), atol=2)
    from_folder(str(tmp_path / "drives"), str(out), windows=cut, rig=rig_of(views="rear,front_tele"))
    assert [Path(uris[0]).parent.name for uris in clips(out)[1].frames] == ["rear", "front_tele"]
    put(tmp_path / "alone" / "a" / "dashcam.mp4", (tmp_path / "drives" / "a.mp4").read_bytes())
    from_folder(str(tmp_path / "alone"), str(out), windows=cut, captions=captions_of("Any."))  # it needs no name
    assert clips(out)[0].frames == clip.frames
    put(tmp_path / "drives" / "a.mp4", encode_mp4(source[:2], 30))
    with pytest.raises(ManifestError, match=r"drives/a\.mp4: found .*, expected"):
        from_folder(str(tmp_path / "drives"), str(out), windows=cut)


# --- captions and errors ---


def test_captions_may_be_given_beside_the_clips(tmp_path: Path, out: Path) -> None:
    for clip in ("a", "b", "c"):
        put(tmp_path / "clips" / clip / "video.mp4")
    put(tmp_path / "clips" / "c" / "caption.txt", "its own")
    table = put(tmp_path / "captions.csv", 'id,prompt\na,"one, two"\n')
    from_folder(str(tmp_path / "clips"), str(out), captions=captions_of("any", str(table)))
    assert [clip.prompts for clip in clips(out)] == [("one, two",), ("any",), ("its own",)]
    put(table, "id,prompt\nc,another\n")
    with pytest.raises(ManifestError, match=r"clips/c has a caption of its own and one in .*captions\.csv"):
        from_folder(str(tmp_path / "clips"), str(out), captions=captions_of("any", str(table)))


def test_what_the_folder_lacks_is_named(tmp_path: Path, out: Path) -> None:
    with pytest.raises(ManifestError, match="holds no clips"):
        from_folder(str(tmp_path), str(out))
    with pytest.raises(ManifestError, match="there is no folder"):
        from_folder(str(tmp_path / "none"), str(out))
    put(tmp_path / "flat" / "a.mp4")
    with pytest.raises(ManifestError, match=r"flat/a\.mp4 has no a\.txt beside it"):
        from_folder(str(tmp_path / "flat"), str(out))
    put(tmp_path / "texts" / "a.txt")
    with pytest.raises(ManifestError, match=r"texts/a\.txt has no a\.mp4 beside it"):
        from_folder(str(tmp_path / "texts"), str(out))
    clip = tmp_path / "clips" / "one"
    put(clip / "front_wide.mp4")
    with pytest.raises(ManifestError, match=r"clips/one has no caption\.txt"):
        from_folder(str(tmp_path / "clips"), str(out))
    put(clip / "caption.txt", "a\nb\nc")
    with pytest.raises(ManifestError, match=r"caption\.txt: found 3 lines that are not empty, expected 1$"):
        from_folder(str(tmp_path / "clips"), str(out))
    put(clip / "rear" / "1.jpg")
    with pytest.raises(ManifestError, match="clips/one has videos and pictures of its cameras, expected one kind"):
        from_folder(str(tmp_path / "clips"), str(out))
    put(clip / "camera_front_wide_120fov.mp4")
    with pytest.raises(ManifestError, match="two files for the view front_wide"):
        from_folder(str(tmp_path / "clips"), str(out))
    put(clip / "dashcam" / "1.jpg")
    (clip / "camera_front_wide_120fov.mp4").unlink()
    with pytest.raises(ManifestError, match=r"camera name 'dashcam': .*`--cameras dashcam=VIEW` says which it is"):
        from_folder(str(tmp_path / "clips"), str(out))
    put(clip / "params.json", {"sead": 1})
    with pytest.raises(ManifestError, match=r"params\.json: found \{'sead': 1\}, expected keys"):
        from_folder(str(tmp_path / "clips"), str(out))
    assert not out.exists()


def test_a_folder_with_an_illegal_name_is_refused(tmp_path: Path, out: Path) -> None:
    """An id names a folder and an object of the output: never changed behind the user's back."""
    put(tmp_path / "a street" / "caption.txt", "x")
    with pytest.raises(ManifestError, match=r"column `id`: found 'a street', expected .*, such as 'a_street'$"):
        from_folder(str(tmp_path), str(out))
