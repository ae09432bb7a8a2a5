"""Which pictures of each camera a clip starts from: the last ones, a frame of the clip apart, at the same instants."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from cosmos_ray.clip.request import LATENT_FRAMES
from cosmos_ray.errors import ManifestError

#: The most pictures that a model takes of a camera.
MOST = max(LATENT_FRAMES)
#: Digits of a picture's name that are a time since some epoch, and their unit in seconds.
_UNITS = {**dict.fromkeys((15, 16), 1e-6), **dict.fromkeys((17, 18, 19), 1e-9)}


def check_frames(frames: int | None) -> None:
    """Raises ManifestError for a number of frames that no clip starts from, as `--frames` says it."""
    known = sorted(set(LATENT_FRAMES) - {0})
    if frames is not None and frames not in known:
        raise ManifestError(f"--frames: found {frames}, expected {' or '.join(map(str, known))}")


def last_pictures(cameras: Mapping[str, Sequence[str]], fps: float) -> dict[str, list[str]]:
    """The last pictures of each camera, MOST of them or as many as there are, in order of time.

    cameras: names of pictures in order of time, by view. Where all names are times (`315966265649927216.jpg`), they are
    taken 1/fps apart, back from the last instant that all cameras have; else the names say nothing but the order, and
    the pictures are taken as they are.
    """
    stamps = {view: _stamps(names) for view, names in cameras.items()}
    found = [one for one in stamps.values() if one is not None]
    if len(found) < len(cameras) or len({unit for _, unit in found}) > 1:
        return {view: list(names[-MOST:]) for view, names in cameras.items()}
    first = min(int(whole[0]) for whole, _ in found)  # float64 holds nanoseconds of days, not of decades
    known = {view: (one[0] - first) * one[1] for view, one in stamps.items() if one is not None}
    end = min(float(times[-1]) for times in known.values())
    for count in range(MOST, 1, -1):
        chosen = {view: at_instants(times, end - back(count, fps)) for view, times in known.items()}
        if all(indices is not None for indices in chosen.values()):
            return {
                view: [cameras[view][i] for i in indices] for view, indices in chosen.items() if indices is not None
            }
    return {view: [names[int(np.argmin(np.abs(known[view] - end)))]] for view, names in cameras.items()}


def back(count: int, fps: float) -> np.ndarray:
    """float64 [count], seconds before the last of `count` frames, the first frame's first."""
    return np.arange(count - 1, -1, -1) / fps


def at_instants(times: np.ndarray, instants: np.ndarray) -> np.ndarray | None:
    """int64, the picture nearest to each instant; None if one is further off than two pictures are apart, or if the
    same picture would be taken twice. Both float64 in seconds, rising."""
    places = np.clip(np.searchsorted(times, instants), 1, max(len(times) - 1, 1))
    if len(times) > 1:
        nearer_before = instants - times[places - 1] <= times[places] - instants
        indices = places - nearer_before
    else:
        indices = np.zeros(len(instants), np.int64)
    apart = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    if (np.abs(times[indices] - instants) > apart + 1e-6).any() or (np.diff(indices) <= 0).any():
        return None
    return indices


def _stamps(names: Sequence[str]) -> tuple[np.ndarray, float] | None:
    """(int64 times since some epoch, their unit in seconds), if all names are times of one unit; else None."""
    digits = [match[1] for name in names if (match := re.fullmatch(r"(?:.*\D)?(\d{15,19})\.\w+", name))]
    if not names or len(digits) < len(names) or len({_UNITS[len(one)] for one in digits}) > 1:
        return None
    return np.array([int(one) for one in digits], np.int64), _UNITS[len(digits[0])]
