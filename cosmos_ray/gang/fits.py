"""Does a row ask for what its model can do? Nothing is read to find out."""

from __future__ import annotations

from cosmos_ray.clip.chunks import check_chunks
from cosmos_ray.errors import RowError, column_error
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.models.bundle.bundle import Bundle
from cosmos_ray.store.reach import PlaceError, Reach
from cosmos_ray.store.uris import scheme_of


def check_fits(clip: Clip, bundle: Bundle) -> None:
    """Raises RowError for a clip that this model cannot make, whatever its inputs are."""
    family = bundle.recipe
    check_chunks(clip, family, bundle.num_frames, bundle.name)
    if family.no_negative and clip.negative_prompt:
        expected = f"null or empty: model `{bundle.name}` weighs the caption against no text at all"
        raise column_error("negative_prompt", clip.negative_prompt, expected)
    if clip.controls and not family.has_control:
        raise column_error("control_videos", clip.controls[0], f"null: model `{bundle.name}` has no control branch")
    if family.has_control and not clip.controls:
        raise column_error("control_videos", None, f"a video a camera, which model `{bundle.name}` follows")


def fault_of(clip: Clip, bundle: Bundle, reach: Reach | None = None) -> str | None:
    """Why the clip cannot be made, by its row and by this model; None if nothing speaks against it.

    reach: where inputs may lie; of those in stores that is told without asking anybody.
    """
    if clip.error is not None:
        return clip.error
    try:
        check_fits(clip, bundle)
        if reach is not None:
            _check_stores(clip, reach)
    except RowError as error:
        return str(error)
    return None


def _check_stores(clip: Clip, reach: Reach) -> None:
    """Raises RowError for an input in a store that the row may not name."""
    for column, uri in clip.references:
        if scheme_of(uri) != "file":
            try:
                reach.check(uri)
            except PlaceError as error:
                raise column_error(column, uri, str(error)) from None
