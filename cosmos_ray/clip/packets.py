"""When each frame of a video is shown, and where decoding can begin: a demux, without decoding a frame.

ffmpeg copies a stream's packets to `framecrc`, which writes a line a packet: times, a mark on key frames, and one on
those that an edit list hides. The lines are read as they come and leave a number each.
"""

from __future__ import annotations

import subprocess
from array import array
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from cosmos_ray.clip.ffmpeg import FfmpegFailed, first_error, piped
from cosmos_ray.clip.info import input_arguments, too_slow
from cosmos_ray.clip.recovery import recovery_points
from cosmos_ray.errors import RowError
from cosmos_ray.words import counted

#: A rate varies if the time between two frames is off the usual one by more than this part of it.
_STEADY = 0.2

#: Packets at which decoding can begin so that every frame shown from then on is exact, by the units they hold: of H.264
#: IDR (other key frames may be less: intra refresh; `recovery` says which are not), of HEVC IDR, BLA and CRA. Other
#: codecs' key frames are.
_ENTRY_UNITS = {"h264": "5", "hevc": "16-21"}

#: Marks of packets.
_KEY, _HIDDEN = 1, 4


@dataclass(frozen=True, eq=False)
class Packets:
    """Times of a stream's frames in the order they are shown, and where decoding can begin, in units of `base` seconds.

    times: int64 [frames], ascending. entries: int64, ascending. last_duration: of the last frame, 0 if unknown.
    decoded: int64, the time of each packet in the order of decoding, those of hidden frames too.
    """

    times: np.ndarray
    entries: np.ndarray
    base: Fraction
    last_duration: int
    decoded: np.ndarray

    @property
    def fps(self) -> float:
        """Mean; 0 for a single frame of unknown duration."""
        gaps = np.diff(self.times)
        last = self.last_duration if self.last_duration > 0 or not len(gaps) else int(np.median(gaps))
        seconds = (int(self.times[-1] - self.times[0]) + last) * self.base
        return float(len(self.times) / seconds) if seconds > 0 else 0.0

    @property
    def is_variable(self) -> bool:
        gaps = np.diff(self.times)
        usual = float(np.median(gaps)) if len(gaps) else 0.0
        return bool((np.abs(gaps - usual) > _STEADY * usual).any())

    @property
    def are_distinct(self) -> bool:
        """Whether a time names one frame."""
        return bool((np.diff(self.times) > 0).all())


def packets_of(path: Path, track: int, codec: str, max_frames: int) -> Packets:
    """When each frame of the stream is shown. Raises RowError for damage, no frames, or more than `max_frames`."""
    try:
        packets, keys = _packets(path, track, max_frames, _ENTRY_UNITS.get(codec))
        if codec == "h264" and len(doubtful := keys[~np.isin(packets.decoded[keys], packets.entries)]):
            exact = packets.decoded[recovery_points(path, track, doubtful, len(packets.decoded))]
            packets = replace(packets, entries=np.union1d(packets.entries, exact))
        return packets
    except FfmpegFailed:
        pass
    try:  # the filter that looks into packets may not bear what a decoder does
        return _packets(path, track, max_frames, "")[0]
    except FfmpegFailed as error:
        raise error.of(path) from error


def _packets(path: Path, number: int, max_frames: int, entry_units: str | None) -> tuple[Packets, np.ndarray]:
    """And the numbers of key frames' packets.

    entry_units: the units that a packet to begin with holds; None: key frames will do; "": no packet will.
    """
    track: tuple[str, ...] = ("-map", f"0:{number}")
    copy: tuple[str, ...] = ("-c", "copy", "-copyinkf", "-copypriorss", "1", "-f", "framecrc", "pipe:1")
    if entry_units:  # a second stream beside the first, of those packets alone, without waiting for one another
        copy = ("-bsf:v:1", f"filter_units=pass_types={entry_units}", "-max_interleave_delta", "1", *copy)
        track += track
    found = _Found(max_frames, keys_are_entries=entry_units is None)
    errors: list[str] = []
    try:
        with piped(("-copyts", *input_arguments(path), *track, *copy), errors) as lines:
            for line in lines:
                found.add(line)
    except subprocess.TimeoutExpired as error:
        raise too_slow(path) from error
    if incomplete := next((text for text in errors if "partial file" in text), None):
        raise RowError(f"damaged: {incomplete}")
    if not found.shown:
        said = first_error(errors, path) if errors else "the video stream has no frame that can be decoded"
        raise RowError(f"damaged: {said}")
    times, entries, decoded, keys = (
        np.frombuffer(of, np.int64) for of in (found.shown, found.entries, found.decoded, found.keys)
    )
    return Packets(np.sort(times), np.unique(entries), found.base, found.last_duration, decoded), keys


class _Found:
    """What the lines have told so far."""

    def __init__(self, max_frames: int, keys_are_entries: bool) -> None:
        self.shown, self.entries, self.decoded, self.keys = array("q"), array("q"), array("q"), array("q")
        self.base = Fraction(1)
        self.last_duration = 0
        self._last = -(2**63)
        self._max_frames, self._keys_are_entries = max_frames, keys_are_entries

    def add(self, line: bytes) -> None:
        if line.startswith(b"#tb 0:"):
            self.base = Fraction(line.split(b":")[1].strip().decode())
        elif not line.startswith(b"#"):
            self._add_packet(line)

    def _add_packet(self, line: bytes) -> None:
        """A line such as `0,  -1024,  0,  512,  1621, 0x1d50b01e, F=0x0`: stream, times (decoded, shown), duration,
        size, sum, and marks unless the key's is the only one."""
        stream, decoded, time, duration, *rest = line.split(b",")
        marks = next((int(part.strip()[2:], 16) for part in rest if part.strip().startswith(b"F=")), _KEY)
        shown = int(decoded if time.strip() == b"NOPTS" else time)
        if stream == b"1":
            self.entries.append(shown)
            return
        if marks & _KEY:
            self.keys.append(len(self.decoded))
        self.decoded.append(shown)
        if self._keys_are_entries and marks & _KEY:
            self.entries.append(shown)
        if marks & _HIDDEN:
            return
        if len(self.shown) == self._max_frames:
            raise RowError(
                f"found more than {counted(self._max_frames, 'frame')}, expected at most so many (inputs.max_frames): "
                "cut the video into shorter ones"
            )
        self.shown.append(shown)
        if shown > self._last:
            self._last, self.last_duration = shown, int(duration)
