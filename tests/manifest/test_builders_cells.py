"""What one cell means in each kind of column, and what a builder says of a million alike."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from cosmos_ray.errors import ManifestError
from cosmos_ray.manifest.builders.cells import cell
from cosmos_ray.manifest.builders.notes import Notes
from cosmos_ray.manifest.builders.pictures import at_instants, back, check_frames, last_pictures
from cosmos_ray.manifest.builders.rig import by_camera, check_alike, in_order, rig_of
from cosmos_ray.manifest.builders.writing import reference, references, renamed
from cosmos_ray.manifest.captions import is_sheets_error, parsed, says_nothing

NOTHING = ("nan", "NaN", "N/A", "#N/A", "null", "None", "<NA>", "NaT", " nan ")


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        *(("seed", word, None) for word in (*NOTHING, "-", "na", "", "  ", None)),
        *(("input_video", word, None) for word in (*NOTHING, "-", "")),
        *(("guidance", word, None) for word in NOTHING),
        *((column, " \t", None) for column in ("id", "prompt", "negative_prompt", "views")),
        ("seed", "7", 7), ("seed", "7.0", 7), ("seed", 7.0, 7), ("seed", " 12 ", 12), ("seed", Decimal(3), 3),
        ("guidance", "7.5", 7.5), ("guidance", 7, 7.0), ("guidance", "1e1", 10.0),
        ("id", 7, "7"), ("id", 7.0, "7"), ("id", "7.0", "7.0"), ("id", "a", "a"), ("id", 7.5, 7.5),
        ("prompt", '["a", "b"]', ["a", "b"]), ("prompt", " a ", " a "), ("negative_prompt", '["a"]', '["a"]'),
        ("input_videos", ' ["a.mp4"] ', ["a.mp4"]), ("views", "rear", "rear"), ("input_video", " a.mp4 ", "a.mp4"),
        ("input_frames", "{'rear': ['a']}", {"rear": ["a"]}),
    ],
)  # fmt: skip
def test_a_cell_is_what_its_column_wants(column: str, value: Any, expected: Any) -> None:
    found = cell(column, value, "row 1")
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        *((column, word, "which tables write for nothing") for column in ("prompt", "negative_prompt")
          for word in ("nan", " NULL ", "-")),
        ("prompt", "#REF!", "an error of the spreadsheet"), ("seed", "#WERT!", "an error of the spreadsheet"),
        ("seed", "7.5", "expected an integer"), ("seed", True, "expected an integer"),
        ("seed", "inf", "expected an integer"), ("guidance", "many", "expected a number"),
        ("guidance", math.inf, "expected a number"), ("guidance", "7,5", "expected a number"),
        ("num_chunks", "two", "expected an integer"), ("control_weight", False, "expected a number"),
    ],
)  # fmt: skip
def test_a_cell_that_means_nothing_in_its_column_is_refused(column: str, value: Any, said: str) -> None:
    with pytest.raises(ManifestError, match=f"^row 1: `{column}` is .*{said}"):
        cell(column, value, "row 1")


def test_where_commas_are_decimal_points_group_thousands() -> None:
    assert cell("guidance", "7,5", "row 1", decimal_comma=True) == 7.5
    assert cell("guidance", "7.5", "row 1", decimal_comma=True) == 7.5
    assert cell("guidance", "1.000", "row 1") == 1.0
    for grouped in ("1.000", "-12.345.678"):
        with pytest.raises(ManifestError, match="expected a number"):
            cell("guidance", grouped, "row 1", decimal_comma=True)


def test_words_for_nothing_and_errors_of_spreadsheets_are_known() -> None:
    assert all(map(says_nothing, (*NOTHING, "#REF!", "#DIV/0!", " #NAME? ", "#BEZUG!")))
    assert not any(map(says_nothing, ("", "none of it", "nano", "#1", "# A street!", "a street!", "N/A street")))
    assert [is_sheets_error(text) for text in ("#VALUE!", "#N/A", "#", "#x", 7, None)] == [True] + [False] * 5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('["a", null]', ["a", None]), ('{"a": 1}', {"a": 1}), ("['a' 'b']", ["a", "b"]), ("['a', None]", ["a", None]),
        ("['a' nan]", ["a", None]), ("['it''s']", ["it", "s"]), ("{'a': ['b']}", {"a": ["b"]}), (" ['a'] ", ["a"]),
        ("[a]", "[a]"), ("[broken", "[broken"), ("plain", "plain"), (7, 7), ("(1, 2)", "(1, 2)"),
    ],
)  # fmt: skip
def test_lists_and_objects_are_read_from_what_programs_print(text: Any, expected: Any) -> None:
    assert parsed(text) == expected


# --- what is said ---


def test_of_many_alike_the_number_and_the_first_three_are_said() -> None:
    notes = Notes(["done"])
    for number in range(5):
        notes.warn("left out", str(number))
    for number in range(3):
        notes.warn("odd", str(number))
    built = notes.built(7)
    assert built.warnings == ("left out: 5: 0; 1; 2; ...", "odd: 3: 0; 1; 2")
    assert (built.rows, built.remarks) == (7, ("done",))


# --- cameras ---


def test_inputs_come_in_the_order_of_the_views_and_what_is_missing_or_too_much_is_named() -> None:
    notes = Notes()
    found = {"rear": 1, "front_wide": 2, "cross_left": 3}
    assert list(in_order(found, ("front_wide", "rear"), "clip", notes).items()) == [("front_wide", 2), ("rear", 1)]
    assert notes.built(0).warnings == (
        "clips with cameras that are not asked for, whose inputs are not used: 1: clip: cross_left",
    )
    with pytest.raises(ManifestError) as caught:
        in_order(found, ("front_wide", "rear_left", "rear"), "clip", notes, "pictures")
    assert str(caught.value) == (
        "clip: found pictures of front_wide, rear, cross_left; missing rear_left (1 of 3 cameras), and not asked for "
        "cross_left (`--views` says which cameras to make)"
    )
    with pytest.raises(ManifestError, match=r"found videos of no camera; missing rear \(1 of 1 camera\) "):
        in_order({}, ("rear",), "clip", notes)


def test_all_cameras_that_are_too_much_are_named() -> None:
    notes = Notes()
    in_order({"rear": 1, "cross_left": 2, "cross_right": 3}, ("rear",), "clip", notes)
    assert notes.built(0).warnings == (
        "clips with cameras that are not asked for, whose inputs are not used: 1: clip: cross_right, cross_left",
    )


def test_a_camera_that_others_have_is_missed_by_name() -> None:
    check_alike([("a", ["rear"]), ("b", []), ("c", ["rear"])])
    with pytest.raises(ManifestError, match=r"^b: found inputs of rear; missing front_wide, cross_left, which other"):
        check_alike([("a", ["cross_left", "rear", "front_wide"]), ("b", ["rear"])])
    notes = Notes()
    check_alike([("a", ["rear"]), ("b", ["front_wide"])], notes)
    assert notes.built(0).warnings == (
        "clips without some cameras that others have, made without them: 2: a: front_wide; b: rear",
    )


def test_values_by_camera_are_values_by_view() -> None:
    rig = rig_of("nuscenes")
    found = {"CAM_BACK": 1, "CAM_FRONT": None, "CAM_FRONT_LEFT": 3}
    assert by_camera(found, rig, "row 1") == {"rear": 1, "cross_left": 3}
    with pytest.raises(ManifestError, match=r"^row 1: two cameras for the view rear, `CAM_BACK` and `rear`"):
        by_camera({"CAM_BACK": 1, "rear": 2}, rig, "row 1")
    with pytest.raises(ManifestError, match=r"^row 1: camera name 'roof'"):
        by_camera({"roof": 1}, rig, "row 1")
    assert by_camera({"CAM_BACK": None, "rear": 2}, rig, "row 1") == {"rear": 2}


# --- names ---


def test_keys_of_other_releases_are_ours_and_none_is_said_twice() -> None:
    assert renamed({"name": "a", "input_path": "b", "prompt_path": "c", "x": 1}, "item 0") == {
        "id": "a", "input_video": "b", "prompt": "c", "x": 1,
    }  # fmt: skip
    assert renamed({"output_video": "o/clip.7.mp4"}, "item 0") == {"id": "clip.7"}
    assert renamed({"id": "a", "output_video": "o/b.mp4"}, "item 0") == {"id": "a"}
    assert renamed({"output_video": "o/a.mp4", "output_image": "b.png"}, "item 0")["id"] == "a"
    assert renamed({"output_image": "o/b.png"}, "item 0") == {"id": "b"}
    assert renamed({"id": "a", "output_image": "b.png"}, "item 0") == {"id": "a", "output_image": "b.png"}
    assert renamed({"prompt": None, "prompt_path": "a.txt", "name": None}, "item 0") == {"prompt": "a.txt"}
    with pytest.raises(ManifestError, match="item 0 has both `prompt` and `prompt_path`"):
        renamed({"prompt": "a", "prompt_path": "b"}, "item 0")
    with pytest.raises(ManifestError, match="item 0: found list, expected an object"):
        renamed([], "item 0")


@pytest.mark.parametrize(
    ("path", "base", "out", "expected"),
    [
        ("a.mp4", "/d/in", "/d/m.parquet", "in/a.mp4"), ("../a.mp4", "/d/in", "/d/m.parquet", "a.mp4"),
        ("a.mp4", "/d", "/d2/m.parquet", "/d/a.mp4"), ("/d/a.mp4", "/x", "/d/m.parquet", "a.mp4"),
        ("/dd/a.mp4", "/x", "/d/m.parquet", "/dd/a.mp4"), ("s3://b/a", "/d", "/d/m.parquet", "s3://b/a"),
        ("a.mp4", "s3://b/in", "s3://b/m.parquet", "in/a.mp4"), ("a.mp4", "s3://b", "/d/m.parquet", "s3://b/a.mp4"),
    ],
)  # fmt: skip
def test_an_input_is_named_from_the_manifests_folder_if_it_lies_there(
    path: str, base: str, out: str, expected: str
) -> None:
    assert reference(path, base, out, "row 1") == expected


def test_what_a_manifest_cannot_name_is_said() -> None:
    with pytest.raises(ManifestError, match=r"row 1: /d/a.mp4 is a local file, which a manifest at s3://b/m.parquet"):
        reference("a.mp4", "/d", "s3://b/m.parquet", "row 1")
    for wrong in ("", None, 7):
        with pytest.raises(ManifestError, match=r"row 1: found .*, expected a path or URI"):
            reference(wrong, "/d", "/d/m.parquet", "row 1")
    moved = references("/d/in/", "s3://b/x/", "s3://b/m.parquet")
    assert moved("/d/in/one/a.mp4", "row 1") == "x/one/a.mp4"
    assert references("/d/in", None, "/d/m.parquet")("/d/in/a.mp4", "row 1") == "in/a.mp4"


# --- pictures ---


def test_of_two_pictures_as_near_the_earlier_is_taken_and_none_that_is_further_than_two_are_apart() -> None:
    times = np.array([0.0, 1.0, 2.0])
    assert at_instants(times, np.array([0.5, 1.5])).tolist() == [0, 1]
    assert at_instants(times, np.array([3.0])).tolist() == [2]
    assert at_instants(times, np.array([3.1])) is None
    assert at_instants(np.array([5.0]), np.array([5.0])).tolist() == [0]
    assert at_instants(np.array([5.0]), np.array([5.1])) is None
    assert back(3, 2).tolist() == [1.0, 0.5, 0.0]


@pytest.mark.parametrize(("digits", "second"), [(16, 10**6), (19, 10**9), (17, 10**9)])
def test_pictures_whose_names_are_times_are_taken_at_the_same_instants(digits: int, second: int) -> None:
    first = 10 ** (digits - 1)

    def names(rate: int, count: int, offset: int = 0) -> list[str]:
        return [f"cam_{first + offset + number * second // rate}.jpg" for number in range(count)]

    found = last_pictures({"rear": names(20, 40), "front_wide": names(10, 15)}, 10)
    assert found == {"rear": names(20, 40)[20:29:2], "front_wide": names(10, 15)[10:]}
    few = last_pictures({"rear": names(10, 3), "front_wide": names(10, 9)}, 10)
    assert few == {"rear": names(10, 3), "front_wide": names(10, 9)[:3]}
    plain = {"rear": [f"{number}.jpg" for number in range(9)], "front_wide": names(10, 7)}
    assert last_pictures(plain, 10) == {"rear": plain["rear"][-5:], "front_wide": names(10, 7)[-5:]}


def test_times_of_different_units_say_nothing_but_the_order() -> None:
    """Two clocks, or one number that is no time: nobody knows which instants are the same."""
    cameras = {
        "rear": [f"{10**15 + number * 50_000}.jpg" for number in range(9)],
        "front_wide": [f"{10**18 + number * 100_000_000}.jpg" for number in range(7)],
    }
    assert last_pictures(cameras, 10) == {view: names[-5:] for view, names in cameras.items()}


def test_clips_start_from_one_frame_or_five() -> None:
    for frames in (None, 1, 5):
        check_frames(frames)
    for frames in (0, 2, 6):
        with pytest.raises(ManifestError, match=f"--frames: found {frames}, expected 1 or 5"):
            check_frames(frames)
