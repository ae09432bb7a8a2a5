"""What a model refuses of a request that somebody has made in Python: by the manifest's column, before it computes."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cosmos_ray.clip.request import VIEWS, ClipRequest, ClipText
from cosmos_ray.errors import RowError
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.models.request_check import check_request

#: A row of the small steered model: two chunks of 29 frames, of which one is shared.
BUNDLE = load_bundle("tiny-transfer25")
SIZE = (BUNDLE.height, BUNDLE.width, 3)
CHUNK = BUNDLE.num_frames


def controls(frames: int, views: int = 2, dtype: Any = np.uint8) -> np.ndarray:
    return np.zeros((views, frames, *SIZE), dtype)


FINE = ClipRequest(
    "clip", ("a red car",), "blurry", 2, 1, seed=1, guidance=3.0, num_steps=2, num_chunks=2,
    frames=np.zeros((2, 1, *SIZE), np.uint8), controls=controls(2 * CHUNK - 1), chosen_views=("rear", "front_wide"),
)  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_chunks": 1, "controls": controls(CHUNK)},
        {"chunk_overlap": 5, "controls": controls(2 * CHUNK - 5)},
        {"num_conditional_frames": 0, "frames": None},
        {"text": ClipText((np.ones((1, 8), np.float32),) * 2, None), "prompts": ()},
        {"n_views": 7, "chosen_views": VIEWS, "controls": controls(2 * CHUNK - 1, 7), "num_conditional_frames": 0},
    ],
    ids=["two chunks", "one", "five shared", "from text", "embedded", "all views"],
)
def test_what_a_model_makes_is_not_refused(changes: dict[str, Any]) -> None:
    check_request(replace(FINE, **changes), BUNDLE)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"n_views": 0, "chosen_views": ()}, "`n_views`: found 0, expected 1 to 7"),
        ({"chosen_views": ("rear", "rear")}, "`views`: found ['rear', 'rear'], expected 2 views of front_wide, "),
        ({"chosen_views": ("rear", "roof")}, "`views`: found ['rear', 'roof'], expected 2 views of front_wide, "),
        ({"num_conditional_frames": 3}, "`num_conditional_frames`: found 3, expected one of 0, 1, 5"),
        ({"text": ClipText((np.ones((1, 8), np.float32),), None)}, "`prompt_embedding`: found '1 view', expected 2 "),
        ({"controls": None}, f"`control_videos`: found None, expected uint8 frames [2, {2 * CHUNK - 1}, "),
        ({"controls": controls(CHUNK)}, f"found 'uint8 frames [2, {CHUNK}, "),
        ({"controls": controls(2 * CHUNK)}, f"found 'uint8 frames [2, {2 * CHUNK}, "),
        ({"controls": controls(2 * CHUNK - 1, 1)}, f"found 'uint8 frames [1, {2 * CHUNK - 1}, "),
        ({"chunk_overlap": 5}, f"expected uint8 frames [2, {2 * CHUNK - 5}, "),
        ({"controls": controls(2 * CHUNK - 1, dtype=np.float32)}, "`control_videos`: found 'float32 frames [2, "),
        ({"frames": FINE.frames / np.float32(255)}, "`input_video`: found 'float32 frames [2, 1, "),  # type: ignore[operator]
        ({"frames": None}, "`input_video`: found 'no frames', expected uint8 frames [2, 1, "),
        ({"num_conditional_frames": 5}, "`input_video`: found 'uint8 frames [2, 1, "),
    ],
    ids=[
        "no view", "a view twice", "no such view", "three frames", "texts of one view", "no controls", "of one chunk",
        "a frame too many", "of one view", "more shared", "float controls", "float frames", "no frames", "too few",
    ],
)  # fmt: skip
def test_what_it_does_not_make_is_refused_by_the_column(changes: dict[str, Any], said: str) -> None:
    """Numbers between 0 and 1 would be taken for nearly black, of what steers a clip too."""
    with pytest.raises(RowError, match=re.escape(said)) as error:
        check_request(replace(FINE, **changes), BUNDLE)
    assert error.value.failure_class == "input"


def test_a_model_without_a_control_branch_takes_no_control_videos() -> None:
    asked = replace(FINE, num_chunks=1, controls=controls(CHUNK), num_conditional_frames=0, frames=None)
    with pytest.raises(RowError, match=r"`control_videos`: found .*, expected null: the model has no control branch"):
        check_request(asked, load_bundle("tiny25"))
    check_request(replace(asked, controls=None), load_bundle("tiny25"))
