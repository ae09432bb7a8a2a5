"""What a file says of how its pictures are shown is done to them: turned, mirrored, cropped; and all have one size.

Legend: T frames, H/W height/width.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.videos import encode, ffmpeg, moving_picture, write

from cosmos_ray.clip.boxes import boxes, first_box, index_of
from cosmos_ray.clip.frames import decode_mp4, inspect_video, read_frames
from cosmos_ray.clip.mirror import is_mirrored
from cosmos_ray.errors import RowError

H264 = ("-pix_fmt", "yuv420p", "-c:v", "libx264", "-g", "12")

#: What ffmpeg is told to write into a file, what is said of it, and what players show of frames [T, H, W, C].
SHOWN = {
    "-display_rotation 90": ("turned upright by 90 degrees", lambda frames: np.rot90(frames, 1, axes=(1, 2))),
    "-display_rotation 180": ("turned upright by 180 degrees", lambda frames: frames[:, ::-1, ::-1]),
    "-display_rotation 270": ("turned upright by 90 degrees", lambda frames: np.rot90(frames, -1, axes=(1, 2))),
    "-display_hflip": ("mirrored, left for right", lambda frames: frames[:, :, ::-1]),
    "-display_vflip": ("mirrored, top for bottom", lambda frames: frames[:, ::-1]),
    "-display_rotation 90 -display_hflip": (
        "turned upright by 90 degrees and mirrored",
        lambda frames: np.rot90(frames, 1, axes=(1, 2))[:, :, ::-1],
    ),
}


@pytest.mark.parametrize("told", SHOWN)
def test_pictures_are_as_players_show_them_and_it_is_said_how(told: str, tmp_path: Path) -> None:
    frames = moving_picture(2, 48, 64)
    write(tmp_path / "flat.mp4", frames)
    ffmpeg(*told.split(), "-i", tmp_path / "flat.mp4", "-c", "copy", tmp_path / "shown.mp4")
    said, as_shown = SHOWN[told]
    assert inspect_video(tmp_path / "shown.mp4").conversions == (said,)
    assert np.abs(decode_mp4(tmp_path / "shown.mp4").astype(int) - as_shown(frames)).mean() < 4


def _with_cropping(path: Path, width: int, height: int, right: int, down: int) -> None:
    """A box `clap` in the sample description: that many pixels, their middle off the picture's by so many halves."""
    numbers = (width, 1, height, 1, right, 2, down, 2)
    _with_box(path, _box(b"clap", b"".join(number.to_bytes(4, "big", signed=True) for number in numbers)))


def _box(kind: bytes, body: bytes) -> bytes:
    return (8 + len(body)).to_bytes(4, "big") + kind + body


def _with_box(path: Path, box: bytes) -> None:
    """As the last one in the sample description of a file whose index is at its end."""
    data, kinds = bytearray(path.read_bytes()), (b"trak", b"mdia", b"minf", b"stbl", b"stsd")
    places = [data.index(b"moov") + 4]
    for depth in range(1, len(kinds) + 1):
        place = first_box(bytes(data), slice(places[0], len(data)), kinds[:depth])
        assert place is not None
        places.append(place.start)
    places.append(places[-1] + 16)  # the first entry's body
    end = places[-1] - 8 + int.from_bytes(data[places[-1] - 8 : places[-1] - 4], "big")
    data[end:end] = box
    for at in places:
        data[at - 8 : at - 4] = (int.from_bytes(data[at - 8 : at - 4], "big") + len(box)).to_bytes(4, "big")
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("box", "said"),
    [
        (_box(b"st3d", bytes([0, 0, 0, 0, 2])), "stereo 3D (side by side): the pictures of two eyes in each frame"),
        (_box(b"st3d", bytes([0, 0, 0, 0, 1])), "stereo 3D (top and bottom): the pictures of two eyes in each frame"),
        (_box(b"st3d", bytes([0, 0, 0, 0, 0])), ""),
        (
            _box(b"sv3d", _box(b"svhd", bytes(4) + b"camera\0")
                 + _box(b"proj", _box(b"prhd", bytes(16)) + _box(b"equi", bytes(20)))),
            "a spherical picture (equirectangular), taken as a flat one",
        ),
    ],
    ids=["side by side", "one above the other", "one picture", "all round"],
)  # fmt: skip
def test_what_is_not_one_flat_picture_is_doubtful(tmp_path: Path, box: bytes, said: str) -> None:
    path = encode(tmp_path / "a.mp4", moving_picture(3, 48, 64), *H264)
    _with_box(path, box)
    warnings = inspect_video(path).warnings
    assert len(warnings) == bool(said)
    assert not said or warnings[0].startswith(said)


def test_what_a_file_hides_of_its_pictures_is_left_out(tmp_path: Path) -> None:
    """By ffmpeg from 7.1 on, which says so; older ones show all, and that is taken then."""
    frames = moving_picture(3, 48, 64)
    path = encode(tmp_path / "a.mp4", frames, *H264)  # its index at the end, so that nothing moves
    _with_cropping(path, 40, 32, right=-8, down=4)  # 8 columns at the left, 16 at the right; 10 rows above, 6 below
    info = inspect_video(path)
    assert (info.height, info.width) in ((32, 40), (48, 64))
    expected = frames[:, 10:42, 8:48] if info.height == 32 else frames
    assert np.abs(decode_mp4(path).astype(int) - expected).mean() < 4


def test_pictures_that_change_their_size_are_refused(tmp_path: Path) -> None:
    """Also where all that are taken have the other size: they are not the video that the file says it is."""
    small, large = (encode(tmp_path / f"{size}.ts", moving_picture(12, size, 64), *H264) for size in (48, 64))
    (tmp_path / "both.ts").write_bytes(small.read_bytes() + large.read_bytes())
    ffmpeg("-i", tmp_path / "both.ts", "-c", "copy", tmp_path / "both.mp4")
    assert len(read_frames(tmp_path / "both.mp4", [0, 11])) == 2
    for indices in ([10, 11, 12], [22, 23]):
        with pytest.raises(RowError, match=r"pictures of 64x64 in a video of 64x48: expected one size"):
            read_frames(tmp_path / "both.mp4", indices)


def test_a_film_that_is_mirrored_twice_is_not(tmp_path: Path) -> None:
    write(tmp_path / "flat.mp4", moving_picture(2, 48, 64))
    ffmpeg("-display_hflip", "-i", tmp_path / "flat.mp4", "-c", "copy", tmp_path / "a.mp4")
    path = tmp_path / "a.mp4"
    assert is_mirrored(path, 0)
    assert not is_mirrored(path, 1)
    index = index_of(path)
    film = next(place for kind, place in boxes(index, slice(0, len(index))) if kind == b"mvhd")
    data = bytearray(path.read_bytes())
    at = data.index(b"moov") + 4 + film.start + 36
    data[at : at + 4] = (-65536).to_bytes(4, "big", signed=True)
    path.write_bytes(data)
    assert not is_mirrored(path, 0)
    path.write_bytes(data[: data.index(b"moov") + 4] + bytes(20))
    assert not is_mirrored(path, 0)
