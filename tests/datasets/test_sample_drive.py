"""The sample drive: deterministic, continuous, one geometry for seven cameras, captions that tell the truth."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from cut_windows import LEFT_TO_RIGHT, cut, frame_indices, windows
from make_sample import demo_rows, demo_scenes, write_clip, write_manifest
from sample_drive import (
    CAMERAS,
    PALETTES,
    Car,
    Scene,
    caption,
    project,
    render,
    scene_from_seed,
    view_captions,
    visible_cars,
)
from sample_drive_stage import set_stage
from sample_drive_world import CAMERA_HEIGHT, HORIZON, SLOTS
from support.paths import DATASETS

from cosmos_ray.clip.encode import encode_mp4
from cosmos_ray.clip.frames import decode_mp4, inspect_video
from cosmos_ray.clip.request import VIEWS
from cosmos_ray.errors import UsageError
from cosmos_ray.manifest.columns import check_schema
from cosmos_ray.manifest.rows import RowDefaults, clips_of_row, rows_of

DEFAULTS = RowDefaults(n_views=7, num_steps=35, guidance=7.0, negative_prompt="")
EMPTY = Scene("day", (), ego_speed=8.0, buildings=5)
#: Pairs of neighbours and a bearing (degrees clockwise from the front) that both see.
OVERLAPS = [
    ("front_wide", "cross_right", 52),
    ("cross_right", "rear_right", 140),
    ("rear_right", "rear", 170),
    ("rear", "rear_left", 190),
    ("rear_left", "cross_left", 220),
    ("cross_left", "front_wide", 308),
    ("front_tele", "front_wide", 10),
]


def digest(video: dict[str, np.ndarray]) -> str:
    return hashlib.sha256(b"".join(video[view].tobytes() for view in VIEWS)).hexdigest()


def is_red(frames: np.ndarray) -> np.ndarray:
    """Pixels of a red car: no house, lamp or road mark of an unlit day is as red."""
    red, green, blue = (frames[..., channel].astype(int) for channel in range(3))
    return (red > 120) & (green < red // 3) & (blue < red // 3)


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((first.astype(float) - second) ** 2)))


# --- determinism and time -------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_frames_in_another_process() -> None:
    """Seeded means: bytes, not looks, and not only within a process."""
    code = (
        "import hashlib, sample_drive as s; v = s.render(s.scene_from_seed(11), 16, 28, 3);"
        "print(hashlib.sha256(b''.join(v[k].tobytes() for k in s.VIEWS)).hexdigest())"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=DATASETS)
    here = digest(render(scene_from_seed(11), 16, 28, 3))
    assert other.stdout.strip() == here
    assert digest(render(scene_from_seed(12), 16, 28, 3)) != here


def test_a_later_start_continues_the_drive_exactly() -> None:
    """Frame t of a render from s on is frame t + s * fps of a longer one, rain streaks included."""
    scene = replace(scene_from_seed(3), streaks=10)
    whole = render(scene, 24, 42, num_frames=12)
    for start in (3, 7):
        part = render(scene, 24, 42, num_frames=5, start_time=start / 10)
        for view in VIEWS:
            np.testing.assert_array_equal(part[view], whole[view][start : start + 5])


def test_things_move() -> None:
    """Even without traffic every view changes from frame to frame."""
    for view, frames in render(EMPTY, 32, 56, 3).items():
        assert (frames[0] != frames[1]).mean() > 0.02, view
        assert (frames[1] != frames[2]).mean() > 0.02, view


# --- sizes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), [(16, 28), (33, 51), (80, 40), (1, 1)])
def test_any_resolution(height: int, width: int) -> None:
    video = render(scene_from_seed(4), height, width, num_frames=2)
    assert list(video) == list(VIEWS)
    assert {(frames.shape, frames.dtype.name) for frames in video.values()} == {((2, height, width, 3), "uint8")}


def test_resolutions_show_the_same_picture() -> None:
    """A large render, averaged down, is the small one."""
    scene = scene_from_seed(4)
    small, large = render(scene, 32, 56, 1), render(scene, 128, 224, 1)
    for view in VIEWS:
        averaged = large[view].reshape(1, 32, 4, 56, 4, 3).mean(axis=(2, 4))
        assert psnr(small[view], averaged) > 24, view


def test_native_size_renders() -> None:
    frames = render(scene_from_seed(4), 704, 1280, num_frames=1, views=("rear",), supersample=1)["rear"]
    assert frames.shape == (1, 704, 1280, 3)
    assert len(np.unique(frames.reshape(-1, 3), axis=0)) > 1000


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="unknown views \\['front'\\]"):
        render(EMPTY, 8, 8, 1, views=("front",))
    with pytest.raises(ValueError, match="height 0"):
        render(EMPTY, 0, 8, 1)


# --- one geometry for all cameras -----------------------------------------------------------------------------------


def test_the_horizon_is_at_the_same_row_in_every_camera() -> None:
    """Level cameras: a far point at their own height is at HORIZON, and ground begins right below it."""
    for view in VIEWS:
        far = tuple(1e5 * part for part in CAMERAS[view].forward)
        assert project(view, (far[0], far[1], CAMERA_HEIGHT), 100, 175)[1] == pytest.approx(100 * HORIZON)
        stage = set_stage(EMPTY, view, 100, 175)
        assert stage.horizon_row == round(100 * HORIZON)
        assert np.isinf(stage.depth_HW[: stage.horizon_row]).all()
        assert np.isfinite(stage.depth_HW[stage.horizon_row :]).all()


@pytest.mark.parametrize(("first", "second", "bearing"), OVERLAPS)
def test_neighbours_see_the_same_in_their_overlap(first: str, second: str, bearing: int) -> None:
    """Every direction that two cameras share has one colour, for houses, road and sky alike."""
    scene = scene_from_seed(20)
    video = {view: frames[0].astype(int) for view, frames in render(scene, 180, 320, 1, views=(first, second)).items()}
    angle = np.radians(bearing)
    differences = []
    for turn in np.radians(np.arange(-3, 3.01, 0.5)):
        for slope in np.linspace(-0.12, 0.12, 25):
            x, y = np.cos(angle + turn), -np.sin(angle + turn)
            pixels = [project(view, (100 * x, 100 * y, CAMERA_HEIGHT + 100 * slope), 180, 320) for view in video]
            assert all(depth > 0 and 0 <= u < 320 and 0 <= v < 180 for u, v, depth in pixels)
            colours = [video[view][int(v), int(u)] for view, (u, v, _) in zip(video, pixels, strict=True)]
            differences.append(np.abs(colours[0] - colours[1]).max())
    assert np.median(differences) <= 4
    assert np.mean(np.array(differences) <= 24) > 0.8  # the rest: edges, which fall differently into pixels


@pytest.mark.parametrize(
    ("first", "second", "x", "y"),
    [("front_wide", "cross_right", 2.0, -3.6), ("cross_left", "front_wide", 2.0, 3.6)],
)
def test_a_point_of_a_car_projects_onto_that_car_in_both_cameras(first: str, second: str, x: float, y: float) -> None:
    """The middle of the near flank: red where `project` says it is, with the same colour in both."""
    scene = replace(EMPTY, cars=(Car("red", "left" if y > 0 else "right", x=x),))
    video = render(scene, 90, 160, 1, views=(first, second))
    colours = []
    for view in (first, second):
        u, v, depth = project(view, (x, y - np.sign(y) * 1.0, 0.75), 90, 160)
        assert depth > 0
        assert is_red(video[view][0, int(v), int(u)])
        colours.append(video[view][0, int(v), int(u)].astype(int))
    assert np.abs(colours[0] - colours[1]).max() <= 3


def test_a_car_that_leaves_one_camera_is_in_the_next() -> None:
    """Falling back in the left lane: out at the left edge of one camera, in at the right edge of the next."""
    scene = replace(EMPTY, cars=(Car("red", "left", x=12.0, speed=-9.0),))
    red = {view: is_red(frames) for view, frames in render(scene, 64, 112, 29).items()}
    for leaving, entering in [("front_wide", "cross_left"), ("cross_left", "rear_left"), ("rear_left", "rear")]:
        last = int(np.flatnonzero(red[leaving].any(axis=(1, 2)))[-1])
        first = int(np.flatnonzero(red[entering].any(axis=(1, 2)))[0])
        assert red[leaving][last][:, :28].any(), f"{leaving}: leaves elsewhere than at its left edge"
        assert red[entering][first][:, -28:].any(), f"{entering}: enters elsewhere than at its right edge"
        assert first <= last, f"between {leaving} and {entering} the car is nowhere"
    assert not red["cross_right"].any()


def test_near_things_hide_far_ones() -> None:
    """A car close ahead covers one further ahead in the same lane."""
    far = Car("red", "ahead", x=20.0)
    alone = is_red(render(replace(EMPTY, cars=(far,)), 64, 112, 1)["front_tele"]).sum()
    for order in (1, -1):
        cars = (far, Car("blue", "ahead", x=8.0))[::order]
        assert is_red(render(replace(EMPTY, cars=cars), 64, 112, 1)["front_tele"]).sum() < alone / 4


# --- looks and captions ---------------------------------------------------------------------------------------------


def test_palettes_can_be_told_by_their_mean_colour() -> None:
    """Nearest mean of other scenes, whatever the houses and cars: always right."""

    def mean(palette: str, seed: int) -> np.ndarray:
        scene = replace(scene_from_seed(seed), palette=palette)  # type: ignore[arg-type]
        return np.mean([frames.mean(axis=(0, 1, 2)) for frames in render(scene, 16, 28, 1).values()], axis=0)

    centres = {palette: np.mean([mean(palette, seed) for seed in range(4)], axis=0) for palette in PALETTES}
    for palette in PALETTES:
        for seed in range(100, 108):
            found = mean(palette, seed)
            assert min(centres, key=lambda name: float(np.linalg.norm(centres[name] - found))) == palette
    gaps = [np.linalg.norm(centres[one] - centres[two]) for one in centres for two in centres if one < two]
    assert min(gaps) > 25  # levels


def test_captions_mention_the_palette_and_every_car() -> None:
    counts = {0: "No cars", 1: "One car:", 2: "Two cars:", 3: "Three cars:"}
    words = {"day": "clear day", "dusk": "orange sunset", "rain": "grey sky"}
    seen = set()
    for seed in range(200):
        scene = scene_from_seed(seed)
        text = caption(scene)
        assert words[scene.palette] in text
        assert counts[len(scene.cars)] in text
        assert text.count(" one ") == len(scene.cars)
        assert all(f"one {car.colour} " in text for car in scene.cars)
        seen.add((scene.palette, len(scene.cars)))
    assert len(seen) == 12, "some combination of palette and count never comes up"


def test_the_vocabulary_is_small() -> None:
    """A text encoder of a hundred words must do."""
    texts = [
        text for seed in range(300) for text in (caption(scene_from_seed(seed)), *view_captions(scene_from_seed(seed)))
    ]
    words = {word.strip(".,:").lower() for text in texts for word in text.split()}
    assert len(words) < 50, sorted(words)


@pytest.mark.parametrize("slot", SLOTS)
def test_view_captions_name_the_cars_that_the_view_shows(slot: str) -> None:
    """A car is in a view's caption where its pixels are: drives with and without it are compared."""
    scene = next(s for s in map(scene_from_seed, range(500)) if [car.slot for car in s.cars] == [slot])
    car, texts = scene.cars[0], view_captions(scene)
    with_car, without = render(scene, 32, 56, 29), render(replace(scene, cars=()), 32, 56, 29)
    shown = []
    for view, text in zip(VIEWS, texts, strict=True):
        difference = np.abs(with_car[view].astype(int) - without[view]).max(axis=3) > 40
        share = difference.mean(axis=(1, 2)).max()
        assert (car in visible_cars(scene, view)) == (f"one {car.colour} " in text)
        if share > 0.01:
            shown.append(view)
            assert f"one {car.colour} " in text, f"{view} shows the car on {share:.1%} of a frame: {text}"
        if share == 0:
            assert "No cars." in text, f"{view} never shows the car: {text}"
    assert shown, "no view shows the car"


# --- files ----------------------------------------------------------------------------------------------------------


def test_write_clip_writes_seven_cameras_and_the_joined_video_once(tmp_path: Path) -> None:
    scene = scene_from_seed(1)
    assert write_clip(tmp_path / "clip", scene, 32, 56, num_frames=3)
    frames = render(scene, 32, 56, num_frames=3)
    joined = decode_mp4(tmp_path / "clip" / "video.mp4")
    assert joined.shape == (21, 32, 56, 3)
    for index, view in enumerate(VIEWS):
        assert psnr(decode_mp4(tmp_path / "clip" / f"{view}.mp4"), frames[view]) > 24, view
        assert psnr(joined[3 * index : 3 * index + 3], frames[view]) > 24, view
    assert (tmp_path / "clip" / "caption.txt").read_text() == caption(scene) + "\n"
    seen = {path.name for path in (tmp_path / "clip").iterdir() if path.name[0] != "."}
    assert seen == {*(f"{view}.mp4" for view in VIEWS), "video.mp4", "caption.txt"}, "from-folder counts any other"

    before = (tmp_path / "clip" / "rear.mp4").stat().st_mtime_ns
    assert not write_clip(tmp_path / "clip", scene, 32, 56, num_frames=3)
    assert (tmp_path / "clip" / "rear.mp4").stat().st_mtime_ns == before
    (tmp_path / "clip" / "rear.mp4").unlink()
    assert write_clip(tmp_path / "clip", scene, 32, 56, num_frames=3), "a lost file must be made again"


def test_the_demo_manifest_is_one_that_the_reader_takes(tmp_path: Path) -> None:
    """Six legal rows, every kind of input; the bad one is bad for its file alone."""
    write_manifest(tmp_path / "manifest.parquet", demo_rows(demo_scenes(0), seed=0))
    table = pq.read_table(tmp_path / "manifest.parquet")
    check_schema(table.schema)
    clips = {clip.id: clip for row in rows_of(table) for clip in clips_of_row(row, DEFAULTS, str(tmp_path))}
    assert [clip.error for clip in clips.values()] == [None] * 7
    ids = "text2world-dusk image2world-day video2world-rain caption-a-view-dusk two-samples-day missing-input"
    assert [row["id"] for row in rows_of(table)] == ids.split()
    assert (clips["text2world-dusk"].num_conditional_frames, clips["text2world-dusk"].inputs) == (0, ())
    assert [Path(uri).name for uri in clips["image2world-day"].inputs] == [f"{view}.mp4" for view in VIEWS]
    assert clips["video2world-rain"].num_conditional_frames == 5
    assert len(clips["video2world-rain"].inputs) == 1
    assert len(clips["caption-a-view-dusk"].prompts) == 7
    assert {"two-samples-day.s000", "two-samples-day.s001"} <= set(clips)
    assert clips["missing-input"].inputs[0].endswith("clips/missing/video.mp4")
    assert table["num_steps"].null_count == 6


@pytest.mark.slow
def test_the_demo_command_renders_once_and_its_references_exist(tmp_path: Path) -> None:
    command = [
        sys.executable,
        str(DATASETS / "make_sample.py"),
        "--out",
        str(tmp_path),
        "--height",
        "32",
        "--width",
        "56",
    ]
    first = subprocess.run(command, capture_output=True, text=True, check=True)
    assert first.stdout.count("rendered") == 3
    second = subprocess.run(command, capture_output=True, text=True, check=True)
    assert second.stdout.count("there already") == 3
    for row in rows_of(pq.read_table(tmp_path / "manifest.parquet")):
        inputs = [row["input_video"], *(row["input_videos"] or {}).values()]
        exist = [(tmp_path / uri).is_file() for uri in inputs if uri is not None]
        assert all(exist) == (row["id"] != "missing-input"), row["id"]


# --- windows out of one video ---------------------------------------------------------------------------------------


def test_every_third_frame_of_30_fps() -> None:
    assert frame_indices(30.0, 90, 10, seconds=2.9, start=0.0) == list(range(0, 87, 3))
    assert frame_indices(29.97, 90, 10, seconds=0.5, start=1.0) == [30, 33, 36, 39, 42]


@pytest.mark.parametrize(
    ("fps", "frames", "message"),
    [(25.0, 100, "a divisor"), (5.0, 100, "a divisor"), (30.0, 80, "80 frames")],
)
def test_rates_and_lengths_that_do_not_fit_are_refused(fps: float, frames: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        frame_indices(fps, frames, 10, seconds=2.9, start=0.0)


def test_windows_go_from_the_left_edge_to_the_right_edge() -> None:
    cuts = windows(90, 160, (32, 64), zoom=0.5)
    lefts = [cuts[view][1].start for view in LEFT_TO_RIGHT]
    assert set(cuts) == set(VIEWS)
    assert lefts == sorted(set(lefts))
    assert lefts[0] == 0
    assert cuts["rear"][1].stop == 160
    assert {(rows.stop - rows.start, columns.stop - columns.start) for rows, columns in cuts.values()} == {(40, 80)}
    with pytest.raises(UsageError, match="--zoom"):
        windows(90, 160, (32, 64), zoom=1.5)


def test_cut_takes_each_window_from_its_place_and_time(tmp_path: Path) -> None:
    """A picture that gets brighter to the right and with time says where and when a window was cut."""
    columns = np.linspace(20, 180, 160)[None, None, :, None] + 2 * np.arange(30)[:, None, None, None]
    source = np.broadcast_to(columns, (30, 90, 160, 3)).round().astype(np.uint8)
    (tmp_path / "source.mp4").write_bytes(encode_mp4(source, 30))
    frames = cut(tmp_path / "source.mp4", (32, 64), fps=10, seconds=1.0)
    assert list(frames) == list(VIEWS)
    assert {video.shape for video in frames.values()} == {(10, 32, 64, 3)}
    cuts = windows(90, 160, (32, 64), zoom=0.5)
    for view, video in frames.items():
        expected = source[::3, cuts[view][0], cuts[view][1]].mean(axis=(1, 2, 3))
        np.testing.assert_allclose(video.mean(axis=(1, 2, 3)), expected, atol=2)


def test_the_cut_command_writes_a_clip_and_its_row(tmp_path: Path) -> None:
    (tmp_path / "source.mp4").write_bytes(encode_mp4(render(EMPTY, 64, 112, 30, fps=30)["front_wide"], 30))
    (tmp_path / "caption.txt").write_text("A clear day\non a city street.\n")
    options = {
        "--video": tmp_path / "source.mp4",
        "--out": tmp_path / "out",
        "--id": "street",
        "--caption": tmp_path / "caption.txt",
        "--seconds": 0.5,
        "--height": 32,
        "--width": 56,
    }
    command = [
        sys.executable,
        str(DATASETS / "cut_windows.py"),
        *(str(word) for pair in options.items() for word in pair),
    ]
    subprocess.run(command, capture_output=True, text=True, check=True)
    info = inspect_video(tmp_path / "out" / "street" / "video.mp4")
    assert (info.frames, info.height, info.width) == (35, 32, 56)
    (row,) = rows_of(pq.read_table(tmp_path / "out" / "street.parquet"))
    (clip,) = clips_of_row(row, DEFAULTS, str(tmp_path / "out"))
    assert (clip.error, clip.num_conditional_frames) == (None, 5)
    assert clip.prompts == ("A clear day on a city street.",)

    bad = subprocess.run([*command, "--fps", "7"], capture_output=True, text=True, check=False)
    assert bad.returncode == 2
    assert "--fps: found a video of 30.000 fps and 7" in bad.stderr
