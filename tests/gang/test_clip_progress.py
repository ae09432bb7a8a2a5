"""How far a clip is, and what is left of it: by the gang's pace, or by its own steps while there is none."""

from __future__ import annotations

import pytest

from cosmos_ray.gang.clip_progress import At, at_of
from cosmos_ray.manifest.rows import Clip

CLIP = Clip("a", "a", num_steps=20)


@pytest.mark.parametrize(
    ("step", "ends", "left"),
    [(0, None, None), (5, None, 30.0), (5, 140.0, 30.0), (5, 100.0, 0.0), (0, 200.0, 90.0)],
    ids=["nothing-known", "by-its-steps", "by-the-pace", "late", "by-the-pace-before-a-step"],
)
def test_what_is_left(step: int, ends: float | None, left: float | None) -> None:
    """Begun at 100, seen at 110."""
    assert at_of(CLIP, step, began=100.0, ends=ends, now=110.0) == At("a", step, 20, left)


def test_the_clean_pass_is_no_step_of_the_clips() -> None:
    assert at_of(CLIP, 21, 100.0, None, 121.0).step == 20
