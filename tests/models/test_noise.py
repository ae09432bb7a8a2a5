"""Noise that is drawn more than once from one seed."""

from __future__ import annotations

import numpy as np
import pytest

from cosmos_ray.models.noise import draw_noise


@pytest.mark.parametrize("number", range(4))
def test_a_later_draw_goes_on_where_the_one_before_ended(number: int) -> None:
    stream = np.random.RandomState(3).standard_normal(4 * 6).astype(np.float32)
    assert np.array_equal(draw_noise(3, (2, 3), number).ravel(), stream[6 * number : 6 * (number + 1)])
