"""Frames of a video file, exactly those of a full decode, decoding no more than it takes.

The frames wanted are known by their times. Decoding begins at the last packet before them at which it can begin
(`packets`), and ends with the last of them. Whether that was exact is checked, not believed: the times of all frames
that came out must be those of the file, without a gap, from a packet where decoding can begin. Where they are not (a
container whose display times are wrong, a demuxer that began elsewhere) everything is decoded, from the first packet,
and frames are counted. Nothing is decoded twice but then.

Damage in what is decoded is found: ffmpeg stops at the first frame that is not whole.
"""

from __future__ import annotations

import re
import subprocess
import sys
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import IO

import numpy as np

from cosmos_ray.clip.accept import SCALED, Treatment, accept, deinterlacer
from cosmos_ray.clip.colour import to_bt709
from cosmos_ray.clip.container import check_container
from cosmos_ray.clip.ffmpeg import FfmpegFailed, piped
from cosmos_ray.clip.info import MAX_DECODED, VideoInfo, default_stream, describe, input_arguments, too_slow
from cosmos_ray.clip.input_rules import DEFAULT_RULES
from cosmos_ray.clip.packets import Packets, packets_of
from cosmos_ray.clip.parts import PartFile
from cosmos_ray.errors import RowError
from cosmos_ray.scratch import scratch
from cosmos_ray.words import counted

#: A deinterlacer looks at the frames round each.
_NEIGHBOURS = 2
_SHOWN = re.compile(r"^n: *\d+ pts: *(-?\d+) .* s:(\d+)x(\d+) i:(\S)")

#: Of a picture whose rest is made up. Where threads share the work ffmpeg 5 may go on, and end well.
_CONCEALED = re.compile("error while decoding MB ")

OnFrame = Callable[[int, np.ndarray], None]


@dataclass(frozen=True, eq=False)
class Video:
    """A file that was looked into: its facts, when its frames are shown, and how they are made into a model's.

    parts: where only some of the file has been fetched.
    """

    path: Path
    info: VideoInfo
    packets: Packets
    treatment: Treatment
    parts: PartFile | None = None

    @property
    def seconds(self) -> np.ndarray:
        """float64 [frames]: when each is shown, from the first on."""
        times = self.packets.times
        return (times - times[0]) * float(self.packets.base)

    @property
    def start(self) -> float:
        """When the first frame is shown by the file's clock, seconds."""
        return float(self.packets.times[0] * self.packets.base)


def open_video(source: Path | PartFile, max_frames: int = DEFAULT_RULES.max_frames) -> Video:
    """Look into an mp4 or QuickTime file without decoding its frames.

    Raises RowError: "no such file: ...", "not an mp4: ...", "truncated: ...", "encrypted: ...", "no video stream",
    "damaged: ...", and what `accept` refuses. What was found is kept for a while, as long as the file stays the same.
    """
    if isinstance(source, PartFile):
        try:
            return replace(_look(source.path, max_frames), parts=source)
        except RowError:
            return open_video(source.whole(), max_frames)
    path = source
    if not path.exists():
        raise RowError(f"no such file: {path.name}")
    found = path.stat()
    return _open(path.absolute(), max_frames, (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns))


def inspect_video(path: Path, max_frames: int = DEFAULT_RULES.max_frames) -> VideoInfo:
    """What is known of a video file. Raises RowError like `open_video`."""
    return open_video(path, max_frames).info


@lru_cache(maxsize=32)
def _open(path: Path, max_frames: int, identity: tuple[int, ...]) -> Video:
    """`open_video` of a file whose content `identity` (device, inode, size, time of change) stands for."""
    return _look(path, max_frames)


def _look(path: Path, max_frames: int) -> Video:
    container = check_container(path)
    streams = describe(path)
    stream = default_stream(streams)
    packets = packets_of(path, stream.track, stream.codec, max_frames)
    info, treatment = accept(streams, stream, packets)
    return Video(path, replace(info, container=container), packets, treatment)


def read_frames(path: Path, indices: Sequence[int]) -> np.ndarray:
    """Frames `indices` (ascending, each below `inspect_video(path).frames`): uint8 [len(indices), H, W, 3].

    YUV becomes RGB by the file's own colour tags, bt601 where it has none, with ffmpeg's default conversion: the
    same bytes as the published pipeline's reader (PyAV) gives.
    """
    video = open_video(path)
    frames = np.zeros((len(indices), video.info.height, video.info.width, 3), np.uint8)
    place = {index: number for number, index in enumerate(indices)}

    def keep(index: int, frame: np.ndarray) -> None:
        frames[place[index]] = frame

    each_frame(video, indices, keep)
    return frames


def decode_mp4(video: bytes | Path) -> np.ndarray:
    """All frames of an mp4: uint8 [T, H, W, 3]. Raises RowError like `open_video`."""
    with scratch() as folder:
        path = spill(video, folder / "video.mp4")
        return read_frames(path, range(inspect_video(path).frames))


def spill(video: bytes | Path, path: Path) -> Path:
    """A file with the video: `path`, written, for bytes; the file there is for a Path (ffmpeg must be able to seek)."""
    if isinstance(video, Path):
        return video
    path.write_bytes(video)
    return path


def each_frame(video: Video, indices: Sequence[int], on_frame: OnFrame) -> VideoInfo:
    """Call `on_frame(index, frame)` for each of `indices` (ascending), frame uint8 [H, W, 3]; one is in memory at a
    time. A frame may be given again, and then the later one holds. Returns what is known of the video now.

    Raises RowError: "damaged: ...".
    """
    if not indices:
        return video.info
    if video.parts is not None:
        try:
            return _each_frame(_with_parts(video, video.parts, indices), indices, on_frame)
        except RowError:
            video = open_video(video.parts.whole(), sys.maxsize)
    return _each_frame(video, indices, on_frame)


def _each_frame(video: Video, indices: Sequence[int], on_frame: OnFrame) -> VideoInfo:
    found = _read(video, video.treatment, indices, on_frame)
    if not found.fields or video.treatment.deinterlace:
        return video.info
    # Neither container nor header said so, or the video begins with whole frames.
    _read(video, replace(video.treatment, deinterlace=deinterlacer()), indices, on_frame)
    order = {"T": "top first", "B": "bottom first"}[found.fields]
    done = (f"deinterlaced ({order}), one frame a frame", *video.info.conversions)
    return replace(video.info, field_order=order, conversions=done)


@dataclass
class _Log:
    """What `showinfo` tells of the frames that it sees.

    times: in units of `base` seconds. fields: T or B, the upper or lower one comes first, where there are any. sizes:
    (height, width) of the frames.
    """

    base: Fraction = Fraction(1)
    times: array[int] = field(default_factory=lambda: array("q"))
    fields: str = ""
    sizes: set[tuple[int, int]] = field(default_factory=set)

    def add(self, line: str) -> None:
        if line.startswith("config in time_base: "):
            self.base = Fraction(line.split()[3].rstrip(","))
        elif found := _SHOWN.match(line):
            self.times.append(int(found.group(1)))
            self.fields = self.fields or found.group(4).strip("P")
            self.sizes.add((int(found.group(3)), int(found.group(2))))


class _NotExactError(Exception):
    """The frames may not be those of a full decode."""


def _with_parts(video: Video, parts: PartFile, indices: Sequence[int]) -> Video:
    """With all that those frames are decoded from, and what can be known since of where decoding can begin."""
    track, codec, total = video.info.track, video.info.codec, video.info.frames
    first, last = max(indices[0] - _NEIGHBOURS, 0), min(indices[-1] + _NEIGHBOURS, total - 1)
    begun = parts.bring(video.packets, track, first, last)
    if begun is None:
        raise RowError("what these frames are decoded from is most of the file")
    packets = packets_of(video.path, track, codec, sys.maxsize)
    entries = np.intersect1d(packets.entries, packets.decoded[begun:])
    if begun and not (entries <= packets.times[first]).any():
        raise RowError("the key frame before them is none to begin with")
    return replace(video, packets=replace(packets, entries=entries))


def _read(video: Video, treatment: Treatment, indices: Sequence[int], on_frame: OnFrame) -> _Log:
    """In the cheapest way that is exact."""
    packets = video.packets
    if packets.are_distinct:
        entries = packets.entries[packets.entries <= _exact_from(video, treatment, indices)]
        begin = int(np.searchsorted(packets.times, entries[-1])) if len(entries) else 0
        for start in dict.fromkeys((begin, 0) if video.parts is None else (begin,)):
            try:
                return _by_time(video, treatment, indices, start, on_frame)
            except _NotExactError:
                continue
            except FfmpegFailed as error:
                if not start:
                    raise error.of(video.path) from error
    if video.parts is not None:
        raise RowError("what was fetched is not enough")
    try:
        return _counted(video, treatment, indices, on_frame)
    except FfmpegFailed as error:
        raise error.of(video.path) from error


def _exact_from(video: Video, treatment: Treatment, indices: Sequence[int]) -> int:
    """Time of the first frame that decides what comes out."""
    return int(video.packets.times[max(indices[0] - (_NEIGHBOURS if treatment.deinterlace else 0), 0)])


def _by_time(video: Video, treatment: Treatment, indices: Sequence[int], start: int, on_frame: OnFrame) -> _Log:
    """Decode from frame `start` on, which begins an entry (0: from the first packet on) and choose frames by their
    times. Raises _NotExactError, FfmpegFailed."""
    _check_work(video, indices[-1] + 1 - start)
    packets, base = video.packets, float(video.packets.base)
    near = float(np.diff(packets.times).min(initial=2)) * base / 2
    seek: tuple[str, ...] = ("-copyts",)
    if start:
        at = int(packets.times[start]) * base + near
        seek += ("-seek_timestamp", "1", "-noaccurate_seek", "-ss", f"{at:.6f}")
    chosen = "+".join(
        f"between(t,{packets.times[first] * base - near:.9f},{packets.times[last] * base + near:.9f})"
        for first, last in _ranges(indices)
    )
    log = _Log()
    filters = ("showinfo=checksum=0", treatment.deinterlace, _select(chosen))
    count = _decode(video, treatment, seek, filters, indices, log, on_frame)
    seen = np.frombuffer(log.times, np.int64) * float(log.base)
    if count != len(indices) or not len(seen):
        raise _NotExactError
    began = int(np.searchsorted(packets.times * base, seen[0] - near))
    expected = packets.times[began : began + len(seen)]
    if len(expected) < len(seen) or (np.abs(expected * base - seen) > near).any():
        raise _NotExactError
    # Wherever the demuxer began: what is shown from an entry on depends on nothing before it.
    entries = packets.entries[packets.entries >= expected[0]]
    if start and not (entries <= _exact_from(video, treatment, indices)).any():
        raise _NotExactError
    return log


def _counted(video: Video, treatment: Treatment, indices: Sequence[int], on_frame: OnFrame) -> _Log:
    """Decode all frames and choose by their numbers. Raises RowError, FfmpegFailed."""
    _check_work(video, indices[-1] + 1)
    chosen = "+".join(f"between(n,{first},{last})" for first, last in _ranges(indices))
    log = _Log()
    filters = (treatment.deinterlace, _select(chosen), "showinfo=checksum=0")
    count = _decode(video, treatment, (), filters, indices, log, on_frame)
    if count != len(indices):
        raise RowError(f"damaged: found {count} of the {counted(len(indices), 'frame')} asked for")
    return log


def _check_work(video: Video, frames: int) -> None:
    """Raises RowError before hours are decoded for a few frames."""
    pixels = video.info.height * video.info.width
    if frames * pixels > MAX_DECODED:
        found = f"{counted(frames, 'frame')} of {video.info.width}x{video.info.height} from the last key frame on"
        raise RowError(
            f"too much to decode: {found}, expected at most {MAX_DECODED // pixels} (`ffmpeg -i FILE -g 250 OUT.mp4` "
            "makes key frames more often)"
        )


def _decode(
    video: Video,
    treatment: Treatment,
    before: Sequence[str],
    filters: Sequence[str],
    indices: Sequence[int],
    log: _Log,
    on_frame: OnFrame,
) -> int:
    """Run ffmpeg and hand its frames on; how many came. Raises RowError, FfmpegFailed."""
    depth = "rgb48le" if treatment.is_recoloured else "rgb24"
    shape = treatment.shape or (f"scale={SCALED}" if treatment.is_recoloured else "")
    graph = ",".join(part for part in (*filters, shape, f"format={depth}" if shape else "") if part)
    output = ("-fps_mode", "passthrough", "-frames:v", str(len(indices)), "-pix_fmt", depth, "-f", "rawvideo", "pipe:1")
    errors: list[str] = []
    source = ("-xerror", *before, *input_arguments(video.path), "-map", f"0:{video.info.track}")
    try:
        with piped((*source, "-vf", graph, *output), errors, log.add, treatment.memory) as stdout:
            count = 0
            for index, frame in zip(indices, _frames(stdout, treatment), strict=False):
                on_frame(index, frame)
                count += 1
    except subprocess.TimeoutExpired as error:
        raise too_slow(video.path) from error
    # Short of the end a decoder reads ahead, where damage does not matter; parts have holes.
    is_all_needed = video.parts is None and indices[-1] == video.info.frames - 1
    if is_all_needed and any(map(_CONCEALED.match, errors)):
        raise FfmpegFailed(errors)
    for height, width in sorted(log.sizes - {treatment.source_hw}):
        first = "x".join(map(str, reversed(treatment.source_hw)))
        raise RowError(
            f"pictures of {width}x{height} in a video of {first}: expected one size (`ffmpeg -i FILE OUT.mp4`)"
        )
    return count


def _frames(stdout: IO[bytes], treatment: Treatment) -> Iterator[np.ndarray]:
    """Whole pictures uint8 [H, W, 3], as a model knows colours, until the end."""
    kind = "<u2" if treatment.is_recoloured else "u1"
    while True:
        frame = np.empty((treatment.height, treatment.width, 3), kind)
        view, filled = frame.data.cast("B"), 0
        while filled < len(view) and (read := stdout.readinto(view[filled:])):  # type: ignore[attr-defined]
            filled += read
        if filled < len(view):
            return
        yield to_bt709(frame, treatment.transfer, treatment.primaries) if treatment.is_recoloured else frame


def _select(chosen: str) -> str:
    return f"select='{chosen}'"


def _ranges(indices: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Ascending numbers as runs (first, last)."""
    run: list[int] = []
    for index in indices:
        if run and index != run[-1] + 1:
            yield run[0], run[-1]
            run = []
        run.append(index)
    yield run[0], run[-1]
