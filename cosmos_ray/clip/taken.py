"""Which frames a clip is conditioned on: the last ones, at the row's rate, at instants that all its cameras have.

Times are seconds. Each camera counts from its first frame on: all of a row's cameras began together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cosmos_ray.errors import RowError
from cosmos_ray.words import counted

#: Rates closer than this are one.
_SAME_RATE = 0.01


def take_frames(seconds: Sequence[np.ndarray], names: Sequence[str], num_frames: int, fps: float | None) -> np.ndarray:
    """Indices int64 [V, num_frames] into `seconds` (for each view: when its frames are shown, ascending from 0).

    fps: a frame every 1/fps seconds, back from the last instant that all views have: the nearest one of each view, the
    earlier one of two as near; in a gap the one before it, as players hold it. None: the last frames of each, as they
    are. Raises RowError if a view has too few.
    """
    if fps is None:
        return np.stack([_last(times, name, num_frames) for times, name in zip(seconds, names, strict=True)])
    ends = [float(times[-1]) for times in seconds]
    instants = min(ends) - np.arange(num_frames - 1, -1, -1) / fps
    taken = np.empty((len(seconds), num_frames), np.int64)
    for view in np.argsort(ends, kind="stable"):  # of several faults the one of the shortest view is the cause
        taken[view] = _nearest(seconds[view], names[view], instants, fps)
    return taken


def take_first(seconds: Sequence[np.ndarray], names: Sequence[str], num_frames: int, fps: float) -> np.ndarray:
    """As `take_frames`, a frame every 1/fps seconds from the first one on."""
    instants = np.arange(num_frames) / fps
    taken = []
    for times, name in zip(seconds, names, strict=True):
        indices, usual = _shown_at(times, instants, fps), _usual(times, fps)
        if instants[-1] > times[-1] + usual / 2 or _is_slow(usual, fps, indices):
            found = f"found {counted(len(times), 'frame')} ({len(times) * usual:.3g} s at {1 / usual:.4g} a second)"
            raise RowError(
                f"view {name}: {found}, expected at least {num_frames} at the row's {fps:g} a second, over "
                f"{instants[-1]:.3g} s from the first on, none twice (`fps`, inputs.rate)"
            )
        taken.append(indices)
    return np.stack(taken)


def first_warnings(rates: Sequence[float], names: Sequence[str], fps: float) -> list[tuple[str, str]]:
    """(view, what is said of it): cameras whose rate is no multiple of the row's, of which nearest frames are taken."""
    said = []
    for name, rate in zip(names, rates, strict=True):
        every = rate / fps
        if every < 1 - _SAME_RATE or abs(every - round(every)) > _SAME_RATE * every:
            said.append((name, f"{how_taken(rate, fps)} (inputs.rate)"))
    return said


def gap_warnings(
    seconds: Sequence[np.ndarray], taken: np.ndarray, names: Sequence[str], fps: float, from_first: bool = False
) -> list[tuple[str, str]]:
    """(view, what is said of it) where `take_frames`, or `take_first`, had no frame near an instant, or one for two."""
    steps = np.arange(taken.shape[1])
    end = min(float(times[-1]) for times in seconds)
    instants = (steps if from_first else steps - steps[-1]) / fps + (0 if from_first else end)
    said = []
    for name, times, of in zip(names, seconds, taken, strict=True):
        is_held = instants - times[of] > _near(times, fps)
        is_held[1:] |= np.diff(of) == 0
        if is_held.any():
            held = of[is_held]
            ends = times[np.minimum(held + 1, len(times) - 1)]
            widest = int(np.argmax(ends - times[held]))
            gap = f"no frame between {times[held[widest]]:.4g} and {ends[widest]:.4g} s"
            said.append((name, f"{gap}, where the one before is held"))
    return said


def first_frames(total: int, name: str, num_frames: int, rate: float, fps: float) -> np.ndarray:
    """Indices int64 [num_frames] of every so manieth frame from the first on: `rate` / `fps`, which has to be whole.

    Raises RowError if it is not, or if there are too few frames.
    """
    every = rate / fps
    if abs(every - round(every)) > _SAME_RATE * every or round(every) < 1:
        raise RowError(
            f"view {name}: found {rate:.4g} frames a second, expected a multiple of the row's {fps:g} (`fps`), as the "
            "published pipeline does (inputs.rate: resample takes the nearest frames)"
        )
    taken = round(every) * np.arange(num_frames)
    if taken[-1] >= total:
        needed = f"{taken[-1] + 1}, for {num_frames} at the row's {fps:g} a second"
        raise RowError(f"view {name}: found {counted(total, 'frame')}, expected at least {needed} (`fps`)")
    return taken


def numbered_frames(total: int, name: str, num_frames: int, first: int, every: int) -> np.ndarray:
    """Indices int64 [num_frames], whatever the rate. Raises RowError if there are too few frames."""
    taken = first + every * np.arange(num_frames)
    if taken[-1] >= total:
        raise RowError(
            f"view {name}: found {counted(total, 'frame')}, expected at least {taken[-1] + 1}: every {every}. frame is "
            f"taken from frame {first} on, counted from 0, as published (inputs.rate: resample goes by the row's `fps`)"
        )
    return taken


def are_first(taken: np.ndarray) -> bool:
    """Whether indices [n] are the first ones as they are."""
    return bool((taken == np.arange(len(taken))).all())


def are_last(taken: np.ndarray, total: int) -> bool:
    """Whether ascending indices [n] are the last ones as they are."""
    return bool((taken == np.arange(total - len(taken), total)).all())


def how_taken(rate: float, fps: float) -> str:
    """What is said of frames that are not the last ones as they are."""
    if _is_same(rate, fps):
        return f"{rate:.4g} frames a second, taken by their times"
    return f"{rate:.4g} frames a second, taken at {fps:g}"


def timing_warnings(
    seconds: Sequence[np.ndarray],
    taken: np.ndarray,
    rates: Sequence[float],
    names: Sequence[str],
    fps: float | None,
) -> list[tuple[str, str]]:
    """(view or "", what is said of it): cameras that have another rate than is taken, or end at other times.

    rates: frames a second of each view; the others are those of `take_frames`, and what it gave.
    """
    if fps is None:
        if all(_is_same(rate, rates[0]) for rate in rates):
            return []
        return [("", f"cameras differ in rate: {', '.join(f'{rate:.4g}' for rate in rates)} frames a second")]
    said = [
        (name, f"{how_taken(rate, fps)} (inputs.rate)")
        for name, rate, times, of in zip(names, rates, seconds, taken, strict=True)
        if not are_last(of, len(times)) and not _is_same(rate, fps)
    ]
    ends = [float(times[-1]) for times in seconds]
    if max(ends) - min(ends) > 1 / fps:
        said.append(("", f"cameras end {min(ends):.4g} to {max(ends):.4g} s after their first frames: taken up to "
                         f"{min(ends):.4g} s"))  # fmt: skip
    return said


def start_warnings(starts: Sequence[float], fps: float) -> list[tuple[str, str]]:
    """starts: when each camera's first frame is shown, by the clock of its file, which an edit list may have moved."""
    if max(starts) - min(starts) <= (1 + _SAME_RATE) / fps:
        return []
    return [("", f"cameras begin {min(starts):.4g} to {max(starts):.4g} s after their files do: taken to have begun "
                 "together")]  # fmt: skip


def _is_same(rate: float, other: float) -> bool:
    return abs(rate - other) <= _SAME_RATE * other


def _last(times: np.ndarray, name: str, num_frames: int) -> np.ndarray:
    if len(times) < num_frames:
        raise RowError(f"view {name}: found {counted(len(times), 'frame')}, expected at least {num_frames}")
    return np.arange(len(times) - num_frames, len(times))


def _shown_at(times: np.ndarray, instants: np.ndarray, fps: float) -> np.ndarray:
    """Frames nearest to the instants; where none is near, that which players show then."""
    later = np.clip(np.searchsorted(times, instants), min(1, len(times) - 1), len(times) - 1)
    earlier = np.maximum(later - 1, 0)
    # Times are rounded to the file's clock: a thousandth of a frame is no distance.
    is_later = times[later] - instants < instants - times[earlier] - 1e-3 / fps
    nearest = np.where(is_later, later, earlier)
    return np.where(np.abs(times[nearest] - instants) <= _near(times, fps), nearest, earlier)


def _near(times: np.ndarray, fps: float) -> float:
    """Seconds between a frame and an instant that it may stand for."""
    return (1 + _SAME_RATE) * max(_usual(times, fps), 1 / fps) / 2


def _usual(times: np.ndarray, fps: float) -> float:
    """Seconds from a frame to the next."""
    return float(np.median(np.diff(times))) if len(times) > 1 else 1 / fps


def _is_slow(usual: float, fps: float, taken: np.ndarray) -> bool:
    """Whether frames repeat because a camera takes fewer than are asked for, and not for a gap."""
    return len(np.unique(taken)) < len(taken) and usual > (1 + _SAME_RATE) / fps


def _nearest(times: np.ndarray, name: str, instants: np.ndarray, fps: float) -> np.ndarray:
    """Frames of one view at the instants, ascending. Raises RowError if it has too few."""
    taken, usual = _shown_at(times, instants, fps), _usual(times, fps)
    is_short = instants[0] < times[0] - usual / 2
    if is_short or _is_slow(usual, fps, taken):
        found = f"found {counted(len(times), 'frame')} ({len(times) * usual:.3g} s at {1 / usual:.4g} a second)"
        expected = f"{len(instants)} at the row's {fps:g} a second, over {instants[-1] - instants[0]:.3g} s"
        back = f"back from {instants[-1]:.3g} s, the last instant that all views have"
        gap = "" if is_short else ", none twice"
        raise RowError(f"view {name}: {found}, expected at least {expected}{gap}, {back} (`fps`, inputs.rate)")
    return taken
