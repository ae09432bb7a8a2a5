"""Boxes of faces: where anchors lie, what offsets make of them, and which of those that overlap is kept."""

from __future__ import annotations

import math

import numpy as np
import torch

from cosmos_ray.models.guardrails.boxes import anchors, best, decode


def test_anchors_lie_row_by_row_in_the_middle_of_their_places() -> None:
    """Of a picture of 64 x 128: 8 x 16 places of two anchors, then 4 x 8, then 2 x 4."""
    found = anchors(64, 128)
    assert len(found) == 2 * (8 * 16 + 4 * 8 + 2 * 4)
    pixels = found * torch.tensor([128.0, 64, 128, 64])
    assert pixels[:4].tolist() == [[4, 4, 16, 16], [4, 4, 32, 32], [12, 4, 16, 16], [12, 4, 32, 32]]
    assert pixels[32].tolist() == [4, 12, 16, 16], "the second row"
    assert pixels[-1].tolist() == [112, 48, 512, 512]


def test_offsets_move_an_anchor_and_stretch_it() -> None:
    places = torch.tensor([[0.5, 0.5, 0.25, 0.5]])
    offsets = torch.tensor([[[0.0, 0, 0, 0]], [[1.0, -1, 5 * math.log(2), 0]]])
    plain, moved = decode(offsets, places, 100, 200)
    assert plain.tolist() == [[75, 25, 125, 75]]
    torch.testing.assert_close(moved, torch.tensor([[55.0, 20, 155, 70]]))


def test_of_boxes_that_overlap_the_surest_is_kept_and_the_unsure_are_none() -> None:
    boxes = np.array(
        [[0, 0, 99, 99], [5, 0, 104, 99], [200, 0, 299, 99], [400, 0, 499, 99], [60, 0, 159, 99]], np.float32
    )
    found = best(boxes, np.array([0.8, 0.9, 0.95, 0.7, 0.75], np.float32))
    assert found.tolist() == [boxes[2].tolist(), boxes[1].tolist(), boxes[4].tolist()]


def test_of_boxes_as_sure_as_each_other_the_first_is_the_better_one() -> None:
    """As two sorts, each from the surest on and backwards among equals, leave them; of forty, since numpy sorts a few
    otherwise than many."""
    apart = np.array([[40 * number, 0, 40 * number + 30, 30] for number in range(40)], np.float32)
    beside = apart + np.float32(5)
    scores = np.where(np.arange(40) % 3 == 0, np.float32(1), np.float32(0.9))
    found = best(np.concatenate([apart, beside]), np.concatenate([scores, scores]))
    first = np.arange(40) % 3 == 0
    assert np.array_equal(found, np.concatenate([apart[first], apart[~first]]))


def test_an_overlap_is_counted_in_pixels_with_both_ends() -> None:
    """Two boxes of 10 x 10 pixels, further and further apart: 7 of 13 parts in common, 6 of 14, 5 of 15, 4 of 16."""
    one = [0, 0, 9, 9]
    for by, kept in ((3, 1), (4, 1), (5, 2), (6, 2)):
        common, both = (10 - by) * 10, (10 + by) * 10
        assert kept == (1 if common / both > 0.4 else 2)
        for across, down in ((by, 0), (0, by), (-by, 0), (0, -by)):
            boxes = np.array([one, [across, down, across + 9, down + 9]], np.float32)
            assert len(best(boxes, np.array([0.9, 0.8]))) == kept, (across, down)
