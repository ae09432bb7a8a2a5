"""Chunks of longer videos: what they begin with, and what a row may ask of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cosmos_ray.clip.chunks import check_chunks, chunk_seed, chunks_behind, conditioned_frames, keep_given
from cosmos_ray.clip.family import PREDICT2, PREDICT25, TRANSFER25, VIDEO2WORLD, Family
from cosmos_ray.clip.request import ClipRequest
from cosmos_ray.errors import RowError

ASKED = ClipRequest("a", ("p",), "", 1, 5, seed=0, guidance=3.0, num_steps=2, num_chunks=2)


def test_no_chunk_at_all_is_too_few_for_every_model() -> None:
    for family in (PREDICT2, PREDICT25):
        with pytest.raises(RowError, match=r"num_chunks.*found 0, expected at least 1"):
            check_chunks(replace(ASKED, num_chunks=0), family, 29, "a")
    with pytest.raises(RowError, match="found 0, expected 1 to 28"):
        check_chunks(replace(ASKED, chunk_overlap=0), TRANSFER25, 29, "a")


def test_of_the_frames_in_common_those_count_that_fill_latent_frames() -> None:
    counts = {overlap: conditioned_frames(overlap) for overlap in (1, 2, 4, 5, 8, 9, 12, 13, 28)}
    assert counts == {1: 1, 2: 1, 4: 1, 5: 5, 8: 5, 9: 9, 12: 9, 13: 13, 28: 25}


def test_the_next_chunk_begins_within_the_one_before_unless_it_has_more_than_half_of_it() -> None:
    assert [chunks_behind(overlap, 29) for overlap in (1, 14, 15, 19, 20, 28)] == [1, 1, 2, 2, 3, 28]


def test_each_chunk_has_the_next_seed_and_after_the_largest_comes_the_smallest() -> None:
    """Or the same, by the family."""
    for family in (VIDEO2WORLD, TRANSFER25):
        assert [chunk_seed(2**32 - 2, number, family) for number in range(4)] == [2**32 - 2, 2**32 - 1, 0, 1]
    assert [chunk_seed(2**32 - 1, number, PREDICT25) for number in range(2)] == [2**32 - 1] * 2


def test_frames_that_a_clip_was_given_stay_as_they_are() -> None:
    given = np.arange(5, dtype=np.uint8).reshape(1, 5, 1, 1, 1)
    for start, count, expected in ((1, 3, [1, 2, 3]), (3, 3, [3, 4, 90]), (4, 1, [4]), (5, 3, [90] * 3), (9, 1, [90])):
        frames = np.full((1, count, 1, 1, 1), 90, np.uint8)
        keep_given(frames, given, start)
        assert frames.ravel().tolist() == expected, f"a chunk that begins at {start}"


@pytest.mark.parametrize(
    ("family", "changes", "words"),
    [
        (PREDICT2, {}, "`num_chunks`: found 2, expected 1, because model `m` makes no longer videos"),
        (PREDICT25, {"num_chunks": 0}, "`num_chunks`: found 0, expected at least 1"),
        (
            PREDICT25,
            {"chunk_overlap": 2},
            "found 2, expected 1, or null: later .* begin with one frame of the one before",
        ),
        (VIDEO2WORLD, {"chunk_overlap": 1}, "found 1, expected 5, or null: .* as many as the first is conditioned on"),
        (TRANSFER25, {"chunk_overlap": 0}, "`chunk_overlap`: found 0, expected 1 to 28: a chunk of model `m` has 29"),
        (TRANSFER25, {"chunk_overlap": 29}, "`chunk_overlap`: found 29, expected 1 to 28"),
        (PREDICT25, {"chunk_overlap": 1}, None),
        (VIDEO2WORLD, {"chunk_overlap": 5}, None),
        (TRANSFER25, {"chunk_overlap": 1}, None),
        (TRANSFER25, {"chunk_overlap": 28}, None),
    ],
)
def test_a_family_says_which_chunks_it_makes(family: Family, changes: dict[str, int], words: str | None) -> None:
    asked = replace(ASKED, **changes)
    if words is None:
        check_chunks(asked, family, 29, "m")
        return
    with pytest.raises(RowError, match=words):
        check_chunks(asked, family, 29, "m")
