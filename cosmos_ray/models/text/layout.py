"""Whose text is whose: what is encoded for each view of a clip, under the caption and for guidance. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from cosmos_ray.clip.family import Family

T = TypeVar("T")

#: Which way each camera faces, for models that were trained to be told.
_FACES = {
    "front_wide": "forward",
    "cross_right": "to the right",
    "rear_right": "the rear right side",
    "rear": "backwards",
    "rear_left": "the rear left side",
    "cross_left": "to the left",
}
_TELE = "front_tele"


def text_of_views(texts: Sequence[T], empty: T, views: int, captioned: int = 0) -> list[T]:
    """One a view: each its own, or one for view `captioned` and `empty` for all others."""
    if len(texts) == views > 1:
        return list(texts)
    (one,) = texts
    return [one if view == captioned else empty for view in range(views)]


def captioned_view(views: Sequence[str], family: Family) -> int:
    """Which view one caption is for: the first, or the one that looks ahead, where the family says that."""
    return views.index("front_wide") if family.empty_text is not None and "front_wide" in views else 0


def caption_texts(
    captions: Sequence[str], views: Sequence[str], family: Family, camera_prefix: bool
) -> list[str | None]:
    """What is encoded for each view; None for no text. captions: one, or one a view."""
    texts = text_of_views(captions, "", len(views), captioned_view(views, family))
    if camera_prefix:
        return [f"{camera_words(view)} {text}" for view, text in zip(views, texts, strict=True)]
    return [text if text.strip() else family.empty_text for text in texts]


def negative_texts(
    negative_prompt: str, captions: Sequence[str], views: Sequence[str], family: Family, camera_prefix: bool
) -> list[str | None]:
    """As `caption_texts`, of what guidance weighs against."""
    one_each = camera_prefix or len(captions) == len(views) > 1
    if family.negative_everywhere and one_each:
        return [negative_prompt] * len(views)
    return text_of_views([negative_prompt], family.empty_text, len(views), captioned_view(views, family))


def camera_words(view: str) -> str:
    """What a model that was trained to be told hears of a camera."""
    if view == _TELE:
        return "The video is captured from a telephoto camera mounted on a car. The camera is facing forward."
    return f"The video is captured from a camera mounted on a car. The camera is facing {_FACES[view]}."
