"""docs/guardrails.md: the check that it shows is one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.pages import shown_to

from cosmos_ray.errors import RowError
from cosmos_ray.models.guardrails.guard import Guard


def test_the_check_that_is_shown_blocks_and_changes() -> None:
    (code,) = shown_to(__file__, "test_the_check_that_is_shown_blocks_and_changes")
    names: dict[str, Any] = {}
    exec(code, names)
    check = names["Plates"]()
    guard = Guard([check], [check])
    guard.check_captions(["a street"])
    with pytest.raises(RowError, match="blocked by the check `plates`: licence plates"):
        guard.check_captions(["a car with a Plate"])
    frames, regions = guard.check_view(np.full((3, 16, 16, 3), 9, np.uint8))
    assert (regions, frames[:, -8:].max(), frames[:, :8].min()) == (3, 0, 9)
