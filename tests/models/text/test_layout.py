"""Whose text is whose: what each view of a clip is encoded with, under its caption and for guidance, by its family."""

from __future__ import annotations

from typing import Any

import pytest

from cosmos_ray.clip.family import PREDICT2, PREDICT25, PREDICT25_2025_10, TEXT2IMAGE, VIDEO2WORLD, Family
from cosmos_ray.clip.request import VIEWS
from cosmos_ray.models.text.layout import camera_words, caption_texts, captioned_view, negative_texts, text_of_views
from cosmos_ray.models.text.tokens import chat_text, is_surely_read, overhead_of, texts_of

REAR_FIRST = ("rear", "front_wide", "cross_left")
SIDES = ("rear", "cross_left")
RIGHT, BACK, LEFT = (
    f"The video is captured from a camera mounted on a car. The camera is facing {way}."
    for way in ("forward", "backwards", "to the left")
)


@pytest.mark.parametrize(
    ("family", "views", "captioned"),
    [
        (PREDICT2, REAR_FIRST, 0),
        (PREDICT25, REAR_FIRST, 1),
        (PREDICT25_2025_10, REAR_FIRST, 1),
        (PREDICT25, SIDES, 0),
        (PREDICT25, ("rear", "cross_left", "front_wide"), 2),
        (VIDEO2WORLD, ("video",), 0),
        (TEXT2IMAGE, ("picture",), 0),
    ],
)
def test_one_caption_is_the_first_views_or_that_of_the_one_that_looks_ahead(
    family: Family, views: tuple[str, ...], captioned: int
) -> None:
    assert captioned_view(views, family) == captioned
    empty = family.empty_text
    of_views = [("A street." if view == captioned else empty) for view in range(len(views))]
    assert caption_texts(["A street."], views, family, False) == of_views
    of_negative = [("ugly" if view == captioned else empty) for view in range(len(views))]
    assert negative_texts("ugly", ["A street."], views, family, False) == of_negative


@pytest.mark.parametrize("family", [PREDICT2, PREDICT25, PREDICT25_2025_10])
def test_captions_of_all_views_are_each_ones_own_and_empty_ones_the_familys(family: Family) -> None:
    captions = ("A bus.", " \n", "A car.")
    assert caption_texts(captions, REAR_FIRST, family, False) == ["A bus.", family.empty_text, "A car."]
    everywhere = ["ugly"] * 3
    first = ["ugly", None, None]
    expected = everywhere if family.negative_everywhere else first
    assert negative_texts("ugly", captions, REAR_FIRST, family, False) == expected


def test_a_camera_is_told_which_way_it_faces_before_its_caption_whether_it_has_one_or_not() -> None:
    told = caption_texts(["A street."], REAR_FIRST, PREDICT25, True)
    assert told == [f"{BACK} ", f"{RIGHT} A street.", f"{LEFT} "]
    told = caption_texts(["A bus.", "", "A car."], REAR_FIRST, PREDICT25, True)
    assert told == [f"{BACK} A bus.", f"{RIGHT} ", f"{LEFT} A car."]
    for captions in (["A street."], ["A", "B", "C"]):
        assert negative_texts("ugly", captions, REAR_FIRST, PREDICT25, True) == ["ugly"] * 3


def test_each_camera_has_its_own_words() -> None:
    assert [camera_words(view).removeprefix("The video is captured from a ") for view in VIEWS] == [
        "camera mounted on a car. The camera is facing forward.",
        "camera mounted on a car. The camera is facing to the right.",
        "camera mounted on a car. The camera is facing the rear right side.",
        "camera mounted on a car. The camera is facing backwards.",
        "camera mounted on a car. The camera is facing the rear left side.",
        "camera mounted on a car. The camera is facing to the left.",
        "telephoto camera mounted on a car. The camera is facing forward.",
    ]


@pytest.mark.parametrize(
    ("texts", "views", "captioned", "found"),
    [
        (["a"], 1, 0, ["a"]),
        (["a"], 3, 0, ["a", "-", "-"]),
        (["a"], 3, 2, ["-", "-", "a"]),
        (["a", "b"], 2, 1, ["a", "b"]),
    ],
)
def test_so_many_texts_are_one_a_view(texts: list[str], views: int, captioned: int, found: list[str]) -> None:
    assert text_of_views(texts, "-", views, captioned) == found


@pytest.mark.parametrize(("texts", "views"), [([], 1), (["a", "b"], 3), (["a", "b"], 1)])
def test_another_number_of_texts_is_an_error(texts: list[str], views: int) -> None:
    with pytest.raises(ValueError, match="values to unpack"):
        text_of_views(texts, "", views)


def test_texts_are_named_by_their_views_and_the_negative_prompt_comes_last() -> None:
    """One caption is the first view's, wherever it is encoded."""
    views: Any = ("rear", "front_wide")
    assert list(texts_of(views, ("a",), "ugly")) == [("rear", "a"), ("negative prompt", "ugly")]
    assert list(texts_of(views, ("a", "b"), "")) == [("rear", "a"), ("front_wide", "b"), ("negative prompt", "")]
    assert list(texts_of(views, (), "u")) == [("negative prompt", "u")]


def test_what_is_told_before_a_caption_takes_its_part_of_what_is_read() -> None:
    """Of the whole conversation, by its signs: a sign is a token at most."""
    told = chat_text("A bus.")
    assert told == (
        "<|im_start|>system\nYou are a helpful assistant who will provide prompts to an image generator.<|im_end|>\n"
        "<|im_start|>user\nA bus.<|im_end|>\n"
    )
    assert (overhead_of(PREDICT25), overhead_of(PREDICT2)) == (len(told) - len("A bus."), 0)
    room = 510 - overhead_of(PREDICT25)
    assert [is_surely_read("a" * length, overhead_of(PREDICT25)) for length in (room, room + 1)] == [True, False]
