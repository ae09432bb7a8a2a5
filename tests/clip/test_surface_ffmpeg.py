"""What ffmpeg is asked for, word by word, and what is known of videos of every kind, as texts
(`tests/golden-surfaces/clip`)."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.surfaces import assert_as_it_was, masked
from support.videos import encode, moving_picture, write

from cosmos_ray.clip import encode as encode_module
from cosmos_ray.clip import ffmpeg as tool
from cosmos_ray.clip import frames as frames_module
from cosmos_ray.clip import info as info_module
from cosmos_ray.clip import likeness as likeness_module
from cosmos_ray.clip import packets as packets_module
from cosmos_ray.clip import pictures as pictures_module
from cosmos_ray.clip import preview as preview_module
from cosmos_ray.clip.accept import Treatment
from cosmos_ray.clip.conditioning import read_conditioning
from cosmos_ray.clip.frames import Video, open_video
from cosmos_ray.clip.info import VideoInfo
from cosmos_ray.clip.input_rules import InputRules
from cosmos_ray.clip.packets import Packets
from cosmos_ray.clip.pictures import look
from cosmos_ray.errors import RowError


class _Told(Exception):
    """ffmpeg would have been run."""


def asked(monkeypatch: pytest.MonkeyPatch, module: Any) -> list[str]:
    """What ffmpeg is asked for from now on, a line a run; each ends there."""
    lines: list[str] = []

    def note(arguments: Any, *rest: Any, **_named: Any) -> Any:
        plain = [len(one) if isinstance(one, bytes) else one for one in rest if not callable(one)]
        words = re.sub(
            re.escape(tempfile.gettempdir()) + r"/(cosmos-ray-at-)[-\w]+/", r"(scratch)/", " ".join(arguments)
        )
        lines.append(f"{words}   {plain}")
        raise _Told

    monkeypatch.setattr(module, "run" if hasattr(module, "run") else "piped", note)
    return lines


def told(lines: list[str], function: Callable[..., Any], *given: Any) -> None:
    lines.append(f"== {function.__name__}")
    try:
        function(*given)
    except (_Told, ValueError) as error:
        lines.extend([f"ValueError: {error}"] if isinstance(error, ValueError) else [])


def test_what_ffmpeg_is_asked_to_write(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = asked(monkeypatch, encode_module)
    frames = moving_picture(3, 16, 32)
    for fps in (10, 29.97, 30000 / 1001, 0.5, 0, float("inf")):
        told(lines, encode_module.encode_mp4, frames, fps)
    for bad in (frames[:, :15], frames[:, :, :31], frames[:0], frames[0], frames.astype(np.int16), frames[..., :2]):
        told(lines, encode_module.encode_mp4, bad, 10)
        told(lines, encode_module.encode_png, bad)
    for quality in (0, 1, 50, 85, 100, 101):
        told(lines, encode_module.encode_jpeg, frames[0], quality)
    told(lines, encode_module.encode_jpeg, frames[0])
    told(lines, encode_module.encode_view, "picture", frames, 10)
    told(lines, encode_module.encode_view, "rear", frames, 10)
    shape = VideoInfo(3, 16, 32, 10.0)
    monkeypatch.setattr(encode_module, "inspect_video", lambda path: shape)
    for paths in ([], [Path("/a/x.mp4")], [Path("/a/x.mp4"), Path("/a/y.mp4")]):
        told(lines, encode_module.stack_views, paths, 7.5)
    for other in ({"frames": 4}, {"height": 8}, {"width": 8}):
        infos = iter([shape, replace(shape, **other)])
        monkeypatch.setattr(encode_module, "inspect_video", lambda path, infos=infos: next(infos))
        told(lines, encode_module.stack_views, [Path("/a/x.mp4"), Path("/a/y.mp4")], 7.5)
    infos = iter([shape, shape, replace(shape, width=8)])
    monkeypatch.setattr(encode_module, "inspect_video", lambda path: next(infos))
    told(lines, encode_module.stack_views, [Path("/b/y.mp4"), Path("/a/x.mp4"), Path("/a/z.mp4")], 7.5)
    monkeypatch.setattr(encode_module, "inspect_video", lambda path: shape)
    told(lines, encode_module.stack_views, [Path("/b/y.mp4"), Path("/a/x.mp4"), Path("/a/z.mp4")], 7.5)
    preview_lines = asked(monkeypatch, preview_module)
    told(preview_lines, preview_module.encode_preview, [frames] * 5, 10)
    told(preview_lines, preview_module.encode_preview, [frames[:, :15]] * 2, 30)
    likeness_lines = asked(monkeypatch, likeness_module)
    told(likeness_lines, likeness_module.likeness, Path("/a/x.mp4"), Path("/a/y.mp4"))
    assert_as_it_was("clip/ffmpeg_writes.txt", "\n".join([*lines, *preview_lines, *likeness_lines]))


def test_what_ffmpeg_is_asked_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    for module in (frames_module, info_module, packets_module):
        noted = asked(monkeypatch, module)
        lines.append(f"== {module.__name__}")
        if module is info_module:
            told(noted, info_module.describe, Path("/a/x.mp4"))
        elif module is packets_module:
            for codec in ("h264", "hevc", "mpeg4"):
                told(noted, packets_module.packets_of, Path("/a/x.mp4"), 2, codec, 9)
        else:
            read_all_ways(monkeypatch, noted)
        lines += noted
    assert_as_it_was("clip/ffmpeg_reads.txt", "\n".join(lines))


def read_all_ways(monkeypatch: pytest.MonkeyPatch, noted: list[str]) -> None:
    monkeypatch.setattr(frames_module, "deinterlacer", lambda: "(deinterlaced)")
    times = np.arange(40) * 512 + 1024
    packets = Packets(times, times[::12], Fraction(1, 5120), 512, times)
    info = VideoInfo(40, 48, 64, 10.0, track=1)
    treatments = (
        Treatment(48, 64, (48, 64)),
        Treatment(48, 64, (48, 64), deinterlace="(fields)"),
        Treatment(48, 64, (48, 32), shape="scale=64:48:x"),
        Treatment(48, 64, (48, 64), transfer="smpte2084", memory=77),
        Treatment(48, 64, (48, 64), shape="scale=1:1", primaries="bt2020"),
    )
    for treatment in treatments:
        video = Video(Path("/a/x.mp4"), info, packets, treatment)
        for indices in ([39], [0, 1], [12, 13, 14, 30], [24], [25], [26], [11]):
            told(noted, frames_module.each_frame, video, indices, lambda *_: None)
    same = replace(video, packets=replace(packets, times=np.zeros(40, np.int64)))
    told(noted, frames_module.each_frame, same, [3, 4, 9], lambda *_: None)
    noted.append(f"{frames_module.each_frame(video, [], lambda *_: None)}")


def test_how_ffmpeg_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """With which memory and threads, for all that is read and written."""
    lines: list[str] = []

    def start(command: list[str], stdin: int, memory: int | None) -> Any:
        lines.append(f"{' '.join(command[1:])}   {stdin} {memory}")
        raise _Told

    monkeypatch.setattr(tool, "_start", start)
    for begin in (lambda: tool.run(("-x",)), lambda: tool.run(("-x",), b"", 5), lambda: tool.run(("-x",), b"", 2**40)):
        with pytest.raises(_Told):
            begin()
    for named in ({}, {"memory": 7}):
        with pytest.raises(_Told), tool.piped(("-y",), **named):  # type: ignore[arg-type]
            pass
    for errors, code, memory in ((["a"], 1, None), (["a"], -9, 1), (["Cannot allocate memory"], 1, 2**21),
                                 ([], -6, 2**20), ([], -6, None), (["", " b "], 1, None)):  # fmt: skip
        lines.append(f"{errors} {code} {memory}: {tool._failed(errors, code, memory)!r}")
    for line in (
        "[error] a",
        "[h264 @ 0x12ab] [warning] b",
        "[x @ 0x1] [fatal] [y @ 0x2] c",
        "d",
        "[info] [mov @ 0x1] e",
    ):
        lines.append(f"{line}: {tool.log_line(line)}")
    lines.append(tool.first_error(["", f"file:{Path('a.mp4').absolute()}: bad"], Path("a.mp4")))
    log: list[str] = []
    errors = []
    raw = b"".join(b"[%s] %d\n" % (level, number) for number in range(30) for level in (b"error", b"info"))
    tool._read_log(io.BytesIO(raw + b"[panic] x\n[fatal] y\n"), errors, log.append)
    lines.append(f"{len(errors)} {errors[-1]} {len(log)}")
    assert_as_it_was("clip/ffmpeg_begins.txt", "\n".join(lines))


PICTURES = ("plain.png", "plain.jpg")


def test_what_ffmpeg_is_asked_of_pictures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "plain.png").write_bytes(encode_module.encode_png(moving_picture(1, 16, 32)[0]))
    (tmp_path / "plain.jpg").write_bytes(encode_module.encode_jpeg(moving_picture(1, 16, 32)[0]))
    noted = asked(monkeypatch, pictures_module)
    lines = []
    for name in PICTURES:
        path = tmp_path / name
        found = replace(look(path), end=100)
        lines.append(f"{name}: {found}")
        for changes in ({}, {"may_be_transparent": True}, {"bits": 16}, {"transfer": "smpte2084", "bits": 10},
                        {"transfer": "arib-std-b67", "may_be_transparent": True}, {"end": 50}):  # fmt: skip
            told(noted, pictures_module._decode, path, replace(found, **changes))
    for side in range(1, 9):
        lines.append(f"{side}: {pictures_module._upright(np.arange(6).reshape(2, 3, 1), side).ravel().tolist()}")
    lines.append(
        f"{pictures_module._on_black(np.uint8([[[200, 100, 50, 128], [255, 1, 2, 0], [9, 8, 7, 255]]])).tolist()}"
    )
    assert_as_it_was("clip/ffmpeg_pictures.txt", "\n".join([*lines, *noted]))


H264 = ("-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "ultrafast", "-threads", "1")
FILES: dict[str, tuple[str, ...]] = {
    "tagged": (*H264, "-colorspace", "bt709", "-color_trc", "bt709", "-color_primaries", "bt709", "-color_range", "tv"),
    "PQ": (*H264, "-colorspace", "bt2020nc", "-color_trc", "smpte2084", "-color_primaries", "bt2020"),
    "full": ("-c:v", "mjpeg", "-pix_fmt", "yuvj420p"),
    "fields": (*H264, "-flags", "+ildct+ilme", "-x264-params", "tff=1"),
    "pixels": (*H264, "-vf", "setsar=4/3"),
    "gap": (*H264, "-vf", "setpts='(N+gte(N,6)*5)/(10*TB)'", "-fps_mode", "vfr", "-enc_time_base", "1:1000"),
    "rgb": ("-c:v", "libx264rgb", "-preset", "ultrafast"),
}


def facts(video: Video) -> Iterator[str]:
    """All that is known, but for what versions of ffmpeg tell differently."""
    for one in (video.info, video.treatment):
        yield "   " + ", ".join(f"{field.name}={getattr(one, field.name)!s}" for field in dataclasses.fields(one))
    times = video.seconds.round(4).tolist()
    packets = video.packets
    yield f"   {times} from {video.start:.3f} {packets.fps:.4f} {packets.is_variable} {len(packets.entries)}"


def test_what_is_known_of_files_of_every_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = []
    for name, how in FILES.items():
        path = encode(tmp_path / f"{name}.mp4", moving_picture(12, 48, 64), *how)
        lines += [name, *facts(open_video(path))]
        for rules in (InputRules(), InputRules(rate="as_is", fit="pad")):
            with contextlib.suppress(RowError):
                found = read_conditioning([path], ["rear"], 5, (32, 56), 5, rules)
                mean = found.frames.astype(int).mean()
                lines.append(f"   {found.taken} {found.infos[0].conversions} {found.warnings} {round(mean / 4)}")
    stacked = write(tmp_path / "stacked.mp4", moving_picture(12, 48, 64))
    found = read_conditioning(stacked, ["rear", "front_wide"], 2, (32, 56), 10)
    lines.append(f"stacked: {found.taken} {found.infos[0].conversions} {found.warnings}")
    assert_as_it_was("clip/files.txt", masked("\n".join(lines), tmp_path))
