"""What `plan` says of bytes: only where clips are left, and only where a clip's bytes are known."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from cosmos_ray.config import GenerateConfig
from cosmos_ray.job.cost import ClipGroup
from cosmos_ray.job.outlook import Outlook
from cosmos_ray.models.bundle.bundle import load_bundle

CONFIG = GenerateConfig(manifest="m", output="o", gang={"clips_waiting": 5})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("clips", "clip_bytes", "left", "waiting", "is_told"),
    [
        (3, 42_000_000, 126_000_000, 210_000_000, True),
        (0, 42_000_000, 0, 210_000_000, False),
        (3, None, None, None, False),
    ],
    ids=["some left", "none left", "none made yet"],
)
def test_bytes_are_told_where_there_are_some(
    clips: int, clip_bytes: int | None, left: int | None, waiting: int | None, is_told: bool
) -> None:
    plan: Any = SimpleNamespace(work=(ClipGroup(7, 35, True, 1, clips),) if clips else ())
    found = Outlook(CONFIG, load_bundle("fake"), "h100", plan, None, clip_bytes, [], None)
    assert (found.bytes_left, found.bytes_waiting) == (left, waiting)
    lines = list(found._lines_of_bytes())
    assert lines == (
        [
            "about 126.0 MB are left to write, 42.0 MB a clip as so far",
            "while the store is out, up to 5 clips a gang wait on its node's disk (210.0 MB)",
        ]
        if is_told
        else []
    )
