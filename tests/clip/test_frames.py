"""Frames that are read are those of a full decode, to the byte, whatever the way to them; and what is known of a video.

Legend: T frames, H/W height/width.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from support.videos import blocks, encode, ffmpeg, moving_picture, whole_decode, write

from cosmos_ray.clip import ffmpeg as tool
from cosmos_ray.clip import frames as module
from cosmos_ray.clip import info as info_module
from cosmos_ray.clip.encode import encode_mp4
from cosmos_ray.clip.ffmpeg import check_ffmpeg
from cosmos_ray.clip.frames import decode_mp4, inspect_video, open_video, read_frames
from cosmos_ray.errors import RowError

DATA = Path(__file__).parent / "data"
H264 = ("-pix_fmt", "yuv420p", "-c:v", "libx264", "-g", "12", "-bf", "3")
HEVC = ("-pix_fmt", "yuv420p", "-c:v", "libx265", "-tag:v", "hvc1", "-x265-params")


# --- what is known of a video ---


def test_frames_size_and_rate_are_known_without_decoding(tmp_path: Path) -> None:
    info = inspect_video(write(tmp_path / "clip.mp4", moving_picture(29, 48, 64), fps=10))
    assert (info.frames, info.height, info.width, info.fps, info.is_variable) == (29, 48, 64, 10.0, False)
    assert (info.track, info.codec, info.pixel_aspect, info.field_order) == (0, "h264", "1:1", "progressive")
    assert (str(info.matrix), str(info.range), str(info.transfer)) == ("bt709", "tv", "bt709")
    assert info.conversions == info.warnings == ()
    assert inspect_video(write(tmp_path / "ntsc.mp4", moving_picture(7), fps=30000 / 1001)).fps == pytest.approx(
        29.97, abs=0.01
    )
    assert inspect_video(write(tmp_path / "one.mp4", moving_picture(1))).frames == 1


def test_a_rate_that_varies_is_known(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", moving_picture(12), *H264, "-vf", "setpts='(N+gte(N,6)*5)/(10*TB)'", "-fps_mode",
                  "vfr", "-enc_time_base", "1:1000")  # fmt: skip
    video = open_video(path)
    assert video.info.is_variable
    assert video.seconds[[0, 5, 6, 11]] == pytest.approx([0, 0.5, 1.1, 1.6])


def test_frames_beyond_the_cap_are_refused_unread(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mp4", moving_picture(20))
    assert open_video(path, 20).info.frames == 20
    with pytest.raises(RowError, match=r"found more than 19 frames, expected at most so many \(inputs.max_frames\)"):
        open_video(path, 19)


@pytest.mark.slow
def test_a_video_of_very_many_frames_is_refused_soon_and_in_little_memory(tmp_path: Path) -> None:
    import tracemalloc

    path = tmp_path / "many.mp4"
    ffmpeg("-f", "lavfi", "-i", "color=s=16x16:r=1000:d=120", "-c:v", "mpeg4", path)
    tracemalloc.start()
    try:
        with pytest.raises(RowError, match="more than 100000 frames"):
            inspect_video(path)
        assert tracemalloc.get_traced_memory()[1] < 8e6
    finally:
        tracemalloc.stop()


def test_an_edit_list_hides_frames(tmp_path: Path) -> None:
    """A cut without re-encoding keeps the packets before the cut and hides them: they are not frames."""
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=10:duration=4", "-g", "20", tmp_path / "whole.mp4")
    ffmpeg("-ss", "0.7", "-i", tmp_path / "whole.mp4", "-c", "copy", tmp_path / "cut.mp4")
    assert inspect_video(tmp_path / "cut.mp4").frames == 33
    whole = decode_mp4(tmp_path / "whole.mp4")
    assert np.array_equal(decode_mp4(tmp_path / "cut.mp4"), whole[7:])
    assert np.array_equal(read_frames(tmp_path / "cut.mp4", [0, 31, 32]), whole[[7, 38, 39]])


# --- exactness ---

KINDS = {
    "closed groups, B-frames": H264,
    "open groups": (*H264, "-x264-params", "open-gop=1:scenecut=0"),
    "intra refresh": (*H264, "-x264-params", "intra-refresh=1:scenecut=0"),
    "HEVC, open groups": (*HEVC, "open-gop=1:keyint=12:min-keyint=12:scenecut=0:log-level=none"),
    "HEVC, closed groups": (*HEVC, "open-gop=0:keyint=12:min-keyint=12:scenecut=0:log-level=none"),
    "fragments": (*H264, "-movflags", "+frag_keyframe+empty_moov+default_base_moof"),
    "fragments, dash": (*H264, "-movflags", "+dash+frag_keyframe"),
    "no edit list": (*H264, "-use_editlist", "0"),
    "MPEG-4": ("-c:v", "mpeg4", "-g", "12", "-bf", "2"),
    "motion JPEG": ("-c:v", "mjpeg", "-pix_fmt", "yuvj420p"),
    "VP9": ("-c:v", "libvpx-vp9", "-g", "12", "-deadline", "realtime", "-pix_fmt", "yuv420p"),
}
#: Kinds in which decoding can begin late, and that in the middle of the file.
SOUGHT = set(KINDS) - {"intra refresh"}


def begins(monkeypatch: pytest.MonkeyPatch) -> list[int | str]:
    """Where readings have begun: frame, or "counted" for all of them in the order in which they came."""
    found: list[int | str] = []
    by_time, counted = module._by_time, module._counted
    monkeypatch.setattr(module, "_by_time", lambda *a: (found.append(a[3]), by_time(*a))[1])
    monkeypatch.setattr(module, "_counted", lambda *a: (found.append("counted"), counted(*a))[1])
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_late_frames_are_those_of_a_full_decode(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = encode(tmp_path / "a.mp4", moving_picture(50), *KINDS[kind])
    whole = whole_decode(path, (48, 64))
    assert inspect_video(path).frames == len(whole) == 50
    begun = begins(monkeypatch)
    for indices in ([49], [45, 46, 47, 48, 49], [30, 41, 44]):
        assert np.array_equal(read_frames(path, indices), whole[indices]), indices
    if kind == "open groups" and re.match(r"n?5\.", check_ffmpeg().version):
        begun.remove(0)  # that of Debian 12 seeks to another key frame at the end, and has to begin anew
    assert (min(map(int, begun)) >= 24) if kind in SOUGHT else (begun == [0, 0, 0])


def test_frames_of_a_file_with_decode_times_alone_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its B-frames have no display times: what a time would choose is another frame."""
    path = DATA / "pts_is_dts.mp4"
    assert inspect_video(path).frames == 48
    begun = begins(monkeypatch)
    frames = read_frames(path, range(43, 48))
    assert [blocks(frame) for frame in frames] == [43, 44, 45, 46, 47]
    assert begun[-1] == "counted"
    assert np.array_equal(decode_mp4(path), whole_decode(path, (96, 160)))


def test_a_demuxer_that_begins_too_late_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = encode(tmp_path / "a.mp4", moving_picture(50), *H264)
    whole = whole_decode(path, (48, 64))
    piped = module.piped
    monkeypatch.setattr(module, "piped", lambda command, *rest: piped(late(command), *rest))

    def late(command: tuple[str, ...]) -> tuple[str, ...]:
        place = command.index("-ss") + 1 if "-ss" in command else 0
        return (*command[:place], "4.85", *command[place + 1 :]) if place else command

    begun = begins(monkeypatch)
    assert np.array_equal(read_frames(path, [40, 41]), whole[[40, 41]])
    assert begun == [36, 0]


def test_only_what_is_needed_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = encode(tmp_path / "a.mp4", moving_picture(100), *H264)
    seen: list[int] = []
    monkeypatch.setattr(module._Log, "add", lambda self, line, add=module._Log.add: (add(self, line), seen.append(
        len(self.times)))[0])  # fmt: skip
    read_frames(path, [98])
    assert 3 <= max(seen) <= 16, "from the key frame at 96 on, of 100 frames"


# --- damage ---


def damaged(path: Path, at: float, content: bytes) -> Path:
    data = bytearray(content)
    first, end = content.index(b"mdat"), content.index(b"moov")
    middle = int(first + at * (end - first))
    data[middle : middle + 300] = bytes(300)
    path.write_bytes(data)
    return path


def test_damage_in_what_is_decoded_is_found_and_elsewhere_does_not_matter(tmp_path: Path) -> None:
    whole = encode(tmp_path / "whole.mp4", moving_picture(60, 96, 128), *H264)
    early = damaged(tmp_path / "early.mp4", 0.3, whole.read_bytes())
    assert np.array_equal(read_frames(early, [58, 59]), whole_decode(whole, (96, 128))[58:])
    with pytest.raises(RowError, match=r"^damaged: "):
        decode_mp4(early)
    with pytest.raises(RowError, match=r"^damaged: "):
        read_frames(damaged(tmp_path / "late.mp4", 0.97, whole.read_bytes()), [58, 59])


def test_damage_that_an_ffmpeg_conceals_and_ends_well_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As ffmpeg 5 may, whatever `-xerror` says, where threads share the decoding."""
    path = damaged(tmp_path / "a.mp4", 0.3, encode(tmp_path / "b.mp4", moving_picture(60, 96, 128), *H264).read_bytes())
    real = module.piped
    lenient = lambda arguments, *rest: real([one for one in arguments if one != "-xerror"], *rest)  # noqa: E731
    monkeypatch.setattr(module, "piped", lenient)
    with pytest.raises(RowError, match=r"^damaged: "):
        decode_mp4(path)


# --- limits ---


def test_a_picture_of_absurd_size_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "clip.mp4", moving_picture(2, 48, 64))
    monkeypatch.setattr("cosmos_ray.clip.accept.MAX_PIXELS", 48 * 64 - 1)
    monkeypatch.setattr(info_module, "MAX_PIXELS", 48 * 64 - 1)
    with pytest.raises(RowError, match="too large: pictures of 64x48 pixels, expected at most 3071 pixels"):
        inspect_video(path)


def test_a_decoder_that_hangs_is_a_timeout_of_the_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "clip.mp4", moving_picture(2))
    monkeypatch.setattr(tool, "TIMEOUT_S", 0.001)
    with pytest.raises(RowError, match=r"clip\.mp4 took more than") as caught:
        inspect_video(path)
    assert caught.value.failure_class == "timeout"


def test_what_comes_back_is_what_was_written() -> None:
    frames = moving_picture(9)
    assert np.abs(decode_mp4(encode_mp4(frames, 10)).astype(int) - frames).mean() < 4
