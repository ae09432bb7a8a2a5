"""Columns that models from Predict2.5 on read: control videos, their weight, chunks."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.manifests import DEFAULTS

from cosmos_ray.manifest.rows import UNUSED_INPUT, UNUSED_OVERLAP, Clip, clips_of_row

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
    usual = {"control_videos": None, "control_weight": None, "num_chunks": 1, "chunk_overlap": None}
    assert clip_of(**usual).row_hash == plain.row_hash
    others = [clip_of(control_videos=["a", "b"]), clip_of(control_weight=0.5), clip_of(num_chunks=2)]
    others.append(clip_of(num_chunks=2, chunk_overlap=5))
    assert len({clip.row_hash for clip in (plain, *others)}) == 5
    assert [Clip.from_json(clip.to_json()) for clip in others] == others


@pytest.mark.parametrize(("family", "usual"), [("transfer2.5-multiview", 1), ("predict2-video2world", 5)])
def test_an_overlap_that_chunks_have_anyway_changes_nothing(family: str, usual: int) -> None:
    """So that a row which says it has the hash of one which does not, and both are one clip."""
    row = {"id": "a", "prompt": "p", "n_views": 1, "input_video": "a.mp4", "num_conditional_frames": 5}
    clips = [
        clips_of_row(row | {"num_chunks": 2} | said, replace(DEFAULTS, family=family), "/data")[0]
        for said in ({}, {"chunk_overlap": usual}, {"chunk_overlap": 3})
    ]
    assert [clip.chunk_overlap for clip in clips] == [None, None, 3]
    assert [clip.row_hash == clips[0].row_hash for clip in clips] == [True, True, False]


def test_an_overlap_of_one_chunk_is_not_used_and_that_is_said() -> None:
    plain, usual, asked = clip_of(), clip_of(chunk_overlap=1), clip_of(chunk_overlap=5)
    assert [clip.warnings for clip in (plain, usual, asked)] == [
        (), (), ("the chunk_overlap is not used: num_chunks is 1",)
    ]  # fmt: skip
    assert (asked.chunk_overlap, asked.row_hash) == (None, plain.row_hash)
    both = clip_of(chunk_overlap=5, input_videos=["a.mp4", "b.mp4"], num_conditional_frames=0)
    assert both.warnings == (UNUSED_INPUT, UNUSED_OVERLAP), "one does not hide the other"


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (
            {"control_videos": ["a.mp4"]},
            "column `control_videos`: found ['a.mp4'], expected 2 URIs, one a view; `views` of the row names fewer",
        ),
        ({"control_weight": 1.5}, "column `control_weight`: found 1.5, expected a number from 0 to 1"),
        ({"num_chunks": 0}, "column `num_chunks`: found 0, expected an integer from 1 to 100"),
        ({"chunk_overlap": 0}, "column `chunk_overlap`: found 0, expected an integer from 1 to 1000"),
        ({"chunk_overlap": 1.5}, "column `chunk_overlap`: found 1.5, expected an integer from 1 to 1000"),
    ],
)
def test_what_is_wrong_with_them_is_told(columns: dict[str, object], words: str) -> None:
    assert clip_of(**columns).error == words
