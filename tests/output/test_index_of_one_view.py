"""The index of models of one view: a column for each file that their clips may have."""

from __future__ import annotations

from cosmos_ray.clip.family import PREDICT2, TEXT2IMAGE, TEXT2WORLD, VIDEO2WORLD, Family
from cosmos_ray.clip.request import VIEWS
from cosmos_ray.output.index import added


def files(family: Family) -> list[str]:
    return [name.removeprefix("video_") for name in added(family).names if name.startswith("video_")]


def test_there_is_a_column_a_file() -> None:
    assert files(PREDICT2) == list(VIEWS)
    assert (files(VIDEO2WORLD), files(TEXT2IMAGE), files(TEXT2WORLD)) == (["video"], ["picture"], ["video", "picture"])
