"""Video files and pictures: read conditioning frames, write mp4, JPEG and PNG. numpy and ffmpeg, no torch.

Legend: V views, T frames, n conditioning frames, H/W height/width in pixels, C channels (RGB). All frames are uint8.

Input files come from strangers. ffmpeg is forced to the mp4 demuxer and may open local files and pipes only, so a
playlist in an mp4's clothes leads nowhere. Every fault of an input is a `RowError` without the column's name, which
only the caller knows; wrong arrays are `ValueError`s.
"""

from __future__ import annotations

import math
import re
import stat
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import imageio_ffmpeg
import numpy as np

from cosmos_ray.clip.request import VIEWS
from cosmos_ray.errors import RowError
from cosmos_ray.words import counted

#: Longest time that one ffmpeg process may take, seconds.
TIMEOUT_S = 300

#: Largest input picture, pixels (8K): a header that claims more must not exhaust the memory of a gang.
MAX_PIXELS = 7680 * 4320

#: x264 divides its work by the number of threads, and the division shows in the bytes: never "as many as there are".
ENCODER_THREADS = 4

_COMMON = ("-hide_banner", "-nostdin", "-v", "error", "-protocol_whitelist", "file,pipe")
_SWS = "flags=bicubic+accurate_rnd+full_chroma_int+bitexact"
_BT709 = "setparams=range=tv:colorspace=bt709:color_primaries=bt709:color_trc=bt709"

#: Boxes an ISO base media (or older QuickTime) file may begin with.
_FIRST_BOXES = frozenset({b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"pnot", b"uuid"})


@dataclass(frozen=True)
class VideoInfo:
    """frames: what a decoder gives, edit lists obeyed; height, width: pixels, upright; fps: frames a second, mean."""

    frames: int
    height: int
    width: int
    fps: float


def probe(path: Path) -> VideoInfo:
    """Count the frames of an mp4 by decoding all of it: nothing cheaper is exact, or finds damage in the middle.

    Raises RowError: "not an mp4: ...", "truncated: ...", "no video stream", "damaged: ...". What was found is kept for
    a while, as long as the file stays the same: several steps of a clip ask.
    """
    if not path.exists():
        raise RowError(f"no such file: {path.name}")
    found = path.stat()
    return _probe(path.absolute(), (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns))


@lru_cache(maxsize=64)
def _probe(path: Path, identity: tuple[int, ...]) -> VideoInfo:
    """`probe` of a file whose content `identity` (device, inode, size, time of change) stands for."""
    _check_container(path)
    lines = _decode(path, ("-fps_mode", "passthrough", "-f", "framecrc", "pipe:1")).decode().splitlines()
    header = dict(line[1:].split(": ", 1) for line in lines if line.startswith("#"))
    rows = [line.split(",") for line in lines if not line.startswith("#")]
    if not rows:
        raise RowError("damaged: the video stream has no frame that can be decoded")
    width, height = map(int, header["dimensions 0"].split("x"))
    first, last, last_duration = int(rows[0][2]), int(rows[-1][2]), int(rows[-1][3])
    seconds = (last - first + last_duration) * Fraction(header["tb 0"])
    return VideoInfo(len(rows), height, width, float(len(rows) / seconds) if seconds > 0 else 0.0)


def read_frames(path: Path, indices: Sequence[int], info: VideoInfo) -> np.ndarray:
    """Frames `indices` (ascending, each below `info.frames`) of an mp4: uint8 [len(indices), H, W, 3].

    YUV becomes RGB by the file's own colour tags, bt601 where it has none, with ffmpeg's default conversion: the
    same bytes as the published pipeline's reader (PyAV) gives.
    """
    if not indices:
        return np.zeros((0, info.height, info.width, 3), np.uint8)
    wanted = "+".join(f"between(n,{first},{last})" for first, last in _ranges(indices))
    select = ("-vf", f"select='{wanted}'", "-fps_mode", "passthrough", "-frames:v", str(len(indices)))
    raw = _decode(path, (*select, "-pix_fmt", "rgb24", "-f", "rawvideo", "pipe:1"))
    found, rest = divmod(len(raw), info.height * info.width * 3)
    if rest or found != len(indices):
        raise RowError(f"damaged: found {found} of the {counted(len(indices), 'frame')} asked for")
    return np.frombuffer(raw, np.uint8).reshape(found, info.height, info.width, 3)


def read_conditioning(
    source: Path | Sequence[Path], n_views: int, num_frames: int, size_hw: tuple[int, int]
) -> np.ndarray:
    """Conditioning frames of a clip from its files: uint8 [V, num_frames, H, W, 3], as `conditioning_frames` has them.

    source: one mp4 with the views one after the other in time (view order), or one mp4 a view.
    Only the frames needed leave the decoder. Raises RowError for what is wrong with the files.
    """
    if isinstance(source, Path):
        info = probe(source)
        frames = read_frames(source, _last_frames(info.frames, n_views, num_frames), info)
        return resize_crop(frames, size_hw).reshape(n_views, num_frames, *size_hw, 3)
    if len(source) != n_views:
        raise RowError(f"found {counted(len(source), 'video')}, expected {n_views}, one a view")
    return np.stack([_read_view(path, view, num_frames, size_hw) for view, path in enumerate(source)])


def conditioning_frames(video_THWC: np.ndarray, n_views: int, num_frames: int, size_hw: tuple[int, int]) -> np.ndarray:
    """The last `num_frames` frames of each view, resized and cropped: uint8 [V, num_frames, H, W, 3].

    video_THWC: uint8, the views one after the other in time, as Cosmos-Predict2 Multiview takes its input.
    Raises RowError if the frames cannot be divided among the views, or a view has too few.
    """
    frames = video_THWC[_last_frames(len(video_THWC), n_views, num_frames)]
    return resize_crop(frames, size_hw).reshape(n_views, num_frames, *size_hw, 3)


def resize_crop(frames_THWC: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Scale uint8 [T, h, w, 3] to cover `size_hw`, then crop the centre: uint8 [T, H, W, 3].

    Antialiased bilinear on [0, 1] in float32, result x 255 truncated, as Cosmos-Predict2 prepares its input
    (torch's `interpolate(antialias=True)`, to one level). The taps of a pixel are added up in a fixed order rather
    than in a matrix product, so that every machine gets the same bytes.
    """
    if frames_THWC.ndim != 4 or frames_THWC.shape[-1] != 3 or frames_THWC.dtype != np.uint8:
        raise ValueError(f"found frames {frames_THWC.dtype} {list(frames_THWC.shape)}, expected uint8 [T, h, w, 3]")
    (height, width), (target_h, target_w) = frames_THWC.shape[1:3], size_hw
    if (height, width) == size_hw:
        return frames_THWC
    scale = max(target_w / width, target_h / height)
    rows = _crop_taps(height, math.ceil(scale * height), target_h)
    columns = _crop_taps(width, math.ceil(scale * width), target_w)
    out = np.empty((len(frames_THWC), target_h, target_w, 3), np.uint8)
    for target, frame in zip(out, frames_THWC, strict=True):
        image = frame.astype(np.float32) / np.float32(255)
        image = _apply_taps(image.swapaxes(0, 1), columns).swapaxes(0, 1)
        image = _apply_taps(image, rows)
        target[:] = np.clip(image * np.float32(255), 0, 255)  # assignment truncates
    return out


def encode_mp4(frames_THWC: np.ndarray, fps: float) -> bytes:
    """H.264 mp4 (yuv420p, bt709, crf 15, index first) of uint8 [T, H, W, 3]; the same frames give the same bytes.

    Raises ValueError for anything else than uint8 [T >= 1, even H, even W, 3] and a positive fps.
    """
    _check_pictures(frames_THWC, 4)
    _, height, width, _ = frames_THWC.shape
    if height % 2 or width % 2:
        raise ValueError(f"found frames of {width}x{height}, expected an even width and height (4:2:0 chroma)")
    source = (*_raw_input(height, width), "-framerate", _rate(fps), "-i", "pipe:0")
    picture = f"scale=out_color_matrix=bt709:out_range=tv:{_SWS},format=yuv420p,{_BT709}"
    return _encode_h264((*source, "-vf", picture), np.ascontiguousarray(frames_THWC).tobytes())


def decode_mp4(video: bytes | Path) -> np.ndarray:
    """All frames of an mp4: uint8 [T, H, W, 3]. Raises RowError like `probe`."""
    with tempfile.TemporaryDirectory(prefix="cosmos_ray_") as scratch:
        path = spill(video, Path(scratch) / "video.mp4")
        info = probe(path)
        return read_frames(path, range(info.frames), info)


def stack_views(videos: Sequence[bytes | Path], fps: float) -> bytes:
    """One mp4 with the views stacked from top to bottom in the order given, as the published example writes them.

    Raises ValueError if the videos differ in frames or size, RowError if one cannot be read.
    """
    if not videos:
        raise ValueError("found no videos, expected at least one")
    with tempfile.TemporaryDirectory(prefix="cosmos_ray_") as scratch:
        paths = [spill(video, Path(scratch) / f"{index}.mp4") for index, video in enumerate(videos)]
        shapes = [(info.frames, info.height, info.width) for info in map(probe, paths)]
        if len(set(shapes)) > 1:
            raise ValueError(f"found videos of different [frames, height, width] {shapes}, expected all the same")
        inputs = [part for path in paths for part in ("-f", "mov", "-i", f"file:{path.absolute()}")]
        pads = "".join(f"[{index}:V:0]" for index in range(len(paths)))
        stack = f"{pads}vstack=inputs={len(paths)}," if len(paths) > 1 else pads
        graph = f"{stack}settb=AVTB,setpts=N/(({_rate(fps)})*TB),format=yuv420p,{_BT709}[out]"
        return _encode_h264((*inputs, "-filter_complex", graph, "-map", "[out]", "-r", _rate(fps)), b"")


def encode_jpeg(image_HWC: np.ndarray, quality: int = 85) -> bytes:
    """JPEG of uint8 [H, W, 3]; quality 1 (smallest) to 100 (best)."""
    if not 1 <= quality <= 100:
        raise ValueError(f"found quality {quality}, expected 1 to 100")
    scale = round(31 - (quality - 1) * 29 / 99)  # mjpeg's own runs from 31 (smallest) to 2 (best)
    picture = f"scale=out_color_matrix=bt601:out_range=pc:{_SWS},format=yuv444p,setparams=range=pc"
    return _encode_image(image_HWC, ("-vf", picture, "-c:v", "mjpeg", "-q:v", str(scale)))


def encode_png(image_HWC: np.ndarray) -> bytes:
    """PNG of uint8 [H, W, 3], lossless."""
    return _encode_image(image_HWC, ("-c:v", "png", "-pix_fmt", "rgb24"))


def spill(video: bytes | Path, path: Path) -> Path:
    """A file with the video: `path`, written, for bytes; the file there is for a Path (ffmpeg must be able to seek)."""
    if isinstance(video, Path):
        return video
    path.write_bytes(video)
    return path


def _read_view(path: Path, view: int, num_frames: int, size_hw: tuple[int, int]) -> np.ndarray:
    """Conditioning frames of one view from its own mp4: uint8 [num_frames, H, W, 3]."""
    name = _view_name(view)
    try:
        info = probe(path)
        if info.frames < num_frames:
            raise RowError(f"found {counted(info.frames, 'frame')}, expected at least {num_frames}")
        frames = read_frames(path, range(info.frames - num_frames, info.frames), info)
    except RowError as error:
        raise RowError(f"view {name}: {error}", error.failure_class) from error
    return resize_crop(frames, size_hw)


def _view_name(view: int) -> str:
    return VIEWS[view] if view < len(VIEWS) else str(view)


def _last_frames(total: int, n_views: int, num_frames: int) -> list[int]:
    """Where the last `num_frames` frames of each view lie among `total` frames, views one after the other in time."""
    a_view, rest = divmod(total, n_views)
    if rest:
        frames = counted(total, "frame")
        raise RowError(f"found {frames} in all, expected a multiple of {n_views} (views one after the other)")
    if a_view < num_frames:
        raise RowError(
            f"view {_view_name(0)} (and every other): found {counted(a_view, 'frame')} ({total} / {n_views}), "
            f"expected at least {num_frames}"
        )
    return [view * a_view + frame for view in range(n_views) for frame in range(a_view - num_frames, a_view)]


def _ranges(indices: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Ascending numbers as runs (first, last)."""
    run: list[int] = []
    for index in indices:
        if run and index != run[-1] + 1:
            yield run[0], run[-1]
            run = []
        run.append(index)
    yield run[0], run[-1]


def _crop_taps(size: int, scaled: int, target: int) -> tuple[np.ndarray, np.ndarray]:
    """Source positions int [target, K] and weights float32 [target, K] of an antialiased bilinear resize `size` ->
    `scaled`, for the `target` pixels in the middle that a centre crop keeps.

    A triangle of half-width max(1, size / scaled) source pixels round each output pixel's centre, normalised.
    """
    scale = size / scaled
    support = max(scale, 1.0)
    start = round((scaled - target) / 2)  # banker's rounding, as in the published pipeline
    centre = scale * (np.arange(start, start + target) + 0.5)
    first = np.maximum((centre - support + 0.5).astype(int), 0)
    end = np.minimum((centre + support + 0.5).astype(int), size)
    position = first[:, None] + np.arange((end - first).max())
    distance = np.abs(position + 0.5 - centre[:, None]) / support
    weight = np.where(position < end[:, None], np.maximum(1 - distance, 0), 0)
    weight /= weight.sum(axis=1, keepdims=True)
    used = weight.any(axis=0)  # a size that stays needs one tap, not two
    return np.minimum(position, size - 1)[:, used], weight[:, used].astype(np.float32)


def _apply_taps(image: np.ndarray, taps: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Resize axis 0 of float32 [size, other, C] to [target, other, C]."""
    positions, weights = taps
    out = np.zeros((len(positions), *image.shape[1:]), np.float32)
    for position, weight in zip(positions.T, weights.T, strict=True):
        out += image[position] * weight[:, None, None]
    return out


def _check_container(path: Path) -> None:
    """Walk the top-level boxes (ISO 14496-12, 4.2): is this an mp4, and is all of it there?

    ffmpeg reads a file whose end is missing as far as it goes and may call that a success.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise RowError(f"not an mp4: {path.name} is not a regular file")
    total = path.stat().st_size
    seen: set[bytes] = set()
    with path.open("rb") as file:
        offset = 0
        while offset + 8 <= total:
            file.seek(offset)
            head = file.read(16)
            size, kind = int.from_bytes(head[:4], "big"), head[4:8]
            if not seen and kind not in _FIRST_BOXES:
                raise RowError(f"not an mp4: the file begins with {head[:12]!r}")
            if seen >= {b"moov", b"mdat"} and kind not in _FIRST_BOXES:
                return  # all that matters was there; what follows is ours to ignore
            if size == 1:  # the 64-bit form
                size = int.from_bytes(head[8:16], "big")
            elif size == 0:  # up to the end of the file
                size = total - offset
            if size < 8:
                raise RowError(f"not an mp4: box {kind!r} at byte {offset} claims a size of {size} bytes")
            if offset + size > total:
                raise RowError(
                    f"truncated: box {kind.decode('latin-1')!r} has {total - offset} of its {size} bytes"
                    + ("" if b"moov" in seen else ", and there is no index (box 'moov') before it")
                )
            seen.add(kind)
            offset += size
    if not seen:
        raise RowError(f"not an mp4: the file has {total} bytes")
    if b"moov" not in seen:
        raise RowError("truncated: there is no index (box 'moov')")


def _decode(path: Path, output: Sequence[str]) -> bytes:
    """What ffmpeg writes to standard output for the file's first video stream; stops at the first damaged frame."""
    limits = ("-xerror", "-max_pixels", str(MAX_PIXELS))
    source = ("-f", "mov", "-enable_drefs", "0", "-i", f"file:{path.absolute()}", "-map", "0:V:0")
    try:
        return _ffmpeg((*limits, *source, *output))
    except subprocess.TimeoutExpired as error:
        raise RowError(f"decoding {path.name} took more than {TIMEOUT_S} s", "timeout") from error
    except _FfmpegFailed as error:
        if "matches no streams" in error.log:
            raise RowError("no video stream") from error
        raise RowError(f"damaged: {_first_line(error.log, path)}") from error


def _encode_h264(source: Sequence[str], data: bytes) -> bytes:
    """Encode what `source` describes to an mp4. The file is a real one because its index is moved to the front."""
    codec = ("-c:v", "libx264", "-preset", "medium", "-crf", "15", "-threads", str(ENCODER_THREADS))
    clean = ("-an", "-map_metadata", "-1", "-fflags", "+bitexact", "-flags:v", "+bitexact")
    with tempfile.TemporaryDirectory(prefix="cosmos_ray_") as scratch:
        path = Path(scratch) / "out.mp4"
        target = ("-movflags", "+faststart", "-f", "mp4", f"file:{path}")
        _ffmpeg((*source, *codec, *clean, *target), data)
        return path.read_bytes()


def _encode_image(image_HWC: np.ndarray, codec: Sequence[str]) -> bytes:
    _check_pictures(image_HWC, 3)
    height, width, _ = image_HWC.shape
    source = (*_raw_input(height, width), "-i", "pipe:0")
    target = ("-frames:v", "1", "-fflags", "+bitexact", "-flags:v", "+bitexact", "-f", "image2pipe", "pipe:1")
    return _ffmpeg((*source, *codec, *target), np.ascontiguousarray(image_HWC).tobytes())


def _raw_input(height: int, width: int) -> tuple[str, ...]:
    return ("-f", "rawvideo", "-pix_fmt", "rgb24", "-video_size", f"{width}x{height}")


def _rate(fps: float) -> str:
    if not (math.isfinite(fps) and fps > 0):
        raise ValueError(f"found fps {fps}, expected a positive number")
    return str(Fraction(fps).limit_denominator(1001))


def _check_pictures(pictures: np.ndarray, ndim: int) -> None:
    shape = "[T, H, W, 3]" if ndim == 4 else "[H, W, 3]"
    good = pictures.ndim == ndim and pictures.shape[-1] == 3 and pictures.size and pictures.dtype == np.uint8
    if not good:
        raise ValueError(f"found {pictures.dtype} {list(pictures.shape)}, expected uint8 {shape}, not empty")


class _FfmpegFailed(RuntimeError):
    """ffmpeg ended with an error; `log` is what it wrote."""

    def __init__(self, log: str) -> None:
        super().__init__(f"ffmpeg failed: {_first_line(log)}")
        self.log = log


def _ffmpeg(arguments: Sequence[str], data: bytes = b"") -> bytes:
    """Run ffmpeg with `data` as its standard input; its standard output. Raises _FfmpegFailed, TimeoutExpired."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), *_COMMON, *arguments]
    done = subprocess.run(command, input=data, capture_output=True, timeout=TIMEOUT_S, check=False)
    if done.returncode:
        raise _FfmpegFailed(done.stderr.decode(errors="replace"))
    return done.stdout


def _first_line(log: str, path: Path | None = None) -> str:
    """The first line of ffmpeg's log, the cause of those after it, without addresses and folders."""
    line = re.sub(r"^(\[[^\]]*\] )+", "", log.strip().partition("\n")[0]) or "no reason given"
    return line.replace(f"file:{path.absolute()}", path.name) if path else line
