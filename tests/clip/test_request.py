"""A request made by hand says at once which of its fields has a wrong kind of value."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cosmos_ray.clip.request import ClipRequest
from cosmos_ray.errors import UsageError

GOOD: dict[str, Any] = {
    "id": "a", "prompts": ("a street",), "negative_prompt": "", "n_views": 1, "num_conditional_frames": 0, "seed": 0,
    "guidance": 7.0, "num_steps": 2, "frames": None, "text": None, "noise": None, "attempt": 1, "chosen_views": (),
    "controls": None, "control_weight": 1.0, "num_chunks": 1, "chunk_overlap": None, "picture_text": None,
}  # fmt: skip
MAY_BE_NONE = {"frames", "text", "noise", "controls", "chunk_overlap", "picture_text"}


@pytest.mark.parametrize("field", GOOD)
@pytest.mark.parametrize(
    "value", [None, math.nan, "one", "\udc80", Path("a"), b"a", [None], ["\udc80"], {"a": 1}, True]
)
def test_a_wrong_value_is_refused_by_the_name_of_its_field(field: str, value: Any) -> None:
    is_text = field in ("id", "negative_prompt") and value == "one"
    if (value is None and field in MAY_BE_NONE) or is_text:
        ClipRequest(**GOOD | {field: value})
        return
    with pytest.raises(UsageError, match=rf"^ClipRequest, field `{field}`: found .*, expected ") as caught:
        ClipRequest(**GOOD | {field: value})
    assert str(caught.value).isprintable()


def test_every_field_is_looked_at() -> None:
    assert set(GOOD) == {field.name for field in dataclasses.fields(ClipRequest)}


def test_what_numpy_has_and_lists_will_do() -> None:
    numbers = {"seed": np.uint32(3), "n_views": np.int64(1), "guidance": np.float32(1.5)}
    made = ClipRequest(**GOOD | numbers | {"prompts": ["a street"], "guidance": 3})
    assert made.prompts == ("a street",)
    assert made == ClipRequest(**GOOD | numbers | {"guidance": 3})
