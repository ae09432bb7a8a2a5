"""How far a gang is with the clip that it denoises: for people to see. No Ray."""

from __future__ import annotations

from dataclasses import dataclass

from cosmos_ray.manifest.rows import Clip


@dataclass(frozen=True)
class At:
    """So many of the clip's steps are done. left_s: seconds, as predicted; None: not known."""

    clip: str
    step: int
    steps: int
    left_s: float | None


def at_of(clip: Clip, step: int, began: float, ends: float | None, now: float) -> At:
    """ends: when the gang's pace says that its denoising ends; None: it has none yet, and the steps so far tell."""
    left = None if ends is None else ends - now
    if left is None and step:
        left = (now - began) / step * (clip.num_steps - step)
    return At(clip.id, min(step, clip.num_steps), clip.num_steps, None if left is None else max(0.0, left))
