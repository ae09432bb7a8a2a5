"""Whose text is whose: the windows of a clip's views, of captions that are embedded already. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def text_of_views(embedded: Sequence[T], empty: T, views: int, captioned: int = 0) -> list[T]:
    """One embedding a view: each its own, or one for view `captioned` and `empty` for all others."""
    if len(embedded) == views > 1:
        return list(embedded)
    (one,) = embedded
    return [one if view == captioned else empty for view in range(views)]
