"""A clip as `plan --list` tells it."""

from __future__ import annotations

from typing import Any

from cosmos_ray.foreign import MOST, shown_uri
from cosmos_ray.gang.fits import fault_of
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.models.bundle.bundle import Bundle
from cosmos_ray.store.reach import Reach


def clip_line(clip: Clip, bundle: Bundle, reach: Reach | None = None) -> dict[str, Any]:
    """A clip as it would be made, as JSON has it.

    row: the row's id. inputs: URIs of videos, or of pictures, a list a view, without what may be secret in them.
    error: why it cannot be made.
    """
    plain = ("seed", "guidance", "num_steps", "num_conditional_frames")
    return {
        "id": clip.id,
        "row": clip.row_id,
        **{name: getattr(clip, name) for name in plain},
        "views": list(clip.cameras),
        "prompts": list(clip.prompts),
        "inputs": [[shown_uri(uri, MOST) for uri in uris] for uris in clip.frames]
        or [shown_uri(uri, MOST) for uri in clip.inputs],
        "warnings": list(clip.warnings),
        "error": fault_of(clip, bundle, reach),
    }
