"""What one row says of its cameras: which views are made, and the videos or pictures that they start from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from cosmos_ray.clip.request import VIEWS
from cosmos_ray.errors import column_error
from cosmos_ray.store.uris import resolve_reference

_VIDEOS = ("input_video", "input_videos")


#: Of files that are pictures, in any case of letters.
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


def is_picture(inputs: Sequence[str]) -> bool:
    """Whether the input of a row is one picture, by its name."""
    return len(inputs) == 1 and inputs[0].lower().endswith(PICTURE_SUFFIXES)


def views_of(row: Mapping[str, Any], most: int, known: Sequence[str] = VIEWS) -> tuple[str, ...]:
    """The cameras that the row names, in its order; () if it names none. known: the model's. Raises RowError."""
    found = row.get("views")
    if found is None:
        return ()
    if not 1 <= len(found) <= most:
        raise column_error("views", found, f"from 1 to {most} cameras, or null for the first ones")
    unknown = [name for name in found if name not in known]
    if unknown:
        raise column_error("views", unknown, f"names of {', '.join(known)}")
    if len(set(found)) < len(found):
        raise column_error("views", found, "each camera once")
    return tuple(found)


def inputs_of(row: Mapping[str, Any], cameras: Sequence[str], base: str) -> tuple[str, ...]:
    """URIs of the videos: none, one of all cameras one after the other, or one a camera. Raises RowError."""
    one, many = row.get("input_video"), _given(row.get("input_videos"))
    if one is not None and many is not None:
        raise column_error("input_videos", many, "null, because the row has an `input_video`")
    if one is not None:
        return (reference("input_video", one, base),)
    if many is None:
        return ()
    return tuple(reference("input_videos", uri, base) for uri in _in_order("input_videos", many, cameras))


def controls_of(row: Mapping[str, Any], cameras: Sequence[str], base: str) -> tuple[str, ...]:
    """URIs of the control videos, one a camera; () for a row without. Raises RowError."""
    found = _given(row.get("control_videos"))
    if found is None:
        return ()
    return tuple(reference("control_videos", uri, base) for uri in _in_order("control_videos", found, cameras))


def frames_of(row: Mapping[str, Any], cameras: Sequence[str], base: str) -> tuple[tuple[str, ...], ...]:
    """URIs of the pictures, in order of time, a tuple a camera; () for a row without. Raises RowError."""
    found = _given(row.get("input_frames"))
    if found is None:
        return ()
    for column in _VIDEOS:
        if _given(row.get(column)) is not None:
            raise column_error("input_frames", found, f"null, because the row has an `{column}`")
    pictures = dict(zip(cameras, _in_order("input_frames", found, cameras), strict=True))
    for camera, uris in pictures.items():
        if not uris or not all(isinstance(uri, str) for uri in uris):
            raise column_error("input_frames", {camera: uris}, "URIs of pictures, none of them null")
    return tuple(tuple(reference("input_frames", uri, base) for uri in uris) for uris in pictures.values())


def _given(found: Any) -> Any:
    """None for a struct of nulls too, which a struct column gives rows without cameras, and for a map without any."""
    nothing = isinstance(found, Mapping) and all(value is None for value in found.values())
    return None if nothing else found


def _in_order(column: str, found: Any, cameras: Sequence[str]) -> list[Any]:
    """The value of each camera."""
    if isinstance(found, Mapping):
        named = {name: value for name, value in found.items() if value is not None}
        if set(named) != set(cameras):
            fewer = "; `views` of the row names fewer" if set(named) < set(cameras) else ""
            raise column_error(column, sorted(named), f"the cameras {', '.join(cameras)}{fewer}")
        return [named[camera] for camera in cameras]
    if any(isinstance(one, tuple) for one in found):  # a map that `rows_of` could not make a dict of
        names = Counter(name for name, _ in found)
        raise column_error(column, [name for name, count in names.items() if count > 1], "each camera once")
    if len(found) != len(cameras) or not all(isinstance(uri, str) for uri in found):
        fewer = "; `views` of the row names fewer" if 0 < len(found) < len(cameras) else ""
        raise column_error(column, found, f"{len(cameras)} URIs, one a view{fewer}")
    return list(found)


def reference(column: str, found: Any, base: str) -> str:
    """The absolute URI of what a row names. Raises RowError."""
    try:
        return resolve_reference(found, base)
    except ValueError as error:
        # The reason says what is wrong; the reference itself is what was found.
        raise column_error(column, found, f"a URI that may be read, not {error}") from None
