"""Which frames a clip begins with, what is said of them and done to them, over tables of cameras, rates and rules.

Videos are times and flat pictures, without files and ffmpeg: a picture's level tells which camera and which frame
it is.
The text is `tests/golden-surfaces/clip/conditioning.txt`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from support.surfaces import assert_as_it_was

from cosmos_ray.clip import conditioning as module
from cosmos_ray.clip.accept import Treatment
from cosmos_ray.clip.conditioning import Conditioning, read_conditioning
from cosmos_ray.clip.family import PREDICT2, PREDICT25, PREDICT25_2025_10, Family
from cosmos_ray.clip.frames import Video
from cosmos_ray.clip.info import VideoInfo
from cosmos_ray.clip.input_rules import InputRules
from cosmos_ray.clip.packets import Packets
from cosmos_ray.errors import RowError

#: Of a file's clock, a second.
_TICKS = 600


@dataclass(frozen=True)
class Film:
    """times: of its frames, seconds. shape: height and width. goes_on: the picture changes little from frame to frame,
    also where another view should begin."""

    times: np.ndarray
    shape: tuple[int, int] = (16, 32)
    goes_on: bool = False
    warnings: tuple[str, ...] = ()
    conversions: tuple[str, ...] = ()

    def picture(self, file: int, index: int) -> np.ndarray:
        """Its first pixel's colours tell the file and the frame."""
        frame = np.full((*self.shape, 3), 40 if self.goes_on else 40 + 100 * (index * 2 // len(self.times)), np.uint8)
        frame[:, ::2] += np.uint8(60)
        frame[:2] = (10 * file, index, 200)
        frame[-2:] = (10 * file, index, 100)
        return frame


def at_rate(fps: float, count: int = 30, start: float = 0.0) -> Film:
    return Film(start + np.arange(count) / fps)


TEN, THIRTY, LATE = at_rate(10), at_rate(30, 90), at_rate(10, start=0.5)
GAP = Film(np.delete(np.arange(30) / 10, [27, 28]))
EARLY_GAP = Film(np.delete(np.arange(30) / 10, [1, 2]))
TALL, WIDE = replace(TEN, shape=(32, 32)), replace(TEN, shape=(16, 64), warnings=("doubtful",), conversions=("turned",))

#: A file a camera.
CAMERAS: dict[str, tuple[Film, ...]] = {
    "alike": (TEN, TEN),
    "fast": (THIRTY, THIRTY),
    "fast and slow": (THIRTY, TEN, at_rate(25, 80)),
    "ends": (TEN, at_rate(10, 26)),
    "begins": (TEN, LATE),
    "gap": (TEN, GAP),
    "early gap": (EARLY_GAP, TEN),
    "slow": (at_rate(5, 20), TEN),
    "one frame": (TEN, at_rate(10, 1)),
    "slower by little": (at_rate(10.05), TEN),
    "one": (THIRTY,),
    "shapes": (TEN, TALL, WIDE),
    "shape": (WIDE, WIDE),
    "too few files": (TEN,),
}
#: One file, and how many views are in it.
STACKS: dict[str, tuple[Film, int]] = {
    "two": (at_rate(10, 40), 2),
    "fast": (at_rate(30, 60), 2),
    "three of one frame": (at_rate(10, 3), 3),
    "odd": (at_rate(10, 41), 2),
    "fewer than views": (at_rate(10, 2), 3),
    "short": (at_rate(10, 8), 2),
    "runs on": (replace(at_rate(10, 40), goes_on=True), 2),
    "gap": (Film(np.delete(np.arange(42) / 10, [18, 40])), 2),
    "starts late": (at_rate(10, 40, start=2.0), 2),
    "shape": (replace(WIDE, times=np.arange(40) / 10), 2),
}


@dataclass
class Cinema:
    """Stands in for `frames`: opens films by their path, and shows them. asked: of which files which frames."""

    films: Sequence[Film]
    asked: list[str] = field(default_factory=list)

    def open_video(self, path: Path, max_frames: int) -> Video:
        film = self.films[int(path.name)]
        if len(film.times) > max_frames:
            raise RowError("too many")
        times = np.rint(film.times * _TICKS).astype(np.int64)
        gaps = np.diff(times)
        packets = Packets(times, times[:1], Fraction(1, _TICKS), int(np.median(gaps)) if len(gaps) else 60, times)
        info = VideoInfo(
            len(times), *film.shape, packets.fps, warnings=film.warnings, conversions=film.conversions, codec=path.name
        )
        return Video(path, info, packets, Treatment(*film.shape, film.shape))

    def each_frame(self, video: Video, indices: Sequence[int], on_frame: Callable[..., None]) -> VideoInfo:
        file = int(video.path.name)
        self.asked.append(f"{file}: {list(indices)}")
        for index in indices:
            on_frame(index, self.films[file].picture(file, index))
        return replace(video.info, field_order="seen")


def told(found: Conditioning) -> list[str]:
    first = found.frames[:, :, 0, found.frames.shape[3] // 2].astype(int)
    infos = [f"{info.codec} {info.field_order} {info.conversions}" for info in found.infos]
    return [
        f"    taken {found.taken} shown {(first[..., 0] // 10).tolist()} {first[..., 1].tolist()} of {infos}",
        *(f"    {one}" for one in found.warnings),
    ]


def lines_of(
    monkeypatch: pytest.MonkeyPatch, films: Sequence[Film], views: Sequence[str], num_frames: int, fps: float,
    rules: InputRules, *, is_stacked: bool,
) -> list[str]:  # fmt: skip
    cinema = Cinema(films)
    monkeypatch.setattr(module, "open_video", cinema.open_video)
    monkeypatch.setattr(module, "each_frame", cinema.each_frame)
    paths = [Path(f"/a/{number}") for number in range(len(films))]
    try:
        found = read_conditioning(paths[0] if is_stacked else paths, views, num_frames, (16, 32), fps, rules)
    except RowError as error:
        return [f"    {error} ({error.failure_class})"]
    return [f"    asked {sorted(cinema.asked)}", *told(found)]


VIEWS = ("front_wide", "rear", "cross_left")


def rules_of(family: Family, **said: object) -> InputRules:
    return InputRules.model_validate(said).of(family)


def test_what_is_taken_of_cameras_of_every_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = []
    asked = [(PREDICT2, "resample", 5, 10.0), (PREDICT2, "resample", 5, 15.0), (PREDICT2, "resample", 1, 10.0),
             (PREDICT2, "as_is", 5, 10.0), (PREDICT25, "resample", 5, 10.0), (PREDICT25, "as_is", 5, 10.0),
             (PREDICT25, "as_is", 1, 15.0), (PREDICT25_2025_10, "as_is", 5, 10.0),
             (PREDICT25_2025_10, "resample", 5, 10.0)]  # fmt: skip
    for family, rate, num_frames, fps in asked:
        rules = rules_of(family, rate=rate)
        for name, films in CAMERAS.items():
            views = VIEWS[: max(len(films), 2) if name != "one" else 1]
            lines.append(f"{family.name} {rate} {num_frames} at {fps}, cameras {name}")
            lines += lines_of(monkeypatch, films, views, num_frames, fps, rules, is_stacked=False)
        for name, (film, count) in STACKS.items():
            lines.append(f"{family.name} {rate} {num_frames} at {fps}, one file {name}")
            lines += lines_of(monkeypatch, [film], VIEWS[:count], num_frames, fps, rules, is_stacked=True)
    assert_as_it_was("clip/conditioning.txt", "\n".join(lines))


def test_what_is_done_to_pictures_of_another_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = []
    for family, fit in product((PREDICT2, PREDICT25), (None, "crop", "pad", "stretch")):
        rules = rules_of(family, fit=fit, max_frames=40)
        for name, films, count in (
            ("shapes", CAMERAS["shapes"], 3),
            ("shape", CAMERAS["shape"], 2),
            ("stacked", [STACKS["shape"][0]], 2),
            ("too long", [THIRTY], 2),
        ):
            lines.append(f"{family.name} {fit}, {name}")
            is_stacked = len(films) == 1
            lines += lines_of(monkeypatch, films, VIEWS[:count], 1, 10.0, rules, is_stacked=is_stacked)
    assert_as_it_was("clip/conditioned_shapes.txt", "\n".join(lines))
