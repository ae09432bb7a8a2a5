"""Columns that models from Predict2.5 on read: control videos, their weight, chunks."""

from __future__ import annotations

import pytest
from support.manifests import DEFAULTS

from cosmos_ray.manifest.rows import Clip, clips_of_row

ROW = {"id": "a", "prompt": "p", "n_views": 2}


def clip_of(**columns: object) -> Clip:
    (clip,) = clips_of_row(ROW | columns, DEFAULTS, "/data")
    return clip


def test_control_videos_come_by_camera_or_in_order() -> None:
    named = clip_of(control_videos={"cross_right": "b.mp4", "front_wide": "a.mp4", "rear": None})
    assert named.controls == ("/data/a.mp4", "/data/b.mp4")
    assert clip_of(control_videos=["a.mp4", "b.mp4"]).controls == named.controls
    some = clip_of(control_videos={"rear": "c.mp4", "front_tele": "d.mp4"}, views=["rear", "front_tele"])
    assert some.controls == ("/data/c.mp4", "/data/d.mp4"), "any views, by their names"


def test_rows_without_them_keep_the_hash_that_they_had() -> None:
    plain = clip_of()
    assert clip_of(control_videos=None, control_weight=None, num_chunks=1).row_hash == plain.row_hash
    others = [clip_of(control_videos=["a", "b"]), clip_of(control_weight=0.5), clip_of(num_chunks=2)]
    assert len({clip.row_hash for clip in (plain, *others)}) == 4
    assert Clip.from_json(others[0].to_json()) == others[0]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"control_videos": ["a.mp4"]}, "column `control_videos`: found ['a.mp4'], expected 2 URIs, one a view"),
        ({"control_weight": 1.5}, "column `control_weight`: found 1.5, expected a number from 0 to 1"),
        ({"num_chunks": 0}, "column `num_chunks`: found 0, expected an integer from 1 to 100"),
    ],
)
def test_what_is_wrong_with_them_is_told(columns: dict[str, object], words: str) -> None:
    assert clip_of(**columns).error == words
