"""Conditioning frames of a clip from its videos: the right ones of each view, as a model takes them.

Legend: V views, n conditioning frames, H/W height/width in pixels, C channels (RGB). All frames are uint8.

Every fault of a file is a `RowError` without the column's name, which only the caller knows. Files are read side by
side; of each, one frame at a time is in memory, besides those of the model's size.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from cosmos_ray.clip.frames import each_frame, open_video
from cosmos_ray.clip.info import VideoInfo
from cosmos_ray.clip.input_rules import DEFAULT_RULES, InputRules
from cosmos_ray.clip.memory import AT_ONCE
from cosmos_ray.clip.parts import PartFile
from cosmos_ray.clip.resize import crop_warning, fit_frame, stretch_frame, stretch_warning
from cosmos_ray.clip.seams import runs_on, seam_frames, shrink
from cosmos_ray.clip.taken import (
    are_first,
    are_last,
    first_frames,
    first_warnings,
    gap_warnings,
    how_taken,
    numbered_frames,
    start_warnings,
    take_first,
    take_frames,
    timing_warnings,
)
from cosmos_ray.errors import RowError
from cosmos_ray.limits import in_this_limit
from cosmos_ray.words import counted

A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True, eq=False)
class Conditioning:
    """frames: uint8 [V, n, H, W, 3] at the model's size.

    taken: for each view, the numbers of its frames in their file, from 0. infos: of each file, with all that was done
    to its frames in `conversions`. warnings: what was doubtful, plain sentences that name the view.
    """

    frames: np.ndarray
    taken: tuple[tuple[int, ...], ...]
    infos: tuple[VideoInfo, ...]
    warnings: tuple[str, ...]


def read_conditioning(
    source: Path | PartFile | Sequence[Path | PartFile],
    views: Sequence[str],
    num_frames: int,
    size_hw: tuple[int, int],
    fps: float,
    rules: InputRules = DEFAULT_RULES,
) -> Conditioning:
    """source: one video with the views one after the other in time, or a video a view, in the order of `views`.

    fps: the row's. Only the frames needed leave the decoder. Raises RowError for what is wrong with the files.
    """
    if isinstance(source, Path | PartFile):
        return _stacked(source, views, num_frames, size_hw, fps, rules)
    if len(source) != len(views):
        raise RowError(f"found {counted(len(source), 'video')}, expected {len(views)}, one a view")
    named = list(zip(views, source, strict=True))
    videos = side_by_side(lambda one: of_view(one[0], lambda: open_video(one[1], rules.max_frames)), named)
    seconds, rates = [video.seconds for video in videos], [video.info.fps for video in videos]
    taken = _taken(seconds, rates, views, num_frames, fps, rules)
    frames = np.empty((len(views), num_frames, *size_hw, 3), np.uint8)

    def read(view: int) -> VideoInfo:
        wanted = np.unique(taken[view]).tolist()

        def keep(index: int, frame: np.ndarray) -> None:
            frames[view, taken[view] == index] = as_model_sees(frame, size_hw, rules)

        return of_view(views[view], lambda: each_frame(videos[view], wanted, keep))

    infos = tuple(
        _converted(info, fps, of, info.frames, rules)
        for info, of in zip(side_by_side(read, range(len(views))), taken, strict=True)
    )
    said = _timing_warnings(seconds, taken, rates, views, fps, rules)
    if rules.rate == "resample":
        said += start_warnings([video.start for video in videos], fps)
    for name, info in zip(views, infos, strict=True):
        said += [(name, text) for text in picture_warnings(info, size_hw, rules)]
    return Conditioning(frames, tuple(map(tuple, taken.tolist())), infos, in_words(said, views))


def _stacked(
    path: Path | PartFile,
    views: Sequence[str],
    num_frames: int,
    size_hw: tuple[int, int],
    fps: float,
    rules: InputRules,
) -> Conditioning:
    video = open_video(path, rules.max_frames)
    total, count = video.info.frames, len(views)
    a_view, rest = divmod(total, count)
    if rest or not a_view:
        raise RowError(
            f"found {counted(total, 'frame')} in all, expected a multiple of {count} (views one after the other)"
        )
    parts = [video.seconds[view * a_view : (view + 1) * a_view] for view in range(count)]
    parts = [part - part[0] for part in parts]
    try:
        chosen = _taken(parts, [video.info.fps] * count, views, num_frames, fps, rules)
    except RowError as error:
        raise RowError(f"{error}: {counted(total, 'frame')} / {counted(count, 'view')}", error.failure_class) from error
    taken = chosen + a_view * np.arange(count)[:, None]
    frames = np.empty((count, num_frames, *size_hw, 3), np.uint8)
    small: dict[int, np.ndarray] = {}
    seams = seam_frames(total, count)
    wanted = set(taken.ravel().tolist())

    def keep(index: int, frame: np.ndarray) -> None:
        if index in wanted:
            frames[taken == index] = as_model_sees(frame, size_hw, rules)
        if index in seams:
            small[index] = shrink(frame)

    info = each_frame(video, sorted({*wanted, *seams}), keep)
    info = _converted(info, fps, chosen, a_view, rules)
    said = _timing_warnings(parts, chosen, [info.fps] * count, views, fps, rules)
    said += [("", text) for text in picture_warnings(info, size_hw, rules)]
    if seams and runs_on(small, total, count):
        its_views = counted(count, "view")
        said.append(("", f"one shot that runs on across the boundaries of its {its_views}: expected the views one "
                         "after the other in time (or `input_videos`, a file a view)"))  # fmt: skip
    return Conditioning(frames, tuple(map(tuple, taken.tolist())), (info,), in_words(said, views))


def side_by_side(function: Callable[[A], B], items: Sequence[A]) -> list[B]:
    """`function` of each item, as many at once as there are cores and memory for; the first item's fault of those that
    failed."""
    with ThreadPoolExecutor(max(1, min(len(items), os.cpu_count() or 1, AT_ONCE))) as pool:
        return list(pool.map(in_this_limit(function), items))


def of_view(name: str, read: Callable[[], B]) -> B:
    """A fault of one view's file names the view."""
    try:
        return read()
    except RowError as error:
        raise RowError(f"view {name}: {error}", error.failure_class) from error


def as_model_sees(frame_HWC: np.ndarray, size_hw: tuple[int, int], rules: InputRules) -> np.ndarray:
    """One picture in a model's shape."""
    if rules.fitted == "stretch" and rules.takes_first:
        return stretch_frame(frame_HWC, size_hw)
    return fit_frame(frame_HWC, size_hw, rules.fitted)


def _taken(
    seconds: Sequence[np.ndarray],
    rates: Sequence[float],
    views: Sequence[str],
    num_frames: int,
    fps: float,
    rules: InputRules,
) -> np.ndarray:
    """Indices int64 [V, num_frames] by the job's rules. Raises RowError."""
    if not rules.takes_first:
        return take_frames(seconds, views, num_frames, None if rules.rate == "as_is" else fps)
    if rules.rate == "resample":
        return take_first(seconds, views, num_frames, fps)
    if rules.numbered is not None:
        return np.stack(
            [
                numbered_frames(len(times), name, num_frames, *rules.numbered)
                for times, name in zip(seconds, views, strict=True)
            ]
        )
    named = zip(seconds, views, rates, strict=True)
    return np.stack([first_frames(len(times), name, num_frames, rate, fps) for times, name, rate in named])


def _timing_warnings(
    seconds: Sequence[np.ndarray],
    taken: np.ndarray,
    rates: Sequence[float],
    views: Sequence[str],
    fps: float,
    rules: InputRules,
) -> list[tuple[str, str]]:
    if rules.numbered is not None:
        return []
    gaps = gap_warnings(seconds, taken, views, fps, rules.takes_first) if rules.rate == "resample" else []
    if rules.takes_first:
        return [*(first_warnings(rates, views, fps) if taken.shape[1] > 1 else []), *gaps]
    return [*timing_warnings(seconds, taken, rates, views, None if rules.rate == "as_is" else fps), *gaps]


def _converted(info: VideoInfo, fps: float, taken: np.ndarray, total: int, rules: InputRules) -> VideoInfo:
    """With what is done to the frames of this clip. taken: of one view, or of each; total: frames of a view."""
    done = list(info.conversions)
    views = np.atleast_2d(taken)
    are_as_is = all(are_first(of) if rules.takes_first else are_last(of, total) for of in views)
    if rules.numbered is not None:
        first, every = rules.numbered
        done.append(f"{info.fps:.4g} frames a second, of which frames {first}, {first + every} and so on are taken")
    elif (rules.rate == "resample" or rules.takes_first) and not are_as_is:
        done.append(how_taken(info.fps, fps))
    if rules.fit in ("pad", "stretch"):
        done.append({"pad": "padded", "stretch": "stretched"}[rules.fit])
    return replace(info, conversions=tuple(done))


def picture_warnings(info: VideoInfo, size_hw: tuple[int, int], rules: InputRules) -> list[str]:
    """What is doubtful in a file's pictures, and in making them `size_hw`, (height, width)."""
    about = {"crop": crop_warning, "stretch": stretch_warning}.get(rules.fitted if rules.fit != "stretch" else "")
    said = about(info.height, info.width, size_hw) if about else None
    return [*info.warnings, *([said] if said else [])]


def in_words(said: Sequence[tuple[str, str]], views: Sequence[str]) -> tuple[str, ...]:
    """A sentence a kind: what is true of several views names them once."""
    names: dict[str, list[str]] = {}
    for name, text in said:
        names.setdefault(text, []).append(name)
    return tuple(
        text if not any(of) else f"{'all views' if len(of) == len(views) > 1 else ', '.join(of)}: {text}"
        for text, of in names.items()
    )
