"""What a plan says of bytes: of the clips that are left, and of those that a gang keeps while the store is out."""

from __future__ import annotations

from typing import Any

import pytest

from cosmos_ray.config import build_config
from cosmos_ray.job.cost import ClipGroup
from cosmos_ray.job.outlook import Outlook, outlook_of
from cosmos_ray.job.plan import Plan
from cosmos_ray.models.bundle.bundle import load_bundle

FAKE = load_bundle("fake")


def outlook(clip_bytes: int | None, *clips: int, **settings: Any) -> Outlook:
    work = tuple(ClipGroup(7, steps, True, 0, count) for steps, count in enumerate(clips, 1))
    plan = Plan(9, 90, 1, 2, 3, 85, (), (), work=work)
    config = build_config({"manifest": "m", "output": "o", "model": "fake", **settings})
    return outlook_of(config, FAKE, "h100", plan, None, clip_bytes)


@pytest.mark.parametrize("gangs", ["1", "3", "0:4"])
def test_bytes_are_of_clips_that_are_left_and_of_one_gangs_disk(gangs: str) -> None:
    """However many gangs there are: each has its own node's."""
    found = outlook(1_000_000, 4, 6, gangs=gangs, gang={"clips_waiting": 7})
    assert (found.bytes_left, found.bytes_waiting) == (10_000_000, 7_000_000)
    assert list(found.lines(None))[-3:-1] == [
        "about 10.0 MB are left to write, 1.0 MB a clip as so far",
        "while the store is out, up to 7 clips a gang wait on its node's disk (7.0 MB)",
    ]


@pytest.mark.parametrize(("clip_bytes", "clips"), [(None, (4,)), (1000, ())], ids=["none was made", "none is left"])
def test_where_nothing_is_known_or_left_nothing_is_said(clip_bytes: int | None, clips: tuple[int, ...]) -> None:
    assert not [line for line in outlook(clip_bytes, *clips).lines(None) if "left to write" in line]
