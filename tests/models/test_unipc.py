"""UniPC's tables: which levels and times a schedule has. (Its samples: the golden cases of `test_parity.py`.)"""

from __future__ import annotations

import numpy as np
import pytest

from cosmos_ray.models.unipc import UniPC, flow_sigmas, flow_timesteps


def test_the_published_schedule_is_told_these_times() -> None:
    times = UniPC(35).times
    assert (times.dtype, len(times)) == (np.int64, 35)
    assert (times[:3].tolist(), times[-3:].tolist()) == ([999, 993, 987], [318, 232, 128])


def test_a_schedule_falls_from_the_published_first_level_to_nothing() -> None:
    """That level is 0.999 in float32, shifted: seven digits are not enough to tell."""
    assert flow_sigmas(1) == pytest.approx([0.999799842450943, 0.0], rel=1e-14)
    assert (np.diff(flow_sigmas(35)) < 0).all()


def test_a_schedule_needs_a_step() -> None:
    with pytest.raises(ValueError, match="num_steps 0"):
        flow_sigmas(0)


def test_levels_are_kept_as_float32_and_times_are_of_those_before() -> None:
    """517 steps are the fewest of which the two have other times."""
    levels, solver = flow_sigmas(517), UniPC(517)
    assert np.array_equal(solver.sigmas, levels.astype(np.float32))
    assert solver.sigmas.dtype == np.float64, "what follows from them is not rounded"
    assert solver.times.tolist() == [int(1000 * level) for level in levels[:-1]]
    assert solver.times.tolist() != flow_timesteps(solver.sigmas).tolist()
