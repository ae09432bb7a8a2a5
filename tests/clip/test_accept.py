"""What a video's facts mean: whole frames of square pixels in BT.709's colours come out, or a refusal by name.

Files of each kind are made here, of sizes and codecs other than those of the reported cases in `data`.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from support.videos import blocks, encode, ffmpeg, moving_picture, whole_decode, write

from cosmos_ray.clip.accept import accept
from cosmos_ray.clip.ffmpeg import check_ffmpeg
from cosmos_ray.clip.frames import decode_mp4, each_frame, inspect_video, open_video, read_frames
from cosmos_ray.clip.info import Stream
from cosmos_ray.clip.packets import Packets
from cosmos_ray.errors import RowError

DATA = Path(__file__).parent / "data"
X264 = ("-pix_fmt", "yuv420p", "-c:v", "libx264")


def patches(height: int = 48, width: int = 128, frames: int = 3) -> np.ndarray:
    """Eight flat colours side by side: what a wrong matrix, range or transfer changes by ten levels and more."""
    colours = [[255, 255, 255], [0, 0, 0], [200, 30, 30], [30, 180, 40], [40, 50, 200], [128, 128, 128], [220, 200, 30]]
    row = np.repeat(np.array([*colours, [90, 140, 170]], np.uint8), width // 8, axis=0)
    return np.broadcast_to(row, (frames, height, width, 3))


def middles(frame: np.ndarray) -> np.ndarray:
    """The colours in the middle of each patch, int [8, 3]."""
    columns = ((np.arange(8) + 0.5) * frame.shape[1] / 8).astype(int)
    return frame[frame.shape[0] // 2, columns].astype(int)


# --- reported cases ---


@pytest.mark.parametrize(
    ("name", "frames", "height", "width"),
    [("plain", 24, 96, 160), ("sar43", 24, 108, 192), ("two_tracks", 24, 96, 160), ("interlaced", 12, 96, 160)],
)
def test_reported_cases_have_the_right_size(name: str, frames: int, height: int, width: int) -> None:
    info = inspect_video(DATA / f"{name}.mp4")
    assert (info.frames, info.height, info.width) == (frames, height, width)
    assert read_frames(DATA / f"{name}.mp4", [1]).shape == (1, height, width, 3)


# --- tracks ---


def test_the_default_track_is_taken_and_said() -> None:
    info = inspect_video(DATA / "two_tracks.mp4")
    assert info.track == 1
    assert info.warnings == ("2 video tracks: number 2 (160x96) is taken, the default one",)
    assert [blocks(frame) for frame in read_frames(DATA / "two_tracks.mp4", [3, 23])] == [3, 23]


def test_of_three_tracks_the_default_one_is_taken_and_pictures_that_are_attached_are_none(tmp_path: Path) -> None:
    for number, size in enumerate((32, 48, 64)):
        write(tmp_path / f"{number}.mp4", moving_picture(5, size, size))
    inputs = [part for number in range(3) for part in ("-i", tmp_path / f"{number}.mp4")]
    maps = [part for number in range(4) for part in ("-map", str(number))]
    chosen = ("-disposition:v", "0", "-disposition:v:1", "default")
    sound = ("-f", "lavfi", "-i", "sine=d=0.5")
    ffmpeg(*sound, *inputs, *maps, "-c:v", "copy", *chosen, tmp_path / "three.mp4")
    info = inspect_video(tmp_path / "three.mp4")
    assert (info.track, info.height) == (2, 48)
    assert info.warnings == ("3 video tracks: number 2 (48x48) is taken, the default one",)
    cover = ("-f", "lavfi", "-i", "color=s=16x16:d=0.04", "-map", "1", "-map", "0", "-c:v:0", "mjpeg", "-c:v:1", "copy")
    ffmpeg(*inputs[:2], *cover, "-disposition:v:0", "attached_pic", tmp_path / "cover.mp4")
    info = inspect_video(tmp_path / "cover.mp4")
    assert (info.height, info.warnings) == (32, ())


# --- shape ---


@pytest.mark.parametrize(
    ("aspect", "height", "width", "ratio"),
    [("4/3", 48, 85, "4:3"), ("8/9", 54, 64, "8:9"), ("16/11", 48, 93, "16:11")],
)
def test_pixels_become_square_and_nothing_is_lost(
    tmp_path: Path, aspect: str, height: int, width: int, ratio: str
) -> None:
    path = encode(tmp_path / "a.mp4", patches(48, 64), *X264, "-vf", f"setsar={aspect}")
    info = inspect_video(path)
    assert (info.height, info.width, info.pixel_aspect) == (height, width, ratio)
    assert info.conversions == (f"pixels of {ratio} made square: {width}x{height}",)
    frame = read_frames(path, [0])[0]
    assert frame.shape == (height, width, 3)
    assert np.abs(middles(frame) - middles(patches(48, 64)[0])).max() <= 8


def test_a_shape_that_the_container_was_given_later_holds(tmp_path: Path) -> None:
    """`-c copy -aspect` mends a video whose codec says square."""
    encode(tmp_path / "a.mp4", moving_picture(3, 48, 64), *X264, "-vf", "setsar=1")
    ffmpeg("-i", tmp_path / "a.mp4", "-c", "copy", "-aspect", "16:9", tmp_path / "b.mp4")
    info = inspect_video(tmp_path / "b.mp4")
    assert (info.height, info.width, info.pixel_aspect) == (48, 85, "4:3")


def test_turned_pixels_are_squared_the_other_way(tmp_path: Path) -> None:
    encode(tmp_path / "a.mp4", moving_picture(3, 108, 144), *X264, "-vf", "setsar=4/3")
    ffmpeg("-display_rotation", "-90", "-i", tmp_path / "a.mp4", "-c", "copy", tmp_path / "b.mp4")
    info = inspect_video(tmp_path / "b.mp4")
    assert (info.height, info.width, info.pixel_aspect) == (192, 108, "3:4")
    upright = decode_mp4(tmp_path / "b.mp4")
    assert upright.shape == (3, 192, 108, 3)
    lying = decode_mp4(tmp_path / "a.mp4").astype(int)
    assert lying.shape == (3, 108, 192, 3)
    assert np.abs(upright - np.rot90(lying, -1, axes=(1, 2))).mean() < 3


# --- fields ---


def combing(frames: np.ndarray) -> float:
    """Mean difference of a line to the mean of its neighbours, levels."""
    grey = frames.astype(float).mean(axis=-1)
    return float(np.abs(grey[:, 1:-1] - (grey[:, :-2] + grey[:, 2:]) / 2).mean())


def fields(top_first: bool, frames: int = 16, height: int = 64, width: int = 96) -> np.ndarray:
    """A bar that moves four columns a field, two fields woven into each frame."""
    out = np.full((frames, height, width, 3), 50, np.uint8)
    for moment in range(2 * frames):
        frame, is_second = divmod(moment, 2)
        left = 4 * moment % (width - 20)
        first_line = int(is_second == top_first)
        out[frame, first_line::2, left : left + 20] = 230
    return out


@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "mpeg2video"])
@pytest.mark.parametrize("order", ["tff", "bff"])
def test_fields_become_whole_frames_one_a_frame(tmp_path: Path, codec: str, order: str) -> None:
    source = fields(order == "tff")
    flags = ("-flags", "+ildct+ilme", "-vf", f"setfield={order},scale=interl=1", "-pix_fmt", "yuv420p", "-g", "8")
    flags += ("-x264-params", f"{order}=1") if codec == "libx264" else ()
    path = encode(tmp_path / "a.mp4", source, "-c:v", codec, *flags, "-q:v", "2", fps=25)
    raw = whole_decode(path, (64, 96))
    assert combing(raw) > 8
    info = inspect_video(path)
    assert info.frames == len(raw) == 16
    frames = decode_mp4(path)
    assert len(frames) == 16
    assert combing(frames) < 3
    found = each_frame(open_video(path), [5], lambda *_: None)
    assert found.field_order == {"tff": "top first", "bff": "bottom first"}[order]
    assert found.conversions == (f"deinterlaced ({found.field_order}), one frame a frame",)
    bar = np.flatnonzero(frames[5, 32].mean(axis=-1) > 140).min()
    assert 4 * 10 - 3 <= bar <= 4 * 11 + 3, "where it was at one of the frame's two moments"


def test_late_whole_frames_are_those_of_a_full_decode(tmp_path: Path) -> None:
    flags = ("-flags", "+ildct+ilme", "-vf", "setfield=tff,scale=interl=1", "-pix_fmt", "yuv420p", "-g", "8")
    path = encode(tmp_path / "a.mp4", fields(True, 40), "-c:v", "libx264", *flags, fps=25)
    whole = decode_mp4(path)
    for indices in ([39], [30, 33, 35], [24]):
        assert np.array_equal(read_frames(path, indices), whole[indices]), indices


def test_the_reported_case_of_fields() -> None:
    assert combing(decode_mp4(DATA / "interlaced.mp4")) < 3


# --- colours ---

FORMATS = {
    "BT.709": ("bt709", "tv", "yuv420p", ("-colorspace", "bt709")),
    "BT.601": ("smpte170m", "tv", "yuv420p", ("-colorspace", "smpte170m")),
    "not tagged": ("bt601", "tv", "yuv420p", ("-colorspace", "unknown")),
    "full range": ("bt709", "pc", "yuv420p", ("-colorspace", "bt709", "-color_range", "pc")),
    "10 bit": ("bt709", "tv", "yuv420p10le", ("-colorspace", "bt709")),
    "4:2:2": ("bt709", "tv", "yuv422p", ("-colorspace", "bt709")),
    "4:4:4": ("bt709", "tv", "yuv444p", ("-colorspace", "bt709")),
    "BT.2020 matrix": ("bt2020nc", "tv", "yuv420p10le", ("-colorspace", "bt2020nc")),
}


@pytest.mark.parametrize("name", FORMATS)
def test_colours_come_back_from_every_format(tmp_path: Path, name: str) -> None:
    matrix, levels, pixels, tags = FORMATS[name]
    convert = f"scale=out_color_matrix={matrix.replace('nc', '')}:out_range={levels},format={pixels}"
    is_tagged = name != "not tagged"
    if not is_tagged:
        convert += ",setparams=colorspace=unknown"
    path = encode(tmp_path / "a.mp4", patches(), "-vf", convert, "-c:v", "libx264", "-qp", "4", *tags)
    info = inspect_video(path)
    assert (info.matrix.value, info.matrix.is_tagged) == (matrix, is_tagged)
    assert info.range.value == levels
    assert np.abs(middles(read_frames(path, [1])[0]) - middles(patches()[0])).max() <= 5
    assert info.conversions == ()
    assert bool(info.warnings) is (name == "BT.2020 matrix"), "which HDR has, too, and says so by its transfer"


@pytest.mark.parametrize("levels", ["tv", "pc"])
def test_grey_is_grey(tmp_path: Path, levels: str) -> None:
    steps = np.repeat(np.linspace(0, 255, 8).round().astype(np.uint8), 16)
    frames = np.broadcast_to(steps[None, None, :, None], (3, 48, 128, 3))
    convert = ("-vf", f"scale=out_range={levels},format=gray", "-color_range", levels)
    path = encode(tmp_path / "a.mp4", frames, *convert, "-c:v", "libx264", "-qp", "4")
    assert np.abs(middles(read_frames(path, [1])[0]) - middles(frames[0])).max() <= 3


def test_untagged_video_of_hd_size_is_doubtful(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", np.zeros((1, 720, 64, 3), np.uint8), *X264)
    assert inspect_video(path).warnings[0].startswith("matrix assumed: BT.601")
    assert not inspect_video(encode(tmp_path / "b.mp4", moving_picture(1), *X264)).warnings


def test_transparency_is_doubtful(tmp_path: Path) -> None:
    for name, pixels, codec in (("a.mov", "yuva444p10le", "prores_ks"), ("b.mov", "rgba", "png")):
        path = encode(tmp_path / name, moving_picture(2), "-c:v", codec, "-pix_fmt", pixels)
        assert [text.partition(",")[0] for text in inspect_video(path).warnings] == ["transparency (alpha)"], name


# --- tracks beside the pictures ---


def test_time_codes_and_chapters_beside_a_video_do_not_hide_it(tmp_path: Path) -> None:
    """Cameras, telephones and cutting tables write them: tracks that the video refers to."""
    frames = moving_picture(6)
    timed = encode(tmp_path / "timed.mov", frames, *X264, "-timecode", "01:00:00:00")
    (tmp_path / "chapters").write_text(";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/10\nSTART=0\nEND=3\ntitle=one\n")
    ffmpeg(
        "-i", timed, "-i", tmp_path / "chapters", "-map_metadata", "1", "-map", "0", "-c", "copy", tmp_path / "b.mov"
    )
    ffmpeg("-i", timed, "-i", tmp_path / "chapters", "-map_metadata", "1", "-map", "0:v", "-c", "copy",
           tmp_path / "c.mp4")  # fmt: skip
    for name in ("timed.mov", "b.mov", "c.mp4"):
        info = inspect_video(tmp_path / name)
        assert (info.frames, info.track, info.warnings) == (6, 0, ()), name
        assert info.container == name[-3:]
        assert np.array_equal(decode_mp4(tmp_path / name), decode_mp4(timed))


# --- refused by name ---


def stream(**facts: object) -> Stream:
    return replace(Stream(0, "h264", "yuv420p", 48, 64), **facts)  # type: ignore[arg-type]


PACKETS = Packets(np.arange(3), np.arange(1), Fraction(1, 10), 1, np.arange(3))


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"matrix": "ictcp"}, "colour matrix ictcp: expected one of bt2020nc, "),
        ({"transfer": "linear"}, "transfer linear: expected one of arib-std-b67, "),
        ({"dolby": (5, 0)}, "Dolby Vision of profile 5"),
        ({"pixel_aspect": Fraction(9, 1)}, "pixels of 9:1: expected 1:4 to 4:1"),
        ({"height": 9000, "width": 9000}, "too large: pictures of 9000x9000 pixels"),
        ({"height": 0}, "damaged: the video stream"),
        ({"rotation": -45.0}, "turned by 45 degrees, expected a multiple of 90"),
    ],
)
def test_what_is_not_converted_is_refused_by_name(facts: dict[str, object], said: str) -> None:
    with pytest.raises(RowError, match=said):
        accept([stream(**facts)], stream(**facts), PACKETS)


@pytest.mark.parametrize("rotation", [-180.0, -90.0, 0.0, 90.0, 180.0, 270.0, 89.99])
def test_quarters_of_a_turn_are_taken(rotation: float) -> None:
    info, _ = accept([stream()], stream(rotation=rotation), PACKETS)
    assert (info.width < info.height) is (abs(rotation) not in (0, 180))


def test_primaries_that_are_not_converted_are_doubtful() -> None:
    info, _ = accept([stream()], stream(primaries="smpte431"), PACKETS)
    assert info.warnings == ("primaries smpte431, which are not converted: colours are taken for BT.709's",)
    assert accept([stream()], stream(primaries="smpte170m"), PACKETS)[0].warnings == ()


def test_a_matrix_of_hdr_without_its_transfer_is_doubtful() -> None:
    info, _ = accept([stream()], stream(matrix="bt2020nc"), PACKETS)
    assert info.warnings == (
        "BT.2020's matrix without a transfer: taken for SDR, of BT.709's colours; HDR would look pale",
    )
    assert accept([stream()], stream(matrix="bt2020nc", transfer="bt2020-10"), PACKETS)[0].warnings == ()


def test_dolby_vision_with_a_base_that_others_can_show_is_taken() -> None:
    info, _ = accept([stream(dolby=(8, 4))], stream(dolby=(8, 4), transfer="arib-std-b67"), PACKETS)
    assert info.conversions == ("HLG to BT.709, white at 203 cd/m2",)


def test_fields_are_refused_where_ffmpeg_cannot_weave_them(monkeypatch: pytest.MonkeyPatch) -> None:
    poor = replace(check_ffmpeg(), filters=frozenset({"scale"}))
    monkeypatch.setattr("cosmos_ray.clip.accept.check_ffmpeg", lambda: poor)
    with pytest.raises(RowError, match="interlaced, and this ffmpeg has no filter"):
        accept([stream()], stream(field_order="top first"), PACKETS)


def test_pixels_may_be_four_times_as_wide_as_high_and_no_wider() -> None:
    times = np.arange(3)
    packets = Packets(times, times[:1], Fraction(1, 10), 1, times)
    for aspect in (Fraction(4), Fraction(1, 4)):
        stream = Stream(0, "h264", "yuv420p", 64, 64, aspect)
        info, _ = accept((stream,), stream, packets)
        assert max(info.height, info.width) == 256
        wider = replace(stream, pixel_aspect=aspect * Fraction(101, 100) if aspect > 1 else aspect / Fraction(101, 100))
        with pytest.raises(RowError, match="expected 1:4 to 4:1"):
            accept((wider,), wider, packets)
