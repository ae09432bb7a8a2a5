"""Where windows lie in a picture: across its middle, from its left edge to its right, in the order of the cameras."""

from __future__ import annotations

import pytest

from cosmos_ray.errors import UsageError
from cosmos_ray.manifest.builders.windows import LEFT_TO_RIGHT, windows


def test_windows_lie_in_the_middle_and_reach_from_edge_to_edge() -> None:
    found = windows(100, 200, (50, 100), 0.4)
    assert {(rows.start, rows.stop) for rows, _ in found.values()} == {(30, 70)}
    columns = [found[view][1] for view in LEFT_TO_RIGHT]
    assert [one.start for one in columns] == [0, 20, 40, 60, 80, 100, 120]
    assert {one.stop - one.start for one in columns} == {80}


@pytest.mark.parametrize("width", range(180, 190))
def test_windows_lie_as_far_from_one_edge_as_from_the_other(width: int) -> None:
    """To a pixel where the picture does not divide."""
    found = windows(100, width, (50, 100), 0.4)
    columns = [found[view][1] for view in LEFT_TO_RIGHT]
    left, right = [one.start for one in columns], [width - one.stop for one in reversed(columns)]
    assert max(abs(one - other) for one, other in zip(left, right, strict=True)) <= right[-1] % 2
    assert (left[0], right[0]) == (0, 0)


def test_a_window_is_no_larger_than_the_picture_and_no_smaller_than_a_pixel() -> None:
    assert {rows.stop - rows.start for rows, _ in windows(90, 300, (45, 60), 1.0).values()} == {90}
    for zoom in (0.0, 1.01, 0.001):
        with pytest.raises(UsageError, match=f"--zoom: found {zoom}"):
            windows(90, 160, (90, 160), zoom)
