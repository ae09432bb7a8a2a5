"""Does a request ask for what a bundle's model makes? What the manifest's reader has checked already, for callers from
Python. No torch."""

from __future__ import annotations

import numpy as np

from cosmos_ray.clip.chunks import check_chunks
from cosmos_ray.clip.request import ClipRequest
from cosmos_ray.errors import column_error
from cosmos_ray.models.bundle.bundle import Bundle
from cosmos_ray.words import counted


def check_request(request: ClipRequest, bundle: Bundle) -> None:
    """Raises RowError, naming the column, for what this model cannot make."""
    if not 1 <= request.n_views <= bundle.n_views:
        raise column_error("n_views", request.n_views, f"1 to {bundle.n_views}")
    rig, chosen = bundle.recipe.views[: bundle.n_views], request.views
    if len(set(chosen)) != request.n_views or len(chosen) != request.n_views or not set(chosen) <= set(rig):
        raise column_error("views", list(chosen), f"{counted(request.n_views, 'view')} of {', '.join(rig)}")
    known = bundle.recipe.latent_frames
    if request.num_conditional_frames not in known:
        expected = ", ".join(map(str, known))
        raise column_error("num_conditional_frames", request.num_conditional_frames, f"one of {expected}")
    if request.text and len(request.text.positive) != request.n_views:
        given = counted(len(request.text.positive), "view")
        raise column_error("prompt_embedding", given, counted(request.n_views, "view"))
    check_chunks(request, bundle.recipe, bundle.num_frames, bundle.name)
    _check_controls(request, bundle)
    if request.num_conditional_frames:
        expected_shape = (request.n_views, request.num_conditional_frames, bundle.height, bundle.width, 3)
        if (found := _said(request.frames)) != (expected := _of_bytes(expected_shape)):
            raise column_error("input_video", found or "no frames", expected)


def _check_controls(request: ClipRequest, bundle: Bundle) -> None:
    family, found = bundle.recipe, _said(request.controls)
    overlap = family.overlap(request.num_conditional_frames, request.chunk_overlap)
    frames = family.frames(bundle.num_frames, request.num_chunks, overlap)
    shape = (request.n_views, frames, bundle.height, bundle.width, 3)
    expected = _of_bytes(shape) if family.has_control else None
    if found != expected:
        raise column_error("control_videos", found, expected or "null: the model has no control branch")


def _of_bytes(shape: tuple[int, ...]) -> str:
    return f"uint8 frames {list(shape)}"


def _said(frames: np.ndarray | None) -> str | None:
    return None if frames is None else f"{frames.dtype} frames {list(frames.shape)}"
