"""A row's cameras: any subset of them in any order (`views`), and pictures instead of videos (`input_frames`).

The order in which a row names its cameras is the order of everything in it. Rows that name none, and have no pictures,
are the requests that they were before.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from cosmos_ray.clip.request import VIEWS
from cosmos_ray.manifest.rows import Clip, RowDefaults, clips_of_row
from cosmos_ray.manifest.table import check_batch

DEFAULTS = RowDefaults(n_views=7, num_steps=35, guidance=7.0, negative_prompt="blurry")
BASE = "/data/set"
WAYMO = ["front_wide", "cross_right", "rear_right", "rear_left", "cross_left"]
CAMERAS = {view: f"{view}.mp4" for view in VIEWS}


def clip_of(**row: Any) -> Clip:
    row = {"id": "row", "prompt": "a street", **row}
    [clip] = clips_of_row(row, DEFAULTS, BASE)
    checked = check_batch(pa.RecordBatch.from_pylist([row]), DEFAULTS, BASE)
    if checked.right[0]:
        assert checked.row_hashes(np.array([0]), np.array([0])) == [clip.row_hash]
    return clip


def pictures(count: int, cameras: Any = VIEWS) -> dict[str, list[str]]:
    return {camera: [f"{camera}/{at}.jpg" for at in range(count)] for camera in cameras}


def test_any_subset_of_the_cameras_in_any_order() -> None:
    for views in (WAYMO, ["rear"], ["rear_left", "front_wide"], list(reversed(VIEWS))):
        clip = clip_of(views=views)
        assert (clip.error, clip.n_views, clip.cameras) == (None, len(views), tuple(views))
        assert clip.views == tuple(views)


@pytest.mark.parametrize("count", range(1, 8))
def test_naming_the_first_cameras_is_saying_how_many(count: int) -> None:
    """So the request, and the video, are the same."""
    named = clip_of(views=list(VIEWS[:count]))
    assert (named.views, named.cameras) == ((), VIEWS[:count])
    assert named == clip_of(n_views=count) == clip_of(n_views=count, views=list(VIEWS[:count]))


def test_the_order_of_the_views_is_the_order_of_everything() -> None:
    views = ["rear", "front_wide"]
    clip = clip_of(
        views=views, prompt=["behind", "ahead"], input_videos={view: CAMERAS[view] for view in VIEWS[::3][:2]}
    )
    assert (clip.error, clip.prompts) == (None, ("behind", "ahead"))
    assert clip.inputs == (f"{BASE}/rear.mp4", f"{BASE}/front_wide.mp4")
    assert clip_of(views=views, input_videos=["a.mp4", "b.mp4"]).inputs == (f"{BASE}/a.mp4", f"{BASE}/b.mp4")
    assert clip_of(views=views, input_frames=pictures(1, views)).frames == (
        (f"{BASE}/rear/0.jpg",), (f"{BASE}/front_wide/0.jpg",),
    )  # fmt: skip


def test_pictures_stand_for_a_video() -> None:
    clip = clip_of(input_frames=pictures(6), num_conditional_frames=5)
    assert (clip.error, clip.inputs, clip.num_conditional_frames) == (None, (), 5)
    assert clip.frames[3] == tuple(f"{BASE}/rear/{at}.jpg" for at in range(6))
    assert clip_of(input_frames=pictures(2)).num_conditional_frames == 1
    uneven = clip_of(input_frames={**pictures(5), "rear": ["s3://b/a.png"] * 9}, num_conditional_frames=5)
    assert [len(uris) for uris in uneven.frames] == [5, 5, 5, 9, 5, 5, 5]


def test_no_pictures_at_all_is_no_input() -> None:
    for nothing in (None, dict.fromkeys(VIEWS), {}):
        assert clip_of(input_frames=nothing) == clip_of()
        assert clip_of(input_frames=nothing, input_video="a.mp4").frames == ()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"views": []}, "column `views`: found [], expected from 1 to 7 cameras, or null for the first ones"),
        ({"views": ["rear"] * 2}, "column `views`: found ['rear', 'rear'], expected each camera once"),
        ({"views": ["rear", "roof", None]}, "column `views`: found ['roof', None], expected names of front_wide"),
        ({"views": ["Rear"]}, "column `views`: found ['Rear'], expected names of"),
        ({"views": [""]}, "column `views`: found [''], expected names of"),
        ({"views": [*VIEWS, "rear"]}, "expected from 1 to 7 cameras"),
        ({"views": ["rear"], "n_views": 2}, "column `n_views`: found 2, expected 1, as many as `views` names"),
        ({"views": ["rear"], "prompt": ["a", "b"]}, "column `prompt`: found ['a', 'b'], expected one caption or 1"),
        ({"views": ["rear"], "input_videos": {"rear_left": "a"}}, "found ['rear_left'], expected the cameras rear"),
        ({"views": ["rear"], "input_videos": CAMERAS}, "'rear_right'], expected the cameras rear"),
        ({"views": ["rear"], "input_videos": ["a", "b"]}, "found ['a', 'b'], expected 1 URIs, one a view"),
        ({"views": WAYMO, "input_frames": pictures(1)}, "column `input_frames`: found ['cross_left', 'cross_right',"),
        ({"input_frames": pictures(1, WAYMO)}, "expected the cameras front_wide, cross_right, rear_right, rear, "),
        ({"input_frames": pictures(1), "input_video": "a"}, "expected null, because the row has an `input_video`"),
        ({"input_frames": pictures(1), "input_videos": CAMERAS}, "null, because the row has an `input_videos`"),
        ({"input_frames": {**pictures(1), "rear": []}}, "column `input_frames`: found {'rear': []}, expected URIs of"),
        ({"input_frames": {**pictures(1), "rear": [None]}}, "found {'rear': [None]}, expected URIs of pictures"),
        ({"input_frames": {**pictures(1), "rear": [""]}}, "column `input_frames`: found '', expected a URI that"),
        ({"input_frames": {**pictures(1), "rear": ["../a.jpg"]}}, "found '../a.jpg', expected a URI that may be read"),
        ({"input_frames": {**pictures(5), "rear": ["a"] * 4}, "num_conditional_frames": 5}, "at least 5 pictures"),
        ({"input_videos": {**CAMERAS, "rear": ""}}, "column `input_videos`: found '', expected a URI that may be read"),
        ({"views": ["rear"], "input_videos": {"rear": "../\x1b[2J"}}, r"found '../\x1b[2J', expected a URI"),
    ],
    ids=lambda value: re.sub(r"\W+", "-", str(value))[:40] if isinstance(value, dict) else "",
)  # fmt: skip
def test_a_faulty_row(row: dict[str, Any], message: str) -> None:
    clip = clip_of(**row)
    assert clip.error is not None
    assert message in clip.error


def test_an_input_that_nothing_is_taken_from_is_a_warning() -> None:
    for given in ({"input_video": "a.mp4"}, {"input_videos": CAMERAS}, {"input_frames": pictures(3)}):
        unused = clip_of(**given, num_conditional_frames=0)
        assert (unused.error, unused.warnings) == (None, ("the input is not used: num_conditional_frames is 0",))
        assert clip_of(**given).warnings == ()


def test_warnings_decide_nothing() -> None:
    clip = clip_of(input_video="a.mp4", num_conditional_frames=0)
    [again] = clips_of_row({"id": "row", "prompt": "a street", "input_video": "a.mp4", "num_conditional_frames": 0,
                            "num_samples": 1}, DEFAULTS, BASE)  # fmt: skip
    assert clip.row_hash == again.row_hash
    assert clip.row_hash not in {clip_of(input_video="a.mp4").row_hash, clip_of().row_hash}


def test_new_columns_survive_the_way_through_json() -> None:
    clip = clip_of(views=WAYMO, input_frames=pictures(2, WAYMO), num_conditional_frames=0)
    assert (len(clip.frames), len(clip.warnings)) == (5, 1)
    assert Clip.from_json(replace(clip, generation=3).to_json()) == replace(clip, generation=3)
    assert clips_of_row({"id": "row", "prompt": "p"}, DEFAULTS, BASE)[0].views == ()


def test_a_clip_of_an_older_job_is_read() -> None:
    """Its sidecar and its step checkpoint hold fewer fields."""
    old = clip_of().to_json().replace(', "views": [], "frames": [], "warnings": []', "")
    assert "views" not in old.replace("n_views", "")
    assert Clip.from_json(old) == clip_of()


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({}, "5600147b2209a09c2c8b7bab737cba3168fe624cee80fcd791b1ed65c588ca00"),
        ({"prompt": ["é"] * 7, "seed": 3, "guidance": 2.5, "num_steps": 10, "fps": 30, "negative_prompt": ""},
         "b0b7a54ce189132528a54b1fe90e2a5f01e9508ed902e3f0298d33860cd4888f"),
        ({"prompt": "p", "input_video": "a.mp4", "num_conditional_frames": 5},
         "10a3c37df2be1524e317964bea556eaafc995c3ba8b882251eb4d7112544d8a5"),
        ({"prompt": None, "prompt_embedding": "e.npy", "n_views": 2},
         "ace476ffc7ece723ab33fa589bad4b07829104eb1125cf5e4cc4b47b36263d86"),
        ({"prompt": "p", "seed": -1, "weather": "rain"},
         "414bf9838a93262e355fd046702259a1737ea93b9f1cfb2279dcdde4ace16f14"),
    ],
    ids=["defaults", "settings", "video", "embedding", "faulty"],
)  # fmt: skip
def test_rows_of_before_keep_their_hashes(row: dict[str, Any], expected: str) -> None:
    """Literals, written by 0.1.0: outputs that hold them would otherwise refuse their own manifests as edited."""
    assert clip_of(**row).row_hash == expected
    [_, last] = clips_of_row({"id": "r", "prompt": "p", "input_videos": CAMERAS, "num_samples": 2}, DEFAULTS, BASE)
    assert last.row_hash == "3ca3f5a87c0daeb903f6c3dfbee58def995d244e9c645e5a3f3dad6ea7bff609"


@pytest.mark.parametrize(
    "change",
    [{"views": WAYMO}, {"views": list(reversed(VIEWS))}, {"input_frames": pictures(1)}, {"input_frames": pictures(2)}],
    ids=["views", "order", "picture", "pictures"],
)
def test_new_columns_decide_the_video(change: dict[str, Any]) -> None:
    others = [clip_of(), clip_of(n_views=5), clip_of(input_frames=pictures(3)), clip_of(input_videos=CAMERAS)]
    assert clip_of(**change).error is None
    assert clip_of(**change).row_hash not in {other.row_hash for other in others}
